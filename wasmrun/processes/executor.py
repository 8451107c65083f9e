"""The process executor: runs functions in supervised worker processes, behind walls of the kernel's."""

from __future__ import annotations

import atexit
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
from wasmrun.machine.abi.base import Codec, Given, Shape
from wasmrun.machine.artifacts import default_directory
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import MOST_SLOTS
from wasmrun.machine.failures import Stopped
from wasmrun.machine.hostcalls import Exchange
from wasmrun.machine.inspection import Inspection
from wasmrun.machine.loader import Compiled, Loader, Prepared
from wasmrun.machine.program import make_codec
from wasmrun.processes import wire
from wasmrun.processes.crew import Client, Crew, CrewSettings, CrewStats
from wasmrun.processes.frames import Closed
from wasmrun.processes.hosting import HostThreads
from wasmrun.processes.placement import Place
from wasmrun.processes.process import Lane, WorkerProcess
from wasmrun.processes.talk import Reply, Talk, WorkerDied
from wasmrun.reporting import complete_error
from wasmrun.runner import RequestIds, too_large
from wasmrun.serving import Server
from wasmrun.shelf import PoolStats
from wasmrun.units import format_size, parse_duration, parse_size
from wasmrun.watch import Watch

if TYPE_CHECKING:
    from wasmrun.machine.compiler import CompileLimits

_log = logging.getLogger("wasmrun.processes")

_COUNT_SECONDS = 0.5
_EXIT_SECONDS = 2.0
_WORKER_WAIT = 1.0

LOOPING = Function('(module (func (export "loop") (loop $l (br $l))))', name="looping", fuel=None, warm=0)
"""What a worker has to end before it serves."""


class ProcessStats(NamedTuple):
    """Counters since the executor started: the pools of its workers together, failures by error, and the workers."""

    pool: PoolStats
    failures: dict[str, int]
    workers: CrewStats


