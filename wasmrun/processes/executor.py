"""The process executor: runs functions in supervised worker processes, behind walls of the kernel's."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import logging
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from wasmrun.base_executor import BaseExecutor
from wasmrun.calls import CallOptions, check_function
from wasmrun.errors import (
    FunctionError,
    GuestError,
    GuestExit,
    GuestTrap,
    HostError,
    WasmrunError,
)
from wasmrun.executor import Loaded
from wasmrun.function import Function
from wasmrun.hardening.resources import data_bytes
from wasmrun.hardening.wall import NAMES
from wasmrun.invocation import Report, Result
from wasmrun.machine.abi.base import Codec, Given
from wasmrun.machine.artifacts import default_directory
from wasmrun.machine.engine import MOST_SLOTS
from wasmrun.machine.failures import Stopped
from wasmrun.machine.hotpath import check_kind
from wasmrun.machine.inspection import Inspection, inspect_file
from wasmrun.machine.loader import Compiled, Loader
from wasmrun.processes import wire
from wasmrun.processes.crew import Crew, CrewSettings, CrewStats
from wasmrun.processes.hosting import HostThreads
from wasmrun.processes.placement import Place
from wasmrun.processes.process import Lane
from wasmrun.processes.roster import Entry, Roster, WorkerSettings, engine_settings
from wasmrun.processes.supervisor import Supervisor
from wasmrun.processes.talk import Reply, Talk, WorkerDied
from wasmrun.reporting import complete_error, tell
from wasmrun.runner import too_large
from wasmrun.shelf import PoolStats
from wasmrun.threadstate import ThreadState
from wasmrun.units import format_size, parse_duration, parse_size
from wasmrun.watch import Watch

if TYPE_CHECKING:
    from wasmrun.machine.compiler import CompileLimits

_log = logging.getLogger("wasmrun.processes")

_COUNT_SECONDS = 0.5
_EXIT_SECONDS = 2.0


class ProcessStats(NamedTuple):
    """Counters since the executor started: the pools of its workers together, failures by error, and the workers."""

    pool: PoolStats
    failures: dict[str, int]
    workers: CrewStats


class ProcessExecutor(BaseExecutor):
    """Runs functions in worker processes: the methods and the contract of `Executor`, behind a second wall.

    *processes* workers serve *threads* events each at once. An event that finds no worker free waits at most
    *wait*, then `Throttled`. Tenants never share a worker; with *tenant_concurrency*, none has more events
    at once. A worker is replaced after *max_uses* events, *max_age*, or when it has more than *max_memory*
    resident and no event; the kernel lets none have more than *memory_limit*. What serves a guest's calls of
    the host runs here, at most *host_timeout* a call.

    *hardening* is "auto" (every wall that the machine has), "off", or the names of walls without which no
    worker may serve, beside which every other one is put up, too. An event whose worker died is a `HostError`;
    with *at_least_once* it is run once more, which its function must be able to bear.

    The other settings are those of `Executor`; *max_sandboxes* are a worker's.
    """

    def __init__(
        self,
        *,
        processes: int | None = None,
        threads: int = 1,
        max_sandboxes: int = 100,
        wait: float | str | timedelta = 10.0,
        cache_dir: str | os.PathLike[str] | None = None,
        on_report: Callable[[Report], object] | None = None,
        idle: float | str | timedelta = 300.0,
        compile_limits: CompileLimits | None = None,
        tenant_concurrency: int | None = None,
        max_uses: int | None = None,
        max_age: float | str | timedelta | None = None,
        max_memory: int | str | None = None,
        memory_limit: int | str | None = None,
        host_timeout: float | str | timedelta | None = None,
        hardening: str | Collection[str] = "auto",
        at_least_once: bool = False,
    ) -> None:
        processes = (os.cpu_count() or 1) if processes is None else processes
        for name, number, least in (
            ("processes", processes, 1), ("threads", threads, 1), ("tenant_concurrency", tenant_concurrency, 1),
            ("max_uses", max_uses, 1),
        ):  # fmt: skip
            if number is not None and (type(number) is not int or number < least):
                raise ValueError(f"{name} must be a whole number of at least {least}, not {number!r}")
        if not threads <= max_sandboxes <= MOST_SLOTS:
            raise ValueError(f"max_sandboxes must be from {threads} (threads) to {MOST_SLOTS}, not {max_sandboxes}")
        super().__init__(max(32, processes * threads * 2))
        self._settings = CrewSettings(
            processes, threads, parse_duration(wait), tenant_concurrency, max_uses,
            None if max_age is None else parse_duration(max_age),
            None if max_memory is None else parse_size(max_memory),
        )  # fmt: skip
        required = _parse_hardening(hardening)
        limit = None if memory_limit is None else parse_size(memory_limit)
        least = data_bytes(0, max_sandboxes)
        if limit is not None and (limit < least or required is None):
            raise ValueError(
                f"memory_limit must be at least {format_size(least)} for {max_sandboxes} sandboxes, and needs hardening"
            )
        directory = (
            default_directory(os.environ, os.path.expanduser("~")) if cache_dir is None else os.fspath(cache_dir)
        )
        state = self._state
        self._hosts = HostThreads(lambda watch: _enter_host_thread(state, watch))
        self._roster = Roster(
            WorkerSettings(max_sandboxes, parse_duration(idle), required, limit, check_kind(os.environ)),
            lambda: Loader(directory, compile_limits),
            self._hosts,
            None if host_timeout is None else parse_duration(host_timeout),
        )
        self._on_report = on_report
        self._is_at_least_once = at_least_once
        self._supervisor: Supervisor | None = None
        self._failures: Counter[str] = Counter()

    # What users call, beside what every executor has

    def load(self, function: Function) -> Loaded:
        """Have a worker load *function* now: how it is called. Raises `InvalidFunction`."""
        check_function(function)
        crew = self._open().crew
        entry = self._roster.entry(function)
        return Loaded(*self._with_lane(crew, entry, lambda lane: self._roster.known(lane, entry).shape)[:4])

    def compile(self, function: Function) -> Compiled:
        """Compile *function* into the cache without loading it. Raises `InvalidFunction` or `HostError`.

        With an Extism plug-in goes its kernel.
        """
        check_function(function)
        self._open()
        return self._roster.loader.compile_parts(function)

    def is_compiled(self, function: Function) -> bool:
        """Whether *function* is in the cache, so that loading it takes no compiler."""
        check_function(function)
        self._open()
        return self._roster.loader.has_parts(function)

    def prewarm(self, function: Function) -> int:
        """Load *function* and fill its pool now, in as many workers as are free; the sandboxes that are ready.

        Raises `InvalidFunction` or `HostError` where it cannot be loaded.
        """
        check_function(function)
        crew = self._open().crew
        entry = self._roster.entry(function)
        lanes: list[Lane] = []
        try:
            lanes.append(crew.take(entry, entry.place, None))
            while (more := crew.take_free(entry, entry.place)) is not None:
                lanes.append(more)
            ready = {}
            for lane in lanes:
                self._roster.known(lane, entry)
                ready[lane.worker.number] = self._roster.talk(lane, entry, "").ask(
                    "prewarmed", ["prewarm", entry.number], wire.unpack_count, seconds=function.init_timeout + 10.0
                )
            return sum(ready.values())
        finally:
            for lane in lanes:
                crew.give(lane, entry)

    def unload(self, function: Function) -> bool:
        """Forget *function* and free what workers hold of it; False where events of it run."""
        crew = self._open().crew
        entry = self._roster.entries.get(function)
        if entry is None or crew.has_events(entry):
            return False
        self._roster.forget(entry)
        while (lane := crew.take_knowing(entry)) is not None:
            try:
                del lane.worker.known[entry.number]
                self._roster.talk(lane, entry, "").ask("unloaded", ["unload", entry.number], bool)
            finally:
                crew.give(lane, entry)
        return True

    def inspect(self, function: Function) -> Inspection:
        """What *function*'s module is, imports and exports; whether it could run, and why not.

        Raises `InvalidFunction` where there is no file to look at.
        """
        check_function(function)
        return inspect_file(function, lambda: self._look(function))

    def _look(self, function: Function) -> Inspection:
        crew = self._open().crew
        prepared = self._roster.loader.prepare(function, engine_settings(function))
        entry = Entry(self._roster.ids.number(), function, prepared, {})

        def look(lane: Lane) -> Inspection:
            talk = self._roster.talk(lane, entry, "")
            packed = wire.pack_function(function)
            message = ["inspect", entry.number, prepared.key, prepared.facts._asdict(), packed]
            return talk.ask("inspected", message, wire.unpack_inspection, prepared.artifact)

        return self._with_lane(crew, entry, look)  # type: ignore[no-any-return]  # what look gives

    def stats(self) -> ProcessStats:
        """Counters of the workers' pools, of invocations and of workers. One that was not used has none above 0."""
        self._check_process()
        supervisor = self._supervisor
        rows = [] if supervisor is None else supervisor.count(_COUNT_SECONDS)
        empty = [0] * (len(PoolStats._fields) - 1)
        pool = PoolStats._make([*map(sum, zip(empty, *rows, strict=True)), {}])
        with self._lock:
            failures = dict(self._failures)
        if supervisor is None:
            return ProcessStats(pool, failures, CrewStats._make([0] * len(CrewStats._fields)))
        stats = supervisor.crew.stats()
        return ProcessStats(
            pool._replace(in_flight=stats.in_flight, throttled=stats.throttled, waits=stats.waits), failures, stats
        )

    def walls(self) -> dict[int, tuple[tuple[str, bool, str, str], ...]]:
        """What became of each wall, by the process id of the worker: name, whether it is up, detail, remedy."""
        crew = self._open().crew
        return {worker.pid: worker.walls for worker in crew.workers()}

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor, as the standard library promises it: what was submitted still runs, nothing new does.

        With *cancel_futures*, what has not begun is cancelled. Without *wait*, everything is freed in
        the background when the last invocation has ended. Raises `RuntimeError` where it would wait for
        itself: in a host function or in *on_report*.
        """
        if wait and self._state.depth:
            raise RuntimeError("an invocation cannot wait for its own end; use shutdown(wait=False)")
        self._refuse()
        if self._pid not in (0, os.getpid()):
            return  # all of it stayed with the parent
        workers = self._workers
        if cancel_futures:
            self._cancel_pending()
        if workers is not None:
            workers.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            self._close()
        elif self._supervisor is not None:
            threading.Thread(target=self._close, args=(workers,), name="wasmrun-closer", daemon=True).start()

    def _close(self, workers: Any = None) -> None:
        if workers is not None:
            workers.shutdown(wait=True)
        supervisor = self._supervisor
        if supervisor is not None:
            supervisor.close()
            atexit.unregister(supervisor.close)
        self._hosts.close()

    def _pullers(self) -> int:
        # One more than there are lanes, so that none of these waits for its next event.
        return self._settings.processes * self._settings.lanes + 1

    # One invocation

    def _perform(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        if self._is_shut:
            raise RuntimeError("the executor was shut down")
        return self._work_on(function, event, options, keep)

    def _work_on(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        supervisor = self._supervisor
        if supervisor is None or self._pid != os.getpid():
            supervisor = self._open()
        return self._call(self._execute, supervisor.crew, function, event, options, keep)

    def _execute(
        self, watch: Watch | None, crew: Crew, function: Function, event: Any, options: CallOptions, keep: bool
    ) -> Any:
        """The life of one event: a worker is had, gets the event, and is given back."""
        try:
            entry = self._roster.entries.get(function) or self._roster.entry(function)
            place = entry.place if options.tenant is None else Place(options.tenant, function.dirs)
            try:
                return self._try(watch, crew, entry, place, event, options, keep)
            except WorkerDied as died:
                # What was never handed over is handed over once more, whatever the caller can bear.
                if died.has_event and not self._is_at_least_once:
                    raise
                _log.warning("an event of %s is run again: its worker died", function.label)
            return self._try(watch, crew, entry, place, event, options, keep)
        except Stopped as stopped:
            raise stopped.as_raised() from None
        except WasmrunError as error:
            with self._lock:
                self._failures[type(error).__name__ if type(error) is not WorkerDied else "HostError"] += 1
            raise

    def _try(
        self,
        watch: Watch | None,
        crew: Crew,
        entry: Entry,
        place: Place,
        event: Any,
        options: CallOptions,
        keep: bool,
    ) -> Any:
        function = entry.function
        if watch is not None:
            watch.is_busy = True
        before = time.monotonic()
        lane = crew.take(entry, place, watch)
        waited = time.monotonic() - before
        try:
            request_id = options.request_id or self._roster.ids.new()
            talk = self._roster.talk(lane, entry, request_id)
            if watch is not None:
                watch.see(talk)
            known = lane.worker.known.get(entry.number)
            if known is None:
                known = self._roster.known(lane, entry, watch)
                if watch is not None:
                    watch.see(talk)
            if watch is not None and watch.reason is not None:
                raise Stopped(watch.reason)
            shape, codec = known
            timeout = function.timeout
            if options.timeout is not None:
                timeout = min(timeout, parse_duration(options.timeout))
            payload = _encode(codec, function, event, request_id, timeout, place.tenant, options)
            reply = talk.run(entry.number, shape, payload, timeout, place.tenant, keep or self._on_report is not None)
        finally:
            if watch is not None:
                watch.lose()
            crew.give(lane, entry)
        if watch is not None and watch.reason is not None:
            raise Stopped(watch.reason)
        if not keep and reply.answer is not None and reply.report is None:
            try:
                return codec.decode(reply.answer)
            except FunctionError as error:
                # The worker took it for an answer, and had been told that no report was wanted.
                report = talk.own_report(shape, time.monotonic() - before - waited, len(reply.answer))
                reply = Reply(None, error, report._replace(event_bytes=len(payload)), ())
        try:
            return self._settle(talk, codec, reply, waited, keep)
        finally:
            # What is raised holds this frame, and may not be held by it; below as well.
            del talk, reply

    def _settle(self, talk: Talk, codec: Codec, reply: Reply, waited: float, keep: bool) -> Any:
        """The value or the `Result` of an event that ran; its failure is raised, or part of the result."""
        value, error, report = None, reply.error, reply.report
        if reply.answer is not None:
            try:
                value = codec.decode(reply.answer)
            except FunctionError as failure:
                error = failure
        if report is None:
            error = error or HostError("a worker gave no report")
            try:
                raise error
            finally:
                del error, reply, talk
        if isinstance(error, (GuestError, GuestExit, GuestTrap)) and talk.host_failure is not None:
            # The guest gave up because the host failed it: that is what the caller must see.
            error = talk.host_failure
            report = report._replace(fuel_exact=False)
        report = report._replace(
            pool_wait=report.pool_wait + waited, status="success" if error is None else type(error).__name__
        )
        if isinstance(error, (FunctionError, HostError)):
            error.logs = reply.logs
            if error is reply.error:
                error.report = report  # the rest of it was completed where it happened
            else:
                complete_error(error, report)
        if self._on_report is not None:
            tell(self._on_report, report, self._state)
        if error is None:
            return Result(value, None, report, reply.logs) if keep else value
        if keep and isinstance(error, FunctionError):
            with self._lock:
                self._failures[type(error).__name__] += 1
            error.__traceback__ = None
            return Result(None, error, report, reply.logs)
        try:
            raise error from error.__cause__
        finally:
            del error, reply, talk

    # Workers

    def _with_lane(self, crew: Crew, entry: Entry, work: Callable[[Lane], Any]) -> Any:
        lane = crew.take(entry, entry.place, None)
        try:
            return work(lane)
        finally:
            crew.give(lane, entry)

    # Setting up

    def _open(self) -> Supervisor:
        self._check_process()
        with self._lock:
            if self._is_shut:
                raise RuntimeError("the executor was shut down")
            if self._supervisor is None:
                self._roster.compile_first()
                try:
                    self._supervisor = Supervisor(self._settings, self._roster.job, self._roster.serve_start_up)
                except (OSError, RuntimeError) as error:
                    raise HostError(
                        f"no worker processes can be supervised: {error}; raise the limits on descriptors and "
                        "threads (ulimit -n, ulimit -u)"
                    ) from error
                # Not of this object: what is registered is not collected.
                atexit.register(self._supervisor.close, _EXIT_SECONDS)
            return self._supervisor

    def __del__(self) -> None:
        supervisor = getattr(self, "_supervisor", None)
        if supervisor is None or self._is_shut or supervisor.crew.is_closed or self._pid != os.getpid():
            return
        try:
            warnings.warn(f"{self!r} was not shut down", ResourceWarning, stacklevel=1, source=self)
        finally:
            # On a thread of its own, as `Executor` does it, and for the same reasons.
            if self._guard is not None:
                self._guard.leave()
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(_close_forgotten, (supervisor, self._hosts))


def _enter_host_thread(state: ThreadState, watch: Watch) -> None:
    state.depth = 1  # whatever runs on it is called by an invocation
    state.watch = watch


def _close_forgotten(supervisor: Supervisor, hosts: HostThreads) -> None:
    supervisor.close()
    atexit.unregister(supervisor.close)
    hosts.close()


def _encode(
    codec: Codec,
    function: Function,
    event: Any,
    request_id: str,
    timeout: float,
    tenant: str | None,
    options: CallOptions,
) -> bytes:
    given = None
    if codec.needs_context:
        deadline_ms = int((time.time() + timeout) * 1e3)
        given = Given(request_id, deadline_ms, options.client_context, tenant, options.trace_id)
    payload = codec.encode(event, given)
    if len(payload) > function.event_bytes:
        raise too_large(len(payload), function.event_bytes)
    return payload


def _parse_hardening(value: str | Collection[str]) -> frozenset[str] | None:
    """The walls that are required; None where none is wanted."""
    if value == "off":
        return None
    if value == "auto":
        return frozenset()
    names = frozenset([value] if isinstance(value, str) else value)
    if names - set(NAMES):
        raise ValueError(
            f"hardening must be 'auto', 'off', or names of walls ({', '.join(NAMES)}), not {sorted(names - set(NAMES))}"
        )
    return names
