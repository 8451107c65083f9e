"""The executor: runs functions in this process, each event in a sandbox of its own."""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import functools
import itertools
import logging
import os
import threading
import time
import uuid
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from wasmrun.core import Core, Settings
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
from wasmrun.futures import Future
from wasmrun.invocation import Report, Result
from wasmrun.machine.abi.base import Given
from wasmrun.machine.artifacts import default_directory
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import MOST_SLOTS
from wasmrun.machine.failures import Stopped
from wasmrun.machine.loader import Compiled
from wasmrun.machine.program import Program
from wasmrun.machine.threads import guest_stack
from wasmrun.pool import Unloaded
from wasmrun.reporting import complete_error, make_report
from wasmrun.sandbox import Sandbox
from wasmrun.shelf import PoolStats, Shelf
from wasmrun.threadstate import ThreadState
from wasmrun.units import format_size, parse_duration
from wasmrun.watch import InterruptGuard, Watch, guard_interrupts

if TYPE_CHECKING:
    from wasmrun.machine.compiler import CompileLimits
    from wasmrun.machine.inspection import Inspection

_log = logging.getLogger("wasmrun")


class Stats(NamedTuple):
    """Counters since the executor started: of its pool, and of invocations by the error that ended them."""

    pool: PoolStats
    failures: dict[str, int]


class Loaded(NamedTuple):
    """How a function is called: its ABI and what says so, its entry, and whether it takes and gives bytes."""

    abi: str
    reason: str
    entry: str
    is_raw: bool


class _Options(NamedTuple):
    """What a caller may say about one event."""

    timeout: float | None = None
    tenant: str | None = None
    request_id: str | None = None
    client_context: Any = None
    trace_id: str | None = None


_DEFAULTS = _Options()
_NO_EVENT: dict[str, Any] = {}
_NO_POOL = PoolStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {})


