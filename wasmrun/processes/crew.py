"""The crew: the workers of one executor, and which event gets which of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from wasmrun.errors import HostError, Throttled
from wasmrun.function import Function
from wasmrun.machine.failures import Stopped
from wasmrun.processes.placement import Place, Seat, decide
from wasmrun.processes.process import Lane, WorkerProcess
from wasmrun.watch import Watch

_log = logging.getLogger("wasmrun.processes")

_TURN_SECONDS = 0.02
_START_SECONDS = 10.0
"""How long a worker may take to become ready; it takes 0.2 on a machine that has time for it."""
_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 5.0
LOOK_SECONDS = 1.0
"""Between two looks at what time alone changes."""
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

    __slots__ = ("client", "error", "is_expecting", "lane", "place", "ready")

    def __init__(self, client: Client, place: Place) -> None:
        self.client = client
        self.place = place
        self.lane: Lane | None = None
        self.error: Exception | None = None
        # A worker is being started for it: that takes longer than waits may be, and is no lack of workers.
        self.is_expecting = False
        self.ready = threading.Event()


class Crew:
    """The workers of one executor, as long as they live; whoever starts and buries them says so here.

    *ring* is called when there is something to do: a worker to start, or one that has just been ended.
    """

    def __init__(self, settings: CrewSettings, ring: Callable[[], None]) -> None:
        self.settings = settings
        self._ring = ring
        # Guards everything below, and what workers are used for. Held for a few assignments only.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._workers: dict[int, WorkerProcess] = {}
        self._waiting: deque[_Waiter] = deque()
        self._by_tenant: dict[str | None, int] = {}
        self._to_start: deque[Place | None] = deque()
        self._next_number = 0
        self._in_flight = 0
        self._backoff = 0.0
        self._retry_at = 0.0
        self._counts: Counter[str] = Counter()
        self._is_closed = False
        self._to_start.extend([None] * settings.processes)

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
            self._queue_up(waiter)
            if waiter.lane is not None:
                return waiter.lane
            self._counts["waits"] += 1
        until = time.monotonic() + self.settings.wait
        # For a start, which is given up at a look around; others may take what was started.
        latest = time.monotonic() + _START_SECONDS + 2 * LOOK_SECONDS
        try:
            while not waiter.ready.wait(
                _TURN_SECONDS if waiter.is_expecting else min(_TURN_SECONDS, max(0.0, until - time.monotonic()))
            ):
                if watch is not None and watch.reason is not None:
                    raise Stopped(watch.reason)
                self.look_again(waiter)
                with self._lock:  # else it may be seen while it is made up anew
                    is_over, is_expecting = waiter.ready.is_set(), waiter.is_expecting
                if is_over:
                    continue
                if is_expecting:
                    until = min(time.monotonic(), latest) + self.settings.wait
                elif time.monotonic() >= until:
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
            else:
                reason = f"all {self.settings.processes} workers are in use (processes)"
        return Throttled(f"no worker for {function.label} within {self.settings.wait:g} s: {reason}; try again later")

    def _is_tenant_full(self, tenant: str | None) -> bool:
        most = self.settings.tenant_concurrency
        return most is not None and tenant is not None and self._by_tenant.get(tenant, 0) >= most

    def _is_held_back(self, waiter: _Waiter) -> bool:
        return waiter.client.is_full or self._is_tenant_full(waiter.place.tenant)

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
        if worker.is_dead:
            self._ring()  # to be buried, once this was its last event
        elif self._is_worn(worker):
            self._retire(worker)
        if self._waiting:
            self._match_one(worker)
        if self._is_closed:
            self._changed.notify_all()

    def _queue_up(self, waiter: _Waiter) -> None:
        """Let *waiter* wait, unless there is a worker for it. Lock held."""
        self._waiting.append(waiter)
        # With a lane that is free, those before it are held back by bounds of their own.
        if any(worker.free for worker in self._workers.values()) or not self._is_one_queue(waiter.place):
            self._match()

    def _is_one_queue(self, place: Place) -> bool:
        """Whether nothing is to be decided: all workers are there and serve *place*, as all do who wait. Lock held.

        Then who came first is next, when a worker has ended an event.
        """
        return (
            not self._to_start
            and len(self._workers) == self.settings.processes
            and all(worker.place == place and worker.may_serve for worker in self._workers.values())
            and all(waiter.place == place for waiter in self._waiting)
        )

    def _match_one(self, worker: WorkerProcess) -> None:
        """Give *worker*, which has just ended an event, its next one; or decide anew who gets what. Lock held."""
        place = worker.place
        if place is None or not self._is_one_queue(place):
            self._match()
            return
        for waiter in self._waiting:
            if not self._is_held_back(waiter):
                self._seat(waiter, worker)
                return

    def _is_worn(self, worker: WorkerProcess) -> bool:
        settings = self.settings
        if worker.is_leaving or worker.killed_for:
            return False
        if worker.is_retiring:
            return True
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
        # Places for which there is nothing now; events of other places pass those that wait there.
        stuck: set[Place] = set()
        # One waiter a tenant and turn, so that a flood of one is no queue before another.
        queues: dict[str | None, deque[_Waiter]] = {}
        for waiter in self._waiting:
            waiter.is_expecting = False
            queues.setdefault(waiter.place.tenant, deque()).append(waiter)
        # Workers that get no more events now, for who has none.
        drained: set[int] = set()
        order = sorted(queues, key=lambda tenant: held[tenant])
        while order:
            still = []
            for tenant in order:
                queue = queues[tenant]
                if self._seat_one(queue, len(tenants), coming, stuck, drained, now) and queue:
                    still.append(tenant)
            order = still

    def _seat_one(
        self,
        queue: deque[_Waiter],
        tenants: int,
        coming: Counter[Place],
        stuck: set[Place],
        drained: set[int],
        now: float,
    ) -> bool:
        """Seat the first of *queue* that may run; whether another one of it is worth a try."""
        while queue:
            waiter = queue.popleft()
            place = waiter.place
            if waiter.client.is_full or place in stuck:
                continue  # others behind it need not wait for that
            if self._is_tenant_full(place.tenant):
                return False
            awaited = {other.place for other in self._waiting}
            seats = [
                Seat(
                    worker.number, worker.place, worker.may_serve,
                    0 if worker.number in drained else len(worker.free), worker.in_flight,
                    now - worker.idle_since, not worker.uses and worker.place in awaited, now - worker.placed,
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
            if decision.action == "drain":
                drained.add(decision.number)
                stuck.add(place)
                continue
            waiter.is_expecting = decision.action != "wait"
            coming[place] += waiter.is_expecting
            if decision.action == "start":
                self._to_start.append(place)
                self._ring()
            elif decision.action == "replace":
                self._replace(self._workers[decision.number], place)
            elif decision.action == "wait":
                stuck.add(place)
        return False

    def _seat(self, waiter: _Waiter, worker: WorkerProcess) -> None:
        self._waiting.remove(waiter)
        waiter.lane = self._hand(worker, waiter.client, waiter.place)
        waiter.ready.set()

    def _hand(self, worker: WorkerProcess, client: Client, place: Place) -> Lane:
        if worker.place is None or not worker.uses:
            worker.placed = time.monotonic()
        worker.place = place
        lane = worker.free.pop()
        lane.turn += 1
        self._in_flight += 1
        client.in_flight += 1
        self._by_tenant[place.tenant] = self._by_tenant.get(place.tenant, 0) + 1
        return lane

    def _retire(self, worker: WorkerProcess) -> None:
        """Replace *worker* as soon as it has no event; until then it gets no more. Lock held."""
        worker.is_retiring = True
        if not worker.in_flight:
            self._replace(worker, worker.place if worker.place is not None and worker.place.dirs else None)

    def _replace(self, worker: WorkerProcess, place: Place | None) -> None:
        """Let *worker*, which has no event, go, and start another one for *place*. Lock held."""
        worker.is_leaving = True
        worker.kill("it was replaced")
        self._counts["replaced"] += 1
        self._to_start.append(place)
        self._ring()

    # Of use to the executor

    def workers(self) -> list[WorkerProcess]:
        """Those that serve."""
        with self._lock:
            return [worker for worker in self._workers.values() if worker.may_serve]

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

    # What becomes of workers

    @property
    def is_over(self) -> bool:
        """Whether it was closed, and no worker lives any more."""
        with self._lock:
            return self._is_closed and all(worker.is_dead for worker in self._workers.values())

    @property
    def is_closed(self) -> bool:
        """Whether it gives nobody a worker any more."""
        return self._is_closed

    @property
    def is_short(self) -> bool:
        """Whether a worker is to be started, now or when the time has come to try again."""
        return bool(self._to_start)

    def next_start(self) -> tuple[int, Place | None] | None:
        """The number and the place of a worker that is to be started now. `started` or `failed` must follow."""
        with self._lock:
            if self._is_closed:
                self._to_start.clear()
            alive = sum(worker.is_wanted for worker in self._workers.values())
            while self._to_start and alive >= self.settings.processes:
                self._to_start.pop()
            if not self._to_start or time.monotonic() < self._retry_at:
                return None
            number = self._next_number
            self._next_number += 1
            return number, self._to_start[0]

    def started(self, worker: WorkerProcess) -> None:
        """*worker* is the one that `next_start` asked for."""
        with self._lock:
            worker.meant_for = self._to_start.popleft() if self._to_start else None
            self._workers[worker.number] = worker
            self._counts["started"] += 1
            if self._is_closed:
                # While this one was started, all that there were have been ended.
                worker.is_leaving = True
                worker.kill("the executor was shut down")

    def failed(self, error: HostError, place: Place | None) -> None:
        """No worker for *place* can be had: tell the events that wait for one; the next try is later each time."""
        with self._lock:
            self._back_off()
            serves_others = any(worker.may_serve for worker in self._workers.values())
            for waiter in [*self._waiting]:
                if not serves_others or (waiter.place == place and place.dirs):
                    self._refuse(waiter, HostError(error.message))

    def _back_off(self) -> None:
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF), _LONGEST_BACKOFF)
        self._retry_at = time.monotonic() + self._backoff

    def _refuse(self, waiter: _Waiter, error: Exception) -> None:
        self._waiting.remove(waiter)
        waiter.error = error
        waiter.ready.set()

    def is_now_ready(self, worker: WorkerProcess) -> None:
        """*worker* may be given events."""
        with self._lock:
            worker.is_ready = True
            worker.idle_since = time.monotonic()
            self._backoff = 0.0
            for waiter in self._waiting:
                # First who made it start: a flood of another tenant would take it away again and again.
                if waiter.place == worker.meant_for and worker.may_serve and not self._is_held_back(waiter):
                    self._seat(waiter, worker)
                    break
            self._match()

    def died(self, worker: WorkerProcess) -> bool:
        """*worker* has ended. Whether that was unexpected."""
        with self._lock:
            is_surprise = not worker.is_leaving
            worker.is_leaving = worker.is_dead = True
            if is_surprise:
                self._counts["killed" if worker.killed_for else "died"] += 1
                if not worker.is_ready:
                    # One that ends before it is ready is not started again and again.
                    self._back_off()
                if not self._is_closed:
                    # Whoever waits for a place with directories asks for it anew: these may be gone for good.
                    self._to_start.append(None)
                    self._match()
            return is_surprise

    def take_dead(self) -> list[WorkerProcess]:
        """The workers that have ended and whose last event has left them, for good."""
        with self._lock:
            dead = [worker for worker in self._workers.values() if worker.is_dead and not worker.in_flight]
            for worker in dead:
                del self._workers[worker.number]
            if dead:
                self._changed.notify_all()
            return dead

    def look_again(self, waiter: _Waiter | None = None) -> None:
        """See whether time alone has made room for events that wait: workers give way after a while.

        With *waiter*, only where that is the first of them, which does it for all.
        """
        with self._lock:
            if self._waiting and (waiter is None or self._waiting[0] is waiter):
                self._match()

    def look_around(self) -> None:
        """Replace workers that were used for long enough or have too much memory, and those that do not get ready."""
        now = time.monotonic()
        most = self.settings.most_memory
        with self._lock:
            workers = [worker for worker in self._workers.values() if worker.is_wanted]
        # Without the lock: this asks the kernel.
        large = [one for one in workers if most is not None and one.is_ready and (one.resident_bytes() or 0) > most]
        with self._lock:
            for worker in workers:
                worker.said = 0
                if not worker.is_ready and now - worker.started > _START_SECONDS:
                    worker.kill("it did not become ready")
                elif worker.is_wanted and (worker in large or self._is_worn(worker)):
                    self._retire(worker)
            self._match()

    def counted(self, worker: WorkerProcess, counters: list[int]) -> None:
        """What the pool of *worker* counts, which was asked for."""
        with self._lock:
            worker.counted = counters
            self._changed.notify_all()

    def wait_for_counts(self, workers: list[WorkerProcess], seconds: float) -> list[list[int]]:
        """The counters of those of *workers* that told them within *seconds*."""
        with self._lock:
            self._changed.wait_for(lambda: all(worker.counted is not None for worker in workers), seconds)
            return [worker.counted for worker in workers if worker.counted]

    def close(self, patience: float | None) -> bool:
        """Give out nothing more, wait for the events that workers have, at most *patience* seconds, and end them all.

        Whether all of the events had ended.
        """
        with self._lock:
            self._is_closed = True
            for waiter in [*self._waiting]:
                self._refuse(waiter, RuntimeError("the executor was shut down"))
            has_ended = self._changed.wait_for(lambda: not self._in_flight, patience)
            for worker in self._workers.values():
                worker.is_leaving = True
                worker.kill("the executor was shut down")
            self._ring()
            return has_ended

    def abandon(self) -> list[WorkerProcess]:
        """The workers that are left, which nobody watches any more."""
        with self._lock:
            left, self._workers = list(self._workers.values()), {}
            return left
