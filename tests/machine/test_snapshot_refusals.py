"""What cannot be captured soundly is refused, with the reason; what is no module is, too."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import snapshots
from hypothesis import strategies
from test_snapshot_capture import EVERYTHING, SETTINGS

import wasmrun
from wasmrun.errors import HostError, InvalidFunction
from wasmrun.machine.compiler import CompileLimits
from wasmrun.machine.snapshot import contents, copy, sections, startup, taking, writing
from wasmrun.machine.snapshot.taking import take
from wasmrun.machine.wasmfile import scan
from wasmrun.machine.wasmreader import Reader

WASI = "wasi_snapshot_preview1"


def starting(body: str, imports: str = "", more: str = "", alloc: str = "(i32.const 0)") -> str:
    """A native module whose `wasmrun_init` is *body*."""
    return f"""(module {imports} (memory (export "memory") 1) {more}
      (func (export "wasmrun_init") {body})
      (func (export "wasmrun_alloc") (param i32) (result i32) {alloc})
      (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (i64.const 0)))"""


def calling(name: str, params: str, args: str) -> str:
    """One whose start-up calls something of WASI."""
    imports = f'(import "{WASI}" "{name}" (func $call (param {params}) (result i32)))'
    return starting(f"(drop (call $call {args}))", imports)


PATH_OPEN = calling(
    "path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32",
    "(i32.const 3)" + "(i32.const 0)" * 4 + "(i64.const 0)" * 2 + "(i32.const 0)" * 2,
)  # fmt: skip
CLOCK = calling("clock_time_get", "i32 i64 i32", "(i32.const 0) (i64.const 0) (i32.const 8)")
RANDOM = calling("random_get", "i32 i32", "(i32.const 8) (i32.const 8)")
HOST = '(import "wasmrun" "db.get" (func $get (param i32 i32) (result i64)))'
HTTP = '(import "wasmrun" "http_request" (func $get (param i32 i32) (result i64)))'
ASK = "(drop (call $get (i32.const 0) (i32.const 0)))"


@pytest.mark.parametrize(
    ("module", "settings", "reason"),
    [
        (starting("(unreachable)"), {}, "its start-up failed: GuestTrap: the function trapped: unreachable"),
        (starting("(loop br 0)"), {"fuel": 100_000}, "its start-up failed: OutOfFuel"),
        (starting("(loop br 0)"), {"fuel": None, "init_timeout": "50ms"}, "TimedOut.*init_timeout"),
        (starting("(call 0)"), {}, "stack overflow"),
        (PATH_OPEN, {}, "its start-up calls path_open of WASI"),
        (calling("fd_close", "i32", "(i32.const 3)"), {}, "calls fd_close of WASI"),
        (calling("fd_fdstat_set_flags", "i32 i32", "(i32.const 0) (i32.const 0)"), {}, "fd_fdstat_set_flags"),
        (starting(ASK, HOST), {"imports": {"db.get": len}}, "its start-up calls the host's db.get"),
        (starting(ASK, HTTP), {"http": ["a.test"]}, "its start-up calls the host's http_request"),
        (CLOCK, {}, "reads a clock, which would be the same in every sandbox; export wasmrun_resume"),
        (RANDOM, {}, "reads random bytes, which would be the same"),
        (starting("", HOST), {}, "imports what it is not granted"),
        (starting("", more='(func (export "wasmrun_resume") (param i32))'), {}, "'wasmrun_resume' must be"),
        ('(module (import "a" "b" (global i32)) (func (export "run")))', {}, "imports the global a.b"),
        ('(module (import "a" "b" (global (mut i32))) (func (export "run")))', {}, "imports the global a.b"),
        ('(module (import "a" "b" (memory 1)) (func (export "run")))', {}, "imports the memory a.b"),
        ('(module (import "a" "b" (table 1 funcref)) (func (export "run")))', {}, "imports the table a.b"),
        ('(module (memory (export "memory") 1) (func (export "_start")))', {}, "a command starts when its event is"),
        (starting("", more='(data (i32.const 0) "x")'), {"module_bytes": 100}, "at most 100 are allowed|more after"),
        (starting("(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))"), {"module_bytes": "20KiB"}, "holds more"),
        (starting("(drop (memory.grow (i32.const 9)))", more='(data (i32.const 70000) "x")'), {}, "out of bounds"),
    ],
)  # fmt: skip
def test_what_cannot_be_captured_is_refused(module: str, settings: dict[str, Any], reason: str) -> None:
    """As what it is."""
    with pytest.raises((InvalidFunction, ValueError), match=reason):
        snapshots.snapshot(module, **settings)


@pytest.mark.parametrize("module", [CLOCK, RANDOM])
def test_clocks_and_random_bytes_are_for_those_who_resume(module: str) -> None:
    """An empty one says that there is nothing to renew."""
    taken = snapshots.snapshot(module.replace("(memory", '(func (export "wasmrun_resume")) (memory', 1))
    assert taken.depends_on == [{CLOCK: "a clock", RANDOM: "random bytes"}[module]]


@pytest.mark.parametrize(
    ("name", "params", "args", "answer"),
    [
        ("clock_time_get", "i32 i64 i32", "(i32.const 0) (i64.const 0) (i32.const -4)", "trap"),
        ("clock_time_get", "i32 i64 i32", "(i32.const 1) (i64.const 0) (i32.const 8)", 0),
        ("clock_time_get", "i32 i64 i32", "(i32.const 7) (i64.const 0) (i32.const 8)", 28),
        ("random_get", "i32 i32", "(i32.const 65530) (i32.const 7)", "trap"),
        ("random_get", "i32 i32", "(i32.const 65530) (i32.const 6)", 0),
        ("random_get", "i32 i32", "(i32.const 8) (i32.const -1)", "trap"),
    ],
)
def test_what_a_start_up_is_told_is_put_where_it_belongs(name: str, params: str, args: str, answer: Any) -> None:
    """Inside its memory or nowhere."""
    imports = f'(import "{WASI}" "{name}" (func $call (param {params}) (result i32)))'
    module = starting(f"(i32.store (i32.const 1000) (call $call {args}))", imports, '(func (export "wasmrun_resume"))')
    if answer == "trap":
        assert snapshots.refusal(module).endswith("the function gave WASI addresses outside its memory")
    else:
        found = contents.read(snapshots.snapshot(module).module)
        wanted = writing.place(1000) + writing.sized(bytes((answer,)))
        assert any(wanted in segment.raw for segment in found.data) == bool(answer)


def test_start_up_s_fuel_pays_for_random_bytes() -> None:
    """As it does for any call of the host."""
    module = starting(
        "(loop (drop (call $call (i32.const 8) (i32.const 60000))) (br 0))",
        f'(import "{WASI}" "random_get" (func $call (param i32 i32) (result i32)))',
    )
    assert "OutOfFuel" in snapshots.refusal(module, fuel=1_000_000)


def test_start_up_has_the_memory_of_the_function() -> None:
    """What it could not get there, it does not get here."""
    module = starting("(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (unreachable)))")
    assert "unreachable" in snapshots.refusal(module, memory="1MiB")
    assert snapshots.snapshot(module, memory="16MiB")


# Hostile modules

MODULE = snapshots.binary(EVERYTHING)


@pytest.mark.parametrize("length", range(0, len(MODULE), 7))
def test_a_truncated_module_is_no_module(length: int) -> None:
    """Wherever it is cut."""
    assert snapshots.refusal(MODULE[:length], **SETTINGS)


@hypothesis.given(strategies.data())
@hypothesis.settings(max_examples=100)
def test_a_damaged_module_is_refused_or_captured(data: strategies.DataObject) -> None:
    """Nothing else happens, whichever bytes are changed."""
    module = bytearray(MODULE)
    for _ in range(data.draw(strategies.integers(1, 4))):
        module[data.draw(strategies.integers(8, len(module) - 1))] = data.draw(strategies.integers(0, 255))
    try:
        taken = snapshots.snapshot(bytes(module), **SETTINGS, fuel=100_000)
    except (InvalidFunction, ValueError):
        return
    scan(taken.module)
    assert contents.read(taken.module)


@hypothesis.given(strategies.binary(max_size=300))
def test_reading_contents_ends_on_any_bytes(data: bytes) -> None:
    """What the engine has not looked at, too: with an error, and soon."""
    for body in (data, *(bytes((number,)) + writing.sized(data) for number in range(1, 13))):
        try:
            found = contents.read(b"\0asm\1\0\0\0" + body)
        except ValueError:
            continue
        sections.join(found.sections)


@pytest.mark.parametrize("number", [1, 2, 4, 5, 6, 7, 9, 11])
def test_a_giant_count_is_not_believed(number: int) -> None:
    """There is nothing behind it."""
    module = b"\0asm\1\0\0\0" + bytes((number,)) + writing.sized(writing.unsigned(0xFFFFFFFF))
    assert snapshots.refusal(module)
    if number != sections.TYPE:
        with pytest.raises(ValueError, match=r"truncated|malformed|cannot be read|does not end"):
            contents.read(module)


def test_segments_may_overlap() -> None:
    """The last one wins, as it does in the engine."""
    module = """(module (memory 1) (data (i32.const 4) "aaaa") (data (i32.const 6) "bb")
      (func (export "run") (result i64) (i64.load (i32.const 4))))"""
    binary = snapshots.binary(module)
    with snapshots.machines(binary, snapshots.snapshot(binary).module) as (started, restored):
        assert started.call("run") == restored.call("run") == b"aabb\0\0\0\0"


def test_passive_segments_are_bounded() -> None:
    """Each is asked about."""
    text = "(module (memory 1) " + '(data "x")' * 10_001 + '(func (export "run") (data.drop 0)))'
    with pytest.raises(ValueError, match="10001 passive segments; at most 10000"):
        copy.make_copy(contents.read(snapshots.binary(text)))


@pytest.mark.parametrize("number", [0, 1, 63, 64, 127, 128, 2**31 - 1, 2**31, 2**32 - 1])
def test_numbers_are_read_as_they_were_written(number: int) -> None:
    """Unsigned ones; and signed ones by the engine, see above."""
    written = writing.unsigned(number)
    assert Reader(written, 0, len(written)).number() == number
    assert len(writing.signed(number)) <= 5
    assert writing.place(number)[0] == 0x41


def test_sections_are_put_where_they_belong() -> None:
    """After those that come before them, custom ones not counted."""
    parts = [
        sections.Section(0, b"a"),
        sections.Section(1, b"b"),
        sections.Section(0, b"c"),
        sections.Section(10, b"d"),
    ]
    numbers = [section.number for section in sections.put(parts, sections.DATA_COUNT, b"\1")]
    assert numbers == [0, 1, 12, 0, 10]
    assert [section.number for section in sections.put([], sections.MEMORY, b"\1")] == [sections.MEMORY]
    assert sections.put(parts, 1, b"") == [parts[0], *parts[2:]]


# The child


def take_here(module: str, limits: CompileLimits | None = None, **settings: Any) -> Any:
    """A snapshot, as executors take it."""
    function = wasmrun.Function(module, **settings)
    return take(function, module.encode(), is_text=True, limits=limits or CompileLimits())


def test_child_gives_what_is_taken_here() -> None:
    """With logs, and what it depends on."""
    taken = take_here(EVERYTHING, name="guest", **SETTINGS)
    assert taken == (snapshots.snapshot(MODULE, **SETTINGS).module, (), ())


def test_child_says_what_is_wrong() -> None:
    """As an error of the function."""
    with pytest.raises(InvalidFunction, match="its start-up failed: GuestTrap"):
        take_here(starting("(unreachable)"))
    with pytest.raises(InvalidFunction, match="not valid WAT"):
        take_here("(module (func (export")


def test_child_is_bounded_in_time() -> None:
    """Whatever the module does; the start-up has its own time, and compiling the compiler's."""
    with pytest.raises(InvalidFunction, match="TimedOut: the function ran past its time of 200"):
        take_here(starting("(loop br 0)"), fuel=None, init_timeout="200ms")
    many = "(if (i32.const 1) (then)) " * 300_000
    with pytest.raises(InvalidFunction, match=r"the module (took more than|cannot be used)"):
        take_here(f'(module (func (export "run") {many}))', CompileLimits(cpu="500ms"), init_timeout="1ms")


