"""Capsule: a task for each event, in the worker process that it keeps. A guest is a component of its world."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.guests import PAYLOAD
from benchmarks.rivals.program import Way, serve


def make() -> Mapping[str, Way]:
    # By the worker alone: `capsule.run` starts a process for each event where the worker fails, and does not say so.
    from capsule.worker import run_with_worker  # here, so that a failure is an answer

    loop = asyncio.new_event_loop()
    program = str(Path(sys.executable).with_name("capsule"))
    # It writes its cache and its log of tasks beside the guest.
    place = tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-")
    guest = shutil.copy(sys.argv[1], place.name)

    async def call() -> None:
        answer = await run_with_worker(file=guest, args=[PAYLOAD.decode()], cwd=place.name, capsule_path=program)
        if answer["result"] != PAYLOAD.decode():
            raise RuntimeError(f"answered {answer}")

    async def run(events: int) -> float:
        began = time.perf_counter()
        for _ in range(events):
            await call()
        return (time.perf_counter() - began) * 1e6 / events

    return {"new task": Way(lambda events: loop.run_until_complete(run(events)), 5, "in a worker, fresh")}


if __name__ == "__main__":
    serve(make)
