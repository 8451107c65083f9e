"""The express: what it carries is as the runner would have it, what it does not carry the runner has, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import kit
import msgpack
import pytest
from kit import NATIVE, eventually

import wasmrun
from wasmrun.machine import hostcalls
from wasmrun.machine.engine import Engine
from wasmrun.machine.hotpath import check_kind, choose
from wasmrun.pool import MOST_SPENT
from wasmrun.sandbox import Sandbox
from wasmrun.shelf import ExpressShelf

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., wasmrun.Executor]

pytestmark = pytest.mark.skipif(
    choose(check_kind(os.environ)) != "compiled", reason="the express is a part of the compiled hot path"
)

MIXED = f"""(module
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  {NATIVE}
  ;; Answers the event, unless its first byte is 1: then it traps; 2: loops; 3: grows to 8 MiB, and touches all of it;
  ;; 4: answers what is outside; 5: logs the rest first; 6: logs what is outside; 7: answers 5,000 bytes.
  (func (export "mixed_raw") (param i32 i32) (result i64) (local $kind i32) (local $at i32)
    (if (local.get 1) (then (local.set $kind (i32.load8_u (local.get 0)))))
    (if (i32.eq (local.get $kind) (i32.const 1)) (then (unreachable)))
    (if (i32.eq (local.get $kind) (i32.const 2)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $kind) (i32.const 3)) (then
      (drop (memory.grow (i32.const 126)))
      (loop $again
        (i32.store8 (local.get $at) (i32.const 1))
        (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 8388608))))))
    (if (i32.eq (local.get $kind) (i32.const 4)) (then (return (i64.const -1))))
    (if (i32.eq (local.get $kind) (i32.const 5)) (then
      (call $log (i32.const 1) (i32.add (local.get 0) (i32.const 1)) (i32.sub (local.get 1) (i32.const 1)))
      (call $log (i32.const 77) (i32.const 16) (i32.const 5))
      (call $log (i32.const -1) (i32.const 0) (i32.const 0))))
    (if (i32.eq (local.get $kind) (i32.const 6)) (then (call $log (i32.const 1) (i32.const 131000) (i32.const 1000))))
    (if (i32.eq (local.get $kind) (i32.const 7)) (then (return (call $pack (i32.const 0) (i32.const 0)))))
    (call $pack (local.get 0) (local.get 1)))
)"""


def mixed(**settings: Any) -> wasmrun.Function:
    """A guest that does what the first byte of its event says."""
    return wasmrun.Function(MIXED, entry="mixed_raw", **{"warm": 0, **settings})


def way(executor: wasmrun.Executor, function: wasmrun.Function) -> Any:
    """The compiled express of *function*."""
    assert executor._runner is not None
    shelf = executor._runner.core.shelves[function]
    assert isinstance(shelf, ExpressShelf)
    return shelf.way


def carried(executor: wasmrun.Executor, function: wasmrun.Function) -> int:
    """How many events of *function* it carried."""
    return sum(way(executor, function).counts[1:])


def board(executor: wasmrun.Executor, function: wasmrun.Function, event: Any = b"") -> None:
    """Have the express of *function* carry events."""

    def is_carried() -> bool:
        executor.invoke(function, event)
        return carried(executor, function) > 0

    eventually(is_carried)


def differing(report: wasmrun.Report) -> wasmrun.Report:
    """A report without what differs from event to event."""
    return report._replace(request_id="", duration=0.0, init_duration=report.init_duration and 1.0, pool_wait=0.0)


EVENTS = [
    b"",
    b"\0",
    b"echo" * 300,
    b"echo" * 2000,
    b"\1",
    b"\3",
    b"\4",
    b"\5logged \xff",
    b"\5" + b"long" * 2000,
    b"\6",
    b"\7",
    b"x" * 70_000,
]


@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize("event", EVENTS, ids=range(len(EVENTS)))
def test_outcome_is_the_runner_s(own: wasmrun.Executor, event: bytes, warm: int) -> None:
    """Value or error, report and log: byte for byte, fuel included."""
    limits = {"log_bytes": 5000, "event_bytes": 65536, "warm": warm}
    ordinary, function = mixed(concurrency=1000, **limits), mixed(**limits)
    expected: Any
    try:
        expected = own.run(ordinary, event)
    except wasmrun.WasmrunError as error:
        expected = error
    board(own, function)
    own.prewarm(function)
    for _ in range(3):
        before = own.stats().failures
        if isinstance(expected, BaseException):
            with pytest.raises(type(expected), match="the event has"):
                own.run(function, event)
            continue
        result = own.run(function, event)
        assert result.value == expected.value
        assert result.logs == expected.logs
        assert (type(result.error), str(result.error)) == (type(expected.error), str(expected.error))
        assert differing(result.report)._replace(start="", init_duration=None) == differing(expected.report)._replace(
            start="", init_duration=None
        )
        if expected.error is not None:
            name = type(expected.error).__name__
            assert own.stats().failures[name] == before.get(name, 0) + 1
            with pytest.raises(type(expected.error)):
                own.invoke(function, event)
        else:
            assert own.invoke(function, event) == expected.value
    eventually(lambda: own.stats().pool.in_flight == 0)


def test_report_says_how_it_was_started(own: wasmrun.Executor) -> None:
    """Warm where one was ready; else cold, and what preparing it took."""
    function = mixed(warm=1)
    board(own, function)
    own.prewarm(function)
    before = carried(own, function)
    warm, cold = own.run(function, b"a").report, own.run(function, b"a").report
    assert carried(own, function) == before + 2
    assert (warm.start, warm.init_duration) == ("warm", None)
    assert cold.start == "cold"
    assert cold.init_duration is not None
    assert 0 < cold.init_duration < 1
    assert 0 < cold.duration < 1
    assert {warm.status, cold.status} == {"success"}


def test_envelope_has_a_context_of_its_own(own: wasmrun.Executor) -> None:
    """As the runner writes it; request ids are UUIDs, each given once, and the deadline is so far away."""
    function, ordinary = (make("context", timeout=5, name="né") for make in (kit.pure, kit.ordinary))
    [_, expected] = own.invoke(ordinary, {"a": 1})
    board(own, function, {})
    before = carried(own, function)
    ids = set()
    for number in range(50):
        result = own.run(function, {"number": number})
        event, context = result.value
        assert event == {"number": number}
        assert result.report.request_id == context["request_id"]
        assert uuid.UUID(context["request_id"]).version == 4
        assert 4000 < context["deadline_ms"] - time.time() * 1000 <= 5000
        ids.add(context["request_id"])
        gaps = {"request_id": "", "deadline_ms": 0}
        assert context | gaps == expected | gaps
    assert len(ids) == 50
    assert carried(own, function) == before + 50
    assert result.report.event_bytes == len(msgpack.packb([event, context | {"deadline_ms": 1 << 63}]))


def test_values_that_cannot_be_encoded_are_told(own: wasmrun.Executor) -> None:
    """By the runner, in its words."""
    function = kit.pure("context")
    board(own, function, {})
    for event in (object(), 1 << 70, {"a": {1, 2}}):
        for call in (own.invoke, own.run):
            with pytest.raises(wasmrun.InvalidEvent, match="cannot be encoded as MessagePack"):
                call(function, event)


def test_event_of_no_bytes_is_told(own: wasmrun.Executor) -> None:
    """A raw function takes bytes; where none are given, it gets none."""
    function = mixed()
    board(own, function)
    assert own.invoke(function) == b""
    assert own.invoke(function, bytearray(b"ab")) == b"ab"
    with pytest.raises(wasmrun.InvalidEvent, match="takes bytes, not str"):
        own.invoke(function, "text")


def test_what_is_said_about_an_event_counts(own: wasmrun.Executor) -> None:
    """Such an event goes the runner's way."""
    function = kit.pure("context")
    board(own, function, {})
    before = carried(own, function)
    _, context = own.invoke(function, {}, request_id="mine", tenant="they", trace_id="a", client_context={"b": 1})
    assert [context[name] for name in ("request_id", "tenant_id", "trace_id", "client_context")] == [
        "mine", "they", "a", {"b": 1},
    ]  # fmt: skip
    assert carried(own, function) == before


