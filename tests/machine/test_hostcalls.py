"""What a guest may ask of the host: charged, checked, and never an exception out of place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wasmrun
from wasmrun import GuestTrap, HostError, InvalidAnswer, InvalidFunction, OutOfFuel, Result, TimedOut
from wasmrun.machine.hostcalls import CALL_FUEL

Wat = Callable[..., str]
Run = Callable[..., Result]

LOG = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'
HOST = '(import "wasmrun" "host" (func $host (param i32 i32) (result i64)))'
# Gives the event to the host function, and its reply as the answer.
PASS_ON = "(call $host (local.get $ptr) (local.get $len))"


@pytest.fixture
def ask(wat: Wat, run: Run) -> Callable[..., Result]:
    """Runs a raw guest that passes its event to a host function, and answers with the bytes of the reply."""

    def ask(function: Callable[[Any], Any], event: bytes, **more: Any) -> Result:
        source = wat(PASS_ON, imports=HOST, entry="wasmrun_handle_raw")
        return run(source, event, imports={"host": function}, **more)

    return ask


def reply(result: Result) -> Any:
    """The value in the reply of the host."""
    assert result.error is None, result.error
    return msgpack.unpackb(result.value)


@pytest.mark.parametrize(
    "value", [None, True, -(2**63), 2**64 - 1, 1.5, "text \N{SNOWMAN}", b"\0\xff", [1, [2]], {"a": {"b": []}}]
)
def test_host_function_gets_a_value_and_gives_one(ask: Callable[..., Result], value: Any) -> None:
    """MessagePack in, [0, value] out."""
    seen = []

    def host(given: Any) -> Any:
        seen.append(given)
        return given

    assert reply(ask(host, msgpack.packb(value))) == [0, value]
    assert seen == [value]


def test_host_function_that_raises_is_an_error_value_for_the_guest(ask: Callable[..., Result]) -> None:
    """Type and message; the guest may go on."""

    def find(given: Any) -> Any:
        raise LookupError(f"no such user: {given}")

    assert reply(ask(find, msgpack.packb("ada"))) == [1, {"type": "LookupError", "message": "no such user: ada"}]


def test_host_function_that_raises_is_what_the_caller_sees_when_the_guest_gives_up(wat: Wat, run: Run) -> None:
    """The guest failed because the host failed it: a HostError, with the exception as its cause."""
    error = ConnectionError("the database is away")

    def host(given: Any) -> Any:
        raise error

    source = wat(f"(drop {PASS_ON}) (unreachable)", imports=HOST, entry="wasmrun_handle_raw")
    with pytest.raises(
        HostError, match="the host function 'host' failed: ConnectionError: the database is away"
    ) as caught:
        run(source, b"\x01", imports={"host": host})
    assert caught.value.__cause__ is error


class Odd(Exception):
    """An error whose message UTF-8 cannot write."""


@pytest.mark.parametrize("answer", [{1, 2}, object(), 2**64, "\ud800", [[[{"a": ...}]]]], ids=str)
def test_host_function_whose_answer_cannot_be_encoded_is_an_error_value(
    ask: Callable[..., Result], answer: Any
) -> None:
    """The embedding program's mistake: told to the guest, and to the caller if the guest gives up."""
    status, error = reply(ask(lambda given: answer, b"\x01"))
    assert status == 1
    assert error["type"] in ("TypeError", "OverflowError", "UnicodeEncodeError", "ValueError")


