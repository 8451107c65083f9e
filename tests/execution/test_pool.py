"""The pool as users of an executor see it: starts, limits, waits, refills, trimming, counters."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import kit
import pytest
from kit import Gate, eventually

import wasmrun
from wasmrun import keeper
from wasmrun.machine.ticker import Ticker
from wasmrun.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

Make = Any


def count(answer: bytes) -> int:
    return int.from_bytes(answer, "little")


# How an event finds its sandbox


def test_start_is_cold_without_a_ready_sandbox(own: wasmrun.Executor) -> None:
    """The report says so, and what preparing cost."""
    report = own.run(kit.pure(), b"").report
    assert report.start == "cold"
    assert report.init_duration is not None
    assert report.init_duration > 0
    assert own.stats().pool.cold_starts == 1


def test_start_is_warm_with_a_ready_sandbox(own: wasmrun.Executor) -> None:
    """Nothing was prepared on the event's path."""
    function = kit.pure(warm=2)
    assert own.prewarm(function) == 2
    report = own.run(function, b"").report
    assert (report.start, report.init_duration) == ("warm", None)
    assert own.stats().pool.warm_starts == 1


def test_start_is_reused_only_where_the_function_wants_it(own: wasmrun.Executor) -> None:
    """The same instance takes the next event."""
    function = kit.pure("count_raw", reuse=True)
    results = [own.run(function, b"") for _ in range(3)]
    assert [result.report.start for result in results] == ["cold", "reused", "reused"]
    assert [count(result.value) for result in results] == [1, 2, 3]


@pytest.mark.parametrize("warm", [0, 3])
def test_event_gets_a_sandbox_of_its_own(own: wasmrun.Executor, warm: int) -> None:
    """Whatever an event leaves in its instance is gone for the next."""
    function = kit.pure("count_raw", warm=warm)
    assert [count(own.invoke(function, b"")) for _ in range(50)] == [1] * 50


def test_event_that_fails_spoils_no_other(own: wasmrun.Executor) -> None:
    """Not even with reuse: after a trap the sandbox goes."""
    function = kit.pure("count_raw", reuse=True)
    bad = kit.pure("trap_raw", reuse=True)
    assert count(own.invoke(function, b"")) == 1
    for _ in range(3):
        with pytest.raises(wasmrun.GuestTrap) as caught:
            own.invoke(bad, b"")
        assert caught.value.report is not None
        assert caught.value.report.start == "cold"
    assert count(own.invoke(function, b"")) == 2


def test_event_that_cannot_be_given_leaves_its_sandbox_ready(own: wasmrun.Executor) -> None:
    """The guest saw nothing of it: the next event finds the same sandbox, and it is still a warm start."""
    function = kit.pure("count_raw", warm=1)
    own.prewarm(function)
    for _ in range(3):
        with pytest.raises(wasmrun.InvalidEvent):
            own.invoke(function, 1.5)
    assert own.stats().pool.refills == 1
    result = own.run(function, b"")
    assert (result.report.start, count(result.value)) == ("warm", 1)


def test_reused_sandbox_is_told_once_to_free_an_answer(own: wasmrun.Executor) -> None:
    """An event that could not be given in between changes nothing."""
    function = kit.pure("freed_raw", reuse=True)
    assert count(own.invoke(function, b"")) == 0
    with pytest.raises(wasmrun.InvalidEvent):
        own.invoke(function, 1.5)
    with pytest.raises(wasmrun.PayloadTooLarge):
        own.invoke(function, bytes(function.event_bytes + 1))
    assert count(own.invoke(function, b"")) == 1


def test_reused_sandbox_reports_one_event_at_a_time(own: wasmrun.Executor) -> None:
    """Logs and sizes are those of its own event, whether anybody asked for those of the last."""
    function = kit.pure("log_raw", reuse=True)
    for _ in range(3):
        own.invoke(function, b"")
    result = own.run(function, b"1234")
    assert [log.message for log in result.logs] == ["hello"]
    assert (result.report.start, result.report.event_bytes, result.report.log_bytes) == ("reused", 4, 5)


def test_reused_sandbox_is_never_shared_by_tenants(own: wasmrun.Executor) -> None:
    """One tenant's next event finds what its last one left, another's does not."""
    function = kit.pure("count_raw", reuse=True)
    seen = [count(own.invoke(function, b"", tenant=tenant)) for tenant in ("a", "b", "a", None, "b", "a", None)]
    assert seen == [1, 1, 2, 1, 2, 3, 2]