class Executor(concurrent.futures.Executor):
    """Runs functions in this process. A `concurrent.futures.Executor`, for functions instead of callables.

    *threads* serve `submit`, `map` and `ainvoke`; `invoke` and `run` use the calling thread. At most
    *max_sandboxes* are alive at once; an event that finds none free waits at most *wait* (seconds, or
    a text such as "500ms") and is then `Throttled`. *cache_dir* holds compiled modules (by default in
    the user's cache directory). *on_report* is called with the `Report` of every invocation that ran.
    Sandboxes beyond a function's ``warm`` go after *idle* without an event.

    Close it with `shutdown`, or by using it in ``with``. Nothing is allocated before the first use.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        max_sandboxes: int = 1_000,
        wait: float | str | timedelta = 10.0,
        cache_dir: str | os.PathLike[str] | None = None,
        on_report: Callable[[Report], object] | None = None,
        idle: float | str | timedelta = 300.0,
        compile_limits: CompileLimits | None = None,
    ) -> None:
        self._threads = min(32, (os.cpu_count() or 1) + 4) if threads is None else threads
        if self._threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if not 1 <= max_sandboxes <= MOST_SLOTS:
            raise ValueError(f"max_sandboxes must be from 1 to {MOST_SLOTS}, not {max_sandboxes}")
        directory = (
            default_directory(os.environ, os.path.expanduser("~")) if cache_dir is None else os.fspath(cache_dir)
        )
        self._settings = Settings(max_sandboxes, parse_duration(wait), parse_duration(idle), directory, compile_limits)
        self._on_report = on_report
        self._lock = threading.Lock()
        self._core: Core | None = None
        self._workers: ThreadPoolExecutor | None = None
        self._guard: InterruptGuard | None = None
        self._pid = 0
        self._is_shut = False
        self._state = ThreadState()
        self._failures: Counter[str] = Counter()
        # Lambda's request ids are UUIDs. Random but for the last 12 digits, which count: as unique,
        # and without asking the kernel for random bytes at every event.
        identity = str(uuid.uuid4())
        self._id_prefix = identity[:24]
        self._ids = itertools.count(int(identity[24:], 16) >> 1)  # there is room above for 2**47 events

    # What users call

    def invoke(
        self,
        function: Function,
        event: Any = _NO_EVENT,
        *,
        timeout: float | None = None,
        tenant: str | None = None,
        request_id: str | None = None,
        client_context: Any = None,
        trace_id: str | None = None,
    ) -> Any:
        """Run *function* on *event* on the calling thread; the function's value.

        *timeout* may be shorter than the function's own. Raises a `FunctionError` when the function
        failed, any other `WasmrunError` when it could not be run, and `KeyboardInterrupt` on Ctrl-C.
        """
        if self._is_shut:
            raise RuntimeError("the executor was shut down")
        options = _DEFAULTS
        if not (timeout is None and tenant is None and request_id is client_context is trace_id is None):
            options = _Options(timeout, tenant, request_id, client_context, trace_id)
        return self._call(self._execute, function, event, options, False)

    def run(
        self,
        function: Function,
        event: Any = _NO_EVENT,
        *,
        timeout: float | None = None,
        tenant: str | None = None,
        request_id: str | None = None,
        client_context: Any = None,
        trace_id: str | None = None,
    ) -> Result:
        """As `invoke`, but a `FunctionError` is part of the `Result`, beside the report and the logs."""
        if self._is_shut:
            raise RuntimeError("the executor was shut down")
        options = _Options(timeout, tenant, request_id, client_context, trace_id)
        return self._call(self._execute, function, event, options, True)  # type: ignore[no-any-return]  # a Result

    def submit(  # type: ignore[override]  # functions in place of callables
        self,
        function: Function,
        event: Any = _NO_EVENT,
        /,
        *,
        timeout: float | None = None,
        tenant: str | None = None,
        request_id: str | None = None,
        client_context: Any = None,
        trace_id: str | None = None,
    ) -> Future[Any]:
        """Run *function* on *event* on one of the executor's threads; a `Future` of its value."""
        _check_function(function)
        options = _Options(timeout, tenant, request_id, client_context, trace_id)
        future: Future[Any] = Future()
        self._open()  # now, because what was submitted still runs after `shutdown`
        with self._lock:
            if self._is_shut:
                raise RuntimeError("the executor was shut down")
            if self._workers is None:
                self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="wasmrun")
            with guest_stack():
                inner = self._workers.submit(self._work, [future, function, event, options])
        # Only cancelled where shutdown was told to cancel what had not begun.
        inner.add_done_callback(functools.partial(_pass_on_cancel, weakref.ref(future)))
        return future

    async def ainvoke(self, function: Function, event: Any = _NO_EVENT, **options: Any) -> Any:
        """As `invoke`, from asyncio: on one of the executor's threads. Cancelling the task stops the guest."""
        import asyncio  # 30 ms, and whoever awaits this has paid them

        return await asyncio.wrap_future(self.submit(function, event, **options))

    def load(self, function: Function) -> Loaded:
        """Load *function* now rather than at its first event: how it is called. Raises `InvalidFunction`."""
        program = _shelf(self._open(), function).program
        return Loaded(*program.detected, program.abi.entry, program.abi.is_raw)

    def compile(self, function: Function) -> Compiled:
        """Compile *function* into the cache without loading it. Raises `InvalidFunction` or `HostError`."""
        _check_function(function)
        return self._open().loader.compile(function, EngineSettings(function.stack, function.is_metered))

    def is_compiled(self, function: Function) -> bool:
        """Whether *function* is in the cache, so that loading it takes no compiler."""
        _check_function(function)
        return self._open().loader.has(function, EngineSettings(function.stack, function.is_metered))

    def prewarm(self, function: Function) -> int:
        """Load *function* and fill its pool now; the number of sandboxes that are ready.

        Raises `InvalidFunction` or `HostError` where it cannot be loaded. A start-up that fails is logged:
        its error goes to the event that needs the sandbox.
        """
        return self._call(self._fill, function)  # type: ignore[no-any-return]  # a number

    def unload(self, function: Function) -> bool:
        """Forget *function* and free its sandboxes and its code; False where events of it run."""
        return self._open().unload(function)

    def inspect(self, function: Function) -> Inspection:
        """What *function*'s module is, imports and exports; whether it could run, and why not."""
        from wasmrun.machine.inspection import inspect_module

        _check_function(function)
        with self._open().module(function) as module:
            return inspect_module(function, module)

    def stats(self) -> Stats:
        """Counters of pool and invocations. An executor that was not used yet has none above 0."""
        self._check_process()
        core = self._core
        pool = core.pool.stats() if core is not None else _NO_POOL
        with self._lock:
            return Stats(pool, dict(self._failures))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor, as the standard library promises it: what was submitted still runs, nothing new does.

        With *cancel_futures*, what has not begun is cancelled. Without *wait*, everything is freed in
        the background when the last invocation has ended. Raises `RuntimeError` where it would wait for
        itself: in a host function or in *on_report*.
        """
        if wait and self._state.depth:
            raise RuntimeError("an invocation cannot wait for its own end; use shutdown(wait=False)")
        self._refuse()
        workers, core = self._workers, self._core
        if self._pid not in (0, os.getpid()):
            return  # all of it stayed with the parent
        if workers is not None:
            workers.shutdown(wait=wait, cancel_futures=cancel_futures)
        if core is None:
            return
        if wait:
            core.close()
        else:
            threading.Thread(target=_close_later, args=(workers, core), name="wasmrun-closer", daemon=True).start()

    async def __aenter__(self) -> Executor:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        import asyncio  # as in ainvoke

        # Here, because only the main thread can put Python's own handler of Ctrl-C back.
        self._refuse()
        await asyncio.to_thread(self.shutdown)

    def _refuse(self) -> None:
        """Accept nothing more."""
        # Without the lock in a forked child: it may have been held by a thread that stayed with the parent.
        with self._lock if self._pid in (0, os.getpid()) else contextlib.nullcontext():
            self._is_shut = True
            guard, self._guard = self._guard, None
        if guard is not None:
            guard.leave()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is None or self._is_shut or core.is_closed or core.pid != os.getpid():
            return
        try:
            warnings.warn(f"{self!r} was not shut down", ResourceWarning, stacklevel=1, source=self)
        finally:
            # Nothing runs any more: whatever did, kept this object alive. On a thread of its own, because
            # the collector calls this on any thread and between any two steps, those of the keeper with
            # the pool's lock held included; without the threading module's locks for the same reason.
            # Where no thread can be had any more, the core is closed at exit.
            if self._guard is not None:
                self._guard.leave()
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(core.close, ())

    # One invocation

    def _call(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do *work*, which runs guests, on the calling thread; *work* is told by which watch others can end it."""
        state = self._state
        if not state.size:
            state.meet()
        watch = state.watch
        if watch is None:
            watch = self._guarded(state) if state.is_main else None
            if watch is None:
                return work(None, *args)
        # A host function may run another function: what ran below runs again.
        below, was_busy = watch.current, watch.is_busy
        watch.current = None
        watch.is_busy = False
        try:
            return work(watch, *args)
        finally:
            watch.current = below
            watch.is_busy = was_busy
            # In this order: a Ctrl-C before it left its mark, one after it raises by itself.
            if watch.reason is not None:
                _pass_on(watch, state.is_main)

    def _execute(self, watch: Watch | None, function: Function, event: Any, options: _Options, keep: bool) -> Any:
        """The life of one event: a sandbox is taken or made, gets the event, and is given back.

        With *keep* the answer is a `Result`, else the value.
        """
        core = self._core
        if core is None or core.pid != os.getpid():
            core = self._open()
        try:
            shelf = core.shelves.get(function)
            if shelf is None:
                shelf = _shelf(core, function)
            program = shelf.program
            if program.stack > self._state.room:
                self._state.refuse(program.stack)
            if watch is not None:
                watch.is_busy = True
            sandbox = _take(core, shelf, options, watch)
        except Unloaded:
            if watch is not None:
                watch.is_busy = False  # loading may take long, and leaves nothing behind
            core.shelf(function)  # once it is unloaded altogether
            return self._execute(watch, function, event, options, keep)
        except Stopped as stopped:
            raise _as_raised(stopped) from None
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
            self._give_back(core, shelf, sandbox, watch)

    def _encode(self, program: Program, sandbox: Sandbox, event: Any, options: _Options, timeout_ns: int) -> bytes:
        """The event as the guest gets it, with its context where the guest gets one."""
        abi = program.abi
        if abi.needs_context:
            request_id = sandbox.request_id
            if request_id is None:
                request_id = sandbox.request_id = self._new_id()
            deadline_ms = (time.time_ns() + timeout_ns) // 1_000_000
            payload = abi.encode(
                event, Given(request_id, deadline_ms, options.client_context, options.tenant, options.trace_id)
            )
        else:
            payload = abi.encode(event, None)
        sandbox.event_bytes = len(payload)
        if len(payload) > program.event_bytes:
            raise PayloadTooLarge(
                f"the event has {format_size(len(payload))}, more than the function's limit of "
                f"{format_size(program.event_bytes)}; send less, or raise `event_bytes`"
            )
        return payload

    def _count(self, error: WasmrunError) -> None:
        with self._lock:
            self._failures[type(error).__name__] += 1

    def _fail(self, sandbox: Sandbox, error: WasmrunError | Stopped, keep: bool) -> Any:
        """Count a failure and complete its record; the `Result` it is to be part of, else it is raised."""
        if isinstance(error, Stopped):
            raise _as_raised(error) from None
        host_failure = sandbox.host_failure
        failed = error
        if host_failure is not None and isinstance(error, (GuestError, GuestExit, GuestTrap)):
            # The guest gave up because the host failed it: that is what the caller must see.
            failed = host_failure
        self._count(failed)
        try:
            if isinstance(error, FunctionError):
                is_kept = keep and failed is error
                result = self._finish(sandbox, None, error, is_kept)
                if is_kept:
                    # The traceback would keep the event and the sandbox for as long as the result is kept.
                    error.__traceback__ = None
                    return result
            raise failed from failed.__cause__
        finally:
            # What is raised holds this frame, and may not be held by it.
            del error, failed, host_failure

    def _finish(self, sandbox: Sandbox, value: Any, error: FunctionError | None, keep: bool) -> Any:
        """Make the report of an invocation that ran, and give it to whoever wants it."""
        if sandbox.request_id is None:
            sandbox.request_id = self._new_id()
        logs, log_bytes = sandbox.take_logs()
        report = make_report(sandbox, error, log_bytes)
        if error is not None:
            error.logs = logs
            complete_error(error, report)
        if self._on_report is not None:
            self._tell(self._on_report, report)
        return Result(value, error, report, logs) if keep else value

    def _tell(self, on_report: Callable[[Report], object], report: Report) -> None:
        """Call the program's own function, which Ctrl-C may end as it would anywhere in the program."""
        state = self._state
        watch = state.watch
        state.depth += 1
        if watch is not None:
            watch.is_busy = False
        try:
            on_report(report)
        except Exception:
            _log.exception("on_report failed for request %s", report.request_id)
        finally:
            if watch is not None:
                watch.is_busy = True
            state.depth -= 1

    def _give_back(self, core: Core, shelf: Shelf, sandbox: Sandbox, watch: Watch | None) -> None:
        """Return the sandbox to the pool, and let the keeper know."""
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

    # Setting up

    def _check_process(self) -> None:
        """Make this process the one that uses the executor. Raises `HostError` in a child that was forked later."""
        pid = os.getpid()
        if not self._pid:
            self._pid = pid
        if self._pid != pid:
            raise HostError(
                "this Executor was used before the process forked, and its sandboxes stayed with the parent; "
                "make a new Executor in the child"
            )

    def _open(self) -> Core:
        """The core, made at the first use."""
        # Before the lock, which the parent may have held while it forked.
        self._check_process()
        with self._lock:
            if self._is_shut:
                raise RuntimeError("the executor was shut down")
            if self._core is None:
                self._core = Core(self._settings)
            return self._core

    def _fill(self, watch: Watch | None, function: Function) -> int:
        core = self._open()
        shelf = _shelf(core, function)
        if function.stack > self._state.room:
            self._state.refuse(function.stack)
        if watch is not None:
            watch.is_busy = True
        core.pool.sweep()
        core.pool.fill(shelf, function.warm, watch=watch)
        return len(shelf.ready)

    def _guarded(self, state: ThreadState) -> Watch | None:
        """The watch of Ctrl-C, which can be had on the main thread unless the program handles SIGINT itself."""
        with self._lock:
            if self._guard is None and not self._is_shut:
                self._guard = guard_interrupts()
                state.watch = self._guard.watch if self._guard is not None else None
        return state.watch

    def _new_id(self) -> str:
        return "%s%012x" % (self._id_prefix, next(self._ids))  # noqa: UP031  # an f-string takes twice as long

    def _work(self, job: list[Any]) -> None:
        """What a worker thread does with one submitted event."""
        # The job is emptied, and its future let go at the end: an error in that future holds this frame
        # by its traceback, and the one below, which holds the job. A cycle would keep the event alive.
        future, function, event, options = job
        job.clear()
        if not future.set_running_or_notify_cancel():
            return
        state = self._state
        state.watch = future.watch
        value = error = None
        try:
            value = self._call(self._execute, function, event, options, False)
        except BaseException as raised:
            error = raised
        state.watch = None
        future.settle(value, error)
        del future, error


