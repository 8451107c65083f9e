"""Measuring: which things are measured of which function, in which order, and when that is enough.

Functions, and the kinds of starts of each, are measured in turns, a part of each in every round: a moment in which
the machine is busy, or slower than before, meets all of them alike.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any, NamedTuple

from wasmrun.bench import starts
from wasmrun.bench.loads import Part, closed_loop, open_loop, together
from wasmrun.bench.samples import PHASES, PLACES, Measured, Samples
from wasmrun.bench.steps import StepExecutor, call_again, split
from wasmrun.bench.watched import WatchedProcesses
from wasmrun.errors import HostError
from wasmrun.executor import Loaded
from wasmrun.function import Function
from wasmrun.machine.compiler import CompileLimits, compile_module
from wasmrun.machine.loader import read_source, settings_for

ROUNDS = 10
"""Turns in which everything is measured that is measured more than once."""

_LOADS = 20
"""How often a module is loaded."""
_SANDBOXES = 256
_SETTLING_SECONDS = 0.06
"""After that, workers do nothing any more between events."""

_PREPARING_SECONDS = 0.1
"""For how long, at most, sandboxes are made ready for one burst."""

_LEAST_DUE = 20
"""Events of an open loop that are due in one turn, at least, where there is time for them: one alone never waits."""


class Rate(NamedTuple):
    """Events a second; with *is_share* as a share of what the closed loop did."""

    value: float
    is_share: bool = False

    def __str__(self) -> str:
        return f"{self.value:.0%}" if self.is_share else f"{self.value:g}"


class Plan(NamedTuple):
    """What to measure. At most *cold* fresh and *warm* other starts of each kind, and none for longer than *duration* seconds.

    Loads are measured for *duration* each: a closed loop at every *concurrency*, and an open one at every rate of *rates*.
    """

    cold: int = 1_000
    warm: int = 1_000
    duration: float = 1.0
    concurrency: tuple[int, ...] = (1,)
    rates: tuple[Rate, ...] = (Rate(0.8, is_share=True),)
    places: tuple[str, ...] = PLACES[:1]

    @property
    def loads(self) -> Iterator[tuple[str, tuple[int, Rate | None]]]:
        """Every load: what it is called where it is, its concurrency, and its rate where that is given."""
        for concurrency in self.concurrency:
            yield "closed", (concurrency, None)
            for rate in self.rates:
                yield "open", (concurrency, rate)

    @property
    def turns(self) -> int:
        """How often a session tells that it got further, for each function."""
        loads = len(self.concurrency) * (1 + len(self.rates))
        return 3 + ROUNDS + len(self.places) * (ROUNDS + loads * ROUNDS)


class Session:
    """The measuring of some functions, side by side. *advance* hears of each turn that was done.

    *make_event* makes the event of each function, once it is known how that takes it. ``current`` is the function
    that is being measured: the one to name where a measurement raises.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        make_event: Callable[[Loaded], Any],
        plan: Plan,
        *,
        cache_dir: str | None,
        advance: Callable[[], object] = lambda: None,
    ) -> None:
        self.current = functions[0]
        self._functions = functions
        self._make_event = make_event
        self._plan = plan
        self._cache_dir = cache_dir
        self._advance = advance

    def measure(self) -> list[Measured]:
        """Measure all of them. Raises what one of them raises: there are no figures of half of the functions."""
        with contextlib.ExitStack() as stack:
            subjects = [
                self._on(function, _Subject, function, self._make_event, self._plan, self._cache_dir, stack)
                for function in self._functions
            ]
            # An executor each, so that all are loaded under the same conditions.
            for subject in subjects:
                for step in (subject.compile, subject.load, subject.try_out):
                    self._on(subject.function, step)
                    self._advance()
            for number in range(ROUNDS):
                for place in (None, *self._plan.places):
                    for subject in _in_turn(subjects, number):
                        self._on(subject.function, subject.turn, place)
                        self._advance()
            for place in self._plan.places:
                for name, load in self._plan.loads:
                    for number in range(ROUNDS):
                        for subject in _in_turn(subjects, number):
                            self._on(subject.function, subject.load_turn, place, name, *load)
                            if len(subjects) > 1:
                                subject.settle(place)
                            self._advance()
            return [subject.measured() for subject in subjects]

    def _on(self, function: Function, step: Callable[..., Any], *args: Any) -> Any:
        self.current = function
        return step(*args)


