"""Does an event cost more where many functions are loaded?"""

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .effort import Effort
from .figures import Figure, figure
from .guests import echo_number
from .rounds import interleave, time_each
from .served import Served
from .subject import caller, executor, function

CAVEATS = (
    "Two processes side by side, one with a single function, one with many; all events start in a fresh sandbox.",
    "'Same' invokes one function again and again; 'each in turn' goes through all, so that events meet cold caches.",
    "Loading is counted to the first answer, the compiler's process included; every function is a module of its own.",
    "A full run has 10,000 functions, and a compiler's process for each: a quarter of an hour.",
)


def measure(effort: Effort) -> Iterator[Figure]:
    """One function against many."""
    count = effort.pick(100, 1_000, 10_000)
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache:

        def serve(functions: int) -> Served:
            return Served([sys.executable, "-m", "benchmarks.functions", str(functions), cache])

        with serve(1) as one, serve(count) as many:
            loaded = [many.ask("loaded")["ms_each"]]
            same, each = f"{count} functions, same", f"{count} functions, each in turn"
            contestants = {
                "1 function": lambda: float(one.ask("same 1000")["us_each"]),
                same: lambda: float(many.ask("same 1000")["us_each"]),
                each: lambda: float(many.ask("each 1000")["us_each"]),
            }
            costs = interleave(contestants, effort.pick(7, 15, 31))
    yield figure("loading a function, to its first answer", "ms", loaded)
    yield from (costs.cost(name) for name in contestants)
    yield costs.ratio(same, "1 function", "0.9 to 1.1")
    yield costs.ratio(each, "1 function")


def serve(count: int, cache: Path) -> None:
    """Load `count` functions, then answer commands: `loaded`, `same EVENTS`, `each EVENTS`."""
    with executor(cache) as ours:
        began = time.perf_counter()
        calls = [caller(ours, function(echo_number(number))) for number in range(count)]
        loaded = {"ms_each": (time.perf_counter() - began) * 1000 / count}
        turns = {"same": itertools.cycle(calls[:1]), "each": itertools.cycle(calls)}
        for line in sys.stdin:
            match line.split():
                case ["loaded"]:
                    answer = loaded
                case [("same" | "each") as way, events]:
                    answer = {"us_each": time_each(partial(_call_next, turns[way]), int(events))}
                case _:
                    raise SystemExit(f"unknown command: {line!r}")
            print(json.dumps(answer), flush=True)


def _call_next(turns: Iterator[Callable[[], object]]) -> None:
    next(turns)()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
