"""The runner: the life of one event, from its function to its answer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable

from wasmrun.calls import CallOptions, check_function
from wasmrun.core import Core
from wasmrun.errors import (
    FunctionError,
    GuestError,
    GuestExit,
    GuestTrap,
    HostError,
    PayloadTooLarge,
    WasmrunError,
)
from wasmrun.function import Function
from wasmrun.hints import Any
from wasmrun.invocation import Report, Result
from wasmrun.machine.abi.base import Given
from wasmrun.machine.failures import Stopped
from wasmrun.machine.program import BaseProgram
from wasmrun.pool import Unloaded
from wasmrun.reporting import complete_error, make_report, tell
from wasmrun.sandbox import Sandbox
from wasmrun.shelf import Shelf
from wasmrun.threadstate import ThreadState
from wasmrun.units import format_size, parse_duration
from wasmrun.watch import Watch


class Runner:
    """Takes events through sandboxes of one core, on the calling thread, and keeps count of failures."""

    def __init__(self, core: Core, state: ThreadState, on_report: Callable[[Report], object] | None) -> None:
        self.core = core
        self.pid = core.pid
        self._state = state
        self._on_report = on_report
        self._ids = core.ids
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()

    def failures(self) -> dict[str, int]:
        """How many invocations ended in an error, by the name of its class."""
        with self._lock:
            return dict(self._failures)

    def execute(self, watch: Watch | None, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        """The life of one event: a sandbox is taken or made, gets the event, and is given back.

        With *keep* the answer is a `Result`, else the value.
        """
        core = self.core
        try:
            shelf = core.shelves.get(function)
            if shelf is None:
                check_function(function)
                shelf = core.shelf(function)
            program = shelf.program
            if program.stack > self._state.room:
                self._state.refuse(program.stack)
            if watch is not None:
                watch.is_busy = True
            sandbox = self._take(shelf, options, watch)
        except Unloaded:
            if watch is not None:
                watch.is_busy = False  # loading may take long, and leaves nothing behind
            core.shelf(function)  # once it is unloaded altogether
            return self.execute(watch, function, event, options, keep)
        except Stopped as stopped:
            raise stopped.as_raised() from None
        except WasmrunError as error:
            self._count(error)
            raise
        try:
            if watch is not None:
                watch.see(sandbox)
                if watch.reason is not None:
                    raise Stopped(watch.reason)
            if not program.engine.ticker.is_running:
                core.pool.start_clock(program.engine)
            timeout_ns = program.timeout_ns
            if options.timeout is not None:
                timeout_ns = min(timeout_ns, int(parse_duration(options.timeout) * 1e9))
            payload = self._encode(program, sandbox, event, options, timeout_ns)
            if not sandbox.is_ready:
                sandbox.prepare()
            if program.has_host_functions:
                with self._state.nesting(program.stack):
                    value = sandbox.run(payload, timeout_ns)
            else:
                value = sandbox.run(payload, timeout_ns)
            if watch is not None and watch.reason is not None:
                raise Stopped(watch.reason)
            if keep or self._on_report is not None:
                return self._finish(sandbox, value, None, keep)
            return value
        except (WasmrunError, Stopped) as error:
            return self._fail(sandbox, error, keep)
        finally:
            try:
                self._give_back(shelf, sandbox, watch)
            finally:
                # Where that failed near the interpreter's recursion limit, an append still works.
                if sandbox.is_handed:
                    core.pool.returned.append((shelf, sandbox))

    def run_each(self, function: Function, events: list[Any]) -> list[Any]:
        """The values of the first of *events*, each from a fresh sandbox, in one crossing; of none where that cannot be.

        It ends before the first event that fails, whatever is wrong with it: for a guest that imports nothing, nobody
        can tell that it is run once more, by `execute`, which makes its error and its report.
        """
        core = self.core
        shelf = core.shelves.get(function)
        if shelf is None or self._on_report is not None or shelf.by_tenant:
            return []
        program = shelf.program
        if not program.is_run_in_batches or program.stack > self._state.room:
            return []
        payloads: list[bytes] = []
        with contextlib.suppress(WasmrunError):
            for event in events:
                payload = self._encode_plainly(program, shelf.tenant, event)
                if len(payload) > program.event_bytes:
                    break
                payloads.append(payload)
        if not payloads or not core.pool.occupy(shelf):
            return []
        answers: list[bytes] = []
        try:
            if not program.engine.ticker.is_running:
                core.pool.start_clock(program.engine)
            answers = program.run_each(payloads)
        finally:
            core.pool.vacate(shelf, len(answers))
            if core.keeper.level < core.keeper.DOZING:
                core.keeper.wake(core.keeper.DOZING)
        values: list[Any] = []
        with contextlib.suppress(FunctionError):
            for answer in answers:
                values.append(program.abi.decode(answer))  # noqa: PERF401  # those before one that fails are kept
        return values

    def _encode_plainly(self, program: BaseProgram, tenant: str | None, event: Any) -> bytes:
        """An event of which nothing else was said, as the guest gets it."""
        given = None
        if program.abi.needs_context:
            deadline_ms = (time.time_ns() + program.timeout_ns) // 1_000_000
            given = Given(self._ids.new(), deadline_ms, None, tenant, None)
        return program.abi.encode(event, given)

    def _take(self, shelf: Shelf, options: CallOptions, watch: Watch | None) -> Sandbox:
        """A sandbox for one event: a ready one, or a new one that is still to be prepared."""
        pool = self.core.pool
        tenant = options.tenant if options.tenant is not None else shelf.tenant
        before = time.monotonic_ns()
        sandbox = pool.acquire(shelf, tenant, watch)
        waited = time.monotonic_ns() - before
        if sandbox is None:
            # Known before it is made, so that one that is made in part is not lost.
            sandbox = Sandbox.__new__(Sandbox)
            try:
                Sandbox.__init__(sandbox, shelf.program)
            except BaseException:
                pool.returned.append((shelf, sandbox))
                raise
        sandbox.is_handed = True
        sandbox.waited_ns = waited
        sandbox.tenant = tenant
        sandbox.request_id = options.request_id
        return sandbox

    def _encode(
        self, program: BaseProgram, sandbox: Sandbox, event: Any, options: CallOptions, timeout_ns: int
    ) -> bytes:
        """The event as the guest gets it, with its context where the guest gets one."""
        abi = program.abi
        if abi.needs_context:
            request_id = sandbox.request_id
            if request_id is None:
                request_id = sandbox.request_id = self._ids.new()
            deadline_ms = (time.time_ns() + timeout_ns) // 1_000_000
            payload = abi.encode(
                event, Given(request_id, deadline_ms, options.client_context, sandbox.tenant, options.trace_id)
            )
        else:
            payload = abi.encode(event, None)
        sandbox.event_bytes = len(payload)
        if len(payload) > program.event_bytes:
            raise too_large(len(payload), program.event_bytes)
        return payload

    def _count(self, error: WasmrunError) -> None:
        with self._lock:
            self._failures[type(error).__name__] += 1

    def _fail(self, sandbox: Sandbox, error: WasmrunError | Stopped, keep: bool) -> Any:
        """Count a failure and complete its record; the `Result` it is to be part of, else it is raised."""
        if isinstance(error, Stopped):
            raise error.as_raised() from None
        host_failure = sandbox.host_failure
        failed = error
        if host_failure is not None and isinstance(error, (GuestError, GuestExit, GuestTrap)):
            # The guest gave up because the host failed it: that is what the caller must see.
            failed = host_failure
        self._count(failed)
        try:
            if isinstance(error, FunctionError) and isinstance(failed, (FunctionError, HostError)):
                result = self._finish(sandbox, None, failed, keep)
                if keep and failed is error:
                    # The traceback would keep the event and the sandbox for as long as the result is kept.
                    error.__traceback__ = None
                    return result
            raise failed from failed.__cause__
        finally:
            # What is raised holds this frame, and may not be held by it.
            del error, failed, host_failure

    def _finish(self, sandbox: Sandbox, value: Any, error: FunctionError | HostError | None, keep: bool) -> Any:
        """Make the report of an invocation that ran, and give it to whoever wants it."""
        if sandbox.request_id is None:
            sandbox.request_id = self._ids.new()
        logs, log_bytes = sandbox.take_logs()
        report = make_report(sandbox, error, log_bytes)
        if error is not None:
            error.logs = logs
            complete_error(error, report)
        if self._on_report is not None:
            tell(self._on_report, report, self._state)
        if not keep:
            return value
        return Result(value, error if isinstance(error, FunctionError) else None, report, logs)

    def _give_back(self, shelf: Shelf, sandbox: Sandbox, watch: Watch | None) -> None:
        """Return the sandbox to the pool, and let the keeper know."""
        core = self.core
        # Only one that the event never reached, or one of a function that wants it, may serve again.
        reusable = sandbox.is_ready and not sandbox.has_failed and sandbox.stop is None
        try:
            if reusable and sandbox.run_ns:
                reusable = False  # until it is cleaned up: that runs the guest, and whatever it calls
                reusable = shelf.by_tenant and shelf.program.abi.can_reuse and sandbox.clean_up()
        finally:
            if watch is not None and not watch.lose():
                reusable = False
            core.pool.release(shelf, sandbox, reusable=reusable)
        keeper = core.keeper
        wanted = 2 if shelf.needs_keeper else 1
        if keeper.level < wanted:
            keeper.wake(wanted)


def too_large(length: int, most: int) -> PayloadTooLarge:
    """The error of an event that has *length* bytes where *most* are allowed."""
    return PayloadTooLarge(
        f"the event has {format_size(length)}, more than the function's limit of {format_size(most)}; "
        "send less, or raise `event_bytes`"
    )
