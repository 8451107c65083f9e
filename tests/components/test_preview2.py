"""WASI preview 2 gives a component what it was granted, and ends with its event, in both executors."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import eventually
from lifted import ECHO, answer, text
from preview2 import wasi_component

import wasmrun
from wasmrun.base_executor import BaseExecutor

SAID, _ = text("hello\nthere\n")


def printing(call: str, data: str = SAID, length: int = 12) -> str:
    """A guest that writes to its standard output, by *call*, and echoes."""
    return wasi_component(
        f"(local $s i32) (local.set $s (call $stdout)) (call $check (local.get $s) (i32.const 64)) "
        f"(call ${call} (local.get $s) (i32.const 1024) (i32.const {length}) (i32.const 64)) {ECHO}",
        functions=data,
    )


def forever(body: str) -> str:
    """A guest that does *body* until it is ended."""
    return wasi_component(f"(local $s i32) (local.set $s (call $stdout)) (loop $on {body} (br $on)) {ECHO}")


def after(nanoseconds: int) -> str:
    """Something to wait for."""
    return f"(call $after (i64.const {nanoseconds}))"


def test_what_a_component_prints_is_its_log(executor: BaseExecutor) -> None:
    """A line each."""
    result = executor.run(wasmrun.Function(printing("print")), 1)
    assert [log.message for log in result.logs] == ["hello", "there"]


def test_what_a_component_prints_is_cut_at_the_limit(executor: BaseExecutor) -> None:
    """And the rest is dropped, however much it is."""
    code = forever("(call $print (local.get $s) (i32.const 0) (i32.const 4096) (i32.const 64))")
    result = executor.run(wasmrun.Function(code, log_bytes="10KiB", timeout="200ms"), 1)
    assert isinstance(result.error, wasmrun.TimedOut)
    assert result.report.log_bytes <= 10 * 1024
    assert "the log is cut here" in result.logs[-1].message


def test_component_has_no_variables_and_no_arguments_but_its_own(executor: BaseExecutor) -> None:
    """How many the lists have that it gets."""

    def count(call: str, function: wasmrun.Function | None = None, **grants: object) -> int:
        code = wasi_component(
            f"(call ${call} (i32.const 64)) (i32.store8 (i32.const 80) (i32.add (i32.load (i32.const 68)) (i32.const 48)))"
            + answer(80, 1)
        )
        return executor.invoke(wasmrun.Function(code, **grants), 1)  # type: ignore[arg-type, no-any-return]

    assert count("environment") == 0
    assert count("environment", env={"A": "1", "B": "2"}) == 2
    assert count("arguments") == 1
    assert count("arguments", args=["a", "b"]) == 3


def test_component_gets_no_socket(executor: BaseExecutor) -> None:
    """The answer is an error of that name; nothing was opened."""
    code = wasi_component(
        "(call $socket (i32.const 0) (i32.const 64))"
        "(i32.store8 (i32.const 80) (i32.add (i32.load8_u (i32.const 64)) (i32.const 48)))"
        "(i32.store8 (i32.const 81) (i32.add (i32.load8_u (i32.const 68)) (i32.const 48)))" + answer(80, 2)
    )
    assert executor.invoke(wasmrun.Function(code), 1) == 11  # an error, and the second case: access-denied


def test_input_of_a_component_is_empty(executor: BaseExecutor) -> None:
    """The stream is closed: an error, of the second case."""
    code = wasi_component(
        "(call $read (call $stdin) (i64.const 10) (i32.const 64))"
        "(i32.store8 (i32.const 80) (i32.add (i32.load8_u (i32.const 64)) (i32.const 48)))"
        "(i32.store8 (i32.const 81) (i32.add (i32.load8_u (i32.const 68)) (i32.const 48)))" + answer(80, 2)
    )
    assert executor.invoke(wasmrun.Function(code), 1) == 11


def test_exit_with_a_failure_is_a_guest_exit(executor: BaseExecutor) -> None:
    """With its status; without one there is no answer all the same."""
    failing = wasmrun.Function(wasi_component(f"(call $exit (i32.const 1)) {ECHO}"))
    with pytest.raises(wasmrun.GuestExit) as caught:
        executor.invoke(failing, 1)
    assert caught.value.status == 1
    leaving = wasmrun.Function(wasi_component(f"(call $exit (i32.const 0)) {ECHO}"))
    with pytest.raises(wasmrun.InvalidAnswer, match="exited instead of answering"):
        executor.invoke(leaving, 1)


def slept(body: str) -> str:
    """A guest that does *body* and answers the nanoseconds that it took, in 8 digits of 16 in the memory."""
    return wasi_component(
        f"(local $t i64) (local.set $t (call $now)) {body}"
        "(local.set $t (i64.sub (call $now) (local.get $t)))"
        "(i32.store8 (i32.const 80) (i32.add (i32.const 48) (i64.ge_u (local.get $t) (i64.const 20000000))))"
        + answer(80, 1)
    )


TWO = f"(i32.store (i32.const 4096) {after(10**10)}) (i32.store (i32.const 4100) {after(20_000_000)})"


@pytest.mark.parametrize(
    "wait",
    [
        f"(call $block {after(20_000_000)})",
        "(call $block (call $until (i64.add (call $now) (i64.const 22000000))))",
        f"{TWO} (call $poll (i32.const 4096) (i32.const 2) (i32.const 64))",
    ],
    ids=["block", "instant", "poll"],
)
def test_component_sleeps_as_long_as_it_wants(threads: wasmrun.Executor, wait: str) -> None:
    """20 ms, on its own clock."""
    assert threads.invoke(wasmrun.Function(slept(wait)), 1) == 1


def test_poll_tells_what_is_ready(threads: wasmrun.Executor) -> None:
    """The second of two timers; and output at once, before a timer."""
    ready = "(i32.store8 (i32.const 80) (i32.add (i32.const 48) (i32.load (i32.load (i32.const 64)))))" + answer(80, 1)
    timers = wasi_component(f"{TWO} (call $poll (i32.const 4096) (i32.const 2) (i32.const 64)) {ready}")
    assert threads.invoke(wasmrun.Function(timers), 1) == 1
    output = wasi_component(
        f"(i32.store (i32.const 4096) {after(10**10)}) (i32.store (i32.const 4100) (call $writable (call $stdout)))"
        f"(call $poll (i32.const 4096) (i32.const 2) (i32.const 64)) {ready}"
    )
    assert threads.invoke(wasmrun.Function(output), 1) == 1
    nothing = wasi_component(
        f"(i32.store8 (i32.const 80) (i32.add (i32.const 48) (call $ready {after(10**10)}))) {answer(80, 1)}"
    )
    assert threads.invoke(wasmrun.Function(nothing), 1) == 0


@pytest.mark.parametrize(
    "wait",
    [
        f"(call $block {after(-1)})",
        "(call $block (call $until (i64.const -1)))",
        f"(i32.store (i32.const 4096) {after(10**18)}) (call $poll (i32.const 4096) (i32.const 1) (i32.const 64))",
        "(loop $on (drop (call $now)) (br $on))",
    ],
    ids=["block", "instant", "poll", "clock"],
)
def test_component_that_waits_is_ended_at_its_deadline(executor: BaseExecutor, wait: str) -> None:
    """Though the engine's own waiting is not interrupted."""
    function = wasmrun.Function(wasi_component(f"{wait} {ECHO}"), timeout="50ms")
    executor.run(function, 1)
    result = executor.run(function, 1)
    assert isinstance(result.error, wasmrun.TimedOut)
    assert result.report.duration < 1