def test_child_is_bounded_in_memory() -> None:
    """A start-up may have what the function may have, and the child is not larger for it."""
    fill = "(drop (memory.grow (i32.const 1500))) (memory.fill (i32.const 0) (i32.const 1) (i32.const 98000000))"
    with pytest.raises(InvalidFunction, match="more after the start-up than a module may have"):
        take_here(starting(fill))


def test_child_that_cannot_work_is_the_host_s_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the function's."""
    monkeypatch.setattr("sys.executable", "")
    with pytest.raises(HostError, match=r"sys\.executable is empty"):
        take_here(EVERYTHING, **SETTINGS)


@pytest.mark.parametrize(
    "answer",
    [
        {"logs": 7},
        {"logs": [], "depends_on": None},
        {"logs": [], "depends_on": ["\x1b[2J"]},
        {"logs": [["info"]], "depends_on": []},
        {"logs": [["\x1b[2J", "text"]], "depends_on": []},
        {"logs": [["info", 7]], "depends_on": []},
    ],
)
def test_child_is_not_believed(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has run code that nobody trusts."""
    monkeypatch.setattr("wasmrun.machine.snapshot.taking.run_child", lambda *_: (answer, b""))
    with pytest.raises(HostError, match="an answer that is none"):
        take_here(EVERYTHING, **SETTINGS)


def test_child_tells_much_in_little() -> None:
    """Of a start-up that logs without end, as much as fits."""
    log = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'
    body = """(local $n i32) (memory.fill (i32.const 0) (i32.const 7) (i32.const 1000))
      (loop (call $log (i32.const 2) (i32.const 0) (i32.const 1000))
        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000))))
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 1000))"""
    taken = take_here(starting(body, log), log_bytes="100MiB")
    assert 10_000 < sum(len(line.message) for line in taken.logs) <= 70_000


def test_clock_is_among_what_can_be_depended_on() -> None:
    """Both sides of the process know the same words."""
    assert {startup.CLOCK, startup.RANDOM} == taking.DEPENDENCIES