class Silent(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_host_function_error_that_has_no_text_reaches_the_guest(ask: Callable[..., Result]) -> None:
    """With a substitute for its message."""

    def host(given: Any) -> Any:
        raise Silent

    status, error = reply(ask(host, b"\x01"))
    assert (status, error["type"]) == (1, "Silent")
    assert "RuntimeError" in error["message"]


def test_host_function_whose_reply_is_allocated_by_calling_it_ends(wat: Wat, run: Run) -> None:
    """An allocator that calls the host, whose reply is allocated, and so on: a trap, long before the stack is gone."""
    source = wat(
        PASS_ON, imports=HOST, entry="wasmrun_handle_raw",
        alloc="(drop (call $host (i32.const 16) (i32.const 1))) (i32.const 1024)", data=b"\x01",
    )  # fmt: skip
    result = run(source, b"\x01", imports={"host": lambda given: given})
    assert isinstance(result.error, GuestTrap)
    assert "wasmrun_alloc called the host" in result.error.message


def test_host_function_error_with_any_message_reaches_the_guest(ask: Callable[..., Result]) -> None:
    """Also one with half a character, as the names of files have."""

    def host(given: Any) -> Any:
        raise Odd("no file \udcff")

    assert reply(ask(host, b"\x01")) == [1, {"type": "Odd", "message": "no file ?"}]


@pytest.mark.parametrize(
    "event", [b"", b"\xc1", b"\x92\x01", b"\x01\x02", b"\x81\x01\x02", b"\xa2\xff\xff", b"\x91" * 5000]
)
def test_host_function_is_not_called_with_what_is_no_value(ask: Callable[..., Result], event: bytes) -> None:
    """Nothing, broken bytes, more than one value, a key that is no string, nesting without end."""
    called = []
    status, error = reply(ask(called.append, event))
    assert (status, error["type"], called) == (1, "InvalidArgument", [])
    assert error["message"].startswith("not MessagePack")


def test_host_function_is_not_called_with_more_than_an_answer_may_have(ask: Callable[..., Result]) -> None:
    """Decoding costs the host time and memory that no limit of the sandbox counts."""
    called = []
    event = msgpack.packb("x" * 100)
    assert reply(ask(lambda given: called.append(given), event, result_bytes=len(event))) == [0, None]
    status, error = reply(ask(called.append, event, result_bytes=len(event) - 1))
    assert (status, error["type"], called) == (1, "InvalidArgument", ["x" * 100])
    assert "more than the limit of 101 B (result_bytes)" in error["message"]


def test_host_function_may_take_its_time_but_not_the_guests(ask: Callable[..., Result]) -> None:
    """What runs in the host is not interrupted; when it returns after the deadline, the guest ends."""
    released = threading.Event()

    def host(given: Any) -> Any:
        released.wait(0.05)
        return given

    result = ask(host, b"\x01", timeout="10ms")
    assert isinstance(result.error, TimedOut)
    assert result.report.duration >= 0.05


def test_host_function_that_asks_to_stop_is_obeyed(ask: Callable[..., Result]) -> None:
    """An exception that is no Exception is not for the guest: it ends it, and reaches the caller."""

    def host(given: Any) -> Any:
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        ask(host, b"\x01")
    assert caught.value.code == 3


def test_host_function_reply_that_has_no_room_is_zero(wat: Wat, run: Run) -> None:
    """The guest's allocator answers 0 for it: the import does, too, and nothing is written."""
    source = wat(
        f"(if (i64.ne {PASS_ON} (i64.const 0)) (then (unreachable))) (call $answer)",
        imports=HOST,
        entry="wasmrun_handle_raw",
        alloc="(if (result i32) (i32.eq (local.get $size) (i32.const 1)) (then (i32.const 64)) (else (i32.const 0)))",
        data=b"none",
    )
    assert run(source, b"\x01", imports={"host": lambda given: "longer"}).value == b"none"


@pytest.mark.parametrize("place", ["65530", "0x80000000", "0xffffffff", "65536"])
def test_host_function_reply_is_not_written_outside_the_memory(wat: Wat, run: Run, place: str) -> None:
    """Where the allocator points there: an InvalidAnswer, as for events."""
    source = wat(
        PASS_ON,
        imports=HOST,
        entry="wasmrun_handle_raw",
        alloc=f"""(if (result i32) (i32.eq (local.get $size) (i32.const 1))
          (then (i32.const 64)) (else (i32.const {place})))""",
    )
    result = run(source, b"\x01", imports={"host": lambda given: "longer"})
    assert isinstance(result.error, InvalidAnswer)
    assert "wasmrun_alloc answered" in result.error.message


@pytest.mark.parametrize(
    ("alloc", "error"),
    [("(unreachable)", GuestTrap), ("(loop $again (br $again)) (i32.const 0)", OutOfFuel)],
    ids=["trap", "loop"],
)
def test_host_function_reply_whose_allocation_fails_is_that_failure(
    wat: Wat, run: Run, alloc: str, error: type[Exception]
) -> None:
    """A trap or a loop in the allocator, called during the import, ends the event as it would anywhere."""
    body = f"(if (i32.eq (local.get $size) (i32.const 1)) (then (return (i32.const 64)))) {alloc}"
    source = wat(PASS_ON, imports=HOST, entry="wasmrun_handle_raw", alloc=body)
    assert isinstance(run(source, b"\x01", imports={"host": lambda given: given}, fuel=10_000_000).error, error)


def test_host_function_may_grow_the_memory_under_itself(wat: Wat, run: Run) -> None:
    """The reply is written where the allocator put it after the memory grew."""
    long = "x" * 300_000
    source = wat(PASS_ON, imports=HOST, entry="wasmrun_handle_raw")
    result = run(source, b"\x01", imports={"host": lambda given: long})
    assert reply(result) == [0, long]
    assert result.report.memory_bytes >= 300_000


@pytest.mark.parametrize(("pointer", "length"), [(0, 65537), (65536, 1), (2**31, 1), (2**32 - 1, 1), (0, 2**31),
                                                 (0, 2**32 - 1),
                                                 (2**32 - 1, 2**32 - 1), (65535, 2)])  # fmt: skip
@pytest.mark.parametrize("call", ["host", "log"])
def test_host_call_with_addresses_outside_the_memory_traps(
    wat: Wat, run: Run, call: str, pointer: int, length: int
) -> None:
    """Read as unsigned, checked before anything is copied, at every border."""
    body = {
        "host": f"(call $host (i32.const {pointer}) (i32.const {length}))",
        "log": f"(call $log (i32.const 2) (i32.const {pointer}) (i32.const {length})) (call $answer)",
    }[call]
    source = wat(body, imports=HOST if call == "host" else LOG, entry="wasmrun_handle_raw")
    called: list[Any] = []
    error = run(source, b"", **({"imports": {"host": called.append}} if call == "host" else {})).error
    assert isinstance(error, GuestTrap)
    assert error.kind == "memory out of bounds"
    assert f"{length} bytes at {pointer}, which are not in its memory of 65536 bytes" in error.message
    assert called == []


@pytest.mark.parametrize(("pointer", "length"), [(0, 65536), (65535, 1), (65536, 0), (16, 0)])
def test_host_call_reaches_to_the_last_byte(wat: Wat, run: Run, pointer: int, length: int) -> None:
    """The whole memory, its last byte, and nothing at its end."""
    source = wat(
        f"(call $log (i32.const 2) (i32.const {pointer}) (i32.const {length})) (call $answer)",
        imports=LOG,
        entry="f_raw",
    )
    result = run(source, b"", entry="f_raw")
    assert result.error is None
    assert result.report.log_bytes == length


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_host_call_with_any_address_is_an_entry_or_a_trap(wat: Wat, run: Run, pointer: int, length: int) -> None:
    """Whatever two numbers a guest gives."""
    source = wat(
        "(call $log (i32.const 2) (i32.load (local.get $ptr)) (i32.load offset=4 (local.get $ptr))) (call $answer)",
        imports=LOG,
        entry="f_raw",
        data=b"ok",
    )
    result = run(source, pointer.to_bytes(4, "little") + length.to_bytes(4, "little"), entry="f_raw")
    if pointer + length <= 65536:
        assert (result.value, result.report.log_bytes) == (b"ok", length)
    else:
        assert isinstance(result.error, GuestTrap)


def fuel_of(run: Run, source: str, event: bytes = b"", **more: Any) -> int:
    result = run(source, event, entry="f_raw", **more)
    assert result.error is None
    assert result.report.fuel_exact
    assert result.report.fuel_used is not None
    return result.report.fuel_used


def test_log_costs_a_thousand_fuel_and_one_for_each_byte(wat: Wat, run: Run) -> None:
    """Exactly: against the same guest without the call, and between texts of two lengths."""
    calls = 5

    def guest(length: int, call: str) -> str:
        body = f"(i32.const 2) (i32.const 16) (i32.const {length}) {call}"
        return wat(f"{body * calls} (call $answer)", imports=LOG, entry="f_raw")

    without = fuel_of(run, guest(0, "(drop) (drop) (drop)"))
    instruction = 1  # `call` costs one, `drop` nothing
    assert fuel_of(run, guest(0, "(call $log)")) - without == calls * (CALL_FUEL + instruction)
    assert fuel_of(run, guest(777, "(call $log)")) - without == calls * (CALL_FUEL + instruction + 777)
    assert CALL_FUEL == 1_000


def test_host_function_costs_a_thousand_fuel_and_one_for_each_byte_both_ways(wat: Wat, run: Run) -> None:
    """Exactly: the request and the reply, whose allocation costs the guest the same each time."""
    source = wat(PASS_ON, imports=HOST, entry="f_raw")

    def fuel(request: int, answer: int) -> int:
        event = msgpack.packb(b"x" * request)
        used = fuel_of(run, source, event, imports={"host": lambda given: b"y" * answer})
        return used - len(event) - len(msgpack.packb([0, b"y" * answer]))

    base = fuel(0, 0)
    assert base - fuel_of(run, wat("(call $answer)", entry="f_raw"), b"\xc4\0") > CALL_FUEL
    for request, answer in ((1, 0), (0, 1), (500, 900), (900, 500)):
        assert fuel(request, answer) == base


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        (LOG, "(call $log (i32.const 2) (i32.const 0) (i32.const 60000))"),
        (HOST, "(drop (call $host (i32.const 0) (i32.const 60000)))"),
    ],
    ids=["log", "host"],
)
def test_host_call_that_the_fuel_does_not_pay_for_is_not_made(wat: Wat, run: Run, imports: str, body: str) -> None:
    """Neither copied nor kept: OutOfFuel, and all of it is gone."""
    called: list[Any] = []
    source = wat(f"{body} (call $answer)", imports=imports, entry="f_raw")
    more: dict[str, Any] = {"imports": {"host": called.append}} if imports == HOST else {}
    for fuel in (500, 30_000):
        result = run(source, b"", entry="f_raw", fuel=fuel, **more)
        assert isinstance(result.error, OutOfFuel)
        assert (result.report.fuel_used, result.report.fuel_exact, result.report.log_bytes) == (fuel, True, 0)
    assert called == []


