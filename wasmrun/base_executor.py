"""What users call, the same for every kind of executor."""

from __future__ import annotations

import abc
import concurrent.futures
import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from wasmrun.calls import DEFAULTS, NO_EVENT, CallOptions, check_function, check_options
from wasmrun.errors import HostError
from wasmrun.function import Function
from wasmrun.futures import Future
from wasmrun.gathering import Gathering
from wasmrun.invocation import Result
from wasmrun.machine.threads import guest_stack
from wasmrun.threadstate import ThreadState
from wasmrun.watch import InterruptGuard, Watch, guard_interrupts

if TYPE_CHECKING:
    from wasmrun.express import Express

_MOST_AT_ONCE = 64
"""Events that one thread takes for a batch."""


class BaseExecutor(concurrent.futures.Executor, abc.ABC):
    """A `concurrent.futures.Executor` for functions instead of callables.

    `invoke` and `run` use the calling thread, `submit`, `map` and `ainvoke` the executor's *threads*.
    What an executor is made of is had at its first use, by the process that uses it.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = min(32, (os.cpu_count() or 1) + 4) if threads is None else threads
        if self._threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self._lock = threading.Lock()
        self._workers: concurrent.futures.ThreadPoolExecutor | None = None
        self._pid = 0
        self._is_shut = False
        self._state = ThreadState()
        self._guard: InterruptGuard | None = None
        self._gatherings: weakref.WeakSet[Gathering] = weakref.WeakSet()
        # Of functions whose events may go by it.
        self._expresses: dict[Function, Express] = {}

    # What a kind of executor has to say

    @abc.abstractmethod
    def _perform(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        """Run *function* on *event* on the calling thread: a `Result` with *keep*, else the value."""

    @abc.abstractmethod
    def _work_on(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        """The same for what was accepted before: it runs even after `shutdown`."""

    @abc.abstractmethod
    def _open(self) -> object:
        """Have what the executor is made of. Raises `RuntimeError` after `shutdown`."""

    # What users call

    def invoke(
        self,
        function: Function,
        event: Any = NO_EVENT,
        *,
        timeout: float | str | None = None,
        tenant: str | None = None,
        request_id: str | None = None,
        client_context: Any = None,
        trace_id: str | None = None,
    ) -> Any:
        """Run *function* on *event* on the calling thread; the function's value.

        *timeout* may be shorter than the function's own. Raises a `FunctionError` when the function
        failed, any other `WasmrunError` when it could not be run, and `KeyboardInterrupt` on Ctrl-C.
        """
        if timeout is None and tenant is None and request_id is client_context is trace_id is None:
            express = self._expresses.get(function)
            if express is not None:
                value = express.carry(event, self._state.room)
                if value is not NotImplemented:
                    return value
            return self._perform(function, event, DEFAULTS, False)
        options = check_options(CallOptions(timeout, tenant, request_id, client_context, trace_id))
        return self._perform(function, event, options, False)

    def run(
        self,
        function: Function,
        event: Any = NO_EVENT,
        *,
        timeout: float | str | None = None,
        tenant: str | None = None,
        request_id: str | None = None,
        client_context: Any = None,
        trace_id: str | None = None,
    ) -> Result:
        """As `invoke`, but a `FunctionError` is part of the `Result`, beside the report and the logs."""
        if timeout is None and tenant is None and request_id is client_context is trace_id is None:
            express = self._expresses.get(function)
            if express is not None:
                result = express.carry_and_tell(event, self._state.room)
                if result is not NotImplemented:
                    return result
            return self._perform(function, event, DEFAULTS, True)  # type: ignore[no-any-return]  # as above
        options = check_options(CallOptions(timeout, tenant, request_id, client_context, trace_id))
        return self._perform(function, event, options, True)  # type: ignore[no-any-return]  # as above

    def submit(  # type: ignore[override]  # functions in place of callables
        self,
        function: Function,
        event: Any = NO_EVENT,
        /,
        *,
        timeout: float | str | None = None,
        tenant: str | None = None,
        request_id: str | None = None,
        client_context: Any = None,
        trace_id: str | None = None,
    ) -> Future[Any]:
        """Run *function* on *event* on one of the executor's threads; a `Future` of its value."""
        check_function(function)
        options = check_options(CallOptions(timeout, tenant, request_id, client_context, trace_id))
        future: Future[Any] = Future()
        self._open()  # now, because what was submitted still runs after `shutdown`
        with self._lock:
            inner = self._on_thread(self._work, [future, function, event, options])
        # Only cancelled where shutdown was told to cancel what had not begun.
        inner.add_done_callback(functools.partial(_pass_on_cancel, weakref.ref(future)))
        return future

    def map(  # type: ignore[override]  # functions in place of callables
        self, function: Function, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """The values of *function* for each event of the one iterable, in their order, as they are ready.

        The events are read at once, and run on the executor's threads. An error is raised in its turn, and
        `TimeoutError` where a value is not there *timeout* seconds after this call. *chunksize* is of no
        use here: threads take as many small events at once as pays.
        """
        check_function(function)
        if len(iterables) != 1:
            raise TypeError(f"map takes a function and one iterable of events, not {len(iterables)}")
        until = None if timeout is None else time.monotonic() + timeout
        gathering = Gathering(list(iterables[0]))
        self._open()
        with self._lock:
            for _ in range(min(self._pullers(), len(gathering)) or 1):
                self._on_thread(self._pull, function, gathering)
            self._gatherings.add(gathering)
        return gathering.outcomes(until)

    def _on_thread(self, work: Callable[..., None], *args: Any) -> concurrent.futures.Future[None]:
        """Have *work* done on one of the executor's threads. Lock held."""
        if self._is_shut:
            raise RuntimeError("the executor was shut down")
        if self._workers is None:
            # Not by its name from its module: who only invokes does not wait for that to load.
            self._workers = concurrent.futures.ThreadPoolExecutor(self._threads, thread_name_prefix="wasmrun")
        with guest_stack():
            return self._workers.submit(work, *args)

    def _pullers(self) -> int:
        """How many threads are worth having for the events of one `map`."""
        return self._threads

    def _run_batch(self, function: Function, events: list[Any]) -> list[Any]:
        """The values of the first of *events*, where this kind of executor runs many at less cost; of none otherwise.

        Whoever calls this runs those that are left, which includes those that fail.
        """
        return []

    def _leaves(self, seconds: float, cpu_seconds: float) -> bool:
        """Whether a thread that took so long for an event only keeps the others from running theirs."""
        return False

    def _pull(self, function: Function, gathering: Gathering) -> None:
        """What one of the executor's threads does with the events of a `map`: runs them until none is left."""
        watch = Watch()
        if not gathering.join(watch):
            return
        is_there, most = True, 1
        try:
            while True:
                at, events = gathering.take(most)
                if not events:
                    return
                values: list[Any] = []
                # Whatever keeps a batch from running, each of its events meets alone, and tells.
                with contextlib.suppress(Exception):
                    values = self._run_batch(function, events)
                gathering.put(at, values)
                # More at once as long as all of them are run, and one again where it fails or takes long.
                most = min(most * 2, _MOST_AT_ONCE) if len(values) == len(events) else 1
                if len(events) > 1:
                    at += len(values)
                    gathering.give_back(at, events[len(values) :])
                elif not values and self._pull_one(watch, function, gathering, at, events[0]):
                    is_there = not gathering.leave(watch, unless_last=True)
                    if not is_there:
                        return
        finally:
            if is_there:
                gathering.leave(watch)

    def _pull_one(self, watch: Watch, function: Function, gathering: Gathering, at: int, event: Any) -> bool:
        """Run one event; whether that was so little that others had better do it."""
        began, cpu_began = time.perf_counter(), time.thread_time()
        value = error = None
        try:
            value = self._run_watched(watch, function, event, DEFAULTS, False)
        except BaseException as raised:
            error = raised
        if error is None:
            gathering.put(at, [value])
        else:
            gathering.fail(at, error)
        try:
            return self._leaves(time.perf_counter() - began, time.thread_time() - cpu_began)
        finally:
            # The error holds this frame by its traceback: a cycle would keep the event alive.
            del error, event

    async def ainvoke(self, function: Function, event: Any = NO_EVENT, **options: Any) -> Any:
        """As `invoke`, from asyncio: on one of the executor's threads. Cancelling the task stops the guest."""
        import asyncio  # 30 ms, and whoever awaits this has paid them

        return await asyncio.wrap_future(self.submit(function, event, **options))

    async def __aenter__(self) -> BaseExecutor:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        import asyncio  # as in ainvoke

        # Here, because only the main thread can put Python's own handler of Ctrl-C back.
        self._refuse()
        await asyncio.to_thread(self.shutdown)

    def _run_watched(self, watch: Watch, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        """Run *function* on the calling thread, which has no other invocation, so that *watch* can end it."""
        state = self._state
        state.watch = watch
        try:
            return self._work_on(function, event, options, keep)
        finally:
            state.watch = None

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

    def _guarded(self, state: ThreadState) -> Watch | None:
        """The watch of Ctrl-C, which can be had on the main thread unless the program handles SIGINT itself."""
        with self._lock:
            if self._guard is None and not self._is_shut:
                self._guard = guard_interrupts()
                state.watch = self._guard.watch if self._guard is not None else None
        return state.watch

    def _cancel_pending(self) -> None:
        """Let what has not begun of any `map` be cancelled."""
        with self._lock:
            gatherings = list(self._gatherings)
        for gathering in gatherings:
            gathering.refuse()

    def _refuse(self) -> None:
        """Accept nothing more."""
        # Without the lock in a forked child: it may have been held by a thread that stayed with the parent.
        if self._pid in (0, os.getpid()):
            with self._lock:
                self._is_shut = True
        else:
            self._is_shut = True
        self._expresses = {}
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.leave()

    def _check_process(self) -> None:
        """Make this process the one that uses the executor. Raises `HostError` in a child that was forked later."""
        pid = os.getpid()
        if not self._pid:
            self._pid = pid
        if self._pid != pid:
            raise HostError(
                f"this {type(self).__name__} was used before the process forked, and its sandboxes stayed with the "
                "parent; make a new one in the child"
            )

    def _work(self, job: list[Any]) -> None:
        """What one of the executor's threads does with one submitted event."""
        # The job is emptied, and its future let go at the end: an error in that future holds this frame
        # by its traceback, and the one below, which holds the job. A cycle would keep the event alive.
        future, function, event, options = job
        job.clear()
        if not future.set_running_or_notify_cancel():
            return
        value = error = None
        try:
            value = self._run_watched(future.watch, function, event, options, False)
        except BaseException as raised:
            error = raised
        future.settle(value, error)
        del future, error


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