def test_guest_that_takes_long_has_its_time(own: wasmrun.Executor) -> None:
    """It is begun anew by the runner, and not in vain at each event."""
    function = kit.pure("spin_raw", timeout=20)
    event = struct.pack("<i", 100_000_000)
    board(own, function, struct.pack("<i", 1))
    before = carried(own, function)
    for _ in range(3):
        result = own.run(function, event)
        assert result.error is None
        assert result.report.duration > 0.02
    assert carried(own, function) == before
    # After so many short ones it is tried again.
    for _ in range(20):
        own.invoke(function, struct.pack("<i", 1))
    assert carried(own, function) > before


def test_guest_that_loops_is_ended(own: wasmrun.Executor) -> None:
    """By its time, with the usual error, whether the express was in use, or the clock stood still."""
    function = mixed(timeout=0.1, fuel=None)
    board(own, function)
    for _ in range(2):
        with pytest.raises(wasmrun.TimedOut, match="100 ms"):
            own.invoke(function, b"\2")
        eventually(lambda: kit.is_idle(own))
    assert own.invoke(function, b"x") == b"x"


def test_ctrl_c_is_not_lost(start: Callable[..., Any]) -> None:
    """It ends a guest that loops, and comes through between two events that are carried."""
    child = start("""
from test_express import *
executor = wasmrun.Executor()
function = mixed(timeout=20, fuel=None)
board(executor, function)
for event in (b"\\2", b"x"):
    print("running")
    try:
        while True:
            executor.invoke(function, event)
    except KeyboardInterrupt:
        print("ended")
    assert executor.stats().pool.in_flight == 0
assert executor.invoke(function, b"y") == b"y"
executor.shutdown()
print("done")
""")
    for _ in range(2):
        assert child.line() == "running"
        time.sleep(0.2)  # into the guest, or somewhere between
        assert child.interrupt("ended") < 5
    assert child.end() == (0, "done\n", "")


