"""The crew's counts and promises hold whatever happens to its workers in whatever order: no processes, no waiting."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import kit
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import wasmrun
from wasmrun.function import Directory
from wasmrun.machine.failures import Stopped
from wasmrun.processes import crew as crew_module
from wasmrun.processes.crew import Client, Crew, CrewSettings, _Waiter
from wasmrun.processes.placement import Place
from wasmrun.processes.process import Lane, WorkerProcess
from wasmrun.watch import Watch

TENANT_MOST = 3
FILES = (Directory("/srv/files", "/files", False),)
FUNCTIONS = [
    kit.pure(),
    kit.pure(name="limited", concurrency=2),
    kit.pure(name="of-files", dirs=FILES),
]
FUNCTION_NUMBERS = st.integers(0, len(FUNCTIONS) - 1)
TENANTS = st.sampled_from([None, "a", "b", "c"])
HOLD_AND_MORE = 1.5
ROUNDS = 60
"""In how many rounds of the supervisor everybody who waits must have had a worker, once events end."""


class Clock:
    """The time, as the crew sees it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class FakeWorker(WorkerProcess):
    """A worker without a process. ``own`` is the place that its walls were made for; ``served`` those it had events of."""

    def __init__(self, number: int, own: Place | None, lanes: int, now: float) -> None:
        self.number, self.place, self.own = number, own, own
        self.is_ready = self.is_leaving = self.is_retiring = self.is_dead = False
        self.uses = self.said = 0
        self.started = self.idle_since = self.placed = now
        self.known = {}
        self._process: Any = SimpleNamespace(returncode=None)
        self.killed_for = ""
        self.lanes = [Lane.__new__(Lane) for _ in range(lanes)]
        for at, lane in enumerate(self.lanes):
            lane.worker, lane.number, lane.turn = self, at, 0
        self.free = list(self.lanes)
        self.served: set[Place] = set()
        self.megabytes = 0

    def kill(self, why: str) -> None:
        self.killed_for = self.killed_for or why

    def resident_bytes(self) -> int | None:
        return self.megabytes << 20


