"""The crew: the workers of one executor, who gets which, and the thread that watches and replaces them."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from wasmrun.errors import HostError, Throttled, WasmrunError, printable
from wasmrun.function import Function
from wasmrun.machine.failures import Stopped
from wasmrun.processes import wire
from wasmrun.processes.frames import BrokenFrame, Closed
from wasmrun.processes.placement import Place, Seat, decide
from wasmrun.processes.process import Lane, WorkerProcess
from wasmrun.watch import Watch

_log = logging.getLogger("wasmrun.processes")

_TURN_SECONDS = 0.02
_START_SECONDS = 20.0
_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 5.0
_LOOK_SECONDS = 1.0
_MOST_SAID = 1000
"""Messages that a worker may have for the supervisor between two looks around; it has hardly any."""
_SHOWN = 2_000


class CrewSettings(NamedTuple):
    """How many workers there are, with how many lanes each, and when one is replaced."""

    processes: int
    lanes: int
    wait: float
    tenant_concurrency: int | None
    most_uses: int | None
    most_seconds: float | None
    most_memory: int | None


class CrewStats(NamedTuple):
    """Counters since the executor started, and the workers that there are now."""

    workers: int
    in_flight: int
    waiting: int
    started: int
    replaced: int
    died: int
    killed: int
    waits: int
    throttled: int


class Client:
    """A function, as far as the crew needs to know it: how many events of it have workers. Guarded by the crew's lock."""

    def __init__(self, function: Function, number: int) -> None:
        self.function = function
        self.number = number
        self.in_flight = 0

    @property
    def is_full(self) -> bool:
        """Whether as many of its events run as may."""
        most = self.function.concurrency
        return most is not None and self.in_flight >= most


class _Waiter:
    """An event that has no worker yet."""

    __slots__ = ("client", "error", "lane", "place", "ready")

    def __init__(self, client: Client, place: Place) -> None:
        self.client = client
        self.place = place
        self.lane: Lane | None = None
        self.error: WasmrunError | None = None
        self.ready = threading.Event()


