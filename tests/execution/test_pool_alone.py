"""The pool, the keeper and the core by themselves: moments that threads meet rarely, brought about on purpose."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import kit
import pytest
from kit import eventually

import wasmrun
from wasmrun import core as core_module
from wasmrun.keeper import Keeper
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.loader import Loader
from wasmrun.machine.program import Program
from wasmrun.machine.record import RECORD_WORDS
from wasmrun.machine.wasi import Streams
from wasmrun.pool import MOST_SPENT, Pool, Unloaded
from wasmrun.sandbox import Sandbox
from wasmrun.shelf import Shelf
from wasmrun.yards import Yards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Make = Any


@pytest.fixture(scope="module")
def program(cache_dir: Path) -> Iterator[Program]:
    function = kit.pure(warm=2)
    engine = Engine(EngineSettings(function.stack, function.is_metered), MOST_SPENT + 10, RECORD_WORDS)
    program = Program(function, engine, Loader(cache_dir, None).load(engine, function), Streams(engine))
    yield program
    program.close()
    assert not engine.live
    engine.close()


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool without a keeper, and with room for one."""
    pool = Pool(most=1, wait=20, idle=300)
    yield pool
    assert pool.close(10)
    assert pool.stats().live == 0


class Waiting:
    """A thread that waits for a sandbox of *shelf*."""

    def __init__(self, pool: Pool, shelf: Shelf) -> None:
        self.outcome: list[Any] = []
        self._thread = threading.Thread(target=self._wait, args=(pool, shelf))
        self._thread.start()
        eventually(lambda: pool._waiting == 1)

    def _wait(self, pool: Pool, shelf: Shelf) -> None:
        try:
            self.outcome.append(pool.acquire(shelf))
        except BaseException as error:
            self.outcome.append(error)

    def end(self) -> Any:
        """What it got, or what was raised."""
        self._thread.join(20)
        return self.outcome[0]


