"""An instance checks everything that crosses between guest and host, and ends with the reason it had."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wasmrun
from wasmrun import GuestExit, GuestTrap, HostError, InvalidAnswer, InvalidFunction, OutOfFuel, TimedOut
from wasmrun.machine import capi
from wasmrun.machine.engine import Engine
from wasmrun.machine.failures import Stopped
from wasmrun.machine.instance import Instance
from wasmrun.machine.program import Program
from wasmrun.machine.record import ENTRY, VALUES, copy_in, copy_out

Live = Callable[..., AbstractContextManager[Instance]]
MEMORY = '(module (memory (export "memory") 1 3) (func (export "grow") (result i32) (memory.grow (i32.const 1))))'
LOOP = '(module (func (export "f") (loop $l (br $l))))'


def test_memory_is_read_and_written_where_it_is(live: Live) -> None:
    """To its last byte, before and after it grew."""
    with live(MEMORY, entry="grow") as instance:
        assert instance.current_memory_bytes() == 65536
        instance.write(65532, b"abcd")
        assert instance.read(65532, 4) == b"abcd"
        with pytest.raises(InvalidAnswer, match="4 bytes at 65533 do not lie in the function's memory of 65536 bytes"):
            instance.read(65533, 4)
        with pytest.raises(InvalidAnswer, match=r"wasmrun_alloc answered 65533 for 4 bytes; .* has 65536"):
            instance.write(65533, b"abcd")
        instance.call(ENTRY, 1)
        assert instance.words[instance.record + VALUES] & 0xFFFFFFFF == 1
        instance.write(65533, b"efgh")
        assert instance.read(65532, 5) == b"aefgh"
        assert instance.current_memory_bytes() == 2 * 65536


@given(st.integers(0, 2**33), st.integers(0, 2**33))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_memory_holds_what_lies_in_it_and_nothing_else(live: Live, pointer: int, length: int) -> None:
    """For any two numbers that a guest could give, and more."""
    with live(MEMORY, entry="grow") as instance:
        assert instance.holds(pointer, length) == (pointer + length <= 65536)


def test_memory_that_is_not_there_holds_nothing(live: Live) -> None:
    """No byte can be read from a guest without one."""
    with live('(module (func (export "f")))') as instance:
        assert instance.current_memory_bytes() == 0
        assert not instance.holds(0, 1)
        with pytest.raises(InvalidAnswer):
            instance.read(0, 1)


def test_copies_are_exact() -> None:
    """Our own prototypes of memmove and of making bytes."""
    source = b"some\0bytes"
    buffer = (capi.c_uint8 * 10)()
    copy_in(capi.addressof(buffer), source, 10)
    assert bytes(buffer) == source
    assert copy_out(capi.addressof(buffer), 10) == source
    assert copy_out(0, 0) == b""


def test_fuel_is_charged_and_never_below_nothing(live: Live) -> None:
    """What the host does for a guest comes out of the same purse."""
    with live(MEMORY, entry="grow") as instance:
        instance.arm(1000, 10**9)
        assert instance.charge(400)
        assert (instance.fuel_left(), instance.fuel_used()) == (600, 400)
        assert not instance.charge(601)
        assert (instance.fuel_left(), instance.fuel_used()) == (0, 1000)
        instance.arm(1000, 10**9)
        assert instance.fuel_used() == 0


def test_fuel_of_an_instance_without_metering_is_nothing(program: Callable[..., Program]) -> None:
    """It is never short of it."""
    instance = Instance(program(MEMORY, entry="grow"))
    instance.arm(0, 10**9)
    assert instance.charge(10**18)
    assert (instance.fuel_left(), instance.fuel_used()) == (0, 0)
    instance.delete()


@pytest.mark.parametrize("reason", ["cancelled", "interrupted"])
def test_guest_that_is_stopped_ends_for_that_reason(live: Live, engine: Engine, reason: str) -> None:
    """From another thread, while it runs; and at its first look, where the wish came before."""
    engine.ticker.start()
    try:
        with live(LOOP) as instance:
            instance.arm(10**15, 60 * 10**9)
            timer = threading.Timer(0.03, setattr, (instance, "stop", reason))
            timer.start()
            with pytest.raises(Stopped) as caught:
                instance.call(ENTRY, 0)
            assert caught.value.reason == reason
            timer.join()
            with pytest.raises(Stopped):
                instance.call(ENTRY, 0)
    finally:
        engine.ticker.stop()


def test_guest_that_was_never_given_time_or_fuel_does_not_run(program: Callable[..., Program]) -> None:
    """A setting that was forgotten fails closed."""
    instance = Instance(program('(module (func $s) (start $s) (func (export "f")))'))
    with pytest.raises((OutOfFuel, TimedOut)):
        instance.instantiate()
    instance.delete()


@pytest.mark.parametrize(
    ("start", "error"),
    [
        ("(unreachable)", GuestTrap),
        ("(loop $l (br $l))", OutOfFuel),
        ("(call $exit (i32.const 3))", GuestExit),
        ("(drop (memory.grow (i32.const 1)))", None),
    ],
)
def test_start_function_ends_as_any_guest_does(
    program: Callable[..., Program], start: str, error: type[Exception] | None
) -> None:
    """It runs while the instance is made, with every limit in place."""
    made = program(
        f"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func $s {start}) (start $s) (func (export "f")))"""
    )
    instance = Instance(made)
    try:
        from wasmrun.machine import wasi

        wasi.configure(instance, made.streams, args=("f",), env=(), dirs=())
        instance.arm(1_000_000, 10**9)
        if error is None:
            instance.instantiate()
        else:
            with pytest.raises(error):
                instance.instantiate()
    finally:
        instance.delete()