def test_reused_sandbox_makes_room_for_another_tenant(make: Make) -> None:
    """Where no more may live, one that only waits for its tenant goes."""
    executor = make(max_sandboxes=1, wait=0)
    function = kit.pure("count_raw", reuse=True)
    assert [count(executor.invoke(function, b"", tenant=tenant)) for tenant in ("a", "a", "b", "b", "a")] == [
        1,
        2,
        1,
        2,
        1,
    ]
    assert executor.stats().pool.evictions == 2


def test_reused_sandbox_that_cannot_free_goes_but_its_answer_stands(own: wasmrun.Executor) -> None:
    """`wasmrun_free` runs in what is left of the event's time."""
    function = wasmrun.Function(kit.FREE_LOOPS, entry="echo_raw", reuse=True, warm=0, timeout=0.1)
    for _ in range(2):
        result = own.run(function, b"x")
        assert (result.value, result.report.start) == (b"x", "cold")


@pytest.mark.parametrize("reuse", [False, True])
def test_sandbox_that_was_made_last_is_handed_out_first(
    own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    """Its memory is the warmest."""
    function = kit.ordinary(warm=4, reuse=reuse)
    own.prewarm(function)
    eventually(lambda: own.stats().pool.in_flight == 0)
    last = own._runner.core.shelves[function].ready[-1]
    ran: list[Sandbox] = []
    run = Sandbox.run

    def run_noted(sandbox: Sandbox, *args: Any) -> Any:
        ran.append(sandbox)
        return run(sandbox, *args)

    monkeypatch.setattr(Sandbox, "run", run_noted)
    own.invoke(function, b"")
    assert ran == [last]


def test_context_tells_the_request_id_of_the_report(own: wasmrun.Executor) -> None:
    """One id for both, made where none was given."""
    result = own.run(kit.pure("context"), {"a": 1})
    event, context = result.value
    assert event == {"a": 1}
    assert context["request_id"] == result.report.request_id


# Limits


def test_concurrency_of_a_function_is_bounded(make: Make, gate: Gate) -> None:
    """One more waits, and is throttled; other functions go on."""
    executor = make(threads=8, wait=0.05)
    function = kit.asking(gate, concurrency=2)
    futures = [executor.submit(function, b"\xc0") for _ in range(2)]
    gate.wait_for(2)
    with pytest.raises(wasmrun.Throttled, match="concurrency of 2"):
        executor.invoke(function, b"\xc0")
    assert executor.invoke(kit.pure(), b"x") == b"x"
    gate.opened.set()
    for future in futures:
        future.result(20)
    executor.invoke(function, b"\xc0")
    stats = executor.stats().pool.functions[function]
    assert (stats.waits, stats.throttled, stats.cold_starts) == (1, 1, 3)


def test_wait_for_a_sandbox_is_bounded(make: Make, gate: Gate) -> None:
    """It ends in Throttled, which is a TimeoutError, and is counted."""
    executor = make(max_sandboxes=1, wait="100ms")
    future = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="all 1 sandboxes are in use") as caught:
        executor.invoke(kit.pure(), b"")
    assert 0.1 <= time.monotonic() - started < 2
    assert isinstance(caught.value, wasmrun.Throttled)
    gate.opened.set()
    future.result(20)
    assert executor.stats().pool.throttled == 1
    assert executor.stats().failures == {"Throttled": 1}


def test_wait_for_a_sandbox_ends_when_one_is_free(make: Make, gate: Gate) -> None:
    """The event runs, and its report says how long it waited."""
    executor = make(max_sandboxes=1, wait=20, threads=2)
    first = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    results: list[wasmrun.Result] = []
    waiting = threading.Thread(target=lambda: results.append(executor.run(kit.pure(), b"x")))
    waiting.start()
    eventually(lambda: executor.stats().pool.waits == 1)
    gate.opened.set()
    waiting.join(20)
    first.result(20)
    assert results[0].value == b"x"
    assert results[0].report.pool_wait > 0
    assert executor.stats().pool.throttled == 0