def test_threads_share_it(make: Make) -> None:
    """Every event has its own answer, and every sandbox one event; the counts agree."""
    executor = make(threads=8, max_sandboxes=30)
    functions = [kit.pure("count_raw", warm=warm, name=f"f{warm}") for warm in (0, 5)]
    for function in functions:
        board(executor, function)
    before = executor.stats().pool
    counted: list[bytes] = []

    def work(number: int) -> None:
        counted.extend(executor.invoke(functions[(number + turn) % 2], b"") for turn in range(500))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        pool = executor.stats().pool
        assert pool.live == pool.ready + pool.in_flight + pool.spent
        assert pool.live <= 30
    for thread in threads:
        thread.join()
    assert counted == [struct.pack("<i", 1)] * 4000
    after = executor.stats().pool
    assert after.warm_starts + after.cold_starts - before.warm_starts - before.cold_starts == 4000
    eventually(lambda: kit.is_idle(executor))
    executor.shutdown()
    assert executor.stats().pool.live == 0


@pytest.mark.parametrize("warm", [0, 1])
def test_those_who_wait_have_their_turn(make: Make, warm: int) -> None:
    """Where there are fewer places than threads, a function whose events always go by express takes none for ever."""
    executor = make(max_sandboxes=2, wait=5)
    hasty, patient = kit.pure(warm=warm), kit.ordinary("count_raw")
    executor.invoke(hasty, b"")
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            with contextlib.suppress(wasmrun.Throttled):
                executor.invoke(hasty, b"x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            assert executor.invoke(patient, b"") == struct.pack("<i", 1)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    eventually(lambda: kit.is_idle(executor))
    before = carried(executor, hasty)
    eventually(lambda: executor.invoke(hasty, b"x") == b"x" and carried(executor, hasty) > before)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_places_are_shared_fairly(make: Make, most: int) -> None:
    """Where few sandboxes may live, functions that go by express and others take them from each other."""
    executor = make(max_sandboxes=most, wait=5)
    functions = [kit.pure("count_raw", name="a"), kit.pure("count_raw", name="b", warm=2), kit.ordinary("count_raw")]
    for turn in range(300):
        assert executor.invoke(functions[turn % 3], b"") == struct.pack("<i", 1)
        assert executor.stats().pool.live <= most
    assert sum(carried(executor, function) for function in functions[:2])
    assert executor.stats().pool.throttled == 0


def test_spent_sandboxes_do_not_pile_up(make: Make) -> None:
    """As many as wait elsewhere; of those with much memory, fewer."""
    executor = make(max_sandboxes=500)
    function = mixed(memory="16MiB")
    board(executor, function)
    keep_away = executor._runner.core.pool._clear_yards  # type: ignore[union-attr]
    executor._runner.core.pool._clear_yards = lambda: None  # type: ignore[union-attr]
    for event, most in ((b"\3", 8), (b"x", MOST_SPENT)):
        for _ in range(3 * MOST_SPENT):
            executor.invoke(function, event)
        # As many again of those that the runner had, as of guests that take long here.
        assert executor.stats().pool.spent <= 2 * most + 2
    executor._runner.core.pool._clear_yards = keep_away  # type: ignore[union-attr]
    eventually(lambda: executor.stats().pool.live == 0)


SPY = """(module
  (memory (export "memory") 2 4)
  (global $mark (mut i32) (i32.const 0))
  (table $table 2 10 funcref)
  (elem declare func $alloc)
  (func $alloc (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  ;; Answers how many words, pages, table elements and globals are not as they were made; then leaves its mark in all of them.
  (func (export "spy_raw") (param i32 i32) (result i64) (local $at i32) (local $found i32)
    (local.set $at (i32.const 4096))
    (loop $next
      (local.set $found (i32.add (local.get $found) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 131072))))
    (local.set $found (i32.add (local.get $found) (global.get $mark)))
    (local.set $found (i32.add (local.get $found) (i32.sub (memory.size) (i32.const 2))))
    (local.set $found (i32.add (local.get $found) (i32.sub (table.size $table) (i32.const 2))))
    (local.set $found (i32.add (local.get $found) (i32.eqz (ref.is_null (table.get $table (i32.const 1))))))
    (drop (memory.grow (i32.const 1)))
    (drop (table.grow $table (ref.func $alloc) (i32.const 3)))
    (table.set $table (i32.const 1) (ref.func $alloc))
    (global.set $mark (i32.const 1))
    (memory.fill (i32.const 4096) (i32.const 0xa5) (i32.const 192512))
    (i32.store (i32.const 2048) (local.get $found))
    (if (i32.eq (i32.load8_u (local.get 0)) (i32.const 1)) (then (unreachable)))
    (i64.const 0x0000080000000004))
)"""


@pytest.mark.parametrize("warm", [0, 4])
def test_nothing_is_left_of_an_event(own: wasmrun.Executor, warm: int) -> None:
    """Memory, globals, tables and their sizes are as they were made, whatever became of the events before."""
    function = wasmrun.Function(SPY, entry="spy_raw", warm=warm)
    found: list[bytes] = []

    def work() -> None:
        for turn in range(300):
            if turn % 50 == 49:
                with pytest.raises(wasmrun.GuestTrap):
                    own.invoke(function, b"\1")
            found.append(own.invoke(function, b"\0"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bytes(4)] * 900
    assert carried(own, function) > 100


def test_large_answers_are_whole(own: wasmrun.Executor) -> None:
    """Those that fit the small buffer, and those that do not."""
    function = mixed(event_bytes=1 << 20)
    board(own, function)
    before = carried(own, function)
    for size in (4095, 4096, 4097, 60_000):
        event = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert own.invoke(function, b"\0" + event[1:]) == b"\0" + event[1:]
    assert carried(own, function) == before + 4


def test_unload_while_events_come(own: wasmrun.Executor) -> None:
    """It waits for no event, ends none, and the next ones load the function anew."""
    function = kit.pure("echo_raw", warm=2)
    ended = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not ended.is_set():
                assert own.invoke(function, b"x") == b"x"
                time.sleep(0.0005)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            eventually(lambda: failures or own.unload(function))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures
    own.unload(function)
    eventually(lambda: own.stats().pool.live == 0)


def test_unload_forgets_the_express(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an event has just ended, which is about to have further ones carried."""
    function = kit.pure()
    board(own, function)
    assert own.unload(function)
    assert not own._expresses
    own.invoke(function, b"")
    pool = own._runner.core.pool  # type: ignore[union-attr]
    monkeypatch.setattr(pool, "lend", lambda _: eventually(lambda: own.unload(function)))
    own.invoke(function, bytearray(b"the runner's"))
    assert not own._expresses


def test_shutdown_while_events_come(make: Make) -> None:
    """Each ends with its answer, or was refused."""
    executor = make()
    function = kit.pure("echo_raw", warm=2)
    board(executor, function)
    ends: set[Any] = set()

    def work() -> None:
        try:
            while True:
                ends.add(executor.invoke(function, b"x"))
        except RuntimeError as error:
            ends.add(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: ends)
    executor.shutdown()
    for thread in threads:
        thread.join()
    assert ends == {b"x", "the executor was shut down"}
    assert executor.stats().pool.live == 0


def test_start_up_is_done_before(own: wasmrun.Executor) -> None:
    """Of a function that has one, what is ready is carried, and the rest goes the runner's way."""
    text = f"""(module {NATIVE}
      (global $ready (mut i32) (i32.const 0))
      (func (export "wasmrun_init") (global.set $ready (i32.const 7)))
      (func (export "ready_raw") (param i32 i32) (result i64)
        (i32.store (i32.const 32) (global.get $ready)) (call $pack (i32.const 32) (i32.const 4))))"""
    function = wasmrun.Function(text, entry="ready_raw", warm=3)
    own.invoke(function, b"")
    own.prewarm(function)
    board(own, function)
    own.prewarm(function)
    reports = [own.run(function, b"") for _ in range(5)]
    assert {result.value for result in reports} == {struct.pack("<i", 7)}
    assert [result.report.start for result in reports[:3]] == ["warm"] * 3
    assert carried(own, function) >= 3


def test_event_that_begins_anew_finds_what_was_ready(own: wasmrun.Executor) -> None:
    """The last one that is ready of a function whose start-up may take long is not used up in vain."""
    function = wasmrun.Function(
        f"""(module {NATIVE}
          (func (export "wasmrun_init"))
          (func (export "trap_raw") (param i32 i32) (result i64)
            (if (local.get 1) (then (unreachable))) (i64.const 0)))""",
        entry="trap_raw",
        warm=1,
    )
    for _ in range(3):
        assert own.invoke(function, b"") == b""
        own.prewarm(function)
        assert own.run(function, b"x").report.start == "warm"
        own.prewarm(function)


def test_what_is_ready_is_nobody_else_s(own: wasmrun.Executor) -> None:
    """An event may take a sandbox the moment that it is put, and a new one have its address then."""
    text = f"""(module {NATIVE}
      (func (export "wasmrun_init"))
      (func (export "none_raw") (param i32 i32) (result i64) (i64.const 0)))"""
    function = wasmrun.Function(text, entry="none_raw", warm=0)
    own.invoke(function, b"")
    shelf = own._runner.core.shelves[function]  # type: ignore[union-attr]
    express = way(own, function)
    engine = shelf.program.engine
    known: list[bool] = []

    class Way:
        """Looks at what is known of what is put."""

        def append(self, *addresses: int) -> None:
            known.append(addresses[1] in engine.live)
            express.append(*addresses)

    sandbox = Sandbox(shelf.program)
    sandbox.prepare()
    shelf.way = Way()  # type: ignore[attr-defined]
    try:
        shelf.put(sandbox)
    finally:
        shelf.way = express  # type: ignore[attr-defined]
    assert known == [False]
    assert len(express) == 1


def test_error_that_is_reported_is_counted_once(own: wasmrun.Executor) -> None:
    """One event is one start, however often it was begun; and further events are soon carried again."""
    text = f"""(module {NATIVE}
      (data (i32.const 32) "\\92\\00\\c0")
      (data (i32.const 64) "\\92\\01\\81\\a7message\\a3bad")
      ;; An error for an event that is a map with something in it.
      (func (export "wasmrun_handle") (param i32 i32) (result i64)
        (if (i32.eq (i32.load8_u (i32.add (local.get 0) (i32.const 1))) (i32.const 0x80))
          (then (return (call $pack (i32.const 32) (i32.const 3)))))
        (call $pack (i32.const 64) (i32.const 15))))"""
    function = wasmrun.Function(text, warm=0)
    board(own, function, {})
    before = own.stats()
    for _ in range(100):
        with pytest.raises(wasmrun.GuestError, match="bad"):
            own.invoke(function, {"a": 1})
    after = own.stats()
    assert after.pool.cold_starts + after.pool.warm_starts - before.pool.cold_starts - before.pool.warm_starts == 100
    assert after.failures["GuestError"] == 100
    earlier = carried(own, function)
    for _ in range(9):
        own.invoke(function, {})
    assert carried(own, function) > earlier


def test_answer_that_cannot_be_read_is_told(own: wasmrun.Executor) -> None:
    """By the runner, in its words, whether it begins as a value or not."""
    for answer in ("", "\\92", "\\92\\00", "\\92\\00\\c1", "\\93\\00\\c0\\c0", "\\dc\\00\\02\\00\\c0"):
        size = answer.count("\\")
        text = f"""(module {NATIVE}
          (data (i32.const 32) "{answer}")
          (func (export "wasmrun_handle") (param i32 i32) (result i64) (call $pack (i32.const 32) (i32.const {size}))))"""
        ends = set()
        for settings in ({"concurrency": 9}, {}):
            for _ in range(3):
                result = own.run(wasmrun.Function(text, warm=0, **settings))
                ends.add((result.value, type(result.error), str(result.error)))
        assert len(ends) == 1, answer
        assert (result.error is None) is (size == 5 and answer.startswith("\\dc"))


def test_no_python_runs_while_an_event_is_carried(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a log nor for an abort: a signal's handler would run there, and so might another guest."""
    called: list[str] = []
    guard = hostcalls._guard

    def spy(engine: Any, body: Any, has_result: bool, **how: Any) -> Any:
        inner = guard(engine, body, has_result, **how)

        def call(*args: int) -> int:
            called.append(body.__name__)
            return inner(*args)

        return call

    monkeypatch.setattr(hostcalls, "_guard", spy)
    text = f"""(module
      (import "wasmrun" "log" (func $log (param i32 i32 i32)))
      (import "env" "abort" (func $abort (param i32 i32 i32 i32)))
      {NATIVE}
      (func (export "tell_raw") (param i32 i32) (result i64)
        (call $log (i32.const 2) (i32.const 16) (i32.const 5))
        (if (local.get 1) (then (call $abort (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
        (i64.const 0)))"""
    function = wasmrun.Function(text, entry="tell_raw", warm=0)
    board(own, function)
    called.clear()
    before = carried(own, function)
    assert own.run(function, b"").logs == (wasmrun.Log("info", "hello"),)
    assert carried(own, function) == before + 1
    assert not called
    # Begun in vain, and then by the runner.
    with pytest.raises(wasmrun.GuestTrap, match="aborted") as caught:
        own.invoke(function, b"x")
    assert called == ["log", "abort"]
    assert caught.value.logs == (wasmrun.Log("info", "hello"),)
    called.clear()
    futures = own.map(function, [b""] * 20 + [b"x"])
    assert [next(futures) for _ in range(20)] == [b""] * 20
    with pytest.raises(wasmrun.GuestTrap, match="aborted"):
        next(futures)


def test_no_python_looks_at_guests_of_a_batch(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor at those that are carried: one that takes long is given up, and looked at when it is alone."""
    looks: list[int] = []
    look = Engine._on_look

    def spy(self: Engine, *args: int) -> int:
        looks.append(1)
        return look(self, *args)

    monkeypatch.setattr(Engine, "_on_look", spy)
    function, event = kit.pure("spin_raw", timeout=20), struct.pack("<i", 100_000_000)
    board(own, function, struct.pack("<i", 1))
    core = own._runner.core  # type: ignore[union-attr]
    shelf = core.shelves[function]
    assert core.pool.occupy(shelf)
    core.pool.start_clock(shelf.program.engine)
    try:
        assert shelf.program.run_each([struct.pack("<i", 1), event]) == [b""]
    finally:
        core.pool.vacate(shelf, 1)
    assert way(own, function).carry(event, 1 << 30) is NotImplemented
    assert not looks
    assert own.invoke(function, event) == b""
    assert looks


def test_room_on_the_stack_is_looked_at(own: wasmrun.Executor) -> None:
    """A thread with a small stack is told so, also where the function is carried on others."""
    function = kit.pure(warm=1)
    board(own, function)
    seen: list[Any] = []

    def small() -> None:
        try:
            own.invoke(function, b"x")
        except wasmrun.HostError as error:
            seen.append(str(error))

    previous = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=small)
        thread.start()
    finally:
        threading.stack_size(previous)
    thread.join()
    assert len(seen) == 1
    assert "this thread's stack has 256 KiB" in seen[0]


def test_nested_events_are_carried(own: wasmrun.Executor) -> None:
    """From a host function, as long as there is room for the guest's stack."""
    inner = kit.pure(warm=0)
    board(own, inner)
    before = carried(own, inner)
    outer = kit.asking(lambda event: own.invoke(inner, b"in").decode())
    assert msgpack.unpackb(own.invoke(outer, msgpack.packb(None))) == [0, "in"]
    assert carried(own, inner) == before + 1


def test_functions_that_need_more_are_not_carried(own: wasmrun.Executor, make: Make) -> None:
    """Those that ask the host, that are counted, reused, or a tenant's; and none where reports are wanted of all."""
    for function, event in (
        (kit.asking(lambda _: None), msgpack.packb(None)),
        (kit.ordinary(), b""),
        (kit.pure(reuse=True), b""),
        (kit.pure(tenant="they"), b""),
    ):
        for _ in range(3):
            own.invoke(function, event)
        assert function not in own._expresses
    reports: list[wasmrun.Report] = []
    executor = make(on_report=reports.append)
    for _ in range(5):
        executor.invoke(kit.pure(), b"")
    assert len(reports) == 5
    assert not executor._expresses


@pytest.mark.parametrize("settings", [{"warm": 3}, {"warm": 0}])
def test_short_memory_takes_what_is_ready(own: wasmrun.Executor, settings: dict[str, int]) -> None:
    """As elsewhere; nothing is filled again until there is some."""
    function = kit.pure(**settings)
    board(own, function)
    own.prewarm(function)
    pool = own._runner.core.pool  # type: ignore[union-attr]
    pool._is_short_of_memory = lambda: True
    pool.round(-1, everything=True)
    pool.round(-1, everything=True)
    assert own.stats().pool.ready == 0
    assert own.invoke(function, b"x") == b"x"
