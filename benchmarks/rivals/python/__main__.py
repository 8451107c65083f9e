"""What Python has by itself: a call, worker processes of multiprocessing, and child programs. None has limits."""

import multiprocessing
import subprocess
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.guests import PAYLOAD
from benchmarks.rivals.program import Way, checked, serve
from benchmarks.rivals.python.work import echo, serve_many, serve_one
from benchmarks.rounds import time_each

_CHILD = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"


def make() -> Mapping[str, Way]:
    kept, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve_many, args=(theirs,), daemon=True).start()
    theirs.close()

    def by_warm_worker() -> bytes:
        kept.send(PAYLOAD)
        return bytes(kept.recv())

    def by_new_worker(method: str) -> bytes:
        ours, theirs = multiprocessing.Pipe()
        worker = multiprocessing.get_context(method).Process(target=serve_one, args=(theirs,))
        worker.start()
        theirs.close()
        with ours:
            ours.send(PAYLOAD)
            answer = bytes(ours.recv())
        worker.join()
        return answer

    def by_program(*command: str) -> bytes:
        return subprocess.run(command, input=PAYLOAD, stdout=subprocess.PIPE, check=True).stdout

    def way(events: int, call: partial[bytes], beside: str) -> Way:
        return Way(partial(time_each, checked(call, PAYLOAD)), events, beside)

    return {
        "a call": way(3000, partial(echo, PAYLOAD), "warm"),
        "multiprocessing, warm worker": way(200, partial(by_warm_worker), "in a worker, warm"),
        "multiprocessing, worker forked for the event": way(3, partial(by_new_worker, "fork"), "in a worker, fresh"),
        "multiprocessing, worker spawned for the event": way(1, partial(by_new_worker, "spawn"), "in a worker, fresh"),
        "subprocess, cat": way(5, partial(by_program, "cat"), "in a worker, fresh"),
        "subprocess, python": way(1, partial(by_program, sys.executable, "-I", "-c", _CHILD), "in a worker, fresh"),
    }


if __name__ == "__main__":
    serve(make)