class Crew:
    """The workers of one executor.

    *job* is what every worker is told at its start, *walls_for* its walls at a place. *serve* answers host
    functions that a start-up calls while no event waits for it. The thread starts with the first event.
    """

    def __init__(
        self,
        settings: CrewSettings,
        job: Callable[[Place | None], dict[str, Any]],
        serve: Callable[[WorkerProcess, int, str, bytes], None],
    ) -> None:
        self.settings = settings
        self._job = job
        self._serve = serve
        # Guards everything below, and what workers are used for. Held for a few assignments only.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._workers: dict[int, WorkerProcess] = {}
        self._waiting: deque[_Waiter] = deque()
        self._by_tenant: dict[str | None, int] = {}
        self._to_start: deque[Place | None] = deque()
        self._to_bury: deque[WorkerProcess] = deque()
        self._next_number = 0
        self._in_flight = 0
        self._backoff = 0.0
        self._retry_at = 0.0
        self._counts: Counter[str] = Counter()
        self._is_closed = False
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = os.pipe()
        os.set_blocking(self._ringer, False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._ended = threading.Event()
        with self._lock:
            self._to_start.extend([None] * settings.processes)
        self._thread = threading.Thread(target=self._watch, name="wasmrun-supervisor", daemon=True)
        self._thread.start()
        self._ring()

    # Who gets which worker

    def take(self, client: Client, place: Place, watch: Watch | None) -> Lane:
        """A lane for one event; `give` must follow.

        Raises `Throttled` after the wait, `Stopped` when *watch* has a reason to give up before, `HostError` where
        no worker can be had.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the executor was shut down")
            if not self._waiting:
                lane = self._take_at_once(client, place)
                if lane is not None:
                    return lane
            waiter = _Waiter(client, place)
            self._waiting.append(waiter)
            self._match()
            if waiter.lane is not None:
                return waiter.lane
            self._counts["waits"] += 1
        self._ring()
        until = time.monotonic() + self.settings.wait
        try:
            while not waiter.ready.wait(min(_TURN_SECONDS, max(0.0, until - time.monotonic()))):
                if watch is not None and watch.reason is not None:
                    raise Stopped(watch.reason)
                if time.monotonic() >= until:
                    raise self._throttled(waiter)
        except BaseException:
            with self._lock:
                if waiter.lane is not None:
                    self._return(waiter.lane, waiter.client)
                elif waiter in self._waiting:
                    self._waiting.remove(waiter)
            raise
        if waiter.lane is None:
            raise waiter.error or HostError("no worker")
        return waiter.lane

    def _take_at_once(self, client: Client, place: Place) -> Lane | None:
        """The common case of what `decide` decides: a worker of the same place is free. Lock held."""
        if client.is_full or self._is_tenant_full(place.tenant):
            return None
        best = None
        for worker in self._workers.values():
            may = worker.free and worker.place == place and worker.may_serve
            if may and (best is None or len(worker.free) > len(best.free)):
                best = worker
        return None if best is None else self._hand(best, client, place)

    def take_free(self, client: Client, place: Place) -> Lane | None:
        """One more lane for *client* where one is free right now."""
        with self._lock:
            for worker in self._workers.values():
                is_blank = worker.place is None and not place.dirs
                if worker.may_serve and worker.free and (is_blank or worker.place == place) and not self._waiting:
                    return self._hand(worker, client, place)
        return None

    def take_knowing(self, client: Client) -> Lane | None:
        """A free lane of a worker that has loaded the function of *client*."""
        with self._lock:
            for worker in self._workers.values():
                if worker.may_serve and worker.free and client.number in worker.known:
                    return self._hand(worker, client, worker.place or Place(None))
        return None

    def has_events(self, client: Client) -> bool:
        """Whether events of *client* run, or wait."""
        with self._lock:
            return client.in_flight > 0 or any(waiter.client is client for waiter in self._waiting)

    def _throttled(self, waiter: _Waiter) -> Throttled:
        function, tenant = waiter.client.function, waiter.place.tenant
        with self._lock:
            self._counts["throttled"] += 1
            if waiter.client.is_full:
                reason = f"{function.label} has reached its concurrency of {function.concurrency}"
            elif self._is_tenant_full(tenant):
                reason = f"the tenant has reached its concurrency of {self.settings.tenant_concurrency}"
            elif not any(worker.is_ready for worker in self._workers.values()):
                reason = "no worker process has become ready"
            else:
                reason = f"all {self.settings.processes} workers are in use (processes)"
        return Throttled(f"no worker for {function.label} within {self.settings.wait:g} s: {reason}; try again later")

    def _is_tenant_full(self, tenant: str | None) -> bool:
        most = self.settings.tenant_concurrency
        return most is not None and tenant is not None and self._by_tenant.get(tenant, 0) >= most

    def give(self, lane: Lane, client: Client) -> None:
        """Take *lane* back after its event."""
        with self._lock:
            self._return(lane, client)

    def _return(self, lane: Lane, client: Client) -> None:
        worker = lane.worker
        worker.free.append(lane)
        worker.uses += 1
        worker.idle_since = time.monotonic()
        self._in_flight -= 1
        client.in_flight -= 1
        tenant = worker.place.tenant if worker.place is not None else None
        left = self._by_tenant[tenant] - 1
        if left:
            self._by_tenant[tenant] = left
        else:
            del self._by_tenant[tenant]
        if len(worker.free) == len(worker.lanes) and self._is_worn(worker):
            self._replace(worker, None)
        if self._waiting:
            self._match()
        if self._is_closed:
            self._changed.notify_all()

    def _is_worn(self, worker: WorkerProcess) -> bool:
        settings = self.settings
        if worker.is_leaving or worker.killed_for:
            return False
        if settings.most_uses is not None and worker.uses >= settings.most_uses:
            return True
        return settings.most_seconds is not None and time.monotonic() - worker.started >= settings.most_seconds

    def _match(self) -> None:
        """Give workers to events that wait, tenants with the fewest workers first. Lock held."""
        if not self._waiting:
            return
        now = time.monotonic()
        tenants = {waiter.place.tenant for waiter in self._waiting} | set(self._by_tenant)
        held: Counter[str | None] = Counter(
            worker.place.tenant for worker in self._workers.values() if worker.place is not None
        )
        coming: Counter[Place] = Counter()
        # One waiter a tenant and turn, so that a flood of one is no queue before another.
        queues: dict[str | None, deque[_Waiter]] = {}
        for waiter in self._waiting:
            queues.setdefault(waiter.place.tenant, deque()).append(waiter)
        order = sorted(queues, key=lambda tenant: held[tenant])
        while order:
            still = []
            for tenant in order:
                queue = queues[tenant]
                if self._seat_one(queue, len(tenants), coming, now) and queue:
                    still.append(tenant)
            order = still

    def _seat_one(self, queue: deque[_Waiter], tenants: int, coming: Counter[Place], now: float) -> bool:
        """Seat the first of *queue* that may run; whether another one of it is worth a try."""
        while queue:
            waiter = queue.popleft()
            place = waiter.place
            if waiter.client.is_full:
                continue  # others behind it need not wait for that
            if self._is_tenant_full(place.tenant):
                return False
            seats = [
                Seat(
                    worker.number, worker.place, worker.is_ready, len(worker.free), worker.in_flight,
                    now - worker.idle_since,
                )
                for worker in self._workers.values()
                if worker.is_wanted
            ]  # fmt: skip
            # What is asked for and not there yet is a seat, too.
            seats += [Seat(-1, planned, False, 0, 0, 0.0) for planned in self._to_start]
            decision = decide(
                seats, place, processes=self.settings.processes, tenants=tenants, coming=sum(coming.values())
            )
            if decision.action == "use":
                self._seat(waiter, self._workers[decision.number])
                return True
            coming[place] += 1
            if decision.action == "start":
                self._to_start.append(place)
                self._ring()
            elif decision.action == "replace":
                self._replace(self._workers[decision.number], place)
            else:
                return False
        return False

    def _seat(self, waiter: _Waiter, worker: WorkerProcess) -> None:
        self._waiting.remove(waiter)
        waiter.lane = self._hand(worker, waiter.client, waiter.place)
        waiter.ready.set()

    def _hand(self, worker: WorkerProcess, client: Client, place: Place) -> Lane:
        worker.place = place
        lane = worker.free.pop()
        lane.turn += 1
        self._in_flight += 1
        client.in_flight += 1
        self._by_tenant[place.tenant] = self._by_tenant.get(place.tenant, 0) + 1
        return lane

    def _replace(self, worker: WorkerProcess, place: Place | None) -> None:
        """Let *worker*, which has no event, go, and start another one for *place*. Lock held."""
        worker.is_leaving = True
        worker.kill("it was replaced")
        self._counts["replaced"] += 1
        self._to_start.append(place)
        self._ring()

    # Watching

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already, or nobody listens any more
            os.write(self._ringer, b"!")

    def _watch(self) -> None:
        """The supervisor's thread. Workers die with it, so it starts all of them and ends last."""
        looked = time.monotonic()
        try:
            while True:
                with self._lock:
                    if self._is_closed and not self._workers:
                        return
                try:
                    self._start_wanted()
                    for key, _ in self._selector.select(_LOOK_SECONDS if not self._to_start else _TURN_SECONDS):
                        if key.data is None:
                            os.read(self._bell, 4096)
                        else:
                            key.data()
                    if time.monotonic() - looked >= _LOOK_SECONDS:
                        looked = time.monotonic()
                        self._look_around()
                except Exception:
                    # Without a supervisor no worker would ever be replaced.
                    _log.exception("a round of the supervisor failed")
                    time.sleep(_TURN_SECONDS)
        finally:
            self._selector.close()
            self._ended.set()

    def _start_wanted(self) -> None:
        while True:
            with self._lock:
                if self._is_closed:
                    self._to_start.clear()
                now = time.monotonic()
                alive = sum(worker.is_wanted for worker in self._workers.values())
                while self._to_start and alive >= self.settings.processes:
                    self._to_start.pop()
                if not self._to_start or now < self._retry_at:
                    return
                place = self._to_start[0]
                number = self._next_number
                self._next_number += 1
            # Without the lock: a process takes a millisecond or two to start.
            try:
                worker = WorkerProcess(number, place if place is not None and place.dirs else None,
                                       self._job(place), self.settings.lanes)  # fmt: skip
            except (HostError, OSError) as error:
                self._could_not_start(error if isinstance(error, HostError) else HostError(f"no worker: {error}"))
                return
            with self._lock:
                self._to_start.popleft()
                self._workers[number] = worker
                self._counts["started"] += 1
                if self._is_closed:
                    # While this one was started, all that there were have been ended.
                    worker.is_leaving = True
                    worker.kill("the executor was shut down")
            self._selector.register(worker.handle, selectors.EVENT_READ, lambda worker=worker: self._gone(worker))
            self._selector.register(
                worker.control.socket, selectors.EVENT_READ, lambda worker=worker: self._listen(worker)
            )
            self._selector.register(
                worker.service.socket, selectors.EVENT_READ, lambda worker=worker: self._asked(worker)
            )

    def _could_not_start(self, error: HostError) -> None:
        """Tell every event that waits; try again later, and later each time."""
        _log.warning("%s", error)
        with self._lock:
            self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF), _LONGEST_BACKOFF)
            self._retry_at = time.monotonic() + self._backoff
            if any(worker.may_serve for worker in self._workers.values()):
                return  # those that wait get one of these
            for waiter in self._waiting:
                waiter.error = HostError(error.message)
                waiter.ready.set()
            self._waiting.clear()

    def _listen(self, worker: WorkerProcess) -> None:
        # What came together with a message shows at no socket any more.
        while self._heard(worker) and worker.control.has_more:
            pass

    def _heard(self, worker: WorkerProcess) -> bool:
        """Take one message of *worker*; whether there was one."""
        try:
            message, _ = worker.control.receive()
            worker.said += 1
            if worker.said > _MOST_SAID:
                raise BrokenFrame(f"more than {_MOST_SAID} messages a second")
            what, *details = message
            if what == "ready" and len(details) == 2 and type(details[1]) is list and not worker.is_ready:
                worker.walls = tuple((str(w[0]), bool(w[1]), str(w[2]), str(w[3])) for w in details[1])
                with self._lock:
                    worker.is_ready = True
                    worker.idle_since = time.monotonic()
                    self._backoff = 0.0
                    self._match()
            elif what == "unfit" and not worker.is_ready:
                error = wire.unpack_error(details[0])
                worker.kill("it was not fit to serve")
                self._could_not_start(HostError(f"a worker process is not fit to serve: {error.message}"))
            elif what == "log" and [type(detail) for detail in details] == [str, int, str]:
                # Only loggers that there are: a logger is never freed.
                known = details[0].startswith("wasmrun") and details[0] in logging.root.manager.loggerDict
                logger = logging.getLogger(details[0] if known else "wasmrun")
                logger.log(min(details[1], logging.WARNING), "worker %d: %s", worker.pid, printable(details[2], _SHOWN))
            elif what == "counted":
                with self._lock:
                    worker.counted = list(wire.unpack_pool(details[0])[:-1])
                    self._changed.notify_all()
            else:
                raise BrokenFrame(f"{printable(what, _SHOWN)!r} at the wrong time")
        except TimeoutError:
            pass  # the rest of it is still to come
        except Closed:
            worker.kill(worker.killed_for or "its connection broke")
            self._forget(worker.control.socket)
        except (BrokenFrame, LookupError, TypeError, ValueError) as error:
            worker.kill(f"it broke the protocol: {error}")
        else:
            return True
        return False

    def _asked(self, worker: WorkerProcess) -> None:
        try:
            message, request = worker.service.receive()
            if message[0] != "serve" or [type(part) for part in message] != [str, int, str]:
                raise BrokenFrame(f"{printable(message[0], _SHOWN)!r} where a host call belongs")
            if worker.is_asking:
                raise BrokenFrame("a host call before the reply to the last one")
            worker.is_asking = True
            self._serve(worker, message[1], message[2], request)
        except TimeoutError:
            pass  # as above
        except Closed:
            self._forget(worker.service.socket)
        except BrokenFrame as error:
            worker.kill(f"it broke the protocol: {error}")

    def _gone(self, worker: WorkerProcess) -> None:
        """A worker has ended: whoever talks with it learns it from its lane; it is replaced here."""
        for file in (worker.handle, worker.control.socket, worker.service.socket):
            self._forget(file)
        with self._lock:
            was_asked = worker.is_leaving
            if not was_asked:
                self._counts["killed" if worker.killed_for else "died"] += 1
            worker.is_leaving = True
            if not worker.is_ready:
                # One that ends before it is ready is not started again and again.
                self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF), _LONGEST_BACKOFF)
                self._retry_at = time.monotonic() + self._backoff
            if not was_asked and not self._is_closed:
                self._to_start.append(None)
                self._match()
        if not was_asked:
            _log.warning("worker %d %s", worker.pid, worker.epitaph())
        if not worker.is_ready and not was_asked and not worker.killed_for:
            self._could_not_start(HostError(f"a worker process {worker.epitaph()} before it was ready"))
        with self._lock:
            # Its lanes are closed when the last event has left them.
            if worker.in_flight:
                self._to_bury.append(worker)
                return
            self._workers.pop(worker.number, None)
            self._changed.notify_all()
        worker.bury()

    def _look_around(self) -> None:
        now = time.monotonic()
        most = self.settings.most_memory
        with self._lock:
            workers = list(self._workers.values())
            buried = [worker for worker in self._to_bury if not worker.in_flight]
            for worker in buried:
                self._to_bury.remove(worker)
                self._workers.pop(worker.number, None)
            if buried:
                self._changed.notify_all()
        for worker in buried:
            worker.bury()
        for worker in workers:
            worker.said = 0
            if not worker.is_ready and not worker.is_leaving and now - worker.started > _START_SECONDS:
                worker.kill("it did not become ready")
        worn = []
        if most is not None:
            worn = [one for one in workers if one.is_ready and (one.resident_bytes() or 0) > most]
        with self._lock:
            for worker in workers:
                if (worker in worn or self._is_worn(worker)) and not worker.in_flight and not worker.is_leaving:
                    self._replace(worker, None)
            self._match()

    def _forget(self, file: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(file)

    # Of use to the executor

    def workers(self) -> list[WorkerProcess]:
        """Those that serve."""
        with self._lock:
            return [worker for worker in self._workers.values() if worker.may_serve]

    def count(self, seconds: float) -> list[list[int]]:
        """The counters of every worker's pool, of those that answer within *seconds*."""
        workers = self.workers()
        for worker in workers:
            worker.counted = None
            try:
                with worker.talking:
                    worker.control.send(["count"], until=time.monotonic() + seconds)
            except (Closed, TimeoutError):
                worker.counted = []
        with self._lock:
            self._changed.wait_for(lambda: all(worker.counted is not None for worker in workers), seconds)
            return [worker.counted for worker in workers if worker.counted]

    def stats(self) -> CrewStats:
        """The counters, as one consistent value."""
        with self._lock:
            counts = self._counts
            return CrewStats(
                workers=sum(worker.may_serve for worker in self._workers.values()),
                in_flight=self._in_flight,
                waiting=len(self._waiting),
                started=counts["started"],
                replaced=counts["replaced"],
                died=counts["died"],
                killed=counts["killed"],
                waits=counts["waits"],
                throttled=counts["throttled"],
            )

    def close(self, patience: float | None = None) -> bool:
        """Wait for the events that workers have, at most *patience* seconds, then end them all; whether all had ended."""
        with self._lock:
            self._is_closed = True
            has_ended = self._changed.wait_for(lambda: not self._in_flight, patience)
            for worker in self._workers.values():
                worker.is_leaving = True
                worker.kill("the executor was shut down")
        self._ring()
        self._ended.wait(10.0)
        with self._lock:
            left, self._workers = list(self._workers.values()), {}
        for worker in left:
            worker.bury()
        for descriptor in (self._bell, self._ringer):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._bell = self._ringer = -1
        return has_ended
