"""Host functions of the embedding program, called by guests that mean no good, and host functions that fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Fail, Refusal

IMPORT = '(import "wasmrun" "app.call" (func $call (param i32 i32) (result i64)))'
REQUEST = b"\xa7request"
CALL = f"(call $call (i32.const 16) (i32.const {len(REQUEST)}))"
ECHO = """
  (call $call
    (i32.add (local.get $ptr) (i32.const 2))
    (i32.load8_u offset=1 (local.get $ptr)))
"""


@pytest.fixture(scope="module")
def guest(wat: Callable[..., str]) -> Callable[..., str]:
    """A guest that imports ``app.call``; its answer is the host's reply, unless told otherwise."""

    def make(handler: str = CALL, *, data: bytes = REQUEST, **more: Any) -> str:
        return wat(handler, imports=IMPORT, data=data, **more)

    return make


def reported(body: str) -> str:
    """A handler's body that calls the host and then does something else."""
    return f"(drop {CALL}) {body}"


def test_a_host_function_gets_the_request_and_gives_the_reply(
    executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """MessagePack in, MessagePack out, written by the guest's own allocator."""
    seen = []

    def call(request: object) -> object:
        seen.append(request)
        return {"n": [1, b"\0", None, "ü"]}

    result = executor.run(wasmrun.Function(guest(), imports={"app.call": call}, warm=0), None)
    assert result.value == {"n": [1, b"\0", None, "ü"]}
    assert seen == ["request"]


def test_a_host_function_that_raises_is_an_error_value_for_the_guest(
    executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """A guest that goes on without the host's help answers, and its caller hears of no error."""

    def call(_request: object) -> object:
        raise LookupError("no such user")

    function = wasmrun.Function(
        guest(reported("(call $pack (i32.const 24) (i32.const 3))"), data=REQUEST + b"\x92\0\x05"),
        imports={"app.call": call},
        warm=0,
    )
    result = executor.run(function, None)
    assert (result.value, result.error, result.report.status) == (5, None, "success")


@pytest.mark.parametrize(
    "handler",
    [CALL, reported("unreachable"), reported("(call $exit (i32.const 3)) (i64.const 0)")],
    ids=["reports the error", "traps", "exits"],
)
@pytest.mark.parametrize("way", ["invoke", "run", "submit"])
def test_a_host_function_that_raises_is_the_callers_error_where_the_guest_gives_up(
    handler: str, way: str, executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """The caller gets a `HostError` with what was raised as its cause, not the guest's words for it."""
    raised = LookupError("no such user")

    def call(_request: object) -> object:
        raise raised

    more = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    function = wasmrun.Function(
        guest(handler).replace("(memory", f"{more} (memory", 1), imports={"app.call": call}, warm=0
    )
    with pytest.raises(
        wasmrun.HostError, match=r"the host function 'app\.call' failed: LookupError: no such user"
    ) as caught:
        if way == "submit":
            executor.submit(function, None).result()
        else:
            getattr(executor, way)(function, None)
    assert caught.value.__cause__ is raised


def test_a_host_function_that_raised_does_not_hide_a_timeout(guest: Callable[..., str], fail: Fail) -> None:
    """A guest that loops after the host failed it has still looped."""

    def call(_request: object) -> object:
        raise LookupError

    error = fail(guest(reported("(loop $l (br $l)) (i64.const 0)")), imports={"app.call": call}, timeout="50ms")
    assert type(error) is wasmrun.TimedOut


class Unspeakable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "raised",
    [Unspeakable(), ValueError("\ud800"), ValueError("x" * 10_000_000), KeyError("\x1b[31m\n"), Exception("\x1b[31m\n"),
     MemoryError(), RecursionError(), StopIteration(), wasmrun.TimedOut(), wasmrun.GuestTrap()],
    ids=lambda raised: type(raised).__name__,
)  # fmt: skip
def test_a_host_function_may_raise_anything(
    raised: Exception, executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """What has no text, broken text, endless text or escape sequences in it is a `HostError` of one short line."""

    def call(_request: object) -> object:
        raise raised

    with pytest.raises(wasmrun.HostError, match=type(raised).__name__) as caught:
        executor.invoke(wasmrun.Function(guest(reported("unreachable")), imports={"app.call": call}, warm=0), None)
    assert caught.value.__cause__ is raised
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_host_function_that_ends_the_program_ends_the_guest_first(
    raised: type[BaseException], executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """What is no `Exception` is not the guest's to handle: it passes through, and no sandbox is lost."""

    def call(_request: object) -> object:
        raise raised

    before = executor.stats().pool.in_flight
    with pytest.raises(raised):
        executor.invoke(wasmrun.Function(guest(), imports={"app.call": call}, warm=0), None)
    assert executor.stats().pool.in_flight == before


@pytest.mark.parametrize("raised", [SystemExit, MemoryError])
def test_a_host_function_that_fails_while_an_answer_is_freed_loses_nothing(
    raised: type[BaseException], cache_dir: Path, guest: Callable[..., str]
) -> None:
    """A `wasmrun_free` whose host call ends badly: the answer stands or the exception passes, and the place is free."""
    calls = []

    def call(_request: object) -> object:
        calls.append(threading.get_ident())
        raise raised

    free = f'(func (export "wasmrun_free") (param i32 i32) (drop {CALL}))'
    function = wasmrun.Function(
        guest("(call $pack (i32.const 24) (i32.const 3))", data=REQUEST + b"\x92\0\x05", more=free),
        imports={"app.call": call}, warm=0, reuse=True,
    )  # fmt: skip
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=1, wait=0.2) as executor:
        for n in range(3):
            try:
                assert executor.invoke(function, None) == 5
            except SystemExit:
                assert raised is SystemExit
            assert len(calls) == n + 1
            assert executor.stats().pool.in_flight == 0


@pytest.mark.parametrize(
    "value", [object(), {1}, 1j, 1 << 64, "\ud800", lambda: None], ids=lambda value: type(value).__name__
)
def test_a_host_function_that_returns_what_cannot_be_encoded_has_failed(
    value: object, executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """The guest gets an error value, and its caller is told which host function it was."""
    with pytest.raises(wasmrun.HostError, match=r"'app\.call' failed: \w+: .") as caught:
        executor.invoke(wasmrun.Function(guest(), imports={"app.call": lambda _: value}, warm=0), None)
    assert isinstance(caught.value.__cause__, (TypeError, ValueError, OverflowError))


def test_a_host_function_that_returns_itself_has_failed(executor: wasmrun.Executor, guest: Callable[..., str]) -> None:
    """A value without an end has no encoding."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(wasmrun.HostError, match="recursion limit"):
        executor.invoke(wasmrun.Function(guest(), imports={"app.call": lambda _: endless}, warm=0), None)


def test_a_reply_that_the_guest_has_no_memory_for_is_0(executor: wasmrun.Executor, guest: Callable[..., str]) -> None:
    """A reply larger than the guest's memory: its allocator refuses, and the guest gets 0 instead."""
    handler = f"(i32.store8 (i32.const 26) (i64.eqz {CALL})) (call $pack (i32.const 24) (i32.const 3))"
    function = wasmrun.Function(
        guest(handler, data=REQUEST + b"\x92\0\x05"),
        imports={"app.call": lambda _: bytes(20 << 20)},
        memory="1MiB",
        warm=0,
    )
    assert executor.invoke(function, None) == 1


def test_a_reply_is_charged_for_its_size(guest: Callable[..., str], fail: Fail) -> None:
    """A byte costs 1 fuel, also where it is the host that sends it."""
    error = fail(guest(), imports={"app.call": lambda _: bytes(100_000)}, fuel=50_000)
    assert (type(error), error.report.fuel_used) == (wasmrun.OutOfFuel, 50_000)


@pytest.mark.parametrize("pointer", ["-1", "65530", "0x80000000"])
def test_a_reply_is_not_written_outside_the_memory(pointer: str, guest: Callable[..., str], fail: Fail) -> None:
    """An allocator that answers a place outside the memory, only while the host replies: `InvalidAnswer`."""
    alloc = f"""(if (i32.eqz (global.get $asked)) (then (global.set $asked (i32.const 1)) (return (i32.const 2048))))
      (i32.const {pointer})"""
    more = "(global $asked (mut i32) (i32.const 0))"
    error = fail(guest(alloc=alloc, more=more, memory="1 1"), imports={"app.call": lambda _: "reply"})
    assert type(error) is wasmrun.InvalidAnswer
    assert f"wasmrun_alloc answered {int(pointer, 0) & 0xFFFFFFFF} for" in error.message


def test_an_allocator_that_fails_while_the_host_replies_ends_the_guest(guest: Callable[..., str], fail: Fail) -> None:
    """A trap, a loop and a host call inside of `wasmrun_alloc` are the guest's failure, with their own error."""
    more = "(global $asked (mut i32) (i32.const 0))"

    def failing(body: str) -> str:
        first = "(if (i32.eqz (global.get $asked)) (then (global.set $asked (i32.const 1)) (return (i32.const 2048))))"
        return guest(alloc=f"{first} {body}", more=more)

    imports = {"app.call": lambda _: "reply"}
    error = fail(failing("unreachable"), imports=imports)
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "unreachable")
    error = fail(failing("(loop $l (br $l)) (i32.const 0)"), imports=imports, timeout="50ms")
    assert type(error) is wasmrun.TimedOut
    error = fail(failing("(loop $l (br $l)) (i32.const 0)"), imports=imports, fuel=100_000)
    assert type(error) is wasmrun.OutOfFuel


@pytest.mark.parametrize("stack", ["128KiB", "1MiB"])
def test_an_allocator_that_calls_the_host_for_ever_is_a_trap(stack: str, guest: Callable[..., str], fail: Fail) -> None:
    """A guest may not use up the interpreter's recursion limit, near which its deadline would go unnoticed."""
    calls: list[object] = []
    error = fail(guest(alloc=f"(drop {CALL}) (i32.const 2048)"), imports={"app.call": calls.append}, stack=stack)
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "host call")
    assert "wasmrun_alloc called the host, which called wasmrun_alloc" in error.message
    assert len(calls) < 20


@pytest.mark.parametrize(("pointer", "length"), [(65530, 100), (-1, 1), (0x80000000, 1), (0, -1), (-1, -1)])
def test_a_request_outside_the_memory_is_a_trap(
    pointer: int, length: int, guest: Callable[..., str], fail: Fail
) -> None:
    """The host function is not called, and nothing is read."""
    called: list[object] = []
    error = fail(
        guest(f"(call $call (i32.const {pointer}) (i32.const {length}))", memory="1 1"),
        imports={"app.call": called.append},
    )
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "memory out of bounds")
    assert called == []


@pytest.mark.parametrize(
    "request_", [b"", b"\xc1", b"\x92\x00", b"\xc0\xc0", b"\xa2\xff\xfe", b"\x91" * 2000, b"\xdd\xff\xff\xff\xff"]
)
def test_a_request_that_is_no_messagepack_is_an_error_value(
    request_: bytes, executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """The guest is told; the host function is not called, and the failure is the guest's own."""
    called: list[object] = []
    function = wasmrun.Function(
        guest(f"(call $call (i32.const 16) (i32.const {len(request_)}))", data=request_),
        imports={"app.call": called.append}, warm=0,
    )  # fmt: skip
    result = executor.run(function, None)
    assert isinstance(result.error, wasmrun.GuestError)
    assert result.error.type == "InvalidArgument"
    assert called == []


@pytest.mark.parametrize("request_", [
    b"\xd4\x05x", b"\xd6\xff\0\0\0\1", b"\x91\xc7\x0c\xff" + bytes(12), b"\x81\xc4\x01k\xc0", b"\x81\x01\xc0"
])  # fmt: skip
def test_a_request_is_only_what_an_answer_may_be(
    request_: bytes, executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """Extension types, timestamps and keys that are no strings do not reach a host function: it gets plain values."""
    called: list[object] = []
    function = wasmrun.Function(
        guest(f"(call $call (i32.const 16) (i32.const {len(request_)}))", data=request_),
        imports={"app.call": called.append}, warm=0,
    )  # fmt: skip
    result = executor.run(function, None)
    assert called == []
    assert isinstance(result.error, wasmrun.GuestError)
    assert result.error.type == "InvalidArgument"


def test_a_request_over_the_limit_is_an_error_value(
    executor: wasmrun.Executor, guest: Callable[..., str], fail: Fail
) -> None:
    """What leaves the sandbox is bounded by `result_bytes`, host calls included: one byte more is not even copied."""
    request = msgpack.packb(bytes(1000))
    lengths: list[int] = []
    source = guest(f"(call $call (i32.const 16) (i32.const {len(request)}))", data=request)
    imports = {"app.call": lambda value: lengths.append(len(value))}
    assert executor.invoke(wasmrun.Function(source, imports=imports, result_bytes=len(request), warm=0), None) is None
    assert lengths == [1000]
    error = fail(source, imports=imports, result_bytes=len(request) - 1)
    assert (type(error), error.type) == (wasmrun.GuestError, "InvalidArgument")
    assert "more than the limit of 1002 B (result_bytes)" in error.message
    assert lengths == [1000]


def test_a_host_function_that_hangs_ends_with_the_deadline_when_it_returns(
    guest: Callable[..., str], fail: Fail
) -> None:
    """Python code cannot be interrupted; but the guest does not go on after it."""
    error = fail(guest(reported("unreachable")), imports={"app.call": lambda _: time.sleep(0.1)}, timeout="50ms")
    assert type(error) is wasmrun.TimedOut
    assert 0.1 <= error.report.duration < 1


def test_a_host_function_may_run_a_function(
    executor: wasmrun.Executor, guest: Callable[..., str], wat: Callable[..., str]
) -> None:
    """Calling back into the executor works, for another function and for one with host functions itself."""
    inner = wasmrun.Function(wat(data=b"\x92\0\x2a"), warm=0)
    middle = wasmrun.Function(guest(), imports={"app.call": lambda _: executor.invoke(inner, None) + 1}, warm=0)
    outer = wasmrun.Function(guest(), imports={"app.call": lambda _: executor.invoke(middle, None) + 1}, warm=0)
    assert executor.invoke(outer, None) == 44
    assert executor.submit(outer, None).result() == 44


def test_a_function_that_fails_inside_a_host_function_is_an_error_value(
    executor: wasmrun.Executor, guest: Callable[..., str], wat: Callable[..., str]
) -> None:
    """A nested guest's trap is the host function's exception, and the outer caller sees both."""
    inner = wasmrun.Function(wat("unreachable"), warm=0)
    outer = wasmrun.Function(guest(), imports={"app.call": lambda _: executor.invoke(inner, None)}, warm=0)
    with pytest.raises(wasmrun.HostError, match="GuestTrap") as caught:
        executor.invoke(outer, None)
    assert isinstance(caught.value.__cause__, wasmrun.GuestTrap)


@pytest.mark.parametrize("stack", ["128KiB", "1MiB"])
@pytest.mark.parametrize("where", ["this thread", "the executor's thread", "a small thread"])
def test_functions_that_nest_without_end_get_a_clear_error(
    stack: str, where: str, executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """A function that runs itself by a host function uses up its thread's stack: an error comes before a crash."""
    deepest = 0
    depth = 0
    failures: list[wasmrun.HostError] = []

    def call(_request: object) -> object:
        nonlocal depth, deepest
        depth += 1
        deepest = max(depth, deepest)
        try:
            return executor.invoke(function, None)
        except wasmrun.HostError as error:
            if not error.__cause__:
                failures.append(error)
            raise
        finally:
            depth -= 1

    # The guest below the host function is one that uses all of its stack first.
    use_stack = """(func $use (param i32) (result i64)
      (if (result i64) (i32.eqz (local.get 0)) (then (call $call (i32.const 16) (i32.const 8)))
        (else (i64.add (call $use (i32.sub (local.get 0) (i32.const 1))) (i64.const 0)))))"""
    function = wasmrun.Function(
        guest("(call $use (i32.const 1500))", more=use_stack),
        imports={"app.call": call},
        stack=stack,
        warm=0,
        timeout="20s",
    )
    if where == "this thread":
        with pytest.raises(wasmrun.HostError):
            executor.invoke(function, None)
    elif where == "the executor's thread":
        assert isinstance(executor.submit(function, None).exception(), wasmrun.HostError)
    else:
        assert isinstance(in_a_thread(lambda: executor.invoke(function, None), 2048 * 1024), wasmrun.HostError)
    assert "nested too deep on this thread" in failures[0].message
    assert len(failures) == 1
    assert deepest >= 1
    assert executor.stats().pool.in_flight == 0


def in_a_thread(act: Callable[[], object], stack: int) -> BaseException | None:
    """What *act* raises on a thread with this *stack*."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    chosen = threading.stack_size(stack)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(chosen)
    thread.join()
    return raised[0] if raised else None


def test_host_functions_that_race_keep_their_own_exceptions(cache_dir: Path, guest: Callable[..., str]) -> None:
    """Many threads, each with exceptions of its own: every invocation gets its own, by identity."""
    own: dict[str, Exception] = {}

    def call(request: Any) -> object:
        error = own[request]
        raise error

    # The event's own text is the request: [event, context] is 92, then the string with its header.
    handler = """(drop (call $call (i32.add (local.get $ptr) (i32.const 1))
      (i32.add (i32.const 1) (i32.and (i32.load8_u offset=1 (local.get $ptr)) (i32.const 31))))) unreachable"""

    def work(number: int) -> int:
        right = 0
        for turn in range(100):
            name = f"{number}-{turn}"
            own[name] = LookupError(name)
            try:
                executor.invoke(function, name)
            except wasmrun.HostError as error:
                right += error.__cause__ is own[name] and name in error.message
        return right

    function = wasmrun.Function(guest(handler), imports={"app.call": call}, warm=8)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=50) as executor, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [100] * 8
        assert executor.stats().failures == {"HostError": 800}


def test_a_grant_needs_what_it_works_with(wat: Callable[..., str], refusal: Refusal) -> None:
    """A module that imports a host function needs a memory and an allocator; the message says which is missing."""
    imports = {"app.call": print}
    assert "which needs a memory exported as 'memory'" in refusal(f"(module {IMPORT})", imports=imports)
    plain = f'(module {IMPORT} (memory (export "memory") 1) (func (export "run")))'
    assert "which needs the export 'wasmrun_alloc' of (i32) -> i32" in refusal(plain, imports=imports)


def test_a_start_function_may_call_the_host(executor: wasmrun.Executor, guest: Callable[..., str]) -> None:
    """Host calls work while the guest starts, when nothing is known of its exports yet."""
    for more in (f"(func $s (drop {CALL})) (start $s)", f'(func (export "wasmrun_init") (drop {CALL}))'):
        seen: list[object] = []
        function = wasmrun.Function(guest(more=more), imports={"app.call": seen.append}, warm=0)
        assert executor.invoke(function, None) is None
        assert seen == ["request", "request"]


def test_a_start_function_fails_with_its_host_function(executor: wasmrun.Executor, guest: Callable[..., str]) -> None:
    """A start-up that gives up because the host failed it is a `HostError` as well."""

    def call(_request: object) -> object:
        raise LookupError("not yet")

    for more in (
        f"(func $s (drop {CALL}) unreachable) (start $s)",
        f'(func (export "wasmrun_init") (drop {CALL}) unreachable)',
    ):
        function = wasmrun.Function(guest(more=more), imports={"app.call": call}, warm=0)
        with pytest.raises(wasmrun.HostError, match="not yet"):
            executor.invoke(function, None)


def test_a_host_function_s_failure_has_the_report_and_the_logs(cache_dir: Path, guest: Callable[..., str]) -> None:
    """The error that the caller sees is the one that the report names."""

    def call(_request: object) -> object:
        raise LookupError("no such user")

    reports: list[wasmrun.Report] = []
    function = wasmrun.Function(guest(reported("unreachable")), imports={"app.call": call}, warm=0)
    with (
        wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=2, on_report=reports.append) as executor,
        pytest.raises(wasmrun.HostError) as caught,
    ):
        executor.invoke(function, None)
    assert reports == [caught.value.report]
    assert (reports[0].status, caught.value.logs) == ("HostError", ())


def test_a_failure_that_the_guest_recovered_from_is_forgotten(
    executor: wasmrun.Executor, guest: Callable[..., str]
) -> None:
    """After a host function has worked again, a trap is the guest's own."""
    answers = iter([LookupError("first"), None])

    def call(_request: object) -> object:
        answer = next(answers)
        if answer is not None:
            raise answer
        return answer

    function = wasmrun.Function(guest(reported(f"(drop {CALL}) unreachable")), imports={"app.call": call}, warm=0)
    with pytest.raises(wasmrun.GuestTrap):
        executor.invoke(function, None)
