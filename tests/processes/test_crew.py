"""The crew with workers that are only played: who gets which, whatever happens in whatever order."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import pytest

import wasmrun
from wasmrun.processes.crew import Client, Crew, CrewSettings, _Waiter
from wasmrun.processes.placement import GAP_SECONDS, SLICE_SECONDS, Place

WAIT = 20


class PlayedLane:
    def __init__(self, worker: Played) -> None:
        self.worker = worker
        self.turn = 0


class Played:
    """A worker that does nothing, but keeps account of whom it served."""

    def __init__(self, number: int, place: Place | None, lanes: int) -> None:
        self.number = number
        self.place = place
        self.is_ready = self.is_leaving = self.is_dead = self.is_retiring = False
        self.killed_for = ""
        self.meant_for: Place | None = None
        self.uses = 0
        self.said = 0
        self.started = self.idle_since = self.placed = time.monotonic()
        self.known: dict[int, Any] = {}
        self.resident = 0
        self.lanes = [PlayedLane(self) for _ in range(lanes)]
        self.free = list(self.lanes)
        self.served: set[Place] = set()

    is_wanted = property(lambda self: not (self.is_leaving or self.killed_for))
    may_serve = property(lambda self: self.is_ready and self.is_wanted and not self.is_retiring)
    in_flight = property(lambda self: len(self.lanes) - len(self.free))

    def kill(self, why: str) -> None:
        self.killed_for = self.killed_for or why

    def resident_bytes(self) -> int:
        return self.resident


class Stage:
    """A crew, and the supervisor's part played for it."""

    def __init__(self, processes: int = 2, lanes: int = 1, **more: Any) -> None:
        known = {"wait": WAIT, "tenant_concurrency": None, "most_uses": None, "most_seconds": None, "most_memory": None}
        self.crew = Crew(CrewSettings(processes, lanes, **{**known, **more}), lambda: None)
        self.client = Client(wasmrun.Function("(module)"), 1)
        self.all: list[Played] = []
        self.events: deque[tuple[_Waiter, Any]] = deque()
        self.waiting: list[_Waiter] = []

    def start(self) -> Played | None:
        """Start one worker, if one is wanted."""
        self.crew._retry_at = 0.0
        wanted = self.crew.next_start()
        if wanted is None:
            return None
        number, place = wanted
        worker = Played(number, place if place is not None and place.dirs else None, self.crew.settings.lanes)
        self.all.append(worker)
        self.crew.started(worker)  # type: ignore[arg-type]
        return worker

    def bring_up(self) -> None:
        """Start all that are wanted, and let those that are dead go."""
        for worker in self.all:
            if not worker.is_wanted and not worker.is_dead:
                self.crew.died(worker)  # type: ignore[arg-type]
        self.crew.take_dead()
        while self.start() is not None:
            pass
        for worker in self.all:
            if worker.is_wanted and not worker.is_ready:
                self.crew.is_now_ready(worker)  # type: ignore[arg-type]
        self.collect()

    def ask(self, place: Place, client: Client | None = None) -> _Waiter:
        """An event of *place*, which may have to wait."""
        waiter = _Waiter(client or self.client, place)
        with self.crew._lock:
            self.crew._queue_up(waiter)
        self.waiting.append(waiter)
        self.collect()
        return waiter

    def collect(self) -> None:
        """Notice which events have got a worker."""
        for waiter in [waiter for waiter in self.waiting if waiter.ready.is_set()]:
            self.waiting.remove(waiter)
            assert waiter.lane is not None
            worker = waiter.lane.worker
            worker.served.add(waiter.place)  # type: ignore[attr-defined]
            self.events.append((waiter, waiter.lane))

    def end(self, at: int = 0) -> None:
        """The event that has a worker for longest, or another one, ends."""
        waiter, lane = self.events[at]
        del self.events[at]
        self.crew.give(lane, waiter.client)
        self.collect()


@pytest.fixture
def no_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may give way as soon as they have served an event."""
    monkeypatch.setattr("wasmrun.processes.placement.SLICE_SECONDS", 0.0)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.usefixtures("no_slices")
def test_tenant_is_served_beside_a_flood(processes: int, lanes: int) -> None:
    """Within a few ends of events: it neither waits for the flood's end, nor for a worker that happens to idle."""
    stage = Stage(processes, lanes)
    for _ in range(50):
        stage.ask(Place("flood"))
    stage.bring_up()
    quiet = stage.ask(Place("quiet"))
    for _ in range(2 * processes * lanes + 2):
        stage.bring_up()
        if quiet.lane is not None:
            break
        stage.end()
        stage.ask(Place("flood"))
    assert quiet.lane is not None
    assert any(waiter.place.tenant == "flood" for waiter in stage.waiting)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.usefixtures("no_slices")
def test_many_tenants_take_turns(lanes: int) -> None:
    """More of them than workers, all with more events than can run: each gets some."""
    stage = Stage(2, lanes)
    tenants = [f"t{at}" for at in range(5)]
    for tenant in tenants:
        for _ in range(10):
            stage.ask(Place(tenant))
    served: set[str | None] = set()
    for _ in range(200):
        stage.bring_up()
        served |= {waiter.place.tenant for waiter, _ in stage.events}
        if not stage.events:
            break
        tenant = stage.events[0][0].place.tenant
        stage.end()
        stage.ask(Place(tenant))
    assert served == set(tenants)