def test_component_that_sleeps_is_cancelled(threads: wasmrun.Executor) -> None:
    """At once, and another event is served."""
    code = wasi_component(f"(call $block {after(10**18)}) {ECHO}")
    waiting = wasmrun.Function(code, timeout="60s")
    future = threads.submit(waiting, 1)
    eventually(future.running)
    assert future.cancel()
    assert future.cancelled()
    assert threads.invoke(wasmrun.Function(wasi_component(ECHO)), 5) == 5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(drop (call $stdout))", "store handle limit exceeded"),
        ("(drop (call $stdin))", "store handle limit exceeded"),
        ("(drop (call $writable (local.get $s)))", "waits for more than 10000 things at once"),
        ("(drop (call $after (i64.const 1000000000000)))", "waits for more than 10000 things at once"),
        ("(call $random (i64.const -1) (i32.const 64))", "exceeds limit 67108864"),
        ("(call $poll (i32.const 0) (i32.const 0) (i32.const 64))", "polls 0 things"),
        ("(call $print (local.get $s) (i32.const 0) (i32.const 4097) (i32.const 64))", "at most 4096"),
        ("(call $drop-pollable (i32.const 77))", "unknown handle index 77"),
    ],
)
def test_what_a_component_can_have_the_host_hold_is_bounded(threads: wasmrun.Executor, body: str, message: str) -> None:
    """Handles, timers, random bytes, one write."""
    with pytest.raises(wasmrun.GuestTrap, match=message):
        threads.invoke(wasmrun.Function(forever(body), timeout="20s", warm=0), 1)