def test_host_function_reply_that_the_fuel_does_not_pay_for_is_not_written(wat: Wat, run: Run) -> None:
    """A small question with a large answer."""
    source = wat(PASS_ON, imports=HOST, entry="f_raw")
    result = run(source, b"\x01", entry="f_raw", fuel=50_000, imports={"host": lambda given: b"x" * 60_000})
    assert isinstance(result.error, OutOfFuel)
    assert result.report.fuel_used == 50_000


def test_host_call_is_free_without_metering(wat: Wat, run: Run) -> None:
    """A function that asks for no fuel is not charged any."""
    source = wat(PASS_ON, imports=HOST, entry="f_raw")
    result = run(source, b"\x01", entry="f_raw", fuel=None, imports={"host": lambda given: given})
    assert (reply(result), result.report.fuel_used) == ([0, 1], None)


def test_host_call_works_in_a_start_function(wat: Wat, run: Run) -> None:
    """Before anything is known of the exports: log, and a host function that answers through the allocator."""
    source = wat(
        "(call $log (i32.const 2) (i32.const 16) (i32.const 5)) (i64.load (i32.const 8))",
        imports=LOG + HOST,
        data=b"hello\xa1x",
        entry="f_raw",
        more="""(func $start
          (call $log (i32.const 1) (i32.const 16) (i32.const 5))
          (i64.store (i32.const 8) (call $host (i32.const 21) (i32.const 2))))
          (start $start)""",
    )
    result = run(source, b"", entry="f_raw", imports={"host": lambda given: given * 3})
    assert reply(result) == [0, "xxx"]
    assert [(log.level, log.message) for log in result.logs] == [("debug", "hello"), ("info", "hello")]