def _as_raised(stopped: Stopped) -> BaseException:
    """What the caller of an invocation sees that was ended on somebody's behalf."""
    return KeyboardInterrupt() if stopped.reason == "interrupted" else concurrent.futures.CancelledError()


def _shelf(core: Core, function: Function) -> Shelf:
    _check_function(function)
    return core.shelf(function)


def _take(core: Core, shelf: Shelf, options: _Options, watch: Watch | None) -> Sandbox:
    """A sandbox for one event: a ready one, or a new one that is still to be prepared."""
    pool = core.pool
    before = time.monotonic_ns()
    sandbox = pool.acquire(shelf, options.tenant, watch)
    waited = time.monotonic_ns() - before
    if sandbox is None:
        try:
            sandbox = Sandbox(shelf.program)
        except BaseException:
            pool.forfeit(shelf)
            raise
    sandbox.waited_ns = waited
    sandbox.tenant = options.tenant
    sandbox.request_id = options.request_id
    return sandbox


def _check_function(function: object) -> None:
    if not isinstance(function, Function):
        raise TypeError(f"a wasmrun.Function is needed, not {type(function).__name__}; write Function({function!r})")


def _pass_on(watch: Watch, is_main: bool) -> None:
    """Let the reason that came while *watch* was another's reach what runs below it, or the program."""
    if is_main:
        watch.reason = None
        raise KeyboardInterrupt from None
    if watch.current is not None:
        watch.see(watch.current)


def _pass_on_cancel(pending: weakref.ref[Future[Any]], inner: concurrent.futures.Future[None]) -> None:
    future = pending()
    if inner.cancelled() and future is not None and future.cancel():
        future.set_running_or_notify_cancel()


def _close_later(workers: ThreadPoolExecutor | None, core: Core) -> None:
    if workers is not None:
        workers.shutdown(wait=True)
    core.close()
