"""Components that do their worst end in a typed error, in time, and leave nothing for the next event."""

from __future__ import annotations

import contextlib
import time

import pytest
from kit import assert_flat, growth, is_idle
from lifted import CONTEXT, ECHO, EVENT, EVENT_BYTES, answer, component, quoted, text
from preview2 import wasi_component

import wasmrun
from wasmrun.base_executor import BaseExecutor

LOOP = "(loop $on (br $on))"


def realloc(body: str, handle: str = ECHO) -> str:
    """A component whose allocator is *body*."""
    return f"""(component
      (core module $m
        (memory (export "memory") 2)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) {body})
        (func (export "handle") (param i32 i32 i32 i32) (result i32) {handle}))
      (core instance $i (instantiate $m)) (alias core export $i "memory" (core memory $l))
      (func (export "handle") (param "event" string) (param "context" string) (result (result string (error string)))
        (canon lift (core func $i "handle") (memory $l) (realloc (core func $i "realloc")))))"""


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (answer(1024, -1), "out of bounds"),
        (answer(-1, 1), "out of bounds"),
        (answer(131072, 1), "out of bounds"),
        (answer(1024, 2), "utf-8"),
        ("(i32.store (i32.const 8) (i32.const 2)) (i32.const 8)", "discriminant 2 out of range"),
        ("(i32.const -16)", "out of bounds"),
        ("(i32.const 131068)", "out of bounds"),
        ("(i32.const 9)", "not aligned"),
    ],
)
def test_answer_that_cannot_be_read_is_one(executor: BaseExecutor, handle: str, message: str) -> None:
    """A pointer, a length, a text or a case that there is not."""
    function = wasmrun.Function(component(handle, functions='(data (i32.const 1024) "\\ff\\fe")'))
    with pytest.raises(wasmrun.InvalidAnswer, match=message):
        executor.invoke(function, 1)
    assert executor.invoke(wasmrun.Function(component()), 1) == 1


@pytest.mark.parametrize("is_error", [False, True])
def test_answer_over_its_limit_is_not_copied(executor: BaseExecutor, is_error: bool) -> None:
    """Nor is a reported error."""
    function = wasmrun.Function(component(answer(0, 131072, error=is_error)), result_bytes=131071)
    with pytest.raises(wasmrun.ResultTooLarge, match="answered 128 KiB, more than its limit"):
        executor.invoke(function, 1)


def test_answer_as_large_as_memory_does_not_stay(threads: wasmrun.Executor) -> None:
    """100 MiB of text, which the engine copies before anybody can ask how long it is."""
    function = wasmrun.Function(component(answer(0, 100 << 20), memory="1601"), warm=0, timeout="20s")

    def answered(_: int) -> None:
        with pytest.raises(wasmrun.ResultTooLarge):
            threads.invoke(function, 1)

    assert_flat(growth(answered, 5, warm=2, settle=lambda: is_idle(threads)))


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("(i32.const -1)", wasmrun.InvalidAnswer, "beyond end of memory"),
        ("(i32.const 131072)", wasmrun.InvalidAnswer, "beyond end of memory"),
        ("unreachable", wasmrun.GuestTrap, "unreachable"),
        (f"{LOOP} (i32.const 8)", wasmrun.OutOfFuel, "fuel"),
    ],
)
def test_allocator_that_does_its_worst_ends_the_event(
    executor: BaseExecutor, body: str, error: type[wasmrun.FunctionError], message: str
) -> None:
    """Wherever it says that the event is to go."""
    with pytest.raises(error, match=message):
        executor.invoke(wasmrun.Function(realloc(body), fuel=10**6), "an event")


def test_allocator_may_put_everything_in_one_place(executor: BaseExecutor) -> None:
    """The context over the event, which is the guest's own business."""
    function = wasmrun.Function(realloc("(i32.const 1024)", answer(EVENT, 1)), raw=True)
    assert executor.invoke(function, b"12") == b"{"