def test_host_call_in_a_start_function_without_memory_to_show_traps(run: Run) -> None:
    """`log` needs an exported memory; a module that calls it with one of another kind was refused before."""
    source = """(module (import "wasmrun" "log" (func $log (param i32 i32 i32)))
      (memory (export "memory") 0)
      (func $start (call $log (i32.const 2) (i32.const 0) (i32.const 1))) (start $start) (func (export "f")))"""
    result = run(source)
    assert isinstance(result.error, GuestTrap)
    assert "not in its memory of 0 bytes" in result.error.message


@pytest.mark.parametrize(
    ("imports", "more", "message"),
    [
        (
            '(import "wasmrun" "log" (func (param i32 i32)))',
            "",
            r"wasmrun.log must be \(i32, i32, i32\) -> \(\), not \(i32, i32\) -> \(\)",
        ),
        ('(import "wasmrun" "log" (global i32))', "", r"wasmrun.log must be .*, not global"),
        (
            '(import "wasmrun" "db.get" (func (param i32 i32) (result i64)))',
            "",
            r"not granted: wasmrun.db.get; grant host functions with",
        ),
        ('(import "env" "puts" (func))', "", "imports what it is not granted: env.puts$"),
        (
            '(import "env" "memory" (memory 1))',
            "",
            "imports what it is not granted: env.memory; it was made for a host",
        ),
        ('(import "env" "a\\1b" (func))', "", r"imports what it is not granted: env.a\\x1b$"),
        (LOG, "", "the module imports wasmrun.log, which needs a memory exported as 'memory'"),
        (LOG, '(func (export "memory"))', "the module imports wasmrun.log, which needs a memory exported as 'memory'"),
        (
            HOST,
            '(memory (export "memory") 1)',
            r"the module imports wasmrun.host, which needs the export 'wasmrun_alloc' of",
        ),
        (
            HOST,
            '(memory (export "memory") 1) (func (export "wasmrun_alloc"))',
            r"needs the export 'wasmrun_alloc' of \(i32\)",
        ),
    ],
)
def test_import_that_cannot_be_satisfied_is_refused_by_name(run: Run, imports: str, more: str, message: str) -> None:
    """When the function is loaded, before anything of it runs; before what is missing among the exports."""
    with pytest.raises(InvalidFunction, match=message):
        run(f"(module {imports} {more})", imports={"host": print})


