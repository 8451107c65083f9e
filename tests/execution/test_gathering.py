"""`map`: events shared out to threads, outcomes in order, and batches that nobody can tell from single events."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import Gate, eventually

import wasmrun
from wasmrun.gathering import Gathering
from wasmrun.machine.hotpath import choose
from wasmrun.watch import Watch

ALONE = """(module
  (memory (export "memory") 1 32)
  (global $seen (mut i32) (i32.const 0))
  (func (export "wasmrun_alloc") (param i32) (result i32)
    (if (i32.gt_u (local.get 0) (i32.const 60000))
      (then (drop (memory.grow (i32.add (i32.shr_u (local.get 0) (i32.const 16)) (i32.const 1))))))
    (i32.const 1024))
  (func $echo (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))
  ;; Does as the first byte of the event says: traps, loops, answers nonsense; else it echoes. Without an event, too.
  (func (export "f_raw") (param i32 i32) (result i64) (local $what i32)
    (if (i32.eqz (local.get 1)) (then (return (i64.const 0))))
    (local.set $what (i32.load8_u (local.get 0)))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (unreachable)))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (loop $l (br $l))))
    (if (i32.eq (local.get $what) (i32.const 3)) (then (return (i64.const -1))))
    (call $echo (local.get 0) (local.get 1)))
  ;; How many events this sandbox had before.
  (func (export "seen_raw") (param i32 i32) (result i64)
    (i32.store8 (i32.const 16) (global.get $seen))
    (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
    (call $echo (i32.const 16) (i32.const 1)))
  (func (export "same") (param i32 i32) (result i64)
    ;; [event, context] as [0, event, …] would be: the envelope's first byte stays, the answer ends after the event.
    (i32.store8 (i32.const 1023) (i32.const 0x92)) (i32.store8 (i32.const 1024) (i32.const 0))
    (call $echo (i32.const 1023) (i32.const 3))))"""
"""A guest that imports nothing, so that its events may go in batches."""

Outcome = tuple[str, Any]


@pytest.fixture
def own(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """An executor that only this test uses."""
    with wasmrun.Executor(cache_dir=cache_dir, threads=3, max_sandboxes=8) as executor:
        yield executor


def alone(entry: str = "f_raw", **settings: Any) -> wasmrun.Function:
    """The guest that imports nothing."""
    return wasmrun.Function(ALONE, entry=entry, **{"warm": 0, "memory": "4MiB", **settings})


def outcomes(executor: wasmrun.Executor, function: wasmrun.Function, events: list[Any]) -> list[Outcome]:
    """What becomes of each, one `map` after the other where it ends with an error."""
    found: list[Outcome] = []
    while len(found) < len(events):
        answers = executor.map(function, events[len(found) :])
        try:
            found += (("value", value) for value in answers)
        except wasmrun.WasmrunError as error:
            found.append((type(error).__name__, str(error)))
    return found


def single(executor: wasmrun.Executor, function: wasmrun.Function, event: Any) -> Outcome:
    """What becomes of one event by `invoke`."""
    try:
        return "value", executor.invoke(function, event)
    except wasmrun.WasmrunError as error:
        return type(error).__name__, str(error)


EVENTS = st.one_of(
    st.binary(max_size=20).map(lambda rest: b"e" + rest), st.just(b""), st.just(b"\1"), st.just(b"\2"), st.just(b"\3"),
    st.just(7.5), st.sampled_from([100_000, 200_000]),
)  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(events=st.lists(EVENTS, max_size=12))
def test_map_gives_what_invoke_gives(events: list[Any], shared: wasmrun.Executor) -> None:
    """Answers and errors of every kind, in their order."""
    function = alone(timeout="5s", fuel=1_000_000, event_bytes=150_000, result_bytes=150_000)
    events = [b"x" * event if isinstance(event, int) else event for event in events]
    assert outcomes(shared, function, events) == [single(shared, function, event) for event in events]


@pytest.fixture(scope="module")
def shared(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """One for all examples."""
    with wasmrun.Executor(cache_dir=cache_dir, threads=2) as executor:
        yield executor


def test_many_events_keep_their_order(own: wasmrun.Executor) -> None:
    """More than a batch has, on several threads; each in a sandbox of its own, which is gone at the end."""
    events = [b"e%d" % at for at in range(3000)]
    assert list(own.map(alone(), events)) == events
    assert set(own.map(alone("seen_raw"), events)) == {b"\0"}
    eventually(lambda: own.stats().pool.in_flight == 0)
    pool = own.stats().pool
    assert pool.cold_starts + pool.warm_starts == 6000
    eventually(lambda: own.stats().pool.live == own.stats().pool.ready)


@pytest.mark.skipif(choose(None) != "compiled", reason="without the compiled hot path there are no batches")
def test_batches_are_taken(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would be about single events only."""
    own.invoke(alone(), b"e")
    runner = own._runner
    assert runner is not None
    monkeypatch.setattr(type(runner), "execute", None)
    assert list(own.map(alone(), [b"e"] * 200)) == [b"e"] * 200
    assert list(own.map(alone(warm=4), [])) == []