def test_sandboxes_of_idle_functions_make_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was used longest ago goes first, and comes back when there is room again."""
    monkeypatch.setattr(keeper, "_LOOK_AROUND_SECONDS", 0.05)
    executor = make(max_sandboxes=3, wait=0)
    old, new = kit.pure(warm=1, name="old"), kit.pure(warm=1, name="new")
    for function in (old, new):
        executor.prewarm(function)
        eventually(lambda: kit.is_idle(executor))
    gates = [Gate(), Gate()]
    futures = []
    for gate in gates:
        futures.append(executor.submit(kit.asking(gate), b"\xc0"))
        gate.wait_for(1)
    functions = executor.stats().pool.functions
    assert (functions[old].evictions, functions[new].evictions) == (1, 0)
    assert (functions[old].ready, functions[new].ready) == (0, 1)
    for gate, future in zip(gates, futures, strict=True):
        gate.opened.set()
        future.result(20)
    eventually(lambda: executor.stats().pool.functions[old].ready == 1)


def test_engine_without_room_for_more_is_an_error(make: Make) -> None:
    """Functions of another stack size need an engine of their own, and all engines share the address space."""
    executor = make(max_sandboxes=20_000)
    executor.invoke(kit.pure(stack="128KiB"), b"")
    with pytest.raises(wasmrun.HostError, match="lower max_sandboxes"):
        executor.invoke(kit.pure(stack="1MiB"), b"")
    assert executor.invoke(kit.pure(stack="128KiB"), b"x") == b"x"


# Refilling and trimming


def test_pool_is_refilled_after_a_hand_out(own: wasmrun.Executor) -> None:
    """In the background, to what the function asks for."""
    function = kit.pure(warm=3)
    own.prewarm(function)
    for _ in range(3):
        assert own.run(function, b"").report.start == "warm"
    eventually(lambda: own.stats().pool.functions[function].ready == 3)
    assert own.stats().pool.refills == 6


def test_pool_is_filled_when_a_function_is_loaded(own: wasmrun.Executor) -> None:
    """Without an event."""
    function = kit.pure(warm=3)
    own.load(function)
    eventually(lambda: own.stats().pool.functions[function].ready == 3)


def test_prewarm_fills_no_more_than_there_is_room(make: Make) -> None:
    """And says how many are ready."""
    executor = make(max_sandboxes=2)
    assert executor.prewarm(kit.pure(warm=5)) == 2


def test_prewarm_of_many_threads_fills_no_more_than_asked(make: Make) -> None:
    """What one is preparing counts for the others, the keeper included."""
    executor = make()
    function = kit.pure(warm=7)
    threads = [threading.Thread(target=executor.prewarm, args=(function,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    eventually(lambda: executor.stats().pool.in_flight == 0)
    assert executor.stats().pool.ready == executor.stats().pool.refills == 7


def test_refill_that_fails_is_backed_off(own: wasmrun.Executor, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, not tried again at once, and the event gets the error."""
    function = wasmrun.Function(kit.INIT_TRAPS, entry="echo_raw", warm=2)
    with caplog.at_level(logging.WARNING, "wasmrun.pool"):
        for _ in range(50):
            with pytest.raises(wasmrun.GuestTrap) as caught:
                own.invoke(function, b"")
        eventually(lambda: own.stats().pool.refill_failures > 0)
        eventually(lambda: kit.is_idle(own))
    assert caught.value.report is not None
    assert caught.value.report.start == "cold"
    stats = own.stats().pool.functions[function]
    assert 1 <= stats.refill_failures <= 3
    assert stats.cold_starts == 50
    assert stats.ready == 0
    assert "cannot be prepared: the function trapped: unreachable" in caplog.text


