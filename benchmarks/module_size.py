"""What does the size of a module cost: at compiling, at loading from the cache, at each start?"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmtime

from .effort import Effort
from .figures import Figure
from .guests import echo
from .rounds import Round, interleave, time_each
from .subject import caller, executor, function

CAVEATS = (
    "Modules are the echo guest with so many functions more, each of which differs from all others and is never called.",
    "Compiling is in a child process with an empty cache, its start included; loading is a new executor's first `load`.",
    "A start is an event in a fresh sandbox of a loaded function.",
    "Code is mapped, not read: what a larger module costs at a start should be nothing.",
)
_FUNCTIONS = (0, 1_000, 10_000)
_BODY = """(func (param i32 i32) (result i32)
  (local.set 0 (i32.mul (i32.xor (local.get 0) (i32.const {number})) (i32.const 1664525)))
  (i32.add (i32.rotl (local.get 0) (i32.const 5)) (i32.load (i32.and (local.get 1) (i32.const 0xffff)))))
"""


def measure(effort: Effort) -> Iterator[Figure]:
    """Compiling, loading and starting, each for all sizes in turn."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as name:
        directory = Path(name)
        modules = dict(_written(directory, count) for count in _FUNCTIONS)
        labels = list(modules)
        compiling: dict[str, Round] = {label: partial(_compile, module) for label, module in modules.items()}
        costs = interleave(compiling, effort.pick(1, 3, 7), "ms")
        yield from (_renamed(costs.cost(label), "compile") for label in labels)
        cache = directory / "cache"
        loading: dict[str, Round] = {label: partial(_load, module, cache) for label, module in modules.items()}
        costs = interleave(loading, effort.pick(7, 15, 41), "ms")
        yield from (_renamed(costs.cost(label), "load") for label in labels)
        with executor(cache) as ours:
            starting: dict[str, Round] = {
                label: partial(time_each, caller(ours, function(module)), 300) for label, module in modules.items()
            }
            costs = interleave(starting, effort.pick(15, 61, 151))
        yield from (_renamed(costs.cost(label), "start") for label in labels)
        yield costs.ratio(labels[-1], labels[0], "0.8 to 1.2")


def _written(directory: Path, count: int) -> tuple[str, Path]:
    head, _, _ = echo().rpartition(")")
    bodies = "".join(_BODY.format(number=number) for number in range(count))
    module = directory / f"{count}.wasm"
    module.write_bytes(wasmtime.wat2wasm(f"{head}{bodies})"))
    return f"{module.stat().st_size / 1000:,.1f} kB", module


def _compile(module: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache, executor(Path(cache)) as ours:
        return _milliseconds(partial(ours.compile, function(module)))


def _load(module: Path, cache: Path) -> float:
    with executor(cache) as ours:
        return _milliseconds(partial(ours.load, function(module)))


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _renamed(figure: Figure, step: str) -> Figure:
    return dataclasses.replace(figure, name=f"{step}, {figure.name}")
