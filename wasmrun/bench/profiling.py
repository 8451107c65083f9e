"""Profiling: an event run again and again while its guests are sampled, and what the samples say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from wasmrun.bench.steps import StepExecutor
from wasmrun.core import Core, Settings
from wasmrun.errors import FunctionError, InvalidFunction
from wasmrun.function import Function
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.loader import read_source
from wasmrun.machine.profiling import Profile, ProfilingEngine
from wasmrun.machine.program import Program
from wasmrun.machine.snapshot.contents import read
from wasmrun.sandbox import Sandbox

_SANDBOXES = 16
_FUNCTION = 0
_OF_SEVERAL_MODULES = ("extism", "component", "wasi-http")


class Profiled(NamedTuple):
    """A profile as Firefox's profiler reads it, how often the event was run for it, and the error that ended that."""

    data: bytes
    samples: int
    events: int
    error: FunctionError | None


class Spot(NamedTuple):
    """A function of the module: in how many samples it was what ran, and in how many it was on the stack.

    The name is the guest's.
    """

    name: str
    itself: int
    total: int


class _ProfiledSandbox(Sandbox):
    """A sandbox whose guest is looked at on the first tick: who waits for the second one never sees short events."""

    __slots__ = ()

    def arm(self, fuel: int, timeout_ns: int) -> None:
        """As for every instance, but for the first look."""
        super().arm(fuel, timeout_ns)
        capi.set_deadline(self.context, 1)


class _ProfilingCore(Core):
    def __init__(self, settings: Settings, interval_ns: int) -> None:
        super().__init__(settings)
        self._interval_ns = interval_ns

    def _new_engine(self, settings: EngineSettings, slots: int) -> Engine:
        return ProfilingEngine(settings, slots, self.settings.hotpath, self._interval_ns)


class ProfileExecutor(StepExecutor):
    """An executor that can tell where its guests spend their time, by a sample every *interval* seconds."""

    def __init__(self, *, interval: float, cache_dir: str | None = None) -> None:
        super().__init__(threads=1, max_sandboxes=_SANDBOXES, cache_dir=cache_dir)
        self._interval_ns = int(interval * 1e9)

    def _new_core(self) -> Core:
        return _ProfilingCore(self._settings, self._interval_ns)

    def profile(
        self, function: Function, event: Any, *, duration: float, advance: Callable[[float], object] = lambda _: None
    ) -> Profiled:
        """Run *function* on *event*, a new sandbox each, once and until *duration* seconds are over or the profile is full.

        An event that fails is the last one; its samples count. *advance* hears of the seconds that each took.
        Raises `InvalidFunction` for an ABI whose guests are more than one module.
        """
        if self.load(function).abi in _OF_SEVERAL_MODULES:
            raise InvalidFunction(
                "Extism plug-ins and components cannot be profiled: their work is spread over several modules, of which the "
                "engine's profiler would name one; what they need as a whole is told by bench"
            )
        profile: Profile | None = None
        events = 0

        def live(sandbox: Sandbox, payload: bytes) -> None:
            nonlocal profile
            engine, program = sandbox.engine, sandbox.program
            assert isinstance(engine, ProfilingEngine)  # noqa: S101  # what the core makes
            assert isinstance(program, Program)  # noqa: S101  # what is no component
            if profile is None:
                profile = Profile(program.module, function.label, self._interval_ns)
            engine.profile = profile
            try:
                sandbox.prepare()
                sandbox.run(payload, program.timeout_ns)
            finally:
                engine.profile = None

        error: FunctionError | None = None
        began = last = perf_counter()
        try:
            while error is None and (not events or perf_counter() - began < duration):
                if profile is not None and profile.is_full:
                    break
                try:
                    self.with_sandbox(function, event, _ProfiledSandbox, live)
                except FunctionError as raised:
                    error = raised
                events += 1
                now = perf_counter()
                advance(now - last)
                last = now
            assert profile is not None  # noqa: S101  # for the type checker: an event was run
            return Profiled(_named(profile.finish(), _exported(function)), profile.samples, events, error)
        finally:
            if profile is not None:
                profile.close()


def _exported(function: Function) -> dict[str, str]:
    """What the engine calls functions that have no name, and the names by which the module exports them."""
    source, is_text = read_source(function)
    if is_text:
        return {}
    try:
        contents = read(source)
    except ValueError:  # it cannot be taken apart, and need not
        return {}
    return {
        f"<wasm function {export.number - contents.imported}>": export.name.decode(errors="replace")
        for export in contents.exports
        if export.kind == _FUNCTION
    }


def _named(data: bytes, names: dict[str, str]) -> bytes:
    """The profile with *names* for functions that have none."""
    if not names:
        return data
    profile = json.loads(data)
    for thread in profile["threads"]:
        thread["stringArray"] = [names.get(text, text) for text in thread["stringArray"]]
    return json.dumps(profile, separators=(",", ":")).encode()


def top(data: bytes) -> list[Spot]:
    """The functions of a profile that was made here, those first that ran in most samples."""
    (thread,) = json.loads(data)["threads"]
    stacks, frames, functions = thread["stackTable"], thread["frameTable"], thread["funcTable"]
    texts = thread["stringArray"]
    names = [texts[functions["name"][function]] for function in frames["func"]]
    itself: Counter[str] = Counter()
    total: Counter[str] = Counter()
    on_stack: dict[int, frozenset[str]] = {}
    for stack in thread["samples"]["stack"]:
        if stack is None:
            continue
        itself[names[stacks["frame"][stack]]] += 1
        total.update(_on_stack(stack, stacks, names, on_stack))
    spots = [Spot(name, itself[name], count) for name, count in total.items()]
    return sorted(spots, key=lambda spot: (-spot.itself, -spot.total, spot.name))


def _on_stack(stack: int, stacks: Any, names: list[str], known: dict[int, frozenset[str]]) -> frozenset[str]:
    """The names on a stack, each once: a function that calls itself is there once all the same."""
    path: list[int] = []
    at: int | None = stack
    while at is not None and at not in known:
        path.append(at)
        at = stacks["prefix"][at]
    found = frozenset() if at is None else known[at]
    for step in reversed(path):
        name = names[stacks["frame"][step]]
        # The same set where nothing is new: a recursion has thousands of steps, and few names.
        found = found if name in found else found | {name}
        known[step] = found
    return found