class CrewMachine(RuleBasedStateMachine):
    """What events, workers and the supervisor may do to a crew; a model that knows only who holds what."""

    clock: Clock

    @initialize(
        processes=st.integers(1, 4), lanes=st.integers(1, 3), most_uses=st.sampled_from([None, 3]),
        limited=st.booleans(),
    )  # fmt: skip
    def begin(self, processes: int, lanes: int, most_uses: int | None, limited: bool) -> None:
        most = TENANT_MOST if limited else None
        self.settings = CrewSettings(processes, lanes, 0.0, most, most_uses, 50.0, 100 << 20)
        self.crew = Crew(self.settings, lambda: None)
        self.clients = [Client(function, number) for number, function in enumerate(FUNCTIONS)]
        self.workers: list[FakeWorker] = []
        self.held: list[tuple[Lane, Client, Place]] = []
        self.waiting: list[_Waiter] = []
        self.deaths = 0
        self.cancelled = Watch()
        self.cancelled.stop("cancelled")

    # Events

    @rule(number=FUNCTION_NUMBERS, tenant=TENANTS)
    def event_arrives(self, number: int, tenant: str | None) -> None:
        client = self.clients[number]
        place = Place(tenant, client.function.dirs)
        crew = self.crew
        # As `take` begins; it would wait, then.
        with crew._lock:
            lane = crew._take_at_once(client, place) if not crew._waiting else None
            if lane is None:
                waiter = _Waiter(client, place)
                self.waiting.append(waiter)
                crew._queue_up(waiter)
        if lane is not None:
            self.has(lane, client, place)

    @rule(number=FUNCTION_NUMBERS, tenant=TENANTS)
    def event_arrives_that_does_not_wait(self, number: int, tenant: str | None) -> None:
        client = self.clients[number]
        place = Place(tenant, client.function.dirs)
        try:
            lane = self.crew.take(client, place, self.cancelled)
        except Stopped:
            return
        self.has(lane, client, place)

    @rule(data=st.data())
    def event_ends(self, data: st.DataObject) -> None:
        if self.held:
            lane, client, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.crew.give(lane, client)

    @rule(data=st.data())
    def event_gives_up(self, data: st.DataObject) -> None:
        if self.waiting:
            waiter = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
            # As `take` ends.
            with self.crew._lock:
                if waiter.lane is not None:
                    self.crew._return(waiter.lane, waiter.client)
                elif waiter in self.crew._waiting:
                    self.crew._waiting.remove(waiter)

    @rule(number=FUNCTION_NUMBERS, tenant=TENANTS)
    def user_prewarms(self, number: int, tenant: str | None) -> None:
        client = self.clients[number]
        place = Place(tenant, client.function.dirs)
        lane = self.crew.take_free(client, place)
        if lane is not None:
            self.has(lane, client, place)

    # Workers and their supervisor

    @rule(works=st.booleans())
    def supervisor_starts(self, works: bool) -> None:
        wanted = self.crew.next_start()
        if wanted is None:
            return
        number, place = wanted
        if not works:
            self.crew.failed(wasmrun.HostError("no process can be had"), place)
            return
        worker = FakeWorker(number, place if place is not None and place.dirs else None, self.settings.lanes,
                            self.clock.now)  # fmt: skip
        self.workers.append(worker)
        self.crew.started(worker)

    @rule(data=st.data())
    def worker_becomes_ready(self, data: st.DataObject) -> None:
        starting = [worker for worker in self.workers if not (worker.is_ready or worker.killed_for or worker.is_dead)]
        if starting:
            self.crew.is_now_ready(data.draw(st.sampled_from(starting)))

    @rule(data=st.data(), by_us=st.booleans())
    def worker_dies(self, data: st.DataObject, by_us: bool) -> None:
        alive = [worker for worker in self.workers if not worker.is_dead and bool(worker.killed_for) >= by_us]
        if alive:
            worker = data.draw(st.sampled_from(alive))
            is_surprise = not worker.is_leaving
            assert self.crew.died(worker) is is_surprise
            self.deaths += is_surprise

    @rule(data=st.data())
    def worker_is_killed_for_its_guest(self, data: st.DataObject) -> None:
        if self.held:
            data.draw(st.sampled_from(self.held))[0].worker.kill("its guest was past its deadline")

    @rule(data=st.data(), megabytes=st.sampled_from([0, 200]))
    def worker_has_memory(self, data: st.DataObject, megabytes: int) -> None:
        if self.workers:
            data.draw(st.sampled_from(self.workers)).megabytes = megabytes

    @rule()
    def supervisor_looks_around(self) -> None:
        self.crew.look_around()

    @rule()
    def supervisor_buries(self) -> None:
        for worker in self.crew.take_dead():
            assert isinstance(worker, FakeWorker)
            assert worker.is_dead
            assert not worker.in_flight
            self.workers.remove(worker)

    @rule(seconds=st.sampled_from([0.05, HOLD_AND_MORE, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    # What must hold

    def has(self, lane: Lane, client: Client, place: Place) -> None:
        """An event of *client* has got *lane*."""
        worker: Any = lane.worker
        assert worker.is_ready
        assert worker.own == (place if place.dirs else None), "its walls are those of another place"
        assert all(lane is not other for other, _, _ in self.held), "two events have one lane"
        worker.served.add(place)
        self.held.append((lane, client, place))

    def notice(self) -> None:
        """Take over what waiting events were given meanwhile."""
        for waiter in [*self.waiting]:
            if waiter.ready.is_set():
                self.waiting.remove(waiter)
                assert (waiter.lane is None) is (waiter.error is not None)
                if waiter.lane is not None:
                    self.has(waiter.lane, waiter.client, waiter.place)
        assert {*self.crew._waiting} == {*self.waiting}

    @invariant()
    def worker_serves_one_place(self) -> None:
        self.notice()
        assert all(len(worker.served) <= 1 for worker in self.workers)

    @invariant()
    def counts_agree(self) -> None:
        self.notice()
        stats = self.crew.stats()
        assert stats.in_flight == len(self.held) == sum(worker.in_flight for worker in self.workers)
        assert stats.waiting == len(self.waiting)
        assert stats.workers == sum(worker.may_serve for worker in self.workers)
        assert stats.died + stats.killed == self.deaths
        for client in self.clients:
            assert client.in_flight == sum(other is client for _, other, _ in self.held)
        for tenant, count in self.crew._by_tenant.items():
            assert count == sum(place.tenant == tenant for _, _, place in self.held) > 0
        assert sum(self.crew._by_tenant.values()) == len(self.held)

    @invariant()
    def there_are_no_more_workers_than_may_be(self) -> None:
        assert sum(worker.is_wanted for worker in self.workers) <= self.settings.processes

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        self.notice()
        for waiter in self.waiting:
            may_run = not (waiter.client.is_full or self.crew._is_tenant_full(waiter.place.tenant))
            for worker in self.workers:
                is_free = worker.may_serve and worker.free and worker.place == waiter.place
                assert not (may_run and is_free), f"{waiter.place} waits for worker {worker.number}"

    def teardown(self) -> None:
        """Once events end and workers start, everybody who waits is served; then everything ends."""
        if not hasattr(self, "crew"):
            return
        for _ in range(ROUNDS):
            self.notice()
            while self.held:
                lane, client, _ = self.held.pop()
                self.crew.give(lane, client)
                self.notice()
            if not self.waiting:
                break
            self.clock.now += HOLD_AND_MORE
            for worker in self.workers:
                worker.megabytes = 0
                if worker.killed_for and not worker.is_dead:
                    self.deaths += self.crew.died(worker)
            self.supervisor_buries()
            self.supervisor_starts(True)
            for worker in self.workers:
                if not (worker.is_ready or worker.killed_for or worker.is_dead):
                    self.crew.is_now_ready(worker)
            self.crew.look_around()
        assert not self.waiting, [waiter.place for waiter in self.waiting]
        self.counts_agree()
        assert self.crew.close(0.0)
        with pytest.raises(RuntimeError):
            self.crew.take(self.clients[0], Place(None), None)
        for worker in self.workers:
            if not worker.is_dead:
                self.crew.died(worker)
        self.crew.take_dead()
        assert self.crew.is_over
        assert self.crew.next_start() is None


def test_crew_holds_its_promises_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One place a worker, no lane twice, counts that agree, nobody who waits beside a free worker, and none for ever."""
    clock = Clock()
    monkeypatch.setattr(crew_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    machine = type("Machine", (CrewMachine,), {"clock": clock})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None, derandomize=True)
    )


def test_crew_serves_threads_that_wait() -> None:
    """The real `take`, on threads: who waits is woken by whoever gives, and everybody has had a turn."""
    crew = Crew(CrewSettings(2, 1, 20.0, None, None, None, None), lambda: None)
    client, turns = Client(kit.pure(), 0), []
    for _ in range(2):
        number, _place = crew.next_start() or (-1, None)
        worker = FakeWorker(number, None, 1, 0.0)
        crew.started(worker)
        crew.is_now_ready(worker)

    def work(tenant: str) -> None:
        for _ in range(50):
            lane = crew.take(client, Place(tenant), None)
            turns.append(tenant)
            crew.give(lane, client)

    threads = [threading.Thread(target=work, args=(tenant,)) for tenant in ("a", "b") for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(turns) == 400
    assert crew.stats().in_flight == crew.stats().waiting == 0