@pytest.mark.parametrize("error", [wasmrun.HostError("no room"), RuntimeError("no thread"), OSError("no memory")])
def test_batch_that_cannot_be_run_leaves_its_events_to_others(
    own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nobody waits for what was taken with it; also where that happens in the middle."""
    runner = own._open()
    run_each, calls = runner.run_each, iter(range(1000))

    def sometimes(function: wasmrun.Function, events: list[Any]) -> list[Any]:
        if next(calls) % 3 == 2:
            raise error
        return run_each(function, events)

    monkeypatch.setattr(runner, "run_each", sometimes)
    events = [b"e%d" % at for at in range(500)]
    assert list(own.map(alone(), events, timeout=30)) == events


def test_envelopes_go_in_batches(own: wasmrun.Executor) -> None:
    """With a context each; what is reported as an error is one."""
    assert list(own.map(alone("same"), list(range(100)))) == list(range(100))


def test_tenants_and_concurrency_hold(cache_dir: Path) -> None:
    """A batch takes one place; where there is none, events wait for it as others do."""
    with wasmrun.Executor(cache_dir=cache_dir, threads=4, max_sandboxes=1) as executor:
        function = alone(concurrency=1, tenant="t")
        assert list(executor.map(function, [b"e"] * 500)) == [b"e"] * 500
        assert executor.stats().pool.throttled == 0


def test_every_report_is_told(cache_dir: Path) -> None:
    """One for each event, where somebody wants them."""
    reports: list[wasmrun.Report] = []
    with wasmrun.Executor(cache_dir=cache_dir, threads=2, on_report=reports.append) as executor:
        assert list(executor.map(alone(), [b"e"] * 100)) == [b"e"] * 100
    assert len(reports) == 100
    assert len({report.request_id for report in reports}) == 100


def test_slow_events_run_side_by_side(own: wasmrun.Executor, gate: Gate) -> None:
    """As many as there are threads, also where the first ones were quick."""
    function = kit.asking(gate, timeout=20)
    answers = own.map(function, [b"\xc0"] * 3)
    gate.wait_for(3)
    gate.opened.set()
    assert len(list(answers)) == 3


def test_values_come_while_others_still_run(own: wasmrun.Executor, gate: Gate) -> None:
    """The first one is not kept back for the second."""
    asked: list[Any] = []

    def ask(value: Any) -> Any:
        asked.append(value)
        return gate(value) if value == 2 else value

    answers = own.map(kit.asking(ask, timeout=20), [b"\x01", b"\x02"])
    assert next(answers) == b"\x92\x00\x01"
    gate.opened.set()
    assert len(list(answers)) == 1


def test_what_nobody_waits_for_any_more_is_dropped(own: wasmrun.Executor, gate: Gate) -> None:
    """Guests that run are stopped, events that wait are not begun; by a time-out, or by who has seen enough."""
    with pytest.raises(TimeoutError):
        next(own.map(kit.pure("loop_raw", timeout=20), [b""] * 50, timeout=0.1))
    eventually(lambda: own.stats().pool.in_flight == 0, 5)
    answers = own.map(alone(timeout=20, fuel=None), [b"e", *[b"\2"] * 50])
    assert next(answers) == b"e"
    answers.close()  # type: ignore[attr-defined]
    eventually(lambda: own.stats().pool.in_flight == 0, 5)
    assert own.stats().pool.cold_starts < 50


def test_generator_that_was_never_begun_is_no_hindrance(cache_dir: Path) -> None:
    """Its events run, as those of the standard library do."""
    executor = wasmrun.Executor(cache_dir=cache_dir, threads=2)
    executor.map(alone(), [b"e"] * 500)
    eventually(lambda: executor.stats().pool.cold_starts == 500)
    executor.shutdown()


@pytest.mark.parametrize("threads", [1, 3])
def test_shutdown_cancels_what_has_not_begun(cache_dir: Path, gate: Gate, threads: int) -> None:
    """What has begun is finished; whoever waits for the rest is told."""
    executor = wasmrun.Executor(cache_dir=cache_dir, threads=threads)
    answers = executor.map(kit.asking(gate, timeout=20), [b"\xc0"] * 10)
    gate.wait_for(threads)
    closer = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
    closer.start()
    eventually(lambda: executor._is_shut)
    gate.opened.set()
    closer.join(20)
    for _ in range(threads):
        next(answers)
    with pytest.raises(concurrent.futures.CancelledError):
        next(answers)


def test_shutdown_lets_all_of_it_run(cache_dir: Path) -> None:
    """As the standard library promises."""
    executor = wasmrun.Executor(cache_dir=cache_dir, threads=2)
    answers = executor.map(alone(), [b"e"] * 5000)
    executor.shutdown()
    assert list(answers) == [b"e"] * 5000
    with pytest.raises(RuntimeError, match="shut down"):
        executor.map(alone(), [b"e"])


def test_map_takes_one_iterable(own: wasmrun.Executor) -> None:
    """An event is one thing."""
    with pytest.raises(TypeError, match="one iterable of events, not 2"):
        own.map(alone(), [b"a"], [b"b"])
    with pytest.raises(TypeError, match="one iterable of events, not 0"):
        own.map(alone())
    with pytest.raises(TypeError, match=r"wasmrun.Function is needed"):
        own.map(len, [b"a"])  # type: ignore[arg-type]


def test_event_and_error_are_not_kept(own: wasmrun.Executor) -> None:
    """Once their outcome was taken."""

    class Event(bytearray):
        """One that a reference can be had to."""

    events = [Event(b"e"), Event(b"\1")]
    kept = [weakref.ref(event) for event in events]
    answers = own.map(alone(), events)
    events.clear()
    assert next(answers) == b"e"
    with pytest.raises(wasmrun.GuestTrap):
        next(answers)
    del answers
    gc.collect()
    eventually(lambda: [reference() for reference in kept] == [None, None])


# The store itself


def test_events_are_taken_in_turn_and_given_back() -> None:
    """From where they were; one watch each for those who take."""
    gathering = Gathering(list("abcdefgh"))
    watch = Watch()
    assert gathering.join(watch)
    assert gathering.take(3) == (0, ["a", "b", "c"])
    assert gathering.take(2) == (3, ["d", "e"])
    gathering.give_back(1, ["b", "c"])
    gathering.give_back(5, [])
    assert gathering.take(5) == (1, ["b", "c"])
    gathering.give_back(3, [])
    assert gathering.take(1) == (5, ["f"])
    assert gathering.take(5) == (6, ["g", "h"])
    gathering.give_back(8, [])
    assert gathering.take(5) == (0, [])
    assert not gathering.leave(watch, unless_last=True)
    assert gathering.leave(watch)
    assert not gathering.join(watch)


def test_thread_that_finds_nothing_waits_for_what_may_be_given_back() -> None:
    """Else one thread alone would run what another one's batch had no time for."""
    gathering = Gathering(["a", "b"])
    watches = Watch(), Watch()
    gathering.join(watches[0])
    assert gathering.take(2) == (0, ["a", "b"])
    assert gathering.join(watches[1])
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(gathering.take(2)))
    thread.start()
    gathering.give_back(1, ["b"])
    thread.join(10)
    assert found == [(1, ["b"])]


