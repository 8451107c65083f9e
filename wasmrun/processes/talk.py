"""A talk: one event's conversation with the worker that runs it, and the bounds that hold whatever the worker does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from wasmrun.errors import FunctionError, HostError, TimedOut, WasmrunError, printable
from wasmrun.function import Function
from wasmrun.invocation import Log, Report
from wasmrun.machine.abi.base import Shape
from wasmrun.machine.failures import Stopped
from wasmrun.machine.hostcalls import Exchange, refusal
from wasmrun.machine.ledger import Ledger
from wasmrun.processes import wire
from wasmrun.processes.frames import MOST_MESSAGE, BrokenFrame, Closed
from wasmrun.processes.hosting import HostCall, HostThreads
from wasmrun.processes.process import TURN_SECONDS, Lane
from wasmrun.units import format_duration

GRACE_SECONDS = 0.15
"""What a worker may take over a guest's time before it is killed."""

_STOP_SECONDS = 0.1
"""What a worker may take to stop a guest that was cancelled before it is killed."""

_LATE_SECONDS = 0.02
"""By how much a host call may outlast the event: the guest's time began a little later than it was counted here, and
a guest that is told before its end that the host has no time would answer."""

_LOAD_SECONDS = 10.0
"""What a worker may take for anything that is no event: it compiles nothing, so it takes milliseconds."""

_SHOWN = 40

_T = TypeVar("_T")


class WorkerDied(HostError):
    """The worker process that ran the function ended; with ``has_event`` the event may have run in part."""

    def __init__(self, message: str, *, has_event: bool = True) -> None:
        super().__init__(message)
        self.has_event = has_event


class Reply(NamedTuple):
    """How an event ended in a worker: an answer, or an error; with its report where it ran, and its logs."""

    answer: bytes | None
    error: WasmrunError | None
    report: Report | None
    logs: tuple[Log, ...]