class _Entry(Client):
    """A function that was used: its artifact, what answers its calls of the host, and how it is called."""

    def __init__(self, number: int, function: Function, prepared: Prepared, exchanges: dict[str, Exchange]) -> None:
        super().__init__(function, number)
        self.place = Place(function.tenant, function.dirs)
        self.prepared = prepared
        self.exchanges = exchanges
        self.shape: Shape | None = None
        self.codec: Codec | None = None

    def learn(self, shape: Shape) -> None:
        """Take over what the first worker that loaded it says."""
        if self.codec is None:
            self.shape = shape
            self.codec = make_codec(shape, self.function)


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
        self._hardening = _parse_hardening(hardening)
        self._settings = CrewSettings(
            processes, threads, parse_duration(wait), tenant_concurrency, max_uses,
            None if max_age is None else parse_duration(max_age),
            None if max_memory is None else parse_size(max_memory),
        )  # fmt: skip
        self._max_sandboxes = max_sandboxes
        self._memory_limit = None if memory_limit is None else parse_size(memory_limit)
        least = data_bytes(0, max_sandboxes)
        if self._memory_limit is not None and (self._memory_limit < least or self._hardening is None):
            raise ValueError(
                f"memory_limit must be at least {format_size(least)} for {max_sandboxes} sandboxes, and needs hardening"
            )
        self._idle = parse_duration(idle)
        self._host_seconds = None if host_timeout is None else parse_duration(host_timeout)
        self._directory = (
            default_directory(os.environ, os.path.expanduser("~")) if cache_dir is None else os.fspath(cache_dir)
        )
        self._compile_limits = compile_limits
        self._on_report = on_report
        self._is_at_least_once = at_least_once
        self._crew: Crew | None = None
        self._hosts = HostThreads(self._enter_host_thread)
        self._server = Server()
        self._ids = RequestIds()
        self._entries: dict[Function, _Entry] = {}
        self._by_number: dict[int, _Entry] = {}
        self._loading: dict[Function, threading.Lock] = {}
        self._failures: Counter[str] = Counter()
        self._loader: Loader | None = None
        self._looping: Prepared | None = None

    # What users call, beside what every executor has

    def load(self, function: Function) -> Loaded:
        """Have a worker load *function* now: how it is called. Raises `InvalidFunction`."""
        check_function(function)
        crew = self._open()
        entry = self._entry(function)
        return Loaded(*self._with_lane(crew, entry, lambda lane: self._known(lane, entry))[:4])

    def compile(self, function: Function) -> Compiled:
        """Compile *function* into the cache without loading it. Raises `InvalidFunction` or `HostError`."""
        check_function(function)
        self._open()
        return self._own_loader().compile(function, _engine_settings(function))

    def is_compiled(self, function: Function) -> bool:
        """Whether *function* is in the cache, so that loading it takes no compiler."""
        check_function(function)
        self._open()
        return self._own_loader().has(function, _engine_settings(function))

    def prewarm(self, function: Function) -> int:
        """Load *function* and fill its pool now, in as many workers as are free; the sandboxes that are ready.

        Raises `InvalidFunction` or `HostError` where it cannot be loaded.
        """
        check_function(function)
        crew = self._open()
        entry = self._entry(function)
        lanes: list[Lane] = []
        try:
            lanes.append(crew.take(entry, entry.place, None))
            while (more := crew.take_free(entry, entry.place)) is not None:
                lanes.append(more)
            ready = {}
            for lane in lanes:
                self._known(lane, entry)
                ready[lane.worker.number] = self._talk(lane, entry, "").ask(
                    "prewarmed", ["prewarm", entry.number], wire.unpack_count, seconds=function.init_timeout + 10.0
                )
            return sum(ready.values())
        finally:
            for lane in lanes:
                crew.give(lane, entry)

    def unload(self, function: Function) -> bool:
        """Forget *function* and free what workers hold of it; False where events of it run."""
        crew = self._open()
        entry = self._entries.get(function)
        if entry is None or crew.has_events(entry):
            return False
        self._entries.pop(function, None)
        self._by_number.pop(entry.number, None)
        while (lane := crew.take_knowing(entry)) is not None:
            try:
                del lane.worker.known[entry.number]
                self._talk(lane, entry, "").ask("unloaded", ["unload", entry.number], bool)
            finally:
                crew.give(lane, entry)
        return True

    def inspect(self, function: Function) -> Inspection:
        """What *function*'s module is, imports and exports; whether it could run, and why not."""
        check_function(function)
        crew = self._open()
        prepared = self._own_loader().prepare(function, _engine_settings(function))
        entry = _Entry(self._ids.number(), function, prepared, {})

        def look(lane: Lane) -> Inspection:
            talk = self._talk(lane, entry, "")
            packed = wire.pack_function(function)
            message = ["inspect", entry.number, prepared.key, prepared.facts._asdict(), packed]
            return talk.ask("inspected", message, wire.unpack_inspection, prepared.artifact)

        return self._with_lane(crew, entry, look)  # type: ignore[no-any-return]  # what look gives

    def stats(self) -> ProcessStats:
        """Counters of the workers' pools, of invocations and of workers. One that was not used has none above 0."""
        self._check_process()
        crew = self._crew
        rows = [] if crew is None else crew.count(_COUNT_SECONDS)
        empty = [0] * (len(PoolStats._fields) - 1)
        pool = PoolStats._make([*map(sum, zip(empty, *rows, strict=True)), {}])
        with self._lock:
            failures = dict(self._failures)
        if crew is None:
            return ProcessStats(pool, failures, CrewStats._make([0] * len(CrewStats._fields)))
        stats = crew.stats()
        return ProcessStats(
            pool._replace(in_flight=stats.in_flight, throttled=stats.throttled, waits=stats.waits), failures, stats
        )

    def walls(self) -> dict[int, tuple[tuple[str, bool, str, str], ...]]:
        """What became of each wall, by the process id of the worker: name, whether it is up, detail, remedy."""
        crew = self._open()
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
        if workers is not None:
            workers.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            self._close()
        elif self._crew is not None:
            threading.Thread(target=self._close, args=(workers,), name="wasmrun-closer", daemon=True).start()

    def _close(self, workers: Any = None) -> None:
        if workers is not None:
            workers.shutdown(wait=True)
        crew = self._crew
        if crew is not None:
            crew.close()
            atexit.unregister(self._close_at_exit)
        self._hosts.close()

    def _close_at_exit(self) -> None:
        if self._crew is not None and self._pid == os.getpid():
            self._crew.close(_EXIT_SECONDS)

    # One invocation

    def _perform(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        if self._is_shut:
            raise RuntimeError("the executor was shut down")
        return self._work_on(function, event, options, keep)

    def _work_on(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        crew = self._crew
        if crew is None or self._pid != os.getpid():
            crew = self._open()
        return self._call(self._execute, crew, function, event, options, keep)

    def _execute(
        self, watch: Watch | None, crew: Crew, function: Function, event: Any, options: CallOptions, keep: bool
    ) -> Any:
        """The life of one event: a worker is had, gets the event, and is given back."""
        try:
            entry = self._entries.get(function) or self._entry(function)
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
        entry: _Entry,
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
            request_id = options.request_id or self._ids.new()
            talk = self._talk(lane, entry, request_id)
            if watch is not None:
                watch.see(talk)
            shape = lane.worker.known.get(entry.number)
            if shape is None:
                shape = self._known(lane, entry, watch)
                if watch is not None:
                    watch.see(talk)
            codec = entry.codec or make_codec(shape, function)
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
        return self._settle(talk, codec, reply, waited, keep)

    def _settle(self, talk: Talk, codec: Codec, reply: Reply, waited: float, keep: bool) -> Any:
        """The value or the `Result` of an event that ran; its failure is raised, or part of the result."""
        value, error, report = None, reply.error, reply.report
        if reply.answer is not None:
            try:
                value = codec.decode(reply.answer)
            except FunctionError as failure:
                error = failure
        if report is None:
            raise error or HostError("a worker gave no report")
        if isinstance(error, (GuestError, GuestExit, GuestTrap)) and talk.host_failure is not None:
            # The guest gave up because the host failed it: that is what the caller must see.
            error = talk.host_failure
        report = report._replace(
            pool_wait=report.pool_wait + waited, status="success" if error is None else type(error).__name__
        )
        if isinstance(error, (FunctionError, HostError)):
            error.logs = reply.logs
            complete_error(error, report)
        if self._on_report is not None:
            self._tell(self._on_report, report)
        if error is None:
            return Result(value, None, report, reply.logs) if keep else value
        if keep and isinstance(error, FunctionError):
            with self._lock:
                self._failures[type(error).__name__] += 1
            error.__traceback__ = None
            return Result(None, error, report, reply.logs)
        raise error from error.__cause__

    def _tell(self, on_report: Callable[[Report], object], report: Report) -> None:
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

    # Functions and workers

    def _entry(self, function: Function) -> _Entry:
        """What is known of *function*, which is compiled first if need be; once, however many ask for it."""
        check_function(function)
        with self._lock:
            lock = self._loading.setdefault(function, threading.Lock())
        with lock:
            entry = self._entries.get(function)
            if entry is None:
                prepared = self._own_loader().prepare(function, _engine_settings(function))
                entry = _Entry(self._ids.number(), function, prepared, self._server.exchanges(function))
                with self._lock:
                    self._entries[function] = self._by_number[entry.number] = entry
            return entry

    def _talk(self, lane: Lane, entry: _Entry, request_id: str) -> Talk:
        return Talk(lane, entry.function, request_id, entry.exchanges, self._hosts, self._host_seconds)

    def _known(self, lane: Lane, entry: _Entry, watch: Watch | None = None) -> Shape:
        """How the function of *entry* is called in *lane*'s worker; it is shipped there at its first event."""
        worker = lane.worker
        with worker.loading:
            shape = worker.known.get(entry.number)
            if shape is None:
                try:
                    shape = self._ship(lane, entry, watch)
                except WorkerDied:
                    raise
                except HostError:
                    settings = _engine_settings(entry.function)
                    if self._own_loader().has(entry.function, settings):
                        raise
                    # Somebody has emptied the cache meanwhile.
                    entry.prepared = self._own_loader().prepare(entry.function, settings)
                    shape = self._ship(lane, entry, watch)
                entry.learn(shape)
                worker.known[entry.number] = shape
            return shape

    def _ship(self, lane: Lane, entry: _Entry, watch: Watch | None) -> Shape:
        prepared = entry.prepared
        talk = self._talk(lane, entry, "")
        if watch is not None:
            watch.see(talk)
        return talk.load(entry.number, prepared.key, prepared.facts._asdict(), prepared.artifact)

    def _with_lane(self, crew: Crew, entry: _Entry, work: Callable[[Lane], Any]) -> Any:
        lane = crew.take(entry, entry.place, None)
        try:
            return work(lane)
        finally:
            crew.give(lane, entry)

    def _serve_start_up(self, worker: WorkerProcess, number: int, name: str, request: bytes) -> None:
        """Answer a host call of a start-up that no event waits for. Called by the supervisor, which waits for nothing."""
        entry = self._by_number.get(number)
        exchange = entry.exchanges.get(name) if entry is not None else None
        if entry is None or exchange is None:
            worker.kill("it broke the protocol: a call of a host function that was not granted")
            return
        talk = self._talk(worker.lanes[0], entry, "")
        talk.ledger = None  # a start-up has no event to make requests for

        def answer(request: bytes) -> bytes:
            try:
                reply = exchange(talk, request)  # type: ignore[arg-type]  # stands for one
                worker.is_asking = False
                worker.service.send(["reply"], reply, time.monotonic() + entry.function.init_timeout)
            except Closed:
                pass
            except Exception as error:
                worker.kill(f"a host function could not be served: {error}")
            return b""

        self._hosts.start(answer, request)

    def _enter_host_thread(self) -> None:
        self._state.depth += 1  # for good: whatever runs on it is called by an invocation

    # Setting up

    def _open(self) -> Crew:
        self._check_process()
        with self._lock:
            if self._is_shut:
                raise RuntimeError("the executor was shut down")
            if self._crew is None:
                self._looping = self._make_loader().prepare(LOOPING, _engine_settings(LOOPING))
                try:
                    self._crew = Crew(self._settings, self._job, self._serve_start_up)
                except (OSError, RuntimeError) as error:
                    raise HostError(
                        f"no worker processes can be supervised: {error}; raise the limits on descriptors and "
                        "threads (ulimit -n, ulimit -u)"
                    ) from error
                atexit.register(self._close_at_exit)
            return self._crew

    def _make_loader(self) -> Loader:
        if self._loader is None:
            self._loader = Loader(self._directory, self._compile_limits)
        return self._loader

    def _own_loader(self) -> Loader:
        with self._lock:
            return self._make_loader()

    def _job(self, place: Place | None) -> dict[str, Any]:
        """What a worker for *place* is told at its start."""
        loader, looping = self._loader, self._looping
        if loader is None or looping is None:
            raise HostError("a worker was to be started before there was anything for it to do")
        directory = loader.cache.directory if loader.cache is not None else None
        walls = None
        if self._hardening is not None:
            dirs = place.dirs if place is not None else ()
            walls = {
                "readable": [
                    *([directory] if directory is not None else []),
                    *(d.host for d in dirs if not d.writable),
                ],
                "writable": [d.host for d in dirs if d.writable],
                "required": sorted(self._hardening),
                "data": self._memory_limit,
            }
        return {
            "cache_dir": directory,
            "max_sandboxes": self._max_sandboxes,
            "wait": _WORKER_WAIT,
            "idle": self._idle,
            "log_level": logging.WARNING,
            "looping": [looping.key, looping.facts._asdict(), looping.artifact.hex()],
            "walls": walls,
            "parent": os.getpid(),
        }

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is None or self._is_shut or self._pid != os.getpid():
            return
        warnings.warn(f"{self!r} was not shut down", ResourceWarning, stacklevel=1, source=self)


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


def _engine_settings(function: Function) -> EngineSettings:
    return EngineSettings(function.stack, function.is_metered)


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