def test_store_holds_one_instance(live: Live) -> None:
    """A second one in the same store is refused by its limits, whoever asks: one sandbox is one instance."""
    with (
        live(MEMORY, entry="grow") as instance,
        pytest.raises(InvalidFunction, match=r"the module cannot be instantiated: .*instance"),
    ):
        instance.instantiate()


def test_records_are_used_again(program: Callable[..., Program], engine: Engine) -> None:
    """The last one given back is the first one taken; what is in it is of no consequence."""
    made = program(MEMORY, entry="grow")
    first = Instance(made)
    record = first.record
    first.delete()
    second = Instance(made)
    assert second.record == record
    assert engine.live == {second.context: second}
    second.delete()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("(unreachable)", "unreachable"),
        ("(drop (i32.load (i32.const 65533)))", "memory out of bounds"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer division by zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer overflow"),
        ("(drop (i32.trunc_f64_s (f64.const nan)))", "invalid conversion to integer"),
        ("(call_indirect (i32.const 9))", "table out of bounds"),
        ("(call_indirect (i32.const 1))", "call of a null function"),
        ("(call_indirect (param i32) (i32.const 1) (i32.const 0))", "indirect call of the wrong type"),
        ("(call $f)", "stack overflow"),
    ],
)
def test_trap_has_its_kind_and_says_where(live: Live, body: str, kind: str) -> None:
    """From the engine's code, in words; the functions on the stack, innermost first, at most 32."""
    source = f"""(module (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 0) $f)
      (func $f (export "f") {body}))"""
    with live(source, entry="f") as instance:
        with pytest.raises(GuestTrap) as caught:
            instance.call(ENTRY, 0)
        error = caught.value
        assert error.kind == kind
        assert error.message.startswith(f"the function trapped: {kind} in f (function 0)")
        assert error.frames == error.stack
        assert set(error.frames) == {"f (function 0)"}
        assert 1 < len(error.frames) <= 32 if kind == "stack overflow" else len(error.frames) == 1


def test_trap_in_a_function_without_a_name_has_its_number(live: Live) -> None:
    """As release builds have none."""
    with live('(module (func (export "g")) (func (export "f") (unreachable)))', entry="f") as instance:
        with pytest.raises(GuestTrap) as caught:
            instance.call(ENTRY, 0)
        assert caught.value.frames == ("function 1",)


def test_trap_with_names_that_the_guest_made_up_is_one_short_line(live: Live) -> None:
    """Escapes, newlines, and 90 kB of them."""
    name = "\\1b[31m\\0a" + "x" * 90_000
    with live(f'(module (func $"{name}" (export "f") (unreachable)))', entry="f") as instance:
        with pytest.raises(GuestTrap) as caught:
            instance.call(ENTRY, 0)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 200
        assert caught.value.message.startswith("the function trapped: unreachable in \\x1b[31m\\nxxx")


def test_words_of_a_guest_do_not_choose_the_kind_of_its_failure(live: Live) -> None:
    """A function that is called after a trap is still only a name."""
    for name in (
        "out of fuel",
        "interrupted",
        "wasm trap: all fuel consumed by WebAssembly",
        "Exited with i32 exit status 0",
    ):
        with live(f'(module (func $"{name}" (export "f") (unreachable)))', entry="f") as instance:
            with pytest.raises(GuestTrap) as caught:
                instance.call(ENTRY, 0)
            assert caught.value.kind == "unreachable"


def test_error_of_the_engine_during_a_call_is_a_trap_of_a_host_call(live: Live) -> None:
    """A WASI function that the engine itself refuses: here a pointer outside the memory."""
    source = """(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "f") (result i32) (call $random (i32.const 0) (i32.const 0x7fffffff))))"""
    from wasmrun.machine import wasi

    with live(source, entry="f") as instance:
        wasi.configure(instance, instance.program.streams, args=(), env=(), dirs=())
        with pytest.raises(GuestTrap) as caught:
            instance.call(ENTRY, 1)
        assert caught.value.kind in ("host call", "memory out of bounds")
        assert caught.value.message.isprintable()