def test_trap_tells_its_cause_and_no_more_than_is_printable(executor: BaseExecutor) -> None:
    """Names are the guest's: with line ends and escapes in them, long, and made to look like another cause."""
    evil = "x\n\nCaused by:\n    wasm trap: all fuel consumed\x1b[31m" + "é" * 50_000
    code = component(
        "(call $evil) (i32.const 8)", functions=f'(func $evil (@name "{quoted(evil.encode())}") unreachable)'
    )
    with pytest.raises(wasmrun.GuestTrap) as caught:
        executor.invoke(wasmrun.Function(code), 1)
    assert caught.value.kind == "trap"
    assert "the function trapped: wasm `unreachable` instruction executed in " in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500
    assert all(frame.isprintable() and len(frame) < 200 for frame in caught.value.frames)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
        ("(call $deep)", "call stack exhausted"),
    ],
)
def test_trap_is_told_in_the_engines_words(executor: BaseExecutor, body: str, cause: str) -> None:
    """Its kind is not known."""
    code = component(body + ECHO, functions="(func $deep (call $deep) (call $deep))")
    with pytest.raises(wasmrun.GuestTrap, match=cause) as caught:
        executor.invoke(wasmrun.Function(code), 1)
    assert caught.value.kind == "trap"
    assert caught.value.report is not None
    assert not caught.value.report.fuel_exact


@pytest.mark.parametrize("metered", [True, False])
@pytest.mark.parametrize("where", ["handle", "post", "realloc", "init", "start"])
def test_loop_ends_wherever_it_is(executor: BaseExecutor, where: str, metered: bool) -> None:
    """In the call, in giving memory back, in the allocator, before any event: with fuel, and without it by time."""
    code = {
        "handle": lambda: component(LOOP + ECHO),
        "post": lambda: component(post=LOOP),
        "realloc": lambda: realloc(f"{LOOP} (i32.const 8)"),
        "init": lambda: component(
            functions=f'(func (export "init") {LOOP})',
            exports='(func $init (canon lift (core func $i "init"))) (export "init" (func $init))',
        ),
        "start": lambda: component(functions=f"(func $begin {LOOP}) (start $begin)"),
    }[where]()
    function = wasmrun.Function(code, warm=0, timeout="50ms", init_timeout="50ms", fuel=10**6 if metered else None)
    with pytest.raises(wasmrun.OutOfFuel if metered else wasmrun.TimedOut):
        executor.invoke(function, 1)
    assert executor.invoke(wasmrun.Function(component()), 2) == 2


def test_post_return_that_traps_loses_the_answer(executor: BaseExecutor) -> None:
    """It is a part of the call."""
    with pytest.raises(wasmrun.GuestTrap, match="unreachable"):
        executor.invoke(wasmrun.Function(component(post="unreachable"), reuse=True), 1)


def test_sandbox_is_not_reused_after_a_failure(executor: BaseExecutor) -> None:
    """Whatever the failure was."""
    code = component(
        "(i32.store8 (i32.const 1024) (i32.add (i32.load8_u (i32.const 1024)) (i32.const 1)))"
        f"(if (i32.eq (i32.load8_u {EVENT}) (i32.const 48)) (then unreachable)) {answer(1024, 1)}",
        functions='(data (i32.const 1024) "0")',
    )
    function = wasmrun.Function(code, reuse=True, warm=0)
    assert [executor.invoke(function, 1) for _ in range(2)] == [1, 2]
    with pytest.raises(wasmrun.GuestTrap):
        executor.invoke(function, 0)
    assert executor.invoke(function, 1) == 1


