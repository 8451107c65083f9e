"""The worker: the process that guests run in. It serves one executor, over sockets that it was given at its start.

On its main thread it listens to the supervisor; one thread for each lane serves events, one at a time. It
compiles nothing, and what it does with files and the network is what its walls leave it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wasmrun.calls import CallOptions
from wasmrun.core import Core, Settings
from wasmrun.errors import FunctionError, HostError, TimedOut, WasmrunError
from wasmrun.executor import Executor
from wasmrun.function import Function
from wasmrun.hardening import parent
from wasmrun.hardening.order import harden
from wasmrun.hardening.wall import Wall, Walls
from wasmrun.machine.abi.base import Abi, Shape
from wasmrun.machine.abi.relayed import Relayed
from wasmrun.machine.artifacts import ArtifactCache, CacheUnusable
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import Facts
from wasmrun.machine.hostcalls import Exchange
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import Module, load_artifact, load_bytes
from wasmrun.machine.sharing import SharedModules
from wasmrun.machine.threads import guest_stack
from wasmrun.processes import wire
from wasmrun.processes.bay import map_bay
from wasmrun.processes.frames import BrokenFrame, Channel, Closed
from wasmrun.watch import Watch

if TYPE_CHECKING:
    from wasmrun.machine.components.loaded import Component

_DONE = ["done", None, None]
SELF_TEST_SECONDS = 0.02
_SELF_TEST_LONGEST = 5.0
_MOST_EVENT = 1 << 32


class Job(dict[str, Any]):
    """What the executor tells a worker on its command line."""


class _Code:
    """Where a worker gets compiled code from: the cache that it shares, or what it was sent."""

    def __init__(self, directory: str | None) -> None:
        self._cache: ArtifactCache | None = None
        self._sent: dict[str, tuple[Facts, bytes]] = {}
        if directory is not None:
            # Without it, code is sent. The executor has said why.
            with contextlib.suppress(CacheUnusable):
                self._cache = ArtifactCache(directory)
        self._modules = SharedModules(self._cache)

    def keep(self, key: str, facts: dict[str, Any], artifact: bytes) -> None:
        """Keep what was sent, until it is loaded."""
        if artifact:
            self._sent[key] = Facts(**facts), artifact

    def load(self, engine: Engine, key: str) -> Module | Component:
        """The module whose artifact is *key*, which other functions may share."""
        sent = self._sent.pop(key, None)

        def load() -> Module | Component:
            if sent is not None:
                return load_bytes(engine, sent[1], sent[0])
            found = self._cache.open(key) if self._cache is not None else None
            if found is None:
                raise HostError("a compiled module is gone from the cache, or was changed there; run the event again")
            return load_artifact(engine, found)

        return self._modules.take(engine, key, load)


class _Core(Core):
    """The core of a worker: code by key, answers as they stand, host functions elsewhere."""

    def __init__(self, settings: Settings, code: _Code, worker: Worker) -> None:
        super().__init__(settings)
        self._code = code
        self._worker = worker

    def _load(self, engine: Engine, function: Function) -> Module | Component:
        return self._code.load(engine, bytes(function.module).decode())  # type: ignore[arg-type]  # bytes here

    def _form(self, function: Function) -> str:
        if function in self._worker.components:
            return "component"
        return "plugin" if function in self._worker.kernels else "module"

    def _load_kernel(self, engine: Engine, function: Function) -> Module:
        return self._code.load(engine, self._worker.kernels[function])  # type: ignore[return-value]  # no component

    def _serve(self, function: Function) -> dict[str, Exchange]:
        names = [name for name, _ in function.imports] + (["http_request"] if function.http else [])
        return {name: self._worker.forward(function, name) for name in names}

    def _adaptation(self, function: Function) -> Callable[[Abi, bool], Abi]:
        def relay(abi: Abi, runs_at_start: bool) -> Abi:
            worker = self._worker
            begin = worker.begin if runs_at_start else None
            return Relayed(abi, begin, worker.reply, is_checked=function.reuse)

        return relay


class _Executor(Executor):
    def __init__(self, worker: Worker, code: _Code, hotpath: str | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._settings = self._settings._replace(hotpath=hotpath)  # a worker has no variables
        self._worker = worker
        self._code = code

    def _new_core(self) -> Core:
        return _Core(self._settings, self._code, self._worker)

    def shape(self, function: Function) -> Shape:
        """Load *function*: how it is called."""
        program = self._open().core.shelf(function).program
        abi = program.abi
        return Shape(*program.detected, abi.entry, program.is_raw, abi.params, abi.results, program.runs_at_start)

    def look(self, function: Function) -> list[Any]:
        """What there is to know about the module of *function*."""
        return list(self._look(function))

    def serve(self, watch: Watch, function: Function, payload: bytes, options: CallOptions, keep: bool) -> Any:
        """Run one event on the calling thread, so that *watch* can end it."""
        return self._run_watched(watch, function, payload, options, keep)

    def top_up(self, function: Function) -> None:
        """Make up for the sandbox that an event of *function* took, while the executor is busy with the answer."""
        core = self._open().core
        shelf = core.shelves.get(function)
        if shelf is not None:
            core.pool.sweep()
            if shelf.needs_keeper and not shelf.is_slow and time.monotonic() >= shelf.retry_at:
                core.pool.fill(shelf, 1)


class _Lane(threading.local):
    """The lane that the calling thread serves; None on the threads that prepare sandboxes ahead of their events.

    ``is_awaited`` while its event has no reply yet, ``is_kept`` where that needs the report, which is made later.
    """

    channel: Channel | None = None
    is_awaited = False
    is_kept = False


class Worker:
    """One worker, from its start to the end of its process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._functions: dict[int, Function] = {}
        self.kernels: dict[Function, str] = {}
        """The keys of the kernels that plug-ins are linked with."""
        self.components: set[Function] = set()
        self._watches: dict[int, tuple[int, Watch]] = {}
        self._lane = _Lane()
        self._talk = threading.Lock()
        # All of them now: behind the walls a socket is used as it is.
        self._lanes = [
            _channel(descriptor, bay) for descriptor, bay in itertools.zip_longest(job["lanes"], job["bays"])
        ]
        self._control = _channel(job["control"])
        # For host functions of start-ups that no event waits for. One at a time.
        self._service = _channel(job["service"])
        self._serving = threading.Lock()
        self._code = _Code(job["cache_dir"])
        self._executor = _Executor(
            self,
            self._code,
            job["hotpath"],
            threads=1,
            max_sandboxes=job["max_sandboxes"],
            wait=job["wait"],
            idle=job["idle"],
            cache_dir=job["cache_dir"] or os.curdir,
        )

    def run(self) -> None:
        """Harden this process, prove that a guest in it can be ended, then serve. Ends the process."""
        try:
            walls = self._harden()
            log = logging.getLogger("wasmrun")
            log.addHandler(_Forwarded(self))
            log.setLevel(self._job["log_level"])
            took = self._try_out()
        except WasmrunError as error:
            self.say(["unfit", wire.pack_error(error)])
            os._exit(1)
        for number, lane in enumerate(self._lanes):
            with guest_stack():
                threading.Thread(target=self._serve, args=(number, lane), daemon=True).start()
        self.say(["ready", took, [list(wall) for wall in walls]])
        self._listen()
        # Nothing is worth closing: the kernel takes all of it, and a guest may still run.
        os._exit(0)

    def _harden(self) -> tuple[Wall, ...]:
        wanted = self._job["walls"]
        if wanted is None:
            # No wall, but what keeps it from being left over, stopped or not, when its executor is killed.
            parent.put_up(self._job["parent"])
            return ()
        settings: dict[str, Any] = {
            key: tuple(value) if type(value) is list else value for key, value in wanted.items()
        }
        settings["required"] = frozenset(settings["required"])
        return harden(Walls(**settings))

    def _try_out(self) -> float:
        """End a guest that loops. Where ticks get lost, which happens without a word, this worker must not serve."""
        key, facts, artifact = self._job["looping"]
        self._code.keep(key, facts, bytes.fromhex(artifact))
        function = Function(key.encode(), name="looping", entry="loop", abi="plain", warm=0, fuel=None)
        started = time.monotonic()
        with contextlib.suppress(TimedOut):
            self._executor.invoke(function, b"", timeout=SELF_TEST_SECONDS)
        took = time.monotonic() - started
        self._executor.unload(function)
        if took > _SELF_TEST_LONGEST:
            raise HostError(f"a guest that loops was ended after {took:.1f} s, not after {SELF_TEST_SECONDS} s")
        return took

    def say(self, message: list[Any]) -> None:
        """Tell the supervisor *message*."""
        with self._talk, contextlib.suppress(Closed):
            self._control.send(message)

    def _listen(self) -> None:
        while True:
            try:
                message, _ = self._control.receive()
            except (Closed, BrokenFrame):
                return
            if message[0] == "stop":
                # It may come early, and is then sent again, or late: never to another event's guest.
                turn, watch = self._watches.get(message[1], (-1, None))
                if watch is not None and turn == message[2]:
                    watch.stop("cancelled")
            elif message[0] == "count":
                pool = self._executor.stats().pool
                self.say(["counted", list(pool[:-1])])

    # One lane

    def _serve(self, number: int, lane: Channel) -> None:
        self._lane.channel = lane
        while True:
            try:
                message, payload = lane.receive()
                what, *details = message
                if what != "run":
                    payload = bytes(payload)  # it is kept, and may lie in the bay
                answer = self._answer(number, what, details, payload)
                payload = b""
                if answer:
                    lane.send(*answer)
                function = self._functions.get(details[0]) if what == "run" else None
                if function is not None:
                    # What a start-up asks the host now is asked for no event.
                    self._lane.channel = None
                    self._executor.top_up(function)
                    self._lane.channel = lane
            except (Closed, BrokenFrame):
                os._exit(1)  # the executor is gone, or this is not one

    def _answer(self, lane: int, what: str, details: list[Any], payload: bytes) -> tuple[Any, ...]:
        try:
            if what == "run":
                return self._run(lane, payload, *details)
            if what == "load":
                return self._load(payload, *details)
            if what == "inspect":
                return self._inspect(payload, *details)
            function = self._functions[details[0]]
            if what == "prewarm":
                return (["prewarmed", self._executor.prewarm(function)],)
            if what == "unload":
                del self._functions[details[0]]
                answer = ["unloaded", self._executor.unload(function)]
                self._forget(function)
                return (answer,)
            raise HostError(f"this worker does not know {what!r}")
        except WasmrunError as error:
            if what == "run" and not self._end_wait():
                return ()
            report = getattr(error, "report", None)
            logs = getattr(error, "logs", ())
            return (["failed", wire.pack_error(error), report and wire.pack_report(report), wire.pack_logs(logs)],)
        except concurrent.futures.CancelledError:
            return (["stopped"],) if self._end_wait() else ()

    def _load(
        self,
        payload: bytes,
        number: int,
        key: str,
        facts: dict[str, Any],
        packed: dict[str, Any],
        kernel: list[Any] | None,
    ) -> tuple[Any]:
        self._code.keep(key, facts, payload)
        function = self._functions[number] = self._unpack(packed, key, facts)
        if kernel is not None:
            self._code.keep(*kernel)
            self.kernels[function] = kernel[0]
        try:
            return (["loaded", list(self._executor.shape(function))],)
        except WasmrunError:
            del self._functions[number]
            self._forget(function)
            raise

    def _inspect(self, payload: bytes, _: int, key: str, facts: dict[str, Any], packed: dict[str, Any]) -> tuple[Any]:
        self._code.keep(key, facts, payload)
        return (["inspected", self._executor.look(self._unpack(packed, key, facts))],)

    def _unpack(self, packed: dict[str, Any], key: str, facts: dict[str, Any]) -> Function:
        function = wire.unpack_function(packed, key, _elsewhere)
        if facts["is_component"]:
            self.components.add(function)
        return function

    def _forget(self, function: Function) -> None:
        self.kernels.pop(function, None)
        self.components.discard(function)

    def _run(
        self,
        lane: int,
        payload: bytes,
        number: int,
        request_id: str,
        timeout: float | None,
        tenant: str | None,
        turn: int,
        keep: bool,
    ) -> tuple[Any, ...]:
        watch = Watch()
        self._watches[lane] = turn, watch
        options = CallOptions(timeout, tenant, request_id)
        self._lane.is_awaited, self._lane.is_kept = True, keep
        if not keep:
            answer = self._executor.serve(watch, self._functions[number], payload, options, False)
            return (_DONE, answer) if self._end_wait() else ()
        found = self._executor.serve(watch, self._functions[number], payload, options, True)
        if isinstance(found.error, FunctionError):
            error = wire.pack_error(found.error)
            return (["failed", error, wire.pack_report(found.report), wire.pack_logs(found.logs)],)
        return ["done", wire.pack_report(found.report), wire.pack_logs(found.logs)], found.value

    def _end_wait(self) -> bool:
        """Whether the executor still waits for what became of the event."""
        lane = self._lane
        was_awaited, lane.is_awaited = lane.is_awaited, False
        return was_awaited

    # What guests ask for, and give

    def reply(self, answer: bytes) -> None:
        """Send *answer* where that is all that is wanted of the event."""
        lane = self._lane
        if lane.is_awaited and lane.channel is not None and not lane.is_kept:
            lane.is_awaited = False
            lane.channel.send(_DONE, answer)

    def begin(self) -> None:
        """Tell the executor that the guest's start-up is over, and its own time has begun."""
        if self._lane.channel is not None:
            self._lane.channel.send(["begun"])

    def forward(self, function: Function, name: str) -> Exchange:
        """Requests to the host function *name* go to the executor, which bounds the time until its reply."""

        def exchange(_instance: Instance, request: bytes) -> bytes:
            lane = self._lane.channel
            if lane is not None:
                lane.send(["call", name], request)
                return _reply(lane)
            with self._serving:
                self._service.send(["serve", self._number_of(function), name], request)
                return _reply(self._service)

        return exchange

    def _number_of(self, function: Function) -> int:
        return next(number for number, known in self._functions.items() if known is function)


def _reply(channel: Channel) -> bytes:
    message, payload = channel.receive()
    if message[0] != "reply":
        raise BrokenFrame(f"a {message[0]!r} where a reply belongs")
    return bytes(payload)


def _elsewhere(name: str) -> Any:
    """Stands for a host function of the embedding program, which is where that is."""

    def call(_value: Any) -> Any:
        raise HostError(f"the host function {name!r} is not in this process")

    return call


def _channel(descriptor: int, bay: int | None = None) -> Channel:
    mapped = None
    if bay is not None:
        # It keeps a descriptor of its own, which the walls close; and lives as long as the process, so that nobody
        # closes that number again.
        mapped = map_bay(bay)
        os.close(bay)
    channel = Channel(socket.socket(fileno=descriptor), _MOST_EVENT, bay=mapped, lends=True)
    # Settings of a function may be long, and what they may be is the executor's business.
    channel.most_message = _MOST_EVENT
    return channel


class _Forwarded(logging.Handler):
    """Log records of this process, for the loggers of the same names in the executor's."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            self._worker.say(["log", record.name, record.levelno, text[:2_000]])
        except Exception:
            self.handleError(record)