def test_outcomes_of_any_order_come_in_theirs() -> None:
    """An error in its turn."""
    gathering = Gathering([1, 2, 3])
    gathering.put(1, ["two", "three"])
    gathering.fail(0, ValueError("one"))
    with pytest.raises(ValueError, match="one"):
        next(gathering.outcomes(None))
    other = Gathering([1, 2])
    other.put(0, ["one", "two"])
    assert list(other.outcomes(None)) == ["one", "two"]


def test_waiting_ends_with_the_time_and_with_the_last_thread() -> None:
    """Not before it."""
    gathering = Gathering([1])
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        next(gathering.outcomes(started + 0.05))
    assert time.monotonic() - started >= 0.05
    refused = Gathering([1, 2])
    watch = Watch()
    refused.join(watch)
    refused.refuse()
    answers = refused.outcomes(None)
    threading.Timer(0.05, lambda: (refused.put(0, ["one"]), refused.leave(watch))).start()
    assert next(answers) == "one"
    with pytest.raises(concurrent.futures.CancelledError):
        next(answers)


def test_threads_share_events_without_losing_one() -> None:
    """However they take, give back, and put."""
    count = 5000
    gathering = Gathering(list(range(count)))

    def work(most: int, back: int) -> None:
        watch = Watch()
        if not gathering.join(watch):
            return  # the others were faster
        while True:
            at, events = gathering.take(most)
            if not events:
                break
            keep = max(1, len(events) - back)
            gathering.put(at, [event * 2 for event in events[:keep]])
            if len(events) > 1:
                gathering.give_back(at + keep, events[keep:])
        gathering.leave(watch)

    threads = [threading.Thread(target=work, args=pair) for pair in ((1, 0), (7, 3), (64, 60), (10, 0))]
    for thread in threads:
        thread.start()
    assert list(gathering.outcomes(time.monotonic() + 30)) == [2 * at for at in range(count)]
    for thread in threads:
        thread.join(10)