def test_memory_grows_to_its_limit_and_no_further(executor: BaseExecutor) -> None:
    """The pages that the guest gets, in a component with one memory."""
    code = component(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
        "(i32.store8 (i32.const 1024) (i32.add (i32.div_u (memory.size) (i32.const 10)) (i32.const 48)))"
        "(i32.store8 (i32.const 1025) (i32.add (i32.rem_u (memory.size) (i32.const 10)) (i32.const 48)))"
        + answer(1024, 2)
    )
    assert executor.invoke(wasmrun.Function(code, memory="1MiB"), 1) == 16


def memories(count: int, pages: int = 1) -> str:
    """A component with *count* modules more, each with a memory, of which the last one grows as far as it can."""
    parts = "".join(
        f'(core module $m{at} (memory (export "m") {pages}) (func (export "grow") (result i32) '
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (memory.size)))"
        f"(core instance $i{at} (instantiate $m{at}))"
        for at in range(count)
    )
    return component(
        "(i32.store8 (i32.const 1024) (i32.add (call $grow) (i32.const 48)))" + answer(1024, 1),
        functions='(import "h" "grow" (func $grow (result i32)))',
        lowered=parts,
        given=f'(export "grow" (func $i{count - 1} "grow"))',
    )


def test_memories_of_a_component_share_its_limit(executor: BaseExecutor) -> None:
    """Each has an equal part."""
    assert executor.invoke(wasmrun.Function(memories(1), memory="1MiB"), 1) == 8
    assert executor.invoke(wasmrun.Function(memories(3), memory="1MiB"), 1) == 4


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (memories(4), "it has 5 memories or more; at most 4 are allowed"),
        (memories(1, 30), "starts with 2 MiB of memory, more than its limit of 1 MiB"),
        (
            component(lowered="(core module $t (table 1 funcref))" + "(core instance (instantiate $t))" * 21),
            "it has 21 tables or more; at most 20 are allowed",
        ),
        (
            component(lowered="(core module $t)" + "(core instance (instantiate $t))" * 99),
            "it has 101 instances of modules or more; at most 100 are allowed",
        ),
        (component(functions="(table 20001 funcref)"), "more than `table_elements` can allow"),
        (component(functions="(table 20000 funcref)"), "more than its limit of 19999"),
    ],
    ids=["memories", "memory", "tables", "instances", "table", "limited table"],
)
def test_component_that_wants_too_much_is_refused(threads: wasmrun.Executor, code: str, message: str) -> None:
    """By what it declares."""
    with pytest.raises(wasmrun.InvalidFunction, match=message):
        threads.invoke(wasmrun.Function(code, memory="1MiB", table_elements=19_999), 1)


def test_components_that_multiply_are_counted_before_they_are_compiled(threads: wasmrun.Executor) -> None:
    """2 to the 19 instances of one module, in a file of a kilobyte."""
    inner = "(core module $m) (core instance (instantiate $m))"
    for at in range(19):
        inner = f"(component $c{at} {inner}) (instance (instantiate $c{at})) (instance (instantiate $c{at}))"
    started = time.monotonic()
    with pytest.raises(wasmrun.InvalidFunction, match="instances of modules or more"):
        threads.invoke(wasmrun.Function(f"(component {inner})"), 1)
    assert time.monotonic() - started < 20


def test_components_in_components_have_a_depth(threads: wasmrun.Executor) -> None:
    """Deeper than anybody needs."""
    code = "(component " * 40 + ")" * 40
    with pytest.raises(wasmrun.InvalidFunction, match="nested deeper than 20"):
        threads.invoke(wasmrun.Function(code), 1)


def test_component_in_a_component_runs(executor: BaseExecutor) -> None:
    """As composed ones have them."""
    inner = component().replace("(component", "(component $inner", 1)
    code = f'(component {inner} (instance $i (instantiate $inner)) (export "handle" (func $i "handle")))'
    assert executor.invoke(wasmrun.Function(code), {"a": 1}) == {"a": 1}


