"""A guest that sleeps or waits does so within its time, and is woken with what the engine would say."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wasmrun
from wasmrun import GuestTrap, OutOfFuel, Result, TimedOut

Wat = Callable[..., str]
Run = Callable[..., Result]

POLL = '(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
CLOCK_TIME = (
    '(import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))'
)
REALTIME, MONOTONIC = 0, 1
ABSOLUTE = 1
EINVAL = 28
MS = 10**6

# The event is subscriptions as WASI lays them out; the answer is errno, the number of events, and the events.
POLL_ALL = """
  (i32.store (i32.const 16376)
    (call $poll (local.get $ptr) (i32.const 16384) (i32.div_u (local.get $len) (i32.const 48)) (i32.const 16380)))
  (call $pack (i32.const 16376)
    (i32.add (i32.const 8) (i32.mul (i32.const 32) (i32.load (i32.const 16380)))))"""
# The same with numbers: subscriptions, events, count, where the number of events goes.
POLL_NUMBERS = f"""(module {POLL} (memory (export "memory") 1)
  (func (export "f") (param i32 i32 i32 i32) (result i32)
    (call $poll (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"""


def clock(timeout: int, *, userdata: int = 7, clock: int = MONOTONIC, flags: int = 0) -> bytes:
    """A subscription to a clock."""
    return struct.pack("<QB7xI4xQQH6x", userdata, 0, clock, timeout, 0, flags)


def stream(tag: int, descriptor: int, *, userdata: int = 9) -> bytes:
    """A subscription to a file: tag 1 for reading, 2 for writing."""
    return struct.pack("<QB7xI28x", userdata, tag, descriptor)


@pytest.fixture
def poll(wat: Wat, run: Run) -> Callable[..., Result]:
    """Has a guest poll subscriptions."""
    source = wat(POLL_ALL, imports=POLL, entry="f_raw", memory="20")

    def poll(*subscriptions: bytes, **more: Any) -> Result:
        return run(source, b"".join(subscriptions), entry="f_raw", **more)

    return poll


def events(result: Result) -> list[tuple[int, int, int]]:
    """User data, errno and tag of every event."""
    assert result.error is None, result.error
    errno, count = struct.unpack_from("<II", result.value)
    assert errno == 0
    found = [struct.unpack_from("<QHB", result.value, 8 + 32 * number) for number in range(count)]
    assert len(result.value) == 8 + 32 * count
    return found


def test_poll_sleeps_for_a_relative_time(poll: Callable[..., Result]) -> None:
    """Not less, and with the user data of the subscription."""
    result = poll(clock(30 * MS))
    assert events(result) == [(7, 0, 0)]
    assert 0.03 <= result.report.duration < 2


def test_poll_sleeps_until_a_time_of_day(poll: Callable[..., Result]) -> None:
    """An absolute time of the realtime clock."""
    until = time.time_ns() + 100 * MS
    assert events(poll(clock(until, clock=REALTIME, flags=ABSOLUTE))) == [(7, 0, 0)]
    assert time.time_ns() >= until


def test_poll_sleeps_until_a_time_of_the_guests_own_clock(wat: Wat, run: Run) -> None:
    """An absolute time of the monotonic clock that the guest reads, which does not start with the host's."""
    body = """(drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8192)))
      (i64.store offset=24 (local.get $ptr) (i64.add (i64.load (i32.const 8192)) (i64.load offset=24 (local.get $ptr))))
      (drop (call $poll (local.get $ptr) (i32.const 16384) (i32.const 1) (i32.const 16380)))
      (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8200)))
      (call $pack (i32.const 8192) (i32.const 16))"""
    result = run(wat(body, imports=POLL + CLOCK_TIME, entry="f_raw"), clock(40 * MS, flags=ABSOLUTE), entry="f_raw")
    before, after = struct.unpack("<QQ", result.value)
    assert 40 * MS <= after - before < 2000 * MS


@pytest.mark.parametrize("which", [REALTIME, MONOTONIC])
def test_poll_of_a_time_that_has_passed_returns_at_once(poll: Callable[..., Result], which: int) -> None:
    """On both clocks."""
    assert events(poll(clock(0, clock=which, flags=ABSOLUTE))) == [(7, 0, 0)]
    assert events(poll(clock(0, clock=which))) == [(7, 0, 0)]


def test_poll_gives_only_what_has_come_due(poll: Callable[..., Result]) -> None:
    """The shortest of several, and all that come due with it."""
    result = poll(clock(10_000 * MS, userdata=1), clock(20 * MS, userdata=2), clock(10 * MS, userdata=3))
    assert 3 in {userdata for userdata, _, _ in events(result)} <= {2, 3}
    assert result.report.duration < 5


def test_poll_of_streams_does_not_wait(poll: Callable[..., Result]) -> None:
    """Files and standard streams are always ready; a clock that is not due is not among the events."""
    result = poll(clock(10_000 * MS), stream(1, 0, userdata=5), stream(2, 1, userdata=6))
    assert events(result) == [(5, 0, 1), (6, 0, 2)]
    assert result.report.duration < 5


def test_poll_of_streams_and_a_clock_that_is_due_gives_all(poll: Callable[..., Result]) -> None:
    """With the user data of each."""
    assert sorted(events(poll(clock(0), stream(1, 0)))) == [(7, 0, 0), (9, 0, 1)]


def test_poll_of_nothing_is_invalid(run: Run) -> None:
    """As WASI says."""
    assert run(POLL_NUMBERS, [0, 0, 0, 0]).value == EINVAL


@pytest.mark.parametrize(
    "subscription",
    [stream(3, 0), stream(255, 1), clock(0, clock=2), clock(0, clock=2**32 - 1), clock(0, flags=2), clock(0, flags=3)],
    ids=["tag 3", "tag 255", "a clock of processor time", "no clock", "a flag that there is not", "two flags"],
)
def test_poll_of_what_wasi_does_not_have_is_invalid(poll: Callable[..., Result], subscription: bytes) -> None:
    """As the engine's own has it: the whole call, beside whatever else, without a wait and without events."""
    for subscriptions in ([subscription], [stream(1, 0), subscription], [clock(60_000 * MS), subscription]):
        result = poll(*subscriptions)
        assert result.value is not None
        assert struct.unpack_from("<II", result.value) == (EINVAL, 0)
        assert result.report.duration < 2


@pytest.mark.parametrize("count", [4097, 2**31, 2**32 - 1])
def test_poll_of_too_much_traps(run: Run, count: int) -> None:
    """Reading it is work of the host."""
    error = run(POLL_NUMBERS, [0, 0, count, 0]).error
    assert isinstance(error, GuestTrap)
    assert f"polls {count} subscriptions; at most 4096" in error.message


def test_poll_of_the_most_there_may_be_works(poll: Callable[..., Result]) -> None:
    """4,096 subscriptions, each with its event."""
    result = poll(*(stream(1, 0, userdata=number) for number in range(4096)))
    assert [userdata for userdata, _, _ in events(result)] == list(range(4096))


@pytest.mark.parametrize(
    "numbers",
    [[65536, 0, 1, 0], [65536 - 47, 0, 1, 0], [0, 65536 - 31, 1, 0], [0, 0, 1, 65533], [2**31, 0, 1, 0],
     [0, 2**32 - 1, 1, 0],
     [0, 0, 1, 2**32 - 4], [2**32 - 48, 0, 1, 0], [0, 0, 1400, 0]],
)  # fmt: skip
def test_poll_with_addresses_outside_the_memory_traps(run: Run, numbers: list[int]) -> None:
    """Subscriptions, events, and the number of them."""
    error = run(POLL_NUMBERS, numbers).error
    assert isinstance(error, GuestTrap)
    assert error.kind == "memory out of bounds"


@pytest.mark.parametrize("numbers", [[65536 - 48, 0, 1, 64], [0, 65536 - 32, 1, 64], [0, 64, 1, 65532]])
def test_poll_reaches_to_the_last_byte(run: Run, numbers: list[int]) -> None:
    """Of what it reads and of what it writes: here a subscription of zeros, to a clock that is due at once."""
    assert run(POLL_NUMBERS, numbers).value == 0


def test_poll_without_a_memory_traps(run: Run) -> None:
    """There is nowhere to read from."""
    source = f"""(module {POLL} (func (export "f") (result i32)
      (call $poll (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))))"""
    assert isinstance(run(source).error, GuestTrap)


@given(st.binary(min_size=48, max_size=48), st.integers(1, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_poll_of_any_bytes_ends_in_time(poll: Callable[..., Result], data: bytes, count: int) -> None:
    """Whatever a subscription says: events or the deadline, never longer."""
    result = poll(data * count, timeout="20ms")
    assert result.error is None or isinstance(result.error, TimedOut)
    assert result.report.duration < 2


@pytest.mark.parametrize("timeout", [10_000 * MS, 2**63, 2**64 - 1])
def test_poll_ends_with_the_deadline(poll: Callable[..., Result], timeout: int) -> None:
    """Not when the guest wanted to be woken: the engine's own sleep would go on."""
    result = poll(clock(timeout), timeout="50ms")
    assert isinstance(result.error, TimedOut)
    assert 0.05 <= result.report.duration < 2


def test_poll_ends_when_it_is_cancelled(wat: Wat, executor: wasmrun.Executor) -> None:
    """Long before its time: a thread that sleeps for a guest looks up now and then."""
    function = wasmrun.Function(wat(POLL_ALL, imports=POLL, entry="f_raw"), entry="f_raw", timeout=60, warm=0)
    ended = threading.Event()
    future = executor.submit(function, clock(50_000 * MS))
    while future.watch.current is None:  # until the guest has its sandbox
        assert not future.done()
    worker = threading.Thread(target=lambda: (_until_idle(executor), ended.set()))
    assert future.cancel()
    worker.start()
    assert ended.wait(10)
    worker.join()


def _until_idle(executor: wasmrun.Executor) -> None:
    while executor.stats().pool.in_flight:
        threading.Event().wait(0.001)


def test_poll_is_charged_as_a_call_and_by_its_bytes(poll: Callable[..., Result]) -> None:
    """48 bytes in and 32 out for each subscription; what sleeping guests do to the host is not free."""
    one, two = (poll(*[stream(1, 0)] * count).report.fuel_used for count in (1, 2))
    assert (two or 0) - (one or 0) == 80
    assert (one or 0) > 1080


def test_poll_in_a_loop_runs_out_of_fuel(wat: Wat, run: Run) -> None:
    """Polling what is ready, again and again, is bounded by fuel as any work is."""
    body = """(loop $l
      (drop (call $poll (local.get $ptr) (i32.const 16384) (i32.const 1) (i32.const 16380))) (br $l)) (call $answer)"""
    result = run(wat(body, imports=POLL, entry="f_raw"), stream(1, 0), entry="f_raw", fuel=1_000_000)
    assert isinstance(result.error, OutOfFuel)


def test_poll_beside_wasi_functions_of_the_engine_keeps_to_its_own(wat: Wat, run: Run) -> None:
    """Only `poll_oneoff` is ours; a clock is read through the engine."""
    body = "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 16))) (call $answer)"
    result = run(wat(body, imports=CLOCK_TIME + POLL, entry="f_raw", data=bytes(8)), b"", entry="f_raw")
    assert abs(int.from_bytes(result.value, "little") - time.time_ns()) < 5_000 * MS
