"""wasmrun, in this process and in a worker process, by the hot path that WASMRUN_HOTPATH names."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.guests import echo
from benchmarks.rivals.program import Way, serve
from benchmarks.rounds import BURST, time_bursts, time_each

POOL = 64


def make(stack: ExitStack) -> Mapping[str, Way]:
    from benchmarks import subject  # here, so that a failure is an answer

    cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-")))
    ways: dict[str, Way] = {}
    for where, executor in (
        ("", stack.enter_context(subject.executor(cache))),
        ("in a worker, ", stack.enter_context(subject.process_executor(cache))),
    ):
        fresh = subject.caller(executor, subject.function(echo()))
        warm = subject.function(echo(), warm=POOL)
        run_warm = partial(time_bursts, subject.caller(executor, warm), subject.refiller(executor, warm), BURST)
        ways[f"{where}fresh"] = Way(partial(time_each, fresh), 300, "")
        ways[f"{where}warm"] = Way(lambda events, run=run_warm: run(events // BURST), BURST * 4, "")  # type: ignore[misc]
    return ways


if __name__ == "__main__":
    with ExitStack() as stack:
        serve(partial(make, stack))
