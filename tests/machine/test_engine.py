"""An engine exists only where there is room for it, and gives out no more sandboxes than it has."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

import wasmrun
from wasmrun.errors import HostError, OutOfFuel, TimedOut
from wasmrun.limits import KIB
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import MOST_SLOTS, Engine, probe_address_space
from wasmrun.machine.instance import Instance
from wasmrun.machine.program import Program
from wasmrun.machine.record import ENTRY, RECORD_WORDS

LOOP = '(module (func (export "f") (loop $again (br $again))))'


def in_child(program: str) -> str:
    """What *program* prints in an interpreter of its own, which must end well."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_engine_without_address_space_is_an_error_that_names_the_setting() -> None:
    """The engine would abort the process; `ulimit -v 8388608` is enough for that."""
    said = in_child(
        "import resource, wasmrun\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "try: wasmrun.invoke('(module (func (export \"f\")))')\n"
        "except wasmrun.HostError as error: print(error)\n"
        "with wasmrun.Executor(max_sandboxes=1000) as executor:\n"
        "    try: executor.invoke(wasmrun.Function('(module (func (export \"f\")))'))\n"
        "    except wasmrun.HostError as error: print(error)\n"
    )
    few, many = said.splitlines()
    assert few.startswith("no address space for 8 sandboxes (37.6 GiB)")
    assert many.startswith("no address space for 1000 sandboxes (")
    assert many.endswith("lower max_sandboxes, or raise the limit on virtual memory (ulimit -v)")


def test_engine_fits_where_the_probe_says_so() -> None:
    """The probe is no more timid than it must be: under a limit just above what it maps, a guest runs."""
    said = in_child(
        "import resource, wasmrun\n"
        "wasmrun.Executor\n"
        "resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))\n"
        "print(wasmrun.invoke('(module (func (export \"f\") (result i32) (i32.const 5)))'))\n"
    )
    assert said == "5\n"


def test_probe_refuses_what_no_machine_has() -> None:
    """More than the address space has bits for is an error, too."""
    probe_address_space(1)
    for slots in (MOST_SLOTS * 1000, 2**50):
        with pytest.raises(HostError, match=f"no address space for {slots} sandboxes"):
            probe_address_space(slots)


def test_engine_gives_out_no_more_records_than_it_has() -> None:
    """Past its last slot there is an error; what is given back is there again."""
    engine = Engine(EngineSettings(128 * KIB, False), 2, RECORD_WORDS)
    records = [engine.take_record(), engine.take_record()]
    assert sorted(records) == [0, RECORD_WORDS]
    with pytest.raises(HostError, match="all 2 sandboxes of the engine are in use"):
        engine.take_record()
    engine.give_record(records[0])
    assert engine.take_record() == records[0]
    engine.close()


def test_engine_holds_as_many_instances_as_it_has_slots(program: Callable[..., Program], engine: Engine) -> None:
    """The last one is as good as the first, and one more is an error before anything is made for it."""
    made = program('(module (memory (export "memory") 1) (table 10 funcref) (func (export "f")))')
    instances = [Instance(made) for _ in range(engine.slots)]
    for instance in instances:
        instance.instantiate()
    with pytest.raises(HostError, match=f"all {engine.slots} sandboxes"):
        Instance(made)
    assert len({instance.address for instance in instances}) == len(engine.live) == engine.slots
    for instance in instances:
        instance.delete()
        instance.delete()
    assert not engine.live
    instances = [Instance(made) for _ in range(engine.slots)]
    for instance in instances:
        instance.delete()