def test_imports_that_are_not_granted_are_counted_beyond_ten(run: Run) -> None:
    """The message does not grow with the module."""
    many = "".join(f'(import "env" "f{number:02}" (func))' for number in range(25))
    with pytest.raises(InvalidFunction, match=r"env\.f00, .*env\.f09 and 15 more$"):
        run(f"(module {many})")


def test_import_of_wasi_that_there_is_not_is_refused_by_name(run: Run) -> None:
    """Of a function that preview 1 does not have, and of one with another signature."""
    for item in ('"sock_conjure" (func)', '"fd_write" (func)'):
        with pytest.raises(
            InvalidFunction, match=r"the module's imports cannot be satisfied: .*(sock_conjure|fd_write)"
        ):
            run(f'(module (import "wasi_snapshot_preview1" {item}) (func (export "f")))')


def test_import_may_be_written_down_twice(wat: Wat, run: Run) -> None:
    """Some linkers do."""
    source = wat(
        "(call $log (i32.const 2) (i32.const 16) (i32.const 2)) (call $answer)",
        imports=LOG + LOG.replace("$log", ""),
        data=b"hi",
        entry="f_raw",
    )
    assert [log.message for log in run(source, b"", entry="f_raw").logs] == ["hi"]


def utf16(text: str) -> bytes:
    """A string of AssemblyScript: its length in bytes, then UTF-16."""
    data = text.encode("utf-16-le", "surrogatepass")
    return len(data).to_bytes(4, "little") + data


ABORT = '(import "env" "abort" (func $abort (param i32 i32 i32 i32)))'


