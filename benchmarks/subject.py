"""The subject: all use of wasmrun's public API that the benchmarks make, in one place."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import wasmrun

from .guests import EVENT, PAYLOAD
from .kinds import HOTPATH

Executor = wasmrun.Executor | wasmrun.ProcessExecutor
RAW = "wasmrun_handle_raw"
ENVELOPE = "wasmrun_handle"


def function(
    module: str | Path,
    entry: str = RAW,
    warm: int = 0,
    *,
    reuse: bool = False,
    memory: str = "2MiB",
    name: str | None = None,
) -> wasmrun.Function:
    """The guest with the limits that all contestants have; `warm` sandboxes are kept ready."""
    return wasmrun.Function(module, entry=entry, memory=memory, timeout="2s", warm=warm, reuse=reuse, name=name)


def executor(cache: Path, sandboxes: int = 1000, threads: int = 1) -> wasmrun.Executor:
    """An executor with a cache of its own and room for `sandboxes`."""
    return wasmrun.Executor(max_sandboxes=sandboxes, threads=threads, cache_dir=cache)


def executor_by(kind: str, cache: Path) -> wasmrun.Executor:
    """The same with the hot path of one kind. Raises wasmrun.HostError at its first use where there is none."""
    before = os.environ.get(HOTPATH)
    os.environ[HOTPATH] = kind
    try:
        return executor(cache)
    finally:
        os.environ.pop(HOTPATH)
        if before is not None:
            os.environ[HOTPATH] = before


def process_executor(cache: Path, processes: int = 1, hardening: str = "auto") -> wasmrun.ProcessExecutor:
    """An executor whose guests run in worker processes of one thread each."""
    return wasmrun.ProcessExecutor(processes=processes, cache_dir=cache, hardening=hardening)


def event_for(function: wasmrun.Function) -> Any:
    """The event of 64 bytes that fits the function's entry."""
    return PAYLOAD if function.entry == RAW else EVENT


def caller(executor: Executor, function: wasmrun.Function) -> Callable[[], Any]:
    """One invocation, ready to be called again and again. Raises RuntimeError where the echo is not the event."""
    event = event_for(function)
    invoke = partial(executor.invoke, function, event)
    if invoke() != event:
        raise RuntimeError(f"{function} did not answer with its event")
    return invoke


def refiller(executor: Executor, function: wasmrun.Function) -> Callable[[], object]:
    """Waits until all of the function's warm sandboxes are ready."""
    return partial(executor.prewarm, function)


def spin_event(cache: Path, spin: wasmrun.Function, seconds: float = 1e-3) -> bytes:
    """The event with which `guests.SPIN` takes so long, here and now, where nothing else runs."""
    steps = 1_000_000
    event = steps.to_bytes(4, "little")
    with executor(cache) as ours:
        # The shortest: whatever came between made the others longer.
        shortest = min(ours.run(spin, event).report.duration for _ in range(20))
    return int(steps * seconds / shortest).to_bytes(4, "little")


def use_all_places(executor: wasmrun.Executor, module: str, sandboxes: int) -> None:
    """Have a sandbox in each of the executor's places once: the engine keeps the maps of every place that was used."""
    filler = function(module, warm=sandboxes)
    if executor.prewarm(filler) != sandboxes or not executor.unload(filler):
        raise RuntimeError("the executor's places were not all used")


def settle(executor: wasmrun.Executor, functions: Sequence[wasmrun.Function]) -> None:
    """Wait until all warm sandboxes are ready and none that was spent is left. Raises TimeoutError after 10 s."""
    deadline = time.monotonic() + 10
    while executor.stats().pool.spent or executor.stats().pool.ready < sum(function.warm for function in functions):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the pool has not settled: {executor.stats().pool}")
        time.sleep(0.005)


def command_line(module: Path, event: Path) -> list[str]:
    """`wasmrun run` of a raw entry: by the installed command where there is one, else by the module."""
    script = Path(sys.executable).with_name("wasmrun")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "wasmrun"]
    return [*start, "run", str(module), "--entry", RAW, "--raw", "--event", f"@{event}"]


def command_environment(cache: Path) -> dict[str, str]:
    """The environment of a command whose artifact cache, and Python's bytecode, lie in the directory `cache`."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPYCACHEPREFIX": str(cache / "bytecode")}
    # Where it is set, what pip installed has bytecode and an editable wasmrun has none.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment
