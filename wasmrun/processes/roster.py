"""The roster: the functions of one executor, as its workers get them, and what each worker is told at its start.

Kept apart from the executor so that a forgotten one can be collected: the supervisor's thread holds this, and
this does not hold the executor.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from wasmrun.calls import check_function
from wasmrun.errors import HostError, InvalidFunction
from wasmrun.function import Function
from wasmrun.machine.abi.base import Shape
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.hostcalls import Exchange
from wasmrun.machine.kernel import kernel_for
from wasmrun.machine.loader import Loader, Prepared, form_of, settings_for
from wasmrun.machine.program import check_directories, make_codec
from wasmrun.processes.crew import Client
from wasmrun.processes.frames import Closed
from wasmrun.processes.hosting import HostThreads
from wasmrun.processes.placement import Place
from wasmrun.processes.process import Known, Lane, WorkerProcess
from wasmrun.processes.talk import Talk, WorkerDied
from wasmrun.requestids import RequestIds
from wasmrun.serving import Server
from wasmrun.watch import Watch

_WORKER_WAIT = 1.0
"""How long an event may wait for a sandbox inside of a worker, which has one for each of its lanes."""

_FILE_SIZE = 1 << 30
"""How large a file in a directory that was granted may become."""
_LOG_SIZE = 1 << 20
"""How much a worker may write elsewhere, which is what it says on stderr at its end."""

LOOPING = Function('(module (func (export "loop") (loop $l (br $l))))', name="looping", fuel=None, warm=0)
"""What a worker has to end before it serves."""


class WorkerSettings(NamedTuple):
    """What every worker of an executor is told. ``required`` is None where there are to be no walls."""

    max_sandboxes: int
    idle: float
    required: frozenset[str] | None
    memory_limit: int | None
    hotpath: str | None = None


class Entry(Client):
    """A function that was used: its artifact, and what answers its calls of the host."""

    def __init__(self, number: int, function: Function, prepared: Prepared, exchanges: dict[str, Exchange]) -> None:
        super().__init__(function, number)
        self.place = Place(function.tenant, function.dirs)
        self.prepared = prepared
        self.kernel: Prepared | None = None
        self.exchanges = exchanges


class Roster:
    """The functions of one executor. *make_loader* is called at first use; *host_seconds* bounds a host call."""

    def __init__(
        self,
        settings: WorkerSettings,
        make_loader: Callable[[], Loader],
        hosts: HostThreads,
        host_seconds: float | None,
    ) -> None:
        self._settings = settings
        self._make_loader = make_loader
        self._hosts = hosts
        self._host_seconds = host_seconds
        self.ids = RequestIds()
        self._server = Server()
        self._lock = threading.Lock()
        self._loader: Loader | None = None
        self._looping: Prepared | None = None
        self.entries: dict[Function, Entry] = {}
        self._by_number: dict[int, Entry] = {}
        self._loading: dict[Function, threading.Lock] = {}

    @property
    def loader(self) -> Loader:
        """The loader, made at first use."""
        with self._lock:
            if self._loader is None:
                self._loader = self._make_loader()
            return self._loader

    def compile_first(self) -> None:
        """Have what the first worker needs."""
        if self._looping is None:
            self._looping = self.loader.prepare(LOOPING, engine_settings(LOOPING))

    def entry(self, function: Function) -> Entry:
        """What is known of *function*, which is compiled first if need be; once, however many ask for it."""
        check_function(function)
        with self._lock:
            lock = self._loading.setdefault(function, threading.Lock())
        with lock:
            entry = self.entries.get(function)
            if entry is None:
                prepared = self.loader.prepare(function, engine_settings(function))
                check_directories(function)  # no worker could be started for it
                entry = Entry(self.ids.number(), function, prepared, self._server.exchanges(function))
                if form_of(function) == "plugin":
                    entry.kernel = self.loader.prepare(kernel_for(function), engine_settings(function))
                with self._lock:
                    self.entries[function] = self._by_number[entry.number] = entry
            return entry

    def talk(self, lane: Lane, entry: Entry, request_id: str) -> Talk:
        """A talk about an event of *entry*, or about the function itself."""
        return Talk(lane, entry.function, request_id, entry.exchanges, self._hosts, self._host_seconds)

    def known(self, lane: Lane, entry: Entry, watch: Watch | None = None) -> Known:
        """The function of *entry* as *lane*'s worker knows it; it is shipped there at its first event."""
        worker = lane.worker
        with worker.loading:
            known = worker.known.get(entry.number)
            if known is None:
                try:
                    shape = self._ship(lane, entry, watch)
                except WorkerDied:
                    raise
                except InvalidFunction:
                    self.forget(entry)  # or every module that was ever refused would be kept
                    raise
                except HostError:
                    if not self._prepare_again(entry):
                        raise
                    shape = self._ship(lane, entry, watch)
                known = worker.known[entry.number] = Known(shape, make_codec(shape, entry.function))
            return known

    def _prepare_again(self, entry: Entry) -> bool:
        """Make up for what somebody has emptied the cache of meanwhile; False where nothing is missing."""
        settings = engine_settings(entry.function)
        kernel = None if entry.kernel is None else kernel_for(entry.function)
        if all(self.loader.has(item, settings) for item in (entry.function, kernel) if item is not None):
            return False
        entry.prepared = self.loader.prepare(entry.function, settings)
        if kernel is not None:
            entry.kernel = self.loader.prepare(kernel, settings)
        return True

    def _ship(self, lane: Lane, entry: Entry, watch: Watch | None) -> Shape:
        prepared = entry.prepared
        talk = self.talk(lane, entry, "")
        if watch is not None:
            watch.see(talk)
        kernel = entry.kernel
        return talk.load(
            entry.number,
            prepared.key,
            prepared.facts._asdict(),
            prepared.artifact,
            None if kernel is None else [kernel.key, kernel.facts._asdict(), kernel.artifact],
        )

    def forget(self, entry: Entry) -> None:
        """Forget a function. Nothing of it may run."""
        with self._lock:
            self.entries.pop(entry.function, None)
            self._by_number.pop(entry.number, None)
            self._loading.pop(entry.function, None)

    def serve_start_up(self, worker: WorkerProcess, number: int, name: str, request: bytes) -> None:
        """Answer a host call of a start-up that no event waits for. Called by the supervisor, which waits for nothing."""
        entry = self._by_number.get(number)
        exchange = entry.exchanges.get(name) if entry is not None else None
        if entry is None or exchange is None:
            worker.kill("it broke the protocol: a call of a host function that was not granted")
            return
        talk = self.talk(worker.lanes[0], entry, "")
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

    def job(self, place: Place | None) -> dict[str, Any]:
        """What a worker for *place* is told at its start."""
        loader, looping = self._loader, self._looping
        if loader is None or looping is None:
            raise HostError("a worker was to be started before there was anything for it to do")
        if not looping.artifact and not loader.has(LOOPING, engine_settings(LOOPING)):
            # Somebody has emptied the cache meanwhile.
            looping = self._looping = loader.prepare(LOOPING, engine_settings(LOOPING))
        directory = loader.cache.directory if loader.cache is not None else None
        walls = None
        if self._settings.required is not None:
            dirs = place.dirs if place is not None else ()
            walls = {
                "readable": [
                    *([directory] if directory is not None else []),
                    *(d.host for d in dirs if not d.writable),
                ],
                "writable": [d.host for d in dirs if d.writable],
                "required": sorted(self._settings.required),
                "data": self._settings.memory_limit,
                "file_size": _FILE_SIZE if any(d.writable for d in dirs) else _LOG_SIZE,
            }
        return {
            "cache_dir": directory,
            "max_sandboxes": self._settings.max_sandboxes,
            "wait": _WORKER_WAIT,
            "idle": self._settings.idle,
            "hotpath": self._settings.hotpath,
            "log_level": logging.WARNING,
            "looping": [looping.key, looping.facts._asdict(), looping.artifact.hex()],
            "walls": walls,
            "parent": os.getpid(),
        }


def engine_settings(function: Function) -> EngineSettings:
    """What the compiled form of *function* depends on."""
    return settings_for(function)
