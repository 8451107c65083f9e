"""The ticker moves its engine's epoch on while it is started, and only then."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from wasmrun.errors import HostError, OutOfFuel, TimedOut
from wasmrun.limits import KIB
from wasmrun.machine import capi, ticker
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.instance import Instance
from wasmrun.machine.record import ENTRY, RECORD_WORDS
from wasmrun.machine.ticker import TICK_NS, Ticker

LOOP = '(module (func (export "f") (loop $again (br $again))))'
Live = Callable[..., AbstractContextManager[Instance]]


@pytest.fixture
def own_engine() -> Engine:
    """An engine whose ticker no other test uses."""
    return Engine(EngineSettings(128 * KIB, False), 1, RECORD_WORDS)


def timers() -> int:
    """How many POSIX timers this process has."""
    return Path("/proc/self/timers").read_text().count("signal:")


def how_a_loop_ends(instance: Instance) -> type[Exception]:
    """TimedOut where ticks come: its time is up at the first. Else its fuel ends it, some 100 ms later."""
    instance.stop = None
    instance.arm(100_000_000, 1)
    with pytest.raises((TimedOut, OutOfFuel)) as caught:
        instance.call(ENTRY, 0)
    return caught.type


def test_ticker_ticks_from_start_to_stop_and_again(live: Live, engine: Engine) -> None:
    """Stopped, an epoch stands still: a loop past its deadline runs until its fuel is gone."""
    with live(LOOP) as instance:
        for _ in range(2):
            assert not engine.ticker.is_running
            assert how_a_loop_ends(instance) is OutOfFuel
            engine.ticker.start()
            try:
                assert engine.ticker.is_running
                assert how_a_loop_ends(instance) is TimedOut
            finally:
                engine.ticker.stop()


def test_ticker_bounds_the_guests_processor_time_while_other_code_keeps_the_gil() -> None:
    """Where a thread of Python ticked, the guest would compute for as long as that code runs: here 600 ms."""
    program = """
import ctypes, time, wasmrun
loop = wasmrun.Function('(module (func (export "f") (loop $again (br $again))))', warm=0, timeout="100ms", fuel=None)
with wasmrun.Executor() as executor:
    executor.submit(loop).exception()
    future = executor.submit(loop)
    while future.watch.current is None:
        pass
    used = time.process_time()
    ctypes.PyDLL(None).usleep(600_000)
    print(type(future.exception()).__name__, time.process_time() - used < 0.3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "TimedOut True\n"


def test_ticker_leaves_no_timer(own_engine: Engine) -> None:
    """One timer while it is there, none after; closing again is harmless."""
    there = timers()
    own_engine.ticker.start()
    own_engine.close()
    assert timers() == there - 1
    own_engine.ticker.close()
    assert timers() == there - 1
    assert not own_engine.ticker.is_running


def test_ticker_that_never_ticked_need_not_settle(own_engine: Engine) -> None:
    """Closing waits only where a tick could be on its way."""
    there = timers()
    own_engine.ticker.close()
    assert timers() == there - 1
    own_engine.close()


def test_ticker_that_is_closed_says_so(own_engine: Engine) -> None:
    """Starting a timer that was deleted would be a crash."""
    own_engine.ticker.close(settle=False)
    for use in (own_engine.ticker.start, own_engine.ticker.stop):
        with pytest.raises(RuntimeError, match="this ticker is closed"):
            use()
    own_engine.close()


def test_ticker_without_room_for_a_timer_is_an_error_with_the_remedy(own_engine: Engine) -> None:
    """The kernel takes a timer from the limit on pending signals."""
    before = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, before[1]))
    try:
        with pytest.raises(
            HostError, match=r"no timer for deadlines: .*; raise the limit on pending signals \(ulimit -i\)"
        ):
            Ticker(own_engine.pointer)
    finally:
        resource.setrlimit(resource.RLIMIT_SIGPENDING, before)
    own_engine.close()


def test_ticker_finds_its_timers_in_an_older_c_library(
    live: Live, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before glibc 2.34 they were in librt, which newer ones keep for what was built against it."""
    real = ctypes.PyDLL
    opened = []

    def older(name: str | None, **settings: bool) -> object:
        opened.append(name)
        return object() if name is None else real(name, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "PyDLL", older)
        timer = ticker._Timer()
    assert opened == [None, "librt.so.1"]
    there = timers()
    monkeypatch.setattr(ticker, "_Timer", lambda: timer)
    other = Ticker(engine.pointer)
    assert timers() == there + 1
    other.start()
    try:
        with live(LOOP) as instance:
            assert how_a_loop_ends(instance) is TimedOut
    finally:
        other.close()
    assert timers() == there


def test_ticker_without_memory_says_so() -> None:
    """A null pointer is not where ticks go."""
    with pytest.raises(MemoryError):
        ticker._for_ever(1 << 62)


def test_ticker_that_the_kernel_refuses_to_set_is_an_error(own_engine: Engine) -> None:
    """Deadlines that would never come must not go unnoticed."""
    own_engine.ticker._on[1] = 10**9
    with pytest.raises(HostError, match="the timer for deadlines cannot be set: Invalid argument"):
        own_engine.ticker.start()
    assert not own_engine.ticker.is_running
    own_engine.close()


def test_tick_of_an_engine_that_is_gone_counts_nowhere(own_engine: Engine) -> None:
    """A tick that was on its way when the engine was deleted does no harm: what it leads to is there for ever."""
    own_engine.ticker.start()
    target = own_engine.ticker.target
    own_engine.close()
    for _ in range(10):
        capi.increment_epoch(target)
    assert ctypes.c_uint64.from_address(target).value == ticker._NOWHERE


def test_tick_is_known_to_be_an_addition_and_nothing_else(own_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that keeps its epoch elsewhere is refused before it is trusted with addresses."""
    ticker.check_layout()
    real = capi.increment_epoch
    for other in (lambda engine: None, lambda engine: (real(engine), real(engine))):
        with monkeypatch.context() as patch:
            patch.setattr(capi, "increment_epoch", other)
            with pytest.raises(HostError, match="the engine keeps its epoch elsewhere"):
                ticker.check_layout()
    own_engine.close()


def test_tick_is_ten_milliseconds() -> None:
    """Fine enough for cancelling within 50 ms, coarse enough to cost nothing."""
    assert TICK_NS == 10_000_000