@pytest.mark.parametrize(
    ("message", "file", "text"),
    [
        ("out of luck", "lib/a.ts", "the function aborted: out of luck at lib/a.ts:7:9"),
        ("out of luck", None, "the function aborted: out of luck"),
        ("", "", "the function aborted: no message"),
        (None, None, "the function aborted: no message"),
        ("\x1b[31m\n", "a\tb", "the function aborted: \\x1b[31m\\n at a\\tb:7:9"),
        ("ü\N{SNOWMAN}\ud800", None, "the function aborted: ü\N{SNOWMAN}\N{REPLACEMENT CHARACTER}"),
        ("x" * 30_000, None, "the function aborted: " + "x" * 299 + "…"),
    ],
)
def test_abort_of_assemblyscript_is_a_trap_with_its_words(
    wat: Wat, run: Run, message: str | None, file: str | None, text: str
) -> None:
    """Message, file, line and column, escaped and cut."""
    first = utf16(message or "")
    data = first + utf16(file or "")
    at_message = 0 if message is None else 16 + 4
    at_file = 0 if file is None else 16 + len(first) + 4
    source = wat(
        f"(call $abort (i32.const {at_message}) (i32.const {at_file}) (i32.const 7) (i32.const 9)) (call $answer)",
        imports=ABORT, data=data, entry="f_raw", memory="2",
    )  # fmt: skip
    result = run(source, b"", entry="f_raw")
    assert isinstance(result.error, GuestTrap)
    assert (result.error.kind, result.error.message) == ("abort", text)
    assert result.report.fuel_exact


@pytest.mark.parametrize("pointer", [1, 3, 65536, 65537, 2**31, 2**32 - 1])
def test_abort_with_any_pointer_is_still_an_abort(wat: Wat, run: Run, pointer: int) -> None:
    """What cannot be read is left out."""
    source = wat(
        f"(call $abort (i32.const {pointer}) (i32.const {pointer}) (i32.const 0) (i32.const 0)) (call $answer)",
        imports=ABORT,
        entry="f_raw",
    )
    assert run(source, b"", entry="f_raw").error.message == "the function aborted: no message"  # type: ignore[union-attr]  # it aborted


def test_abort_finds_a_text_at_the_very_start_of_the_memory(wat: Wat, run: Run) -> None:
    """Its length is in the first four bytes."""
    source = wat(
        "(i32.store (i32.const 0) (i32.const 2)) (i32.store16 (i32.const 4) (i32.const 65))"
        "(call $abort (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0)) (call $answer)",
        imports=ABORT, entry="f_raw",
    )  # fmt: skip
    assert run(source, b"", entry="f_raw").error.message == "the function aborted: A"  # type: ignore[union-attr]  # it aborted


def test_abort_with_a_length_that_is_not_there_has_no_text(wat: Wat, run: Run) -> None:
    """The length before the text says more than the memory holds."""
    source = wat(
        "(i32.store (i32.const 65528) (i32.const 1000))"
        "(call $abort (i32.const 65532) (i32.const 0) (i32.const 0) (i32.const 0)) (call $answer)",
        imports=ABORT, entry="f_raw",
    )  # fmt: skip
    assert run(source, b"", entry="f_raw").error.message == "the function aborted: no message"  # type: ignore[union-attr]  # it aborted


def test_host_functions_of_two_executors_do_not_meet(wat: Wat, cache_dir: Any) -> None:
    """Many threads, two tenants, each with a host function of its own that fails: nobody sees the other's error."""
    source = wat(f"(drop {PASS_ON}) (unreachable)", imports=HOST, entry="wasmrun_handle_raw")

    def failing(name: str) -> Callable[[Any], Any]:
        def host(given: Any) -> Any:
            raise LookupError(name)

        return host

    functions = {name: wasmrun.Function(source, imports={"host": failing(name)}, warm=2) for name in ("red", "blue")}
    with wasmrun.Executor(cache_dir=cache_dir, threads=4, max_sandboxes=20) as executor:
        futures = [(name, executor.submit(functions[name], b"\x01")) for _ in range(100) for name in functions]
        for name, future in futures:
            assert str(future.exception()).endswith(f"LookupError: {name}")
