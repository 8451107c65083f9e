"""Steps: the life of a sandbox, taken one step at a time by whoever measures it.

Nothing of it is written twice: the steps are those of `wasmrun.runner`, by the same methods of the same classes,
with a look at the clock between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, NamedTuple, TypeVar

from wasmrun.bench.watched import WatchedExecutor
from wasmrun.calls import check_function
from wasmrun.core import Core
from wasmrun.errors import FunctionError
from wasmrun.executor import Executor
from wasmrun.function import Function
from wasmrun.machine.abi.base import Given
from wasmrun.machine.failures import Stopped
from wasmrun.machine.program import BaseProgram
from wasmrun.sandbox import Sandbox
from wasmrun.watch import Watch

Found = TypeVar("Found")

_PATIENCE_SECONDS = 0.2

REQUEST_ID = "00000000-0000-4000-8000-000000000000"
"""The id of every event that is measured here: what a guest does with it costs the same each time."""


class SteppedSandbox(Sandbox):
    """A sandbox that remembers when its instance was being made, which is in the middle of `prepare`."""

    __slots__ = ("instantiate_began", "instantiate_ended")

    def __init__(self, program: BaseProgram) -> None:
        super().__init__(program)
        self.instantiate_began = self.instantiate_ended = 0

    def instantiate(self) -> None:
        """As for every instance."""
        self.instantiate_began = perf_counter_ns()
        super().instantiate()
        self.instantiate_ended = perf_counter_ns()

    def prepare_at_once(self) -> None:
        """The same, where looking exports up is a part of it."""
        self.instantiate_began = perf_counter_ns()
        super().prepare_at_once()
        self.instantiate_ended = perf_counter_ns()


class StepExecutor(WatchedExecutor, Executor):
    """An executor whose sandboxes are also to be had one by one, outside of the life of an event.

    The functions must keep no sandboxes ready: ``warm=0``.
    """

    def settle(self) -> None:
        """Wait until what is done between events is done, awake, so that the processor stays as it is."""
        core = self._open().core
        core.pool.sweep()
        until = time.monotonic() + _PATIENCE_SECONDS
        while core.keeper.level != core.keeper.PARKED and time.monotonic() < until:
            time.sleep(0)

    def with_sandbox(
        self,
        function: Function,
        event: Any,
        make: Callable[[BaseProgram], Sandbox],
        work: Callable[[Sandbox, bytes], Found],
    ) -> Found:
        """Have a place in the pool, and call *work* with what *make* puts there, unprepared, and the encoded event.

        The sandbox is deleted afterwards, if *work* has not done so. Raises what the guest raises, and
        `KeyboardInterrupt` on Ctrl-C.
        """
        check_function(function)
        if function.warm or function.reuse:
            raise ValueError("a function of which sandboxes are kept has none that are taken one by one")
        return self._call(self._in_place, self._open().core, function, event, make, work)  # type: ignore[no-any-return]

    def _in_place(
        self,
        watch: Watch | None,
        core: Core,
        function: Function,
        event: Any,
        make: Callable[[BaseProgram], Sandbox],
        work: Callable[[Sandbox, bytes], Found],
    ) -> Found:
        shelf = core.shelf(function)
        program = shelf.program
        if program.stack > self._state.room:
            self._state.refuse(program.stack)
        payload = encode(program, event)
        if watch is not None:
            watch.is_busy = True
        core.pool.acquire(shelf, None, watch)
        try:
            core.pool.start_clock(program.engine)
            sandbox = make(program)
            try:
                if watch is not None:
                    watch.see(sandbox)
                return work(sandbox, payload)
            finally:
                if watch is not None:
                    watch.lose()
                sandbox.delete()
        except Stopped as stopped:
            raise stopped.as_raised() from None
        finally:
            core.pool.forfeit(shelf)


def encode(program: BaseProgram, event: Any) -> bytes:
    """The event as the guest gets it. Raises `InvalidEvent`."""
    deadline_ms = (time.time_ns() + program.timeout_ns) // 1_000_000
    return program.abi.encode(event, Given(REQUEST_ID, deadline_ms) if program.abi.needs_context else None)


def split(executor: StepExecutor, function: Function, event: Any, into: dict[str, list[int]]) -> None:
    """Take one sandbox of *function* through its life, and add what each step took, in nanoseconds."""
    began = 0

    def make(program: BaseProgram) -> Sandbox:
        nonlocal began
        started = perf_counter_ns()
        encode(program, event)
        began = perf_counter_ns()
        into["encode"].append(began - started)
        return SteppedSandbox(program)

    def live(sandbox: Sandbox, payload: bytes) -> None:
        assert isinstance(sandbox, SteppedSandbox)  # noqa: S101  # what make makes
        sandbox.prepare()
        prepared = perf_counter_ns()
        sandbox.run(payload, sandbox.program.timeout_ns)
        answered = perf_counter_ns()
        into["store"].append(sandbox.instantiate_began - began)
        into["instantiate"].append(sandbox.instantiate_ended - sandbox.instantiate_began)
        into["init"].append(prepared - sandbox.instantiate_ended)
        into["first_call"].append(answered - prepared)
        started = perf_counter_ns()
        sandbox.delete()
        into["tear_down"].append(perf_counter_ns() - started)

    executor.with_sandbox(function, event, make, live)


class Again(NamedTuple):
    """What calls of one sandbox took after its first one, and what preparing it took, in nanoseconds.

    ``reason`` says why there are fewer calls than were asked for.
    """

    prepare: int
    calls: list[int]
    reason: str | None


def call_again(executor: StepExecutor, function: Function, event: Any, *, count: int, seconds: float) -> Again:
    """Call one sandbox of *function* again and again, at most *count* times, and for *seconds* at most."""

    def live(sandbox: Sandbox, payload: bytes) -> Again:
        sandbox.prepare()
        sandbox.run(payload, sandbox.program.timeout_ns)
        calls: list[int] = []

        def fewer(reason: str | None = None) -> Again:
            return Again(sandbox.prepare_ns, calls, reason)

        if not sandbox.program.abi.can_reuse:
            return fewer(f"an instance of the {sandbox.program.abi.name} ABI takes one event")
        until = perf_counter_ns() + int(seconds * 1e9)
        while len(calls) < count and perf_counter_ns() < until:
            if not sandbox.clean_up():
                return fewer("its instance failed to take its answer back")
            started = perf_counter_ns()
            try:
                sandbox.run(payload, sandbox.program.timeout_ns)
            except FunctionError as error:
                return fewer(f"an instance that had an event fails at the next one: {type(error).__name__}")
            calls.append(perf_counter_ns() - started)
        return fewer()

    return executor.with_sandbox(function, event, SteppedSandbox, live)