def test_engine_that_the_library_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no reason to, and aborts where it has one; all the same, nothing is done with an address of nothing."""
    monkeypatch.setattr(capi, "engine_new", lambda config: None)
    with pytest.raises(HostError, match="wasmtime refused its engine's settings"):
        Engine(EngineSettings(128 * KIB, False), 1, RECORD_WORDS)


def test_engine_closes_once_and_only_when_nothing_lives() -> None:
    """Closing again is harmless; at exit, and while a store lives, its memory is left alone."""
    for at_exit in (False, True):
        engine = Engine(EngineSettings(128 * KIB, False), 1, RECORD_WORDS)
        engine.close(at_exit=at_exit)
        engine.close()
        assert engine.pointer == 0


def test_engine_closed_under_a_live_instance_lets_it_go_safely() -> None:
    """What a program that forgets to shut down, and an interrupted shutdown, come to."""
    said = in_child(
        "import wasmrun\n"
        "from wasmrun.machine.config import EngineSettings\n"
        "from wasmrun.machine import capi\n"
        "from wasmrun.machine.engine import Engine\n"
        "engine = Engine(EngineSettings(128 * 1024, False), 1, 24)\n"
        "store = capi.store_new(engine.pointer, None, None)\n"
        "engine.live[capi.store_context(store)] = None\n"
        "engine.close()\n"
        "capi.store_delete(store)\n"
        "print('well')\n"
    )
    assert said == "well\n"


def test_engine_of_the_parent_is_left_alone_in_a_forked_child() -> None:
    """The child closes nothing that the parent still uses, and ends well itself."""
    said = in_child(
        "import os\n"
        "from wasmrun.machine.config import EngineSettings\n"
        "from wasmrun.machine.engine import Engine\n"
        "engine = Engine(EngineSettings(128 * 1024, False), 1, 24)\n"
        "child = os.fork()\n"
        "engine.close()\n"
        "if not child: os._exit(0)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    assert said == "0\n"


def test_look_stops_a_guest_whose_state_is_unknown(engine: Engine) -> None:
    """A guest that nobody knows is ended, not left to run; and the callback raises nothing."""
    error = engine._on_look(0, 0, 0, 0)
    assert error
    assert capi.take_error(error) == "stopped"


def test_deadline_ends_a_guest_while_the_clock_ticks(
    live: Callable[..., AbstractContextManager[Instance]], engine: Engine
) -> None:
    """Within a few ticks of its time, at the layer itself: no keeper and no executor is needed."""
    engine.ticker.start()
    try:
        for milliseconds in (1, 40):
            with live(LOOP) as instance:
                instance.arm(10**12, milliseconds * 10**6)
                began = time.monotonic()
                with pytest.raises(TimedOut, match=rf"ran past its time of {milliseconds}\.\d* ms.*raise `timeout`"):
                    instance.call(ENTRY, 0)
                assert time.monotonic() - began >= milliseconds / 1e3
    finally:
        engine.ticker.stop()


def test_fuel_ends_a_guest_without_any_clock(
    live: Callable[..., AbstractContextManager[Instance]], engine: Engine
) -> None:
    """Deadlines come with ticks, fuel does not need them; what was used is exact."""
    assert not engine.ticker.is_running
    with live(LOOP) as instance:
        instance.arm(100_000, 1)
        with pytest.raises(OutOfFuel, match="used up its fuel of 100000"):
            instance.call(ENTRY, 0)
        assert (instance.fuel_left(), instance.fuel_used()) == (0, 100_000)


def test_engine_without_metering_counts_nothing(executor: wasmrun.Executor) -> None:
    """Its guests run, are charged nothing, and report no fuel."""
    result = executor.run(
        wasmrun.Function('(module (func (export "f") (result i32) (i32.const 1)))', fuel=None, warm=0)
    )
    assert (result.value, result.report.fuel_used) == (1, None)
    with pytest.raises(TimedOut):
        executor.invoke(wasmrun.Function(LOOP, fuel=None, timeout="50ms", warm=0))


@pytest.mark.parametrize(("stack", "depth"), [("128KiB", 1_000), ("1MiB", 12_000)])
def test_engine_has_the_stack_that_the_function_asks_for(executor: wasmrun.Executor, stack: str, depth: int) -> None:
    """So much recursion fits, ten times as much is a trap and no crash."""
    source = """(module (func $f (export "f") (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 0)))))"""
    function = wasmrun.Function(source, stack=stack, warm=0)
    assert executor.invoke(function, [depth]) == depth
    with pytest.raises(wasmrun.GuestTrap) as caught:
        executor.invoke(function, [depth * 100])
    assert caught.value.kind == "stack overflow"


def test_engine_leaves_no_descriptor_and_no_timer_behind() -> None:
    """Made and closed, what the process holds is what it held before."""
    Engine(EngineSettings(128 * KIB, False), 1, RECORD_WORDS).close()
    before = sorted(os.listdir("/proc/self/fd"))
    engine = Engine(EngineSettings(128 * KIB, False), 1, RECORD_WORDS)
    engine.ticker.start()
    engine.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_record_words_are_shared_with_the_engine() -> None:
    """What the C API writes at an address is what is read from the words."""
    engine = Engine(EngineSettings(128 * KIB, False), 2, RECORD_WORDS)
    ctypes.c_uint64.from_address(engine.address + 8 * (RECORD_WORDS + 3)).value = 77
    assert engine.words[RECORD_WORDS + 3] == 77
    engine.close()