def _in_turn(subjects: list[_Subject], number: int) -> list[_Subject]:
    """The order of a round: there and back, so that none always comes after the same other one."""
    return subjects if number % 2 == 0 else subjects[::-1]


class _Series:
    """Samples of one kind, a part at a time: *count* at most, for *seconds* at most, and one at least."""

    def __init__(self, source: Iterator[Any], count: int, seconds: float) -> None:
        self._source = source
        self._count = count
        self._seconds = seconds
        self._spent = 0.0
        self._turns = 0
        self.taken: list[Any] = []

    def turn(self) -> None:
        """Take the next part."""
        self._turns += 1
        count, seconds = (whole * self._turns / ROUNDS for whole in (self._count, self._seconds))
        began = perf_counter() - self._spent
        while len(self.taken) < count and (self._spent < seconds or not self.taken):
            self.taken.append(next(self._source))
            self._spent = perf_counter() - began


class _Subject:
    """One function that is being measured."""

    def __init__(
        self,
        function: Function,
        make_event: Callable[[Loaded], Any],
        plan: Plan,
        cache_dir: str | None,
        stack: contextlib.ExitStack,
    ) -> None:
        self.function = function
        self._plan = plan
        self._steps = stack.enter_context(StepExecutor(threads=1, max_sandboxes=_SANDBOXES, cache_dir=cache_dir))
        self._executors: dict[str, StepExecutor | WatchedProcesses] = {"threads": self._steps}
        self._fresh = starts.cold(function)
        self.was_cached = self._steps.is_compiled(function)
        self._loaded: Loaded | None = None
        self._make_event = make_event
        self._event: Any = None
        self._ready = 1
        self._takes_more = False
        self._notes: list[str] = []
        self._phases: dict[str, list[int]] = {name: [] for name in PHASES}
        self._series: dict[str | None, dict[str, _Series]] = {}
        self._under_load: dict[tuple[str, str, int, Rate | None], float] = {}
        self._parts: dict[tuple[str, str, int, Rate | None], list[Part]] = {}
        if "processes" in plan.places:
            processes = WatchedProcesses(processes=max(plan.concurrency, default=1), cache_dir=cache_dir)
            self._executors["processes"] = stack.enter_context(processes)

    # Once

    def compile(self) -> None:
        """Compile the module: into the cache where it is not there, else for nothing."""
        began = perf_counter_ns()
        if self.was_cached:
            _compile_anew(self.function)
        else:
            try:
                self._steps.compile(self.function)
            except HostError as error:  # without a cache it is compiled whenever it is loaded
                self._notes.append(f"load without compiling: {error.message}")
                _compile_anew(self.function)
        self._phases["compile"].append(perf_counter_ns() - began)

    def load(self) -> None:
        """Load the compiled module for the first time, which is not counted: other modules profit from it, too."""
        self._loaded = self._steps.load(self._fresh)
        self._event = self._make_event(self._loaded)

    def try_out(self) -> None:
        """Have one sandbox, with two events: what it can, and how many can be made ready. It is not measured otherwise."""
        found = call_again(self._steps, self._fresh, self._event, count=1, seconds=self._plan.duration)
        self._takes_more = found.reason is None
        if found.reason is not None:
            self._notes.append(f"steady_call: {found.reason}")
        # As many as can be made ready in the time for that, if each takes as long as this one.
        self._ready = max(1, min(starts.READY, int(_PREPARING_SECONDS * 1e9 / max(found.prepare, 1))))

    # In turns

    def turn(self, place: str | None) -> None:
        """Measure a part of what there is to measure in *place*; without one, of the steps of a life."""
        if place not in self._series:
            self._series[place] = dict(self._kinds(place))
        for name, series in self._series[place].items():
            series.turn()
            if name == "warm":
                self._executors[place or ""].prewarm(starts.warm(self.function, self._ready))
        if place is not None:
            self.settle(place)

    def settle(self, place: str) -> None:
        """What is left to be done between events must not run into the next figures."""
        if place == "processes":
            time.sleep(_SETTLING_SECONDS)
        else:
            self._steps.settle()

    def _kinds(self, place: str | None) -> Iterator[tuple[str, _Series]]:
        plan, function, event = self._plan, self.function, self._event
        if place is None:
            yield "load", _Series(self._again(), _LOADS, plan.duration)
            yield "steps", _Series(self._lives(), plan.cold, plan.duration)
            if self._takes_more:
                yield "again", _Series(self._calls(), ROUNDS, plan.duration)
            return
        executor = self._executors[place]
        # The first of each kind is not counted: it loads what all later ones share.
        executor.invoke(self._fresh, event)
        name = "snapshot" if function.snapshot else "cold"
        yield name, _Series(starts.one_by_one(executor, self._fresh, event), plan.cold, plan.duration)
        ready = starts.warm(function, self._ready)
        executor.prewarm(ready)
        executor.invoke(ready, event)
        yield "warm", _Series(starts.in_bursts(executor, ready, event), plan.warm, plan.duration)
        again = starts.reused(function)
        reason = starts.why_not_reused(executor, again, event)
        if reason is None:
            yield "reused", _Series(starts.one_by_one(executor, again, event), plan.warm, plan.duration)
        else:
            self._notes.append(f"{Samples('reused', (), place).key}: {reason}")

    def _again(self) -> Iterator[None]:
        while True:
            self._steps.unload(self._fresh)
            started = perf_counter_ns()
            self._steps.load(self._fresh)
            self._phases["load"].append(perf_counter_ns() - started)
            yield

    def _calls(self) -> Iterator[None]:
        """One sandbox a turn, and its share of the calls."""
        count, seconds = max(self._plan.warm // ROUNDS, 1), self._plan.duration / ROUNDS
        while True:
            calls = call_again(self._steps, self._fresh, self._event, count=count, seconds=seconds).calls
            self._phases["steady_call"] += calls
            yield

    def _lives(self) -> Iterator[None]:
        while True:
            split(self._steps, self._fresh, self._event, self._phases)
            yield

    # Under load, in turns too

    def load_turn(self, place: str, name: str, concurrency: int, rate: Rate | None) -> None:
        """Measure a part of one load in *place*."""
        key = name, place, concurrency, rate
        if self._under_load.get(key, 0.0) >= self._plan.duration:
            return  # its events take longer than a turn
        began = perf_counter()
        executor = self._executors[place]
        function = starts.warm(self.function, max(self._ready, concurrency))

        def call() -> object:
            return executor.invoke(function, self._event)

        executor.prewarm(function)
        before = executor.stats().pool
        seconds = self._plan.duration / ROUNDS
        if rate is None:
            part = closed_loop(call, concurrency=concurrency, duration=seconds, watched=executor.watched)
        else:
            number = rate.value * self._closed(place, concurrency) if rate.is_share else rate.value
            seconds = max(seconds, min(_LEAST_DUE / number, self._plan.duration))
            part = open_loop(call, rate=number, concurrency=concurrency, duration=seconds, watched=executor.watched)
        after = executor.stats().pool
        was_warm = after.warm_starts - before.warm_starts
        was_cold = after.cold_starts - before.cold_starts
        share = was_warm / max(was_warm + was_cold, 1)
        load = part.load._replace(warm_share=share, asked="" if rate is None else str(rate))
        self._parts.setdefault(key, []).append(part._replace(load=load))
        self._under_load[key] = self._under_load.get(key, 0.0) + max(perf_counter() - began, seconds)

    def _closed(self, place: str, concurrency: int) -> float:
        """What the closed loop did, in events a second: all of its turns come before the first of an open one."""
        return together(self._parts["closed", place, concurrency, None]).load.rate

    def measured(self) -> Measured:
        """What was found."""
        assert self._loaded is not None  # noqa: S101  # as above
        phases = {name: Samples(name, tuple(taken)) for name, taken in self._phases.items() if taken}
        found = [
            Samples(name, tuple(series.taken), place)
            for place, kinds in self._series.items()
            if place is not None
            for name, series in kinds.items()
        ]
        for (name, place, _, _), parts in self._parts.items():
            found.append(Samples(name, together(parts).latencies, place, together(parts).load))
        samples: dict[str, Samples] = {}
        for one in found:
            key = one.key
            number = 1
            while key in samples:  # a second rate
                number += 1
                key = f"{one.key}#{number}"
            samples[key] = one
        notes = tuple(dict.fromkeys(self._notes))
        return Measured(self.function.label, self._loaded.abi, self.was_cached, phases, samples, notes)


def _compile_anew(function: Function) -> None:
    """Compile *function*, though it is in the cache, and keep nothing."""
    limits = CompileLimits()
    source, is_text = read_source(function)
    if function.snapshot:
        from wasmrun.machine.snapshot.taking import take  # for the few functions that want it

        source, is_text = take(function, source, is_text=is_text, limits=limits).module, False
    settings = settings_for(function)
    compile_module(source, is_text=is_text, module_bytes=function.module_bytes, settings=settings, limits=limits)