def test_spent_sandboxes_do_not_pile_up(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the keeper does not keep up, an event destroys its own."""
    monkeypatch.setattr("wasmrun.pool.MOST_SPENT", 10)
    pool = Pool(most=30, wait=0, idle=300)
    shelf = pool.add(program)
    sandboxes = []
    for _ in range(15):
        assert pool.acquire(shelf) is None
        sandboxes.append(Sandbox(program))
    for sandbox in sandboxes:
        pool.release(shelf, sandbox, reusable=False)
    assert pool.stats().live == pool.stats().spent == 10
    assert pool.close(None)


def test_place_that_is_forfeited_goes_to_who_waits(pool: Pool, program: Program) -> None:
    """Because no sandbox could be made for the event that had it."""
    shelf = pool.add(program)
    assert pool.acquire(shelf) is None
    waiting = Waiting(pool, shelf)
    pool.forfeit(shelf)
    assert waiting.end() is None
    pool.forfeit(shelf)


def test_place_of_what_is_being_destroyed_is_waited_for(
    pool: Pool, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is free once the store is gone, not before."""
    shelf = pool.add(program)
    assert pool.acquire(shelf) is None
    pool.release(shelf, Sandbox(program), reusable=False)
    deleting, go_on = threading.Event(), threading.Event()
    delete = Sandbox.delete

    def delete_slowly(sandbox: Sandbox) -> None:
        deleting.set()
        assert go_on.wait(20)
        delete(sandbox)

    monkeypatch.setattr(Sandbox, "delete", delete_slowly)
    destroying = threading.Thread(target=pool.round, args=(pool._handed,))
    destroying.start()
    assert deleting.wait(20)
    stats = pool.stats()
    assert (stats.live, stats.spent) == (1, 1)
    waiting = Waiting(pool, shelf)
    go_on.set()
    # The same round goes on to refill: either it or the event has the place first.
    got = waiting.end()
    destroying.join(20)
    if got is None:
        pool.forfeit(shelf)
    else:
        pool.release(shelf, got, reusable=False)


def test_removed_shelf_tells_who_waits(pool: Pool, program: Program) -> None:
    """The function is loaded anew then."""
    busy, wanted = pool.add(program), pool.add(program)
    assert pool.acquire(busy) is None
    waiting = Waiting(pool, wanted)
    assert pool.remove(wanted)
    assert isinstance(waiting.end(), Unloaded)
    pool.forfeit(busy)


def test_trimming_of_a_shelf_that_is_gone_does_nothing(pool: Pool, program: Program) -> None:
    """It was removed after the plan was made."""
    shelf = pool.add(program)
    assert pool.remove(shelf)
    pool._trim(shelf.number, 3)
    assert pool.stats().evictions == 0


def test_sandbox_that_cannot_be_made_is_a_failed_refill(
    pool: Pool, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, and backed off longer each time."""

    def fail(*_: object) -> None:
        raise wasmrun.HostError("no more of them")

    shelf = pool.add(program)
    monkeypatch.setattr("wasmrun.pool.Sandbox", fail)
    pool.fill(shelf, 2)
    first = shelf.backoff
    pool.fill(shelf, 2)
    assert 0 < first < shelf.backoff
    assert shelf.retry_at > time.monotonic()
    stats = pool.stats()
    assert (stats.refill_failures, stats.live, stats.in_flight) == (2, 0, 0)


def test_backoff_has_a_limit_and_ends_with_success(pool: Pool, program: Program) -> None:
    """A function that recovers is filled as before."""
    shelf = pool.add(program)
    for _ in range(20):
        with pool.lock:
            pool._live, pool._in_flight, shelf.filling = pool._live + 1, pool._in_flight + 1, shelf.filling + 1
        pool._shelve(shelf, None, is_prepared=False)
    assert shelf.backoff == 60
    pool.fill(shelf, 1)
    assert (shelf.backoff, len(shelf.ready)) == (0, 1)


def test_sandbox_that_was_prepared_too_late_is_destroyed(
    pool: Pool, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool was closed meanwhile."""
    shelf = pool.add(program)
    prepare = Sandbox.prepare

    def prepare_late(sandbox: Sandbox) -> None:
        prepare(sandbox)
        pool.refuse()

    monkeypatch.setattr(Sandbox, "prepare", prepare_late)
    pool.fill(shelf, 1)
    assert (pool.stats().ready, pool.stats().spent) == (0, 1)


def test_sandbox_that_is_prepared_too_late_is_stopped(pool: Pool, cache_dir: Path) -> None:
    """Between being counted and being known to the pool: its start-up does not run."""
    function = wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", warm=1, init_timeout=20)
    engine = Engine(EngineSettings(function.stack, function.is_metered), 1, RECORD_WORDS)
    looping = Program(function, engine, Loader(cache_dir, None).load(engine, function), Streams(engine))
    shelf = pool.add(looping)
    begin = pool._begin

    def begin_late(sandbox: Sandbox) -> None:
        pool.refuse()
        begin(sandbox)

    pool._begin = begin_late  # type: ignore[method-assign]
    started = time.monotonic()
    pool.fill(shelf, 1)
    assert time.monotonic() - started < 5
    assert pool.stats().live == 0
    looping.close()
    engine.close()


def test_clock_that_runs_is_not_started_again(pool: Pool, program: Program) -> None:
    """Two events may find it stopped at once."""
    pool.start_clock(program.engine)
    pool.start_clock(program.engine)
    assert program.engine.ticker.is_running
    assert pool.stop_clocks([program.engine])
    assert pool.stop_clocks([program.engine])
    assert not program.engine.ticker.is_running


def test_clock_runs_on_while_something_is_in_flight(pool: Pool, program: Program) -> None:
    """An event that was counted before it looked at its clock keeps it."""
    shelf = pool.add(program)
    pool.start_clock(program.engine)
    assert pool.acquire(shelf) is None
    assert not pool.stop_clocks([program.engine])
    assert program.engine.ticker.is_running
    pool.forfeit(shelf)
    assert pool.stop_clocks([program.engine])


@pytest.mark.parametrize(
    ("work", "in_flight", "rubbish", "level"),
    [(True, 0, False, "AWAKE"), (False, 1, False, "DOZING"), (False, 0, True, "DOZING")],
)
def test_keeper_does_not_park_what_came_meanwhile(work: bool, in_flight: int, rubbish: bool, level: str) -> None:
    """An event that found the old level did not ring the bell."""

    class Busy:
        has_work, has_rubbish = work, rubbish
        yards = Yards()

    Busy.in_flight = in_flight  # type: ignore[attr-defined]
    keeper = Keeper(Busy(), list)  # type: ignore[arg-type]
    started = time.monotonic()
    keeper._rest(keeper.PARKED, 20)
    assert time.monotonic() - started < 5
    assert keeper.level == getattr(keeper, level)


def test_keeper_that_was_closed_starts_no_more(pool: Pool) -> None:
    """Whoever comes late."""
    keeper = Keeper(pool, list)
    assert keeper.close()
    keeper.wake(keeper.AWAKE)
    assert keeper.level == keeper.PARKED
    assert keeper._thread is None


def test_keeper_that_is_busy_is_waited_for_as_long_as_wanted(pool: Pool, program: Program) -> None:
    """And says whether it ended."""
    go_on = threading.Event()
    in_round = threading.Event()

    def round_slowly(*_: Any, **__: Any) -> int:
        in_round.set()
        assert go_on.wait(20)
        return 0

    pool.round = round_slowly  # type: ignore[method-assign]
    keeper = Keeper(pool, list)
    keeper.wake(keeper.AWAKE)
    assert in_round.wait(20)
    assert not keeper.close(0.01)
    go_on.set()
    assert keeper.close()


def test_core_that_is_closed_loads_nothing(own: wasmrun.Executor) -> None:
    """Not even for who came past the executor's own check."""
    own.load(kit.pure())
    core = own._runner.core
    own.shutdown()
    for work in (core.shelf, core.unload):
        with pytest.raises(RuntimeError, match="was shut down"):
            work(kit.pure())


def test_core_does_not_wait_for_another_closer_for_ever(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the interpreter's exit, where a thread is still at it."""
    own.load(kit.pure())
    core = own._runner.core
    monkeypatch.setattr(core_module, "_EXIT_SECONDS", 0.01)
    with core._freeing:
        core.close(at_exit=True)
        assert not core._is_free
    own.shutdown()
    assert core._is_free


def test_core_leaves_what_holds_on_at_exit(make: Make, gate: kit.Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host function that does not come back keeps its program and its engine; the exit goes on."""
    monkeypatch.setattr(core_module, "_EXIT_SECONDS_OF_HOST", 0.05)
    executor = make(threads=1)
    future = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    core = executor._runner.core
    started = time.monotonic()
    core.close(at_exit=True)
    assert time.monotonic() - started < 2
    [(engine, _)] = core._engines.values()
    assert engine.live
    gate.opened.set()
    # Its guest was told to stop.
    assert future.exception(20) is not None


def test_submit_races_with_shutdown(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shut down between being looked at and being locked: refused, not lost."""
    executor = make()
    opens: list[object] = []

    def open_late(open_now: Callable[[], Any] = executor._open) -> Any:
        opened = open_now()
        executor.shutdown()
        opens.append(opened)
        return opened

    monkeypatch.setattr(executor, "_open", open_late)
    with pytest.raises(RuntimeError, match="was shut down"):
        executor.submit(kit.pure(), b"")
    assert len(opens) == 1


def test_sandbox_that_cannot_be_made_gives_its_place_back(
    own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event fails; the next one has its place."""

    def fail(*_: object) -> None:
        raise wasmrun.HostError("no more of them")

    function = kit.pure()
    own.load(function)
    [key] = own._runner.core._engines
    with monkeypatch.context() as patch:
        patch.setattr(own._runner.core._engines[key][0], "take_record", fail)
        with pytest.raises(wasmrun.HostError, match="no more of them"):
            own.invoke(function, b"")
    eventually(lambda: own.stats().pool.in_flight == 0)
    stats = own.stats()
    assert (stats.pool.live, stats.failures) == (0, {"HostError": 1})
    assert own.invoke(function, b"x") == b"x"


def test_executor_of_another_process_refuses_and_frees_nothing(
    own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a forked child sees it; the children of other tests are seen by their exit status only."""
    own.invoke(kit.ordinary(), b"")
    pid = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        for call in (own.invoke, own.submit, own.prewarm, own.inspect):
            with pytest.raises(wasmrun.HostError, match="before the process forked"):
                call(kit.ordinary())
        with pytest.raises(wasmrun.HostError, match="before the process forked"):
            own.stats()
        own.shutdown()
    assert all(engine.pointer for engine, _ in own._runner.core._engines.values())
    own.shutdown()
    assert not any(engine.pointer for engine, _ in own._runner.core._engines.values())


def test_shutdown_without_wait_needs_no_workers(own: wasmrun.Executor) -> None:
    """An executor that was only invoked has none."""
    own.invoke(kit.pure(), b"")
    own.shutdown(wait=False)
    eventually(lambda: own._runner.core._is_free)


def test_on_report_is_called_on_any_thread(make: Make) -> None:
    """Also on one that nobody watches."""
    reports: list[tuple[str, str]] = []
    executor = make(on_report=lambda report: reports.append((report.status, threading.current_thread().name)))
    thread = threading.Thread(target=executor.invoke, args=(kit.pure(), b"x"), name="mine")
    thread.start()
    thread.join(20)
    assert reports == [("success", "mine")]


def test_failure_close_to_the_memory_limit_says_so(own: wasmrun.Executor) -> None:
    """A refused `memory.grow` is not reported by the engine: a hint is all there can be."""
    result = own.run(kit.pure("trap_raw", memory=2 * 65536), b"")
    assert result.report.memory_near_limit
    assert str(result.error).endswith("(its memory is near its limit of 128 KiB)")
