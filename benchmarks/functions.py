"""Does an event cost more where many functions are loaded?"""

import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmrun

from .effort import Effort
from .figures import Figure, figure
from .guests import echo, echo_number
from .resident import resident
from .rounds import interleave, time_each
from .served import Served
from .subject import caller, executor, function

CAVEATS = (
    "Three processes side by side, one with a single function, one with many of the same module and different settings, one with many modules.",
    "All events start in a fresh sandbox.",
    "'Same' invokes one function again and again; 'each in turn' goes through all, so that events meet cold caches.",
    "Loading is counted to the first answer; where every function is a module of its own, the compiler's process is included.",
    "What a function holds is what the process grew by after its first one; the function's settings, which are the caller's, are in it.",
    "A full run has 10,000 functions, and a compiler's process for each of as many modules: a quarter of an hour.",
)
_MODULES = {"one": lambda _: echo(), "own": echo_number}


def measure(effort: Effort) -> Iterator[Figure]:
    """One function against many."""
    count = effort.pick(100, 1_000, 10_000)
    shared, own = f"{count} functions of one module", f"{count} functions with modules of their own"
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache:

        def serve(modules: str, functions: int) -> Served:
            return Served([sys.executable, "-m", "benchmarks.functions", modules, str(functions), cache])

        with serve("one", 1) as one, serve("one", count) as sharing, serve("own", count) as owning:
            many = {shared: sharing, own: owning}
            loaded = {name: process.ask("loaded") for name, process in many.items()}
            contestants: dict[str, Callable[[], float]] = {"1 function": partial(_cost, one, "same")}
            for name, process in many.items():
                contestants[f"{name}, same"] = partial(_cost, process, "same")
                contestants[f"{name}, each in turn"] = partial(_cost, process, "each")
            costs = interleave(contestants, effort.pick(7, 15, 31))
    for name, held in loaded.items():
        yield figure(f"{name}, loading one, to its first answer", "ms", [held["ms"]])
        yield figure(f"{name}, memory of one", "KiB", [held["kib"]])
        yield figure(f"{name}, maps of one", "maps", [held["maps"]])
        yield figure(f"{name}, descriptors of one", "descriptors", [held["descriptors"]], "0" if name == shared else "")
    yield from (costs.cost(name) for name in contestants)
    for name in many:
        yield costs.ratio(f"{name}, same", "1 function", "0.9 to 1.1")
        yield costs.ratio(f"{name}, each in turn", "1 function")


def _cost(process: Served, way: str) -> float:
    return float(process.ask(f"{way} 1000")["us_each"])


def serve(modules: str, count: int, cache: Path) -> None:
    """Load `count` functions of `one` module, or with their `own`, then answer commands: `loaded`, `same EVENTS`, `each EVENTS`."""
    # The engine keeps a descriptor of each module.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    module = _MODULES[modules]

    def load(ours: wasmrun.Executor, number: int) -> Callable[[], object]:
        return caller(ours, function(module(number), name=f"function-{number}"))

    with executor(cache) as ours:
        calls = [load(ours, 0)]
        before, began = resident(), time.perf_counter()
        calls += [load(ours, number) for number in range(1, count)]
        seconds, after, others = time.perf_counter() - began, resident(), max(count - 1, 1)
        loaded = {
            "ms": seconds * 1000 / others,
            "kib": (after.memory_kib - before.memory_kib) / others,
            "maps": (after.maps - before.maps) / others,
            "descriptors": (after.descriptors - before.descriptors) / others,
        }
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
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
