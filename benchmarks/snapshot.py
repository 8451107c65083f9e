"""What does a snapshot win at a fresh sandbox, and what does taking one cost, beside Wizer?"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmrun
from wasmrun.machine.compiler import CompileLimits
from wasmrun.machine.snapshot.taking import take

from . import fetched
from .effort import Effort
from .figures import Answer, Figure, Note
from .rounds import interleave, time_each

CAVEATS = (
    "Each event has a fresh sandbox, made on its path. heavy.c starts with 4 MB of table, QuickJS with 20,000 objects.",
    "JavaScript is the same handler in our SDK, which places its memory so that an event touches few pages; QuickJS is not.",
    "Taking is from module to module: Wizer as a program, ours as a child process, which is hardened first.",
    "Wizer's program comes by npm and QuickJS's sources by pip, where they can be had; what is missing is left out, and said.",
)
_EVENTS: dict[str, object] = {
    "heavy": b"key777",
    "QuickJS": b'{"key": "key777", "numbers": [1, 2, 3.5]}',
    "JavaScript": {"key": "key777", "numbers": [1, 2, 3.5]},
    "JavaScript, hello": {"name": "Ada"},
}


def measure(effort: Effort) -> Iterator[Answer]:
    """One guest after the other."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as name:
        directory = Path(name)
        program = fetched.wizer()
        guests = (
            ("heavy", fetched.heavy(directory)),
            ("QuickJS", fetched.quickjs()),
            ("JavaScript", fetched.javascript(fetched.TABLE, directory / "table.wasm")),
            ("JavaScript, hello", fetched.javascript(fetched.HELLO, directory / "hello.wasm")),
        )
        for guest, module in guests:
            if isinstance(module, str):
                yield Note(f"{guest} is left out: {module}")
                continue
            # Wizer takes no modules that drop a segment of data, as those of our SDK do.
            rival = "" if guest.startswith("JavaScript") else program
            yield from _starts(guest, module, directory, rival, effort)
            yield from _takings(guest, module, directory, rival, effort)
        if isinstance(program, str):
            yield Note(f"Wizer is left out: {program}")


def _starts(guest: str, module: Path, directory: Path, program: Path | str, effort: Effort) -> Iterator[Figure]:
    functions = {
        f"{guest}, start-up in each sandbox": wasmrun.Function(module, warm=0),
        f"{guest}, from our snapshot": wasmrun.Function(module, warm=0, snapshot=True),
    }
    if isinstance(program, Path):
        functions[f"{guest}, from Wizer's"] = wasmrun.Function(_wizer(program, module, directory), warm=0)
    event = _EVENTS[guest]
    with wasmrun.Executor(cache_dir=directory / "cache", threads=1) as executor:
        first_answer, *answers = (executor.invoke(function, event) for function in functions.values())
        if any(answer != first_answer for answer in answers):
            raise SystemExit(f"{guest} does not answer the same from a snapshot")
        counts = (effort.pick(3, 5, 9), *[effort.pick(50, 200, 500)] * 2)
        contestants = {
            name: partial(time_each, partial(executor.invoke, function, event), count)
            for (name, function), count in zip(functions.items(), counts[: len(functions)], strict=True)
        }
        costs = interleave(contestants, effort.pick(5, 11, 31))
    first, second, *others = contestants
    yield costs.cost(first)
    yield costs.cost(second, "≤ 100" if guest != "heavy" else "")
    yield costs.ratio(first, second)
    for other in others:
        yield costs.cost(other)
        yield costs.ratio(second, other)


def _takings(guest: str, module: Path, directory: Path, program: Path | str, effort: Effort) -> Iterator[Figure]:
    ours, theirs = f"{guest}, our taking", f"{guest}, Wizer's"
    function = wasmrun.Function(module)
    source = module.read_bytes()
    contestants = {ours: partial(_time, lambda: take(function, source, is_text=False, limits=CompileLimits()))}
    if isinstance(program, Path):
        contestants[theirs] = partial(_time, lambda: _wizer(program, module, directory))
    costs = interleave(contestants, effort.pick(2, 5, 11), "ms")
    for name in contestants:
        yield costs.cost(name)
    if theirs in contestants:
        yield costs.ratio(ours, theirs, "≤ 1.5" if guest == "QuickJS" else "")
        yield costs.best_ratio(ours, theirs)


def _wizer(program: Path, module: Path, directory: Path) -> Path:
    target = directory / f"{module.stem}.wizer.wasm"
    options = ["--allow-wasi", "--wasm-bulk-memory", "true", "--init-func", "wasmrun_init"]
    subprocess.run([str(program), *options, str(module), "-o", str(target)], check=True, capture_output=True)
    return target


def _time(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000
