"""Start-up that fails: every event hears of it, and the pool does not try again and again."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Fail, Refusal


def start_up(how: str, body: str) -> str:
    """Fields of a module that run *body* while a sandbox is prepared."""
    return f"(func $s {body}) (start $s)" if how == "start" else f'(func (export "{how}") {body})'


@pytest.mark.parametrize("how", ["start", "_initialize", "wasmrun_init"])
def test_a_start_up_that_fails_is_the_events_error(how: str, wat: Callable[..., str], fail: Fail) -> None:
    """A trap in the start-up goes to the event that wanted the sandbox, with the time that it took."""
    error = fail(wat(more=start_up(how, "unreachable")))
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "unreachable")
    assert error.report.start == "cold"
    assert error.report.init_duration > 0
    assert error.report.duration == 0
    assert error.report.fuel_used >= 1


@pytest.mark.parametrize("how", ["start", "wasmrun_init"])
def test_a_start_up_that_always_fails_is_backed_off(how: str, cache_dir: Path, wat: Callable[..., str]) -> None:
    """Events come for a second and get their error each; in the background there are five attempts at most."""
    function = wasmrun.Function(wat(more=start_up(how, "unreachable")), warm=4)
    events = 0
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=8) as executor:
        assert executor.prewarm(function) == 0
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert isinstance(executor.run(function, None).error, wasmrun.GuestTrap)
            events += 1
        pool = executor.stats().pool
        assert executor.stats().failures == {"GuestTrap": events}
        assert events > 100
        assert 1 <= pool.refill_failures <= 5  # at 0, 0.1, 0.3 and 0.7 s, and by prewarm
        assert (pool.refills, pool.ready, pool.in_flight) == (0, 0, 0)
        # No event, no work.
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.15


def test_a_start_up_that_recovers_is_refilled(cache_dir: Path, wat: Callable[..., str]) -> None:
    """Once the start-up succeeds again, so does the refill, and its pause starts anew."""
    is_down = True

    def call(_request: object) -> None:
        if is_down:
            raise LookupError

    imports = '(import "wasmrun" "app.call" (func $call (param i32 i32) (result i64)))'
    # The second byte of the reply is 0, unless the host function raised.
    init = """(if (i32.load8_u offset=1 (i32.wrap_i64 (i64.shr_u
      (call $call (i32.const 16) (i32.const 1)) (i64.const 32)))) (then unreachable))"""
    function = wasmrun.Function(
        wat("(call $pack (i32.const 17) (i32.const 3))", data=b"\xc0\x92\0\xc3", imports=imports,
            more=start_up("wasmrun_init", init)),
        imports={"app.call": call}, warm=2,
    )  # fmt: skip
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=8) as executor:
        assert executor.prewarm(function) == 0
        with pytest.raises(wasmrun.HostError):
            executor.invoke(function, None)
        is_down = False
        assert executor.invoke(function, None) is True
        assert executor.prewarm(function) == 2
        assert executor.run(function, None).report.start == "warm"


def test_a_start_up_that_loops_does_not_hold_up_other_functions(cache_dir: Path, wat: Callable[..., str]) -> None:
    """While one start-up uses its whole allowance in the background, events of other functions are answered."""
    looping = wasmrun.Function(wat(more=start_up("wasmrun_init", "(loop $l (br $l))")), init_timeout="400ms", warm=1)
    good = wasmrun.Function(wat(), warm=1)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=8) as executor:
        executor.invoke(good, None)
        future = executor.submit(looping, None)
        slowest = 0.0
        while not future.done():
            started = time.monotonic()
            assert executor.invoke(good, None) is True
            slowest = max(slowest, time.monotonic() - started)
        assert isinstance(future.exception(), wasmrun.TimedOut)
        assert slowest < 0.3


def test_a_start_up_may_not_take_the_pools_thread_with_it(cache_dir: Path, wat: Callable[..., str]) -> None:
    """Recursion in a start-up is a trap on the background thread too, in a program whose threads have little stack."""
    guest = wat(more="(func $r (call $r)) " + start_up("wasmrun_init", "(call $r)"))
    program = textwrap.dedent("""
        import sys, threading, time, wasmrun
        threading.stack_size(256 * 1024)
        function = wasmrun.Function(sys.argv[1], stack="1MiB", warm=2)
        with wasmrun.Executor(cache_dir=sys.argv[2], max_sandboxes=4) as executor:
            print(executor.run(function, None).error.kind)
            until = time.monotonic() + 5
            while not executor.stats().pool.refill_failures and time.monotonic() < until:
                time.sleep(0.001)
            print(executor.stats().pool.refill_failures > 0)
    """)
    ran = subprocess.run(
        [sys.executable, "-c", program, guest, str(cache_dir)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["stack", "overflow", "True"]), ran.stderr


def test_a_module_that_cannot_be_instantiated_is_refused_at_every_event(
    executor: wasmrun.Executor, refusal: Refusal
) -> None:
    """Data that does not fit the memory: no event gets in, and no sandbox is lost, however often it is tried."""
    guest = '(module (memory (export "memory") 1) (data (i32.const 65535) "ab") (func (export "f")))'
    live = executor.stats().pool.live - executor.stats().pool.spent
    for _ in range(20):
        with pytest.raises((wasmrun.InvalidFunction, wasmrun.GuestTrap), match=r"memory|bounds"):
            executor.invoke(wasmrun.Function(guest, warm=0), None)
    pool = executor.stats().pool
    assert pool.live - pool.spent <= live
    assert pool.in_flight == 0