def test_pollables_that_are_dropped_make_room(threads: wasmrun.Executor) -> None:
    """20,000 in a row, and one is held at most."""
    count = "(local $k i32) (loop $on (call $drop-pollable (call $after (i64.const 1))) "
    count += (
        "(local.set $k (i32.add (local.get $k) (i32.const 1))) (br_if $on (i32.lt_u (local.get $k) (i32.const 20000))))"
    )
    assert threads.invoke(wasmrun.Function(wasi_component(count + ECHO), timeout="20s"), 3) == 3


def test_output_that_comes_late_is_in_nobodys_log(threads: wasmrun.Executor) -> None:
    """What is not flushed is written by another thread, when the sandbox may be gone and its place taken."""
    late = wasmrun.Function(printing("write", text("late\n")[0], 5), warm=0)
    quiet = wasmrun.Function(wasi_component(f"(drop (call $stdout)) {ECHO}"), warm=0)
    for _ in range(300):
        first = threads.run(late, 1)
        assert {log.message for log in first.logs} <= {"late"}
        assert threads.run(quiet, 1).logs == ()


def test_component_opens_no_file_without_a_directory(executor: BaseExecutor) -> None:
    """Nothing is open before anything was granted; with a grant it is."""
    code = """(component
      (import "wasi:filesystem/types@0.2.0" (instance $types (export "descriptor" (type (sub resource)))))
      (alias export $types "descriptor" (type $descriptor))
      (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
        (alias outer 1 $descriptor (type $d0)) (export "descriptor" (type $d (eq $d0)))
        (export "get-directories" (func (result (list (tuple (own $d) string)))))))
      (core module $libc (memory (export "memory") 2) (global $at (mut i32) (i32.const 4096))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
          (global.set $at (i32.add (global.get $at) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))
          (i32.sub (global.get $at) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8)))))
      (core instance $l (instantiate $libc))
      (alias export $preopens "get-directories" (func $get))
      (core func $get0 (canon lower (func $get) (memory (core memory $l "memory")) (realloc (core func $l "realloc"))))
      (core module $m
        (import "l" "memory" (memory 0)) (import "h" "get" (func $get (param i32)))
        (func (export "handle") (param i32 i32 i32 i32) (result i32)
          (call $get (i32.const 64)) (i32.store8 (i32.const 80) (i32.add (i32.const 48) (i32.load (i32.const 68))))
          (i32.store (i32.const 12) (i32.const 80)) (i32.store (i32.const 16) (i32.const 1)) (i32.const 8)))
      (core instance $i (instantiate $m (with "l" (instance $l)) (with "h" (instance (export "get" (func $get0))))))
      (func (export "handle") (param "event" string) (param "context" string) (result (result string (error string)))
        (canon lift (core func $i "handle") (memory (core memory $l "memory")) (realloc (core func $l "realloc")))))"""
    assert executor.invoke(wasmrun.Function(code), 1) == 0
    here = str(Path(__file__).parent)
    assert executor.invoke(wasmrun.Function(code, dirs=[f"{here}::/tests:ro"]), 1) == 1