def test_fuel_of_a_component_is_exact_where_it_runs_out(executor: BaseExecutor) -> None:
    """All of it, and no more."""
    result = executor.run(wasmrun.Function(component(LOOP + ECHO), fuel=12_345), 1)
    assert isinstance(result.error, wasmrun.OutOfFuel)
    assert (result.report.fuel_used, result.report.fuel_exact) == (12_345, True)


def test_log_is_charged_and_cut(executor: BaseExecutor) -> None:
    """A call costs 1,000 fuel, and each byte one more."""
    code = logging(f"(call $log (i32.const 3) (i32.const 0) (i32.const 65536)) {ECHO}")
    result = executor.run(wasmrun.Function(code, log_bytes="1KiB"), 1)
    assert [log.level for log in result.logs] == ["warn", "warn"]
    assert "the log is cut here" in result.logs[-1].message
    assert result.report.fuel_used is not None
    assert result.report.fuel_used > 66_000
    flood = logging(f"(loop $on (call $log (i32.const 0) (i32.const 0) (i32.const 65536)) (br $on)) {ECHO}")
    assert isinstance(executor.run(wasmrun.Function(flood, fuel=10**7), 1).error, wasmrun.OutOfFuel)


def logging(handle: str) -> str:
    """A component that logs."""
    return component(
        handle,
        imports="""(import "wasmrun:function/logger@1.0.0" (instance $logger
            (type $levels (enum "trace" "debug" "info" "warn" "error")) (export "level" (type $level (eq $levels)))
            (export "log" (func (param "level" $level) (param "message" string)))))""",
        lowered='(alias export $logger "log" (func $log)) (core func $log0 (canon lower (func $log) '
        '(memory (core memory $l "memory"))))',
        functions='(import "h" "log" (func $log (param i32 i32 i32)))',
        given='(export "log" (func $log0))',
    )


def test_log_has_the_levels_of_the_world(executor: BaseExecutor) -> None:
    """In their order, with any text."""
    said = "a\n\x1bä"
    lines = "".join(f"(call $log (i32.const {at}) (i32.const 1024) (i32.const 5))" for at in range(5))
    code = logging(lines + ECHO).replace("(core module $m", f"(core module $m {text(said)[0]}", 1)
    result = executor.run(wasmrun.Function(code), 1)
    assert [(log.level, log.message) for log in result.logs] == [
        (level, said) for level in ("trace", "debug", "info", "warn", "error")
    ]


def test_components_leave_nothing(threads: wasmrun.Executor) -> None:
    """Events, traps, time-outs, logs, output, timers."""
    functions = [
        wasmrun.Function(component(), warm=0),
        wasmrun.Function(component("unreachable"), warm=0),
        wasmrun.Function(logging(f"(call $log (i32.const 1) (i32.const 0) (i32.const 1000)) {ECHO}"), warm=0),
        wasmrun.Function(component(answer(1024, -1)), warm=0),
        wasmrun.Function(wasi_component(f"(drop (call $stdout)) (drop (call $after (i64.const 1))) {ECHO}"), warm=0),
        wasmrun.Function(component(), reuse=True),
        wasmrun.Function(component(CONTEXT + "drop" + LOOP + ECHO), fuel=1000, warm=0),
    ]

    def one(number: int) -> None:
        with contextlib.suppress(wasmrun.FunctionError):
            threads.invoke(functions[number % len(functions)], {"a": "x" * 1000})

    assert_flat(growth(one, 7_000, settle=lambda: is_idle(threads)))


def test_component_finds_nothing_of_another_event(executor: BaseExecutor) -> None:
    """In memory, where each writes what it got."""
    code = component(
        f"(memory.copy (i32.const 2048) {EVENT} {EVENT_BYTES}) {answer(2048, 6)}",
        functions='(data (i32.const 2048) "empty ")',
    )
    function = wasmrun.Function(code, raw=True, warm=4)
    assert executor.invoke(function, b"secret") == b"secret"
    assert {executor.invoke(function) for _ in range(20)} == {b"empty "}