def test_refill_survives_whatever_a_host_function_raises(
    own: wasmrun.Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """A start-up may call one on a thread of the keeper's; it is logged, and the keeper goes on."""

    def call(_: object) -> None:
        if threading.current_thread().name == "wasmrun-filler":
            raise SystemExit(3)

    function = wasmrun.Function(kit.INIT_ASKS, entry="echo_raw", imports={"call": call}, warm=1)
    with caplog.at_level(logging.ERROR, "wasmrun.keeper"):
        own.load(function)
        eventually(lambda: own.stats().pool.refill_failures == 1)
        other = kit.pure(warm=2)
        own.load(other)
        eventually(lambda: own.stats().pool.functions[other].ready == 2)
    assert own.invoke(function, b"x") == b"x"
    eventually(lambda: "SystemExit: 3" in caplog.text)


def test_surplus_of_reuse_goes_when_idle(make: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a burst left behind is trimmed to what the function asks for."""
    monkeypatch.setattr(keeper, "_LOOK_AROUND_SECONDS", 0.05)
    executor = make(threads=4, idle=0.2)
    function = kit.asking(gate, reuse=True, warm=1)
    futures = [executor.submit(function, b"\xc0") for _ in range(4)]
    gate.wait_for(4)
    gate.opened.set()
    for future in futures:
        future.result(20)
    eventually(lambda: executor.stats().pool.ready == 1)
    assert executor.stats().pool.functions[function].evictions >= 3


def test_memory_pressure_empties_the_pool(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lasts nothing is kept ready, and events still run; afterwards the pool fills again."""
    monkeypatch.setattr(keeper, "_LOOK_AROUND_SECONDS", 0.02)
    executor = make()
    function = kit.pure(warm=8)
    executor.prewarm(function)
    pressure = threading.Event()
    executor._runner.core.pool._is_short_of_memory = pressure.is_set
    pressure.set()
    eventually(lambda: executor.stats().pool.ready == 0)
    refills = executor.stats().pool.refills
    for _ in range(20):
        assert executor.run(function, b"").report.start == "cold"
        time.sleep(0.002)
    assert executor.stats().pool.refills == refills
    pressure.clear()
    eventually(lambda: executor.stats().pool.ready == 8)


def test_memory_of_the_machine_is_looked_at(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short is less than a twentieth of it."""
    import psutil

    class Memory:
        total = 1000
        available = 50

    own.load(kit.pure())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    assert not own._runner.core._is_short_of_memory()
    Memory.available = 49
    assert own._runner.core._is_short_of_memory()


# Unloading


def test_unload_frees_a_function(own: wasmrun.Executor) -> None:
    """Its sandboxes go; its next event loads it anew."""
    function = kit.pure(warm=3)
    own.prewarm(function)
    assert own.unload(function)
    assert function not in own.stats().pool.functions
    assert own.stats().pool.ready == 0
    assert own.run(function, b"x").value == b"x"


def test_unload_answers_whether_it_did(own: wasmrun.Executor, gate: Gate) -> None:
    """Not what is not loaded, and not what runs."""
    function = kit.asking(gate)
    assert not own.unload(function)
    future = own.submit(function, b"\xc0")
    gate.wait_for(1)
    assert not own.unload(function)
    gate.opened.set()
    future.result(20)
    eventually(lambda: own.unload(function))
    assert not own.unload(function)


def test_unload_leaves_nothing_for_the_keeper(own: wasmrun.Executor) -> None:
    """It comes to rest, however often functions come and go."""
    function = kit.pure(warm=4)
    for _ in range(20):
        own.invoke(function, b"")
        eventually(lambda: own.unload(function))
    eventually(lambda: own._runner.core.keeper.level == 0)
    assert not own._runner.core.pool.has_work
    pool = own.stats().pool
    assert (pool.live, pool.functions) == (0, {})


def test_unload_waits_for_what_is_being_prepared(own: wasmrun.Executor) -> None:
    """Its code is not freed under a guest's start-up."""
    inside, go_on = threading.Event(), threading.Event()

    def call(_: object) -> None:
        inside.set()
        assert go_on.wait(20)

    function = wasmrun.Function(kit.INIT_ASKS, entry="echo_raw", imports={"call": call}, warm=1)
    own.load(function)
    assert inside.wait(20)
    answers: list[bool] = []
    unloading = threading.Thread(target=lambda: answers.append(own.unload(function)))
    unloading.start()
    unloading.join(0.1)
    assert answers == []
    go_on.set()
    unloading.join(20)
    assert answers == [True]
    eventually(lambda: own.stats().pool.live == 0)


def test_unload_races_with_events_and_refills(own: wasmrun.Executor) -> None:
    """Every event gets its answer, from a function that is loaded as often as it takes."""
    function = kit.pure(warm=3)
    until = time.monotonic() + 1.2
    failures: list[BaseException] = []

    def invoke() -> None:
        try:
            while time.monotonic() < until:
                assert own.invoke(function, b"x") == b"x"
                time.sleep(0.0005)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=invoke) for _ in range(3)]
    for thread in threads:
        thread.start()
    unloaded = 0
    while time.monotonic() < until:
        unloaded += own.unload(function)
    for thread in threads:
        thread.join(20)
    assert not failures
    assert unloaded > 5


def test_event_that_lost_its_function_loads_it_anew(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unloaded between being looked up and being taken from the pool: the event does not notice."""
    function = kit.ordinary(warm=1)
    own.invoke(function, b"")
    acquire = own._runner.core.pool.acquire
    times = []

    def acquire_late(*args: Any) -> Any:
        times.append(1)
        if len(times) == 1:
            eventually(lambda: own.unload(function))
        return acquire(*args)

    monkeypatch.setattr(own._runner.core.pool, "acquire", acquire_late)
    assert own.invoke(function, b"x") == b"x"
    assert len(times) == 2


# The clock and the keeper


def test_clock_ticks_only_while_something_runs(own: wasmrun.Executor, gate: Gate) -> None:
    """It stops by itself soon after the last event."""
    function = kit.asking(gate)
    future = own.submit(function, b"\xc0")
    gate.wait_for(1)
    assert kit.ticking(own) == 1
    gate.opened.set()
    future.result(20)
    eventually(lambda: kit.is_idle(own), 2)
    assert own._runner.core.keeper.level == 0


def test_clock_of_each_engine_stops(own: wasmrun.Executor) -> None:
    """Also where several engines ticked."""
    for stack in ("128KiB", "1MiB"):
        own.invoke(kit.pure(stack=stack), b"")
    own.invoke(kit.pure(fuel=None), b"")
    assert len(own._runner.core._engines) == 3
    eventually(lambda: kit.is_idle(own), 2)


def test_clock_that_cannot_start_loses_no_sandbox(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event fails; the pool's counts are right."""
    function = kit.pure()
    own.invoke(function, b"")
    eventually(lambda: kit.is_idle(own))

    def fail(_: Ticker) -> None:
        raise wasmrun.HostError("no clock today")

    with monkeypatch.context() as patch:
        patch.setattr(Ticker, "start", fail)
        with pytest.raises(wasmrun.HostError, match="no clock today"):
            own.invoke(function, b"")
    eventually(lambda: own.stats().pool.live == 0)
    assert own.invoke(function, b"x") == b"x"


def test_keeper_that_cannot_start_is_an_error(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a guest runs: its deadline may depend on the keeper."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(wasmrun.HostError, match="ulimit -u"):
            own.invoke(kit.pure(), b"")
    assert own.invoke(kit.pure(), b"x") == b"x"


def test_lost_ticks_do_not_free_a_guest(run: Callable[..., tuple[str, str, float]]) -> None:
    """Where the kernel has no room for the ticker's threads, its ticks vanish; the keeper's own still come."""
    out, err, _ = run("""
from wasmrun import keeper
from wasmrun.machine.ticker import Ticker
keeper._LOOK_AROUND_SECONDS = 0.2
def start(self):
    self.is_running = self._was_started = True
Ticker.start = start
executor = wasmrun.Executor()
for warm in (0, 1):
    function = pure("loop_raw", timeout=0.2, fuel=None, warm=warm)
    for _ in range(2):
        started = time.monotonic()
        try:
            executor.invoke(function, b"")
        except wasmrun.TimedOut:
            print(time.monotonic() - started < 2)
executor.shutdown()
""")
    assert (out.split(), err) == (["True"] * 4, "")


# Counters


def test_stats_of_a_function_are_its_own(own: wasmrun.Executor) -> None:
    """And those of the pool are their sum."""
    first, second = kit.pure(name="first"), kit.pure(name="second", warm=1)
    own.prewarm(second)
    for function, times in ((first, 2), (second, 1)):
        for _ in range(times):
            own.invoke(function, b"")
    pool = own.stats().pool
    assert (pool.functions[first].cold_starts, pool.functions[first].warm_starts) == (2, 0)
    assert (pool.functions[second].cold_starts, pool.functions[second].warm_starts) == (0, 1)
    for name in wasmrun.Executor().stats().pool._fields:
        if name not in ("live", "spent", "in_flight", "functions"):
            assert getattr(pool, name) == sum(getattr(row, name) for row in pool.functions.values())


def test_stats_of_an_unused_executor_are_all_zero() -> None:
    """And looking at them makes nothing."""
    executor = wasmrun.Executor()
    assert not any(executor.stats().pool)
    assert executor.stats().failures == {}
    assert executor._runner is None


def test_stats_agree_while_events_run(own: wasmrun.Executor) -> None:
    """Live is ready, in flight and spent at every moment."""
    function = kit.pure(warm=4)
    own.prewarm(function)
    until = time.monotonic() + 0.5
    threads = [
        threading.Thread(
            target=lambda: [own.invoke(function, b"") for _ in iter(lambda: time.monotonic() < until, False)]
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        pool = own.stats().pool
        assert pool.live == pool.ready + pool.in_flight + pool.spent
    for thread in threads:
        thread.join(20)


def test_start_up_that_loops_keeps_no_other_function_waiting(make: Make) -> None:
    """It is prepared aside, for as long as it may take; others are refilled meanwhile."""
    executor = make(max_sandboxes=20)
    looping = wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", init_timeout="20s", fuel=None, warm=1)
    executor.load(looping)
    eventually(lambda: executor.stats().pool.in_flight == 1)
    healthy = kit.pure(warm=2)
    executor.invoke(healthy, b"")
    eventually(lambda: executor.stats().pool.functions[healthy].ready == 2, 5)
    assert executor.stats().pool.functions[looping].refill_failures == 0