class _Hosting:
    """Stands for the instance to what answers one call of the host, which may go on when nobody waits for it any more.

    ``stop``, ``deadline_ns`` and ``ledger`` are what it looks at, ``host_failure`` and ``is_hosting`` what it sets.
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.ledger = talk.ledger
        self.deadline_ns = talk.deadline_ns
        self.host_failure: HostError | None = None
        self.is_hosting = False

    @property
    def stop(self) -> str | None:
        return self._talk.stop


class Talk:
    """What is said over *lane* about one event of *function*.

    ``is_hosting`` is never set: whoever waits for a host function, which runs on a thread of its own, leaves it
    when it is told to ``stop``.
    """

    __slots__ = (
        "_channel",
        "_exchanges",
        "_function",
        "_has_event",
        "_host_seconds",
        "_hosts",
        "_kill_at",
        "_lane",
        "_request_id",
        "_stopped_at",
        "deadline_ns",
        "host_failure",
        "is_hosting",
        "ledger",
        "stop",
    )

    def __init__(
        self,
        lane: Lane,
        function: Function,
        request_id: str,
        exchanges: dict[str, Exchange],
        hosts: HostThreads,
        host_seconds: float | None,
    ) -> None:
        self.stop: str | None = None
        self.is_hosting = False
        self.host_failure: HostError | None = None
        self.ledger = Ledger() if function.http else None
        self.deadline_ns = 0
        self._lane = lane
        self._channel = lane.channel
        self._function = function
        self._request_id = request_id
        self._exchanges = exchanges
        self._hosts = hosts
        self._host_seconds = host_seconds
        self._kill_at = 0.0
        self._stopped_at = 0.0
        self._has_event = False

    def load(
        self, number: int, key: str, facts: dict[str, Any], artifact: bytes, kernel: list[Any] | None = None
    ) -> Shape:
        """Have the worker load the function, as *number*; how it is called. Raises what the worker cannot do.

        *kernel* is key, facts and artifact of the kernel where the function is an Extism plug-in.
        """
        self._kill_at = time.monotonic() + _LOAD_SECONDS
        packed = wire.pack_function(self._function)
        return self.ask("loaded", ["load", number, key, facts, packed, kernel], wire.unpack_shape, artifact)

    def ask(
        self,
        expected: str,
        message: list[Any],
        unpack: Callable[[object], _T],
        payload: bytes = b"",
        seconds: float = _LOAD_SECONDS,
    ) -> _T:
        """Have the worker do something that is no event: what *unpack* makes of what follows the word *expected*."""
        self._bound()
        self._kill_at = time.monotonic() + seconds
        try:
            self._channel.send(message, payload, until=self._kill_at)
            while True:
                said, request = self._hear()
                if said[0] == "call":
                    self._host(said, request)
                elif said[0] == "failed":
                    raise self._failure(said)[0]
                elif said[0] == expected and len(said) == 2:
                    return unpack(said[1])
                else:
                    raise BrokenFrame(f"{printable(said[0], _SHOWN)!r} where {expected!r} belongs")
        except TimeoutError:
            self._lane.worker.kill(f"it took more than {seconds:g} s to answer")
            raise self._died() from None
        except (Closed, BrokenFrame) as error:
            raise self._broken(error) from None

    def run(self, number: int, shape: Shape, payload: bytes, timeout: float, tenant: str | None, keep: bool) -> Reply:
        """Hand the event over: how it ended. Raises `WorkerDied`, and `Stopped` where it was told to stop.

        A guest that is past its deadline is `TimedOut` here even where the worker does not say so any more. With
        *keep*, there is a report of an answer, too.
        """
        self._bound()
        started = time.monotonic()
        self._arm(timeout)
        if shape.runs_at_start:
            # Its sandbox may have to be prepared first; "begun" says when that is over.
            self._kill_at += self._function.init_timeout
        lane = self._lane
        try:
            self._channel.send(
                ["run", number, self._request_id, timeout, tenant, lane.turn, keep], payload, self._kill_at
            )
            payload = b""
            self._has_event = True
            has_begun = not shape.runs_at_start
            while True:
                said, more = self._hear()
                what = said[0]
                if what == "done" and len(said) == 3:
                    if said[1] is None:
                        return Reply(more, None, None, ())
                    return Reply(more, None, self._report(said[1]), wire.unpack_logs(said[2]))
                if what == "call":
                    self._host(said, more)
                elif what == "begun" and not has_begun:
                    has_begun = True
                    self._arm(timeout)
                elif what == "failed":
                    reply = Reply(None, *self._failure(said))
                    if reply.report is None and isinstance(reply.error, FunctionError):
                        raise BrokenFrame("a function that failed without a report")
                    return reply
                elif what == "stopped" and self.stop is not None:
                    raise Stopped(self.stop)
                else:
                    raise BrokenFrame(f"{printable(what, _SHOWN)!r} at the wrong time")
        except TimeoutError:
            lane.worker.kill("its guest was past its deadline")
            if self.stop is not None:
                raise Stopped(self.stop) from None
            error = TimedOut(
                f"the function ran past its time of {format_duration(timeout)}, and its worker process, which did not "
                "end it, was killed; make it faster, or raise `timeout`"
            )
            return Reply(None, error, self.own_report(shape, time.monotonic() - started, 0), ())
        except (Closed, BrokenFrame) as error:
            raise self._broken(error) from None
        except Stopped:
            raise
        except BaseException:
            # A worker that still has an event must not get the next one.
            lane.worker.kill("its event was abandoned")
            raise
        finally:
            if self.ledger is not None:
                self.ledger.is_open = False

    def _bound(self) -> None:
        function = self._function
        self._channel.most_payload = function.result_bytes + 1024
        # A log and an error of the guest's own words. A byte that is no UTF-8 becomes a character of three.
        self._channel.most_message = MOST_MESSAGE + 3 * function.log_bytes + 3 * function.result_bytes

    def _arm(self, timeout: float) -> None:
        now = time.monotonic()
        self.deadline_ns = int((now + timeout) * 1e9)
        self._kill_at = now + timeout + GRACE_SECONDS

    def _hear(self) -> tuple[list[Any], bytes]:
        """The worker's next frame. Raises `TimeoutError` when it is to be killed."""
        while True:
            if self.stop is not None:
                self._press()
            try:
                return self._channel.receive()
            except TimeoutError:
                if time.monotonic() >= self._kill_at:
                    raise

    def _press(self) -> None:
        """Pass on that the guest is to stop; again and again, because the worker may not have had the event yet."""
        now = time.monotonic()
        if not self._stopped_at:
            self._stopped_at = now
            self._kill_at = min(self._kill_at, now + _STOP_SECONDS)
        lane = self._lane
        # One that does not listen any more is killed soon.
        with lane.worker.talking, contextlib.suppress(Closed, TimeoutError):
            lane.worker.control.send(["stop", lane.number, lane.turn], until=now + 0.01)

    def _host(self, said: list[Any], request: bytes) -> None:
        """Answer a call of the host, on another thread, within what is left of the event's time."""
        # Here, because a worker that calls without end is never waited for.
        if time.monotonic() >= self._kill_at:
            raise TimeoutError
        exchange = self._exchanges.get(said[1]) if len(said) == 2 and type(said[1]) is str else None
        if exchange is None:
            raise BrokenFrame("a call of a host function that was not granted")
        if self.stop is not None:
            # A guest that asks again before it is stopped gets nothing done any more.
            self._press()
            self._channel.send(["reply"], refusal("the event was cancelled"), until=self._kill_at)
            return
        try:
            hosting = _Hosting(self)
            call = self._hosts.start(exchange, hosting, request)
        except RuntimeError as error:
            raise HostError(f"no thread for a host function: {error}") from None
        until = self._kill_at - GRACE_SECONDS + _LATE_SECONDS
        if self._host_seconds is not None:
            until = min(until, time.monotonic() + self._host_seconds)
        try:
            reply = self._wait(call, hosting, until, said[1])
        except BaseException:
            call.watch.stop("cancelled")
            raise
        self._channel.send(["reply"], reply, until=self._kill_at)

    def _wait(self, call: HostCall, hosting: _Hosting, until: float, name: str) -> bytes:
        while not call.done.wait(TURN_SECONDS):
            if self.stop is not None or time.monotonic() >= until:
                # It goes on, on its own thread; nobody waits for it any more, nor for what it runs.
                call.watch.stop("cancelled")
                self.host_failure = HostError(f"the host function {printable(name)!r} did not answer in time")
                return refusal("the host function did not answer in time")
        if call.error is not None:
            if isinstance(call.error, HostError):
                self.host_failure = call.error
                return refusal("the host function failed")
            raise call.error
        # None, too: a guest that goes on from an earlier failure is asked for its own doing.
        self.host_failure = hosting.host_failure
        return call.reply

    def _failure(self, said: list[Any]) -> tuple[WasmrunError, Report | None, tuple[Log, ...]]:
        if len(said) != 4:
            raise BrokenFrame("a failure that says too much, or too little")
        error = wire.unpack_error(said[1])
        return error, None if said[2] is None else self._report(said[2]), wire.unpack_logs(said[3])

    def _report(self, packed: object) -> Report:
        report = wire.unpack_report(packed, self._function, self._request_id)
        return report if self.ledger is None else report._replace(http=tuple(self.ledger.calls))

    def own_report(self, shape: Shape, seconds: float, result_bytes: int) -> Report:
        """What can be said of an event whose worker has said nothing about it, or nothing any more."""
        function = self._function
        return Report(
            request_id=self._request_id, function=function.label, version=str(function.version), abi=shape.abi,
            start="warm", status="", duration=seconds, init_duration=None, pool_wait=0.0,
            fuel_used=0 if function.is_metered else None, fuel_exact=False, memory_bytes=0,
            memory_limit_bytes=function.memory, memory_near_limit=False, event_bytes=0, result_bytes=result_bytes,
            log_bytes=0, http=() if self.ledger is None else tuple(self.ledger.calls),
        )  # fmt: skip

    def _broken(self, error: Exception) -> WorkerDied:
        if isinstance(error, BrokenFrame):
            self._lane.worker.kill(f"it broke the protocol: {error}")
        self._lane.worker.hang_up()
        return self._died()

    def _died(self) -> WorkerDied:
        worker = self._lane.worker
        if self.stop is not None:
            raise Stopped(self.stop) from None
        more = "; the event may have run in part" if self._has_event else ""
        message = f"the worker process that ran {self._function.label} {worker.epitaph()}{more}"
        return WorkerDied(message, has_event=self._has_event)