def test_error_of_the_engine_during_a_start_function_is_the_guests_whatever_its_names_say(
    run: Callable[..., Any],
) -> None:
    """Code of the guest ran, and its names are in the engine's text: they must not make it a failure of ours."""
    source = """(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (func $"(os error 12)" (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0))))
      (start $"(os error 12)") (func (export "f")))"""
    error = run(source).error
    assert isinstance(error, GuestTrap)
    assert error.kind == "host call"
    assert error.frames[0].startswith("(os error 12) (function ")


def test_instances_leave_no_memory_behind(program: Callable[..., Program]) -> None:
    """Made, run and deleted, again and again: the host holds what it held."""
    made = program('(module (memory (export "memory") 1) (func (export "f") (unreachable)))')

    def once() -> None:
        instance = Instance(made)
        instance.arm(made.fuel, made.timeout_ns)
        instance.instantiate()
        made.abi.prepare(instance)
        with pytest.raises(GuestTrap):
            instance.call(ENTRY, 0)
        instance.delete()

    for _ in range(20):
        once()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            once()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000


def test_program_frees_what_it_could_not_link(
    program: Callable[..., Program], engine: Engine, load: Callable[..., Any]
) -> None:
    """An import that cannot be satisfied, found by the engine."""
    from wasmrun.machine.wasi import Streams

    source = '(module (import "wasi_snapshot_preview1" "no_such" (func)) (func (export "f")))'
    module = load(source)
    with pytest.raises(InvalidFunction, match="cannot be satisfied"):
        Program(wasmrun.Function(source), engine, module, Streams(engine))
    assert module.pointer == 0


def test_program_closes_once(program: Callable[..., Program]) -> None:
    """Harmless when repeated."""
    made = program(MEMORY, entry="grow")
    made.close()
    made.close()
    assert (made.pre, made.module.pointer) == (0, 0)


def test_linker_that_is_given_the_same_name_twice_says_so(engine: Engine) -> None:
    """An error of ours, with the import's name."""
    from wasmrun.machine.hostcalls import LOG, Linker, log

    linker = Linker(engine)
    linker.define("wasmrun", "log", LOG, log)
    with pytest.raises(HostError, match=r"the import wasmrun\.log cannot be offered: "):
        linker.define("wasmrun", "log", LOG, log)
    linker.define_wasi()
    linker.close()
    linker.close()


def test_linker_that_cannot_offer_wasi_says_so(engine: Engine) -> None:
    """An error of ours: here a name of WASI's is taken already."""
    from wasmrun.machine import wasi
    from wasmrun.machine.hostcalls import Linker

    linker = Linker(engine)
    linker.define(wasi.MODULE, "poll_oneoff", wasi.POLL, wasi.poll_oneoff)
    with pytest.raises(HostError, match=r"WASI cannot be offered: .*poll_oneoff"):
        linker.define_wasi()
    linker.close()


def test_host_call_from_a_store_that_nobody_knows_ends_the_guest(live: Live, engine: Engine) -> None:
    """There is nobody whose log it could be: it ends, and nothing is called."""
    source = """(module (import "wasmrun" "log" (func $log (param i32 i32 i32))) (memory (export "memory") 1)
      (func (export "f") (call $log (i32.const 2) (i32.const 0) (i32.const 0)) (unreachable)))"""
    with live(source, entry="f") as instance:
        del engine.live[instance.context]
        with pytest.raises(TimedOut):
            instance.call(ENTRY, 0)
        assert instance.logbook is None


@pytest.mark.parametrize("function", ["wasi_argv", "wasi_env", "set_wasi"])
def test_wasi_that_the_engine_refuses_to_set_up_is_our_failure(
    live: Live, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """What it says is passed on. It takes everything that a function may hold, so its refusal is made up here."""
    from wasmrun.machine import wasi

    with live('(module (func (export "f")))') as instance:
        answer = capi.error_new(b"made up") if function == "set_wasi" else False
        real = getattr(capi, function)

        def refuse(*arguments: Any) -> Any:
            real(*arguments)
            return answer

        monkeypatch.setattr(capi, function, refuse)
        with pytest.raises(HostError, match=r"made up|not text that WASI takes"):
            wasi.configure(instance, instance.program.streams, args=("a",), env=(("A", "b"),), dirs=())


def test_output_is_taken_by_the_instance_that_it_belongs_to(live: Live) -> None:
    """The engine's own threads bring it here: to the answer of a command up to its limit, else to the log."""
    from wasmrun.machine import wasi

    text = (capi.c_uint8 * 5)(*b"hello")
    at = capi.addressof(text)
    with live('(module (func (export "f")))') as instance:
        streams = instance.program.streams
        assert streams.log(instance.context, at, 5) == streams.output(instance.context, at, 5) == 5
        instance.output = wasi.Output(9)
        assert streams.output(instance.context, at, 5) == 5
        assert streams.output(instance.context, at, 5) < 0
        assert streams.output(instance.context, at, 1) < 0
        assert (bytes(instance.output.data), instance.output.is_over, instance.stop) == (b"hello", True, "output")
        instance.log().flush()
        assert [log.message for log in instance.log().entries] == ["hellohello"]