READER = """(component
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $in (sub resource)))
    (alias outer 1 $error (type $e0)) (export "error" (type $e (eq $e0)))
    (alias outer 1 $pollable (type $p0)) (export "pollable" (type $p (eq $p0)))
    (type $failed (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failed)))
    (export "[method]input-stream.read"
      (func (param "self" (borrow $in)) (param "len" u64) (result (result (list u8) (error $stream-error)))))
    (export "[method]input-stream.subscribe" (func (param "self" (borrow $in)) (result (own $p))))))
  (alias export $streams "input-stream" (type $input))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type $d (sub resource)))
    (alias outer 1 $input (type $i0)) (export "input-stream" (type $i (eq $i0)))
    (type $path0 (flags "symlink-follow")) (export "path-flags" (type $path (eq $path0)))
    (type $open0 (flags "create" "directory" "exclusive" "truncate")) (export "open-flags" (type $open (eq $open0)))
    (type $flags0 (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $flags (eq $flags0)))
    (type $codes (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist" "file-too-large"
      "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop" "too-many-links"
      "message-size" "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory" "insufficient-space"
      "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow" "not-permitted"
      "pipe" "read-only" "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $codes)))
    (export "[method]descriptor.read-via-stream"
      (func (param "self" (borrow $d)) (param "offset" u64) (result (result (own $i) (error $code)))))
    (export "[method]descriptor.open-at" (func (param "self" (borrow $d)) (param "path-flags" $path) (param "path" string)
      (param "open-flags" $open) (param "flags" $flags) (result (result (own $d) (error $code)))))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d0)) (export "descriptor" (type $d (eq $d0)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  (core module $libc (memory (export "memory") 2) (global $at (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $at (i32.add (global.get $at) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))
      (i32.sub (global.get $at) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8)))))
  (core instance $l (instantiate $libc)) (alias core export $l "memory" (core memory $mem))
  (alias core export $l "realloc" (core func $realloc))
  (core func $get (canon lower (func $preopens "get-directories") (memory $mem) (realloc $realloc)))
  (core func $open (canon lower (func $types "[method]descriptor.open-at") (memory $mem)))
  (core func $via (canon lower (func $types "[method]descriptor.read-via-stream") (memory $mem)))
  (core func $read (canon lower (func $streams "[method]input-stream.read") (memory $mem) (realloc $realloc)))
  (core func $subscribe (canon lower (func $streams "[method]input-stream.subscribe")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $drop (canon resource.drop $pollable))
  (core module $m
    (import "l" "memory" (memory 0))
    (import "h" "get" (func $get (param i32)))
    (import "h" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
    (import "h" "via" (func $via (param i32 i64 i32)))
    (import "h" "read" (func $read (param i32 i64 i32)))
    (import "h" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "h" "block" (func $block (param i32)))
    (import "h" "drop" (func $drop (param i32)))
    (data (i32.const 1024) "file")
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (local $stream i32) (local $wait i32)
      (call $get (i32.const 64))
      (call $open (i32.load (i32.load (i32.const 64))) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 0)
        (i32.const 1) (i32.const 80))
      (call $via (i32.load (i32.const 84)) (i64.const 0) (i32.const 96))
      (local.set $stream (i32.load (i32.const 100)))
      (loop $again
        (call $read (local.get $stream) (i64.const 100) (i32.const 128))
        (if (i32.load8_u (i32.const 128)) (then unreachable))
        (if (i32.eqz (i32.load (i32.const 136))) (then
          (local.set $wait (call $subscribe (local.get $stream)))
          (call $block (local.get $wait)) (call $drop (local.get $wait)) (br $again))))
      (i32.store (i32.const 12) (i32.load (i32.const 132))) (i32.store (i32.const 16) (i32.load (i32.const 136)))
      (i32.const 8)))
  (core instance $i (instantiate $m (with "l" (instance $l)) (with "h" (instance
    (export "get" (func $get)) (export "open" (func $open)) (export "via" (func $via)) (export "read" (func $read))
    (export "subscribe" (func $subscribe)) (export "block" (func $block)) (export "drop" (func $drop))))))
  (func (export "handle") (param "event" string) (param "context" string) (result (result string (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))"""
"""Reads the file "file" as the C library does: what is not there yet is waited for."""


def test_component_waits_for_a_file(executor: BaseExecutor, tmp_path: Path) -> None:
    """The engine reads on another thread, and goes on only when it is asked."""
    (tmp_path / "file").write_text('{"read": 1}')
    function = wasmrun.Function(READER, dirs=[f"{tmp_path}::/here:ro"], warm=0)
    assert [executor.invoke(function, 1) for _ in range(3)] == [{"read": 1}] * 3