def test_worker_serves_its_tenant_for_a_while_before_it_gives_way() -> None:
    """Where events keep coming and tenants outnumber workers, these are not started anew at every event."""
    stage = Stage(1, 1)
    stage.ask(Place("a"))
    stage.bring_up()
    waiting = stage.ask(Place("b"))
    for _ in range(20):
        stage.end()
        stage.ask(Place("a"))
        stage.bring_up()
    assert (waiting.lane, stage.crew.stats().replaced) == (None, 0)
    for worker in stage.all:
        worker.placed -= SLICE_SECONDS
    stage.end()
    stage.bring_up()
    assert waiting.lane is not None
    assert stage.crew.stats().replaced == 1


def test_worker_gives_way_where_time_alone_makes_it_idle() -> None:
    """Nothing has to happen for that but the turn of the event that waits."""
    stage = Stage(1, 1)
    stage.ask(Place("a"))
    stage.bring_up()
    waiting = stage.ask(Place("b"))
    stage.end()
    assert stage.crew.stats().replaced == 0
    for worker in stage.all:
        worker.idle_since -= GAP_SECONDS
    stage.crew.look_again()
    stage.bring_up()
    assert waiting.lane is not None


def test_worker_is_replaced_after_its_uses() -> None:
    """When it has no event, and not before."""
    stage = Stage(1, 1, most_uses=3)
    stage.bring_up()
    for _ in range(7):
        stage.ask(Place(None))
        stage.end()
        stage.bring_up()
    assert stage.crew.stats().replaced == 2
    assert [worker.uses for worker in stage.all] == [3, 3, 1]


@pytest.mark.parametrize("lanes", [1, 2])
def test_worker_that_always_has_events_is_replaced_all_the_same(lanes: int) -> None:
    """It gets no more of them when its uses are over."""
    stage = Stage(1, lanes, most_uses=5)
    stage.bring_up()
    for _ in range(20):
        stage.ask(Place(None))
    for _ in range(20):
        stage.end()
        stage.bring_up()
    assert all(worker.uses <= 5 + lanes for worker in stage.all)
    assert stage.crew.stats().replaced >= 2


def test_worker_is_replaced_at_its_age() -> None:
    """Although it idles."""
    stage = Stage(1, 1, most_seconds=0.0)
    stage.bring_up()
    first = stage.all[0]
    stage.crew.look_around()
    assert first.killed_for
    stage.bring_up()
    assert len(stage.all) == 2


@pytest.mark.parametrize("is_busy", [False, True])
def test_worker_with_too_much_memory_is_replaced(is_busy: bool) -> None:
    """At once, or when its event has ended, although others wait."""
    stage = Stage(1, 1, most_memory=100)
    stage.bring_up()
    first = stage.all[0]
    first.resident = 101
    if is_busy:
        stage.ask(Place(None))
        stage.ask(Place(None))
    stage.crew.look_around()
    assert bool(first.killed_for) != is_busy
    if is_busy:
        stage.end()
        assert first.killed_for
        stage.bring_up()
        assert stage.events[0][1].worker is stage.all[1]


@pytest.mark.parametrize("lanes", [1, 3])
def test_events_of_one_place_are_served_in_their_order(lanes: int) -> None:
    """However many workers there are."""
    stage = Stage(processes=2, lanes=lanes)
    stage.bring_up()
    place = Place("a")
    asked = [stage.ask(place) for _ in range(20)]
    begun = [waiter for waiter, _ in stage.events]
    while stage.events:
        stage.end()
        stage.collect()
        begun += [waiter for waiter, _ in stage.events if waiter not in begun]
    assert begun == asked


@pytest.mark.parametrize("lanes", [1, 2])
def test_event_passes_those_that_their_own_concurrency_holds_back(lanes: int) -> None:
    """At once where a worker is free, else when one becomes free; and they go on when their turn has come."""
    stage = Stage(processes=2, lanes=lanes)
    stage.bring_up()
    place = Place(None)
    narrow = Client(wasmrun.Function("(module)", concurrency=1), 2)
    first, second = stage.ask(place, narrow), stage.ask(place, narrow)
    assert [waiter for waiter, _ in stage.events] == [first]
    others = [stage.ask(place) for _ in range(2 * lanes)]
    assert [waiter for waiter, _ in stage.events] == [first, *others[:-1]]
    stage.end(1)
    stage.collect()
    assert stage.waiting == [second]
    assert others[-1] in [waiter for waiter, _ in stage.events]
    stage.end(0)
    stage.collect()
    assert not stage.waiting
    assert stage.events[-1][0] is second


def test_waiting_ends_with_the_crew() -> None:
    """With a RuntimeError: no worker will come."""
    stage = Stage(1, 1)
    outcomes: list[object] = []

    def take() -> None:
        try:
            outcomes.append(stage.crew.take(stage.client, Place(None), None))
        except BaseException as error:
            outcomes.append(str(error))

    thread = threading.Thread(target=take)
    thread.start()
    until = time.monotonic() + WAIT
    while not stage.crew.stats().waiting:
        assert time.monotonic() < until
    stage.crew.close(0.0)
    thread.join(WAIT)
    assert outcomes == ["the executor was shut down"]
