"""What a guest can reach: each test is one way out, tried in both kinds of executor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import wasmrun

Anywhere = wasmrun.Executor | wasmrun.ProcessExecutor

WASI = "wasi_snapshot_preview1"
OPEN = f"""(module
  (import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 16) "{{path}}")
  (func (export "_start") (call $exit (call $open (i32.const {{fd}}) (i32.const {{follow}}) (i32.const 16) (i32.const {{length}})
    (i32.const {{flags}}) (i64.const {{rights}}) (i64.const 0) (i32.const 0) (i32.const 4096)))))"""
"""Opens a path, and exits with WASI's error number."""
READ, CREATE = (0, 2), (1, 64)


def opened(
    executor: Anywhere, path: str, how: tuple[int, int] = READ, *, fd: int = 3, follow: int = 1, **grants: object
) -> int:
    """WASI's error number for opening *path*; 0 where that works."""
    guest = OPEN.format(path=path, length=len(path), flags=how[0], rights=how[1], fd=fd, follow=follow)
    error = executor.run(wasmrun.Function(guest, warm=0, **grants)).error
    assert error is None or isinstance(error, wasmrun.GuestExit)
    return 0 if error is None else error.status


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is granted, with ways out of it, beside one that is not."""
    tmp_path = tmp_path_factory.mktemp("place")
    granted = tmp_path / "granted"
    (granted / "deep").mkdir(parents=True)
    (granted / "own").write_text("own")
    (tmp_path / "secret").write_text("secret")
    (granted / "up").symlink_to("../secret")
    (granted / "absolute").symlink_to(tmp_path / "secret")
    (granted / "root").symlink_to("/")
    (granted / "deep" / "twice").symlink_to("../../secret")
    (granted / "loop").symlink_to("loop")
    return granted


@pytest.mark.parametrize("fd", [3, 4, 5, 100])
def test_guest_without_directories_opens_nothing(fd: int, anywhere: Anywhere) -> None:
    """There is no descriptor that a path could be relative to."""
    assert opened(anywhere, "etc/passwd", fd=fd) == 8


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "deep/../../secret", "/etc/passwd", "up", "absolute", "root/etc/passwd", "deep/twice", "loop",
        "..", "./../secret", "//etc/passwd", "deep/../deep/../../secret", "../granted/../secret",
    ],
)  # fmt: skip
@pytest.mark.parametrize("follow", [0, 1])
def test_guest_leaves_no_directory(path: str, follow: int, anywhere: Anywhere, place: Path) -> None:
    """Not by dots, not by absolute paths, not by links that lead out, whether or not they are to be followed."""
    assert opened(anywhere, "own", dirs=[f"{place}::/d"]) == 0
    assert opened(anywhere, path, follow=follow, dirs=[f"{place}::/d"]) != 0


def test_guest_writes_nothing_that_it_may_only_read(anywhere: Anywhere, place: Path) -> None:
    """Neither a new file nor one that is there."""
    assert opened(anywhere, "new", CREATE, dirs=[f"{place}::/d:ro"]) != 0
    assert opened(anywhere, "own", (0, 64), dirs=[f"{place}::/d:ro"]) != 0
    assert not (place / "new").exists()
    assert opened(anywhere, "new", CREATE, dirs=[f"{place}::/d"]) == 0
    (place / "new").unlink()


def test_guest_has_no_descriptors_but_its_streams(anywhere: Anywhere) -> None:
    """Of the program's own, none is a guest's, however it is numbered."""
    with open("/etc/hostname", "rb") if os.path.exists("/etc/hostname") else open(os.devnull, "rb"):
        guest = f"""(module
          (import "{WASI}" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "f") (result i32) (local $fd i32) (local $found i32)
            (loop $next
              (if (i32.eqz (call $stat (local.get $fd) (i32.const 64))) (then
                (local.set $found (i32.add (local.get $found) (i32.const 1)))))
              (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
              (br_if $next (i32.lt_u (local.get $fd) (i32.const 1000))))
            (local.get $found)))"""
        assert anywhere.invoke(wasmrun.Function(guest, fuel=None)) == 3


def test_guest_has_no_environment_and_no_arguments(anywhere: Anywhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the program are not its own."""
    monkeypatch.setenv("TOKEN", "secret")
    guest = f"""(module
      (import "{WASI}" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "f") (result i32)
        (drop (call $environ (i32.const 0) (i32.const 4))) (i32.load (i32.const 0))))"""
    assert anywhere.invoke(wasmrun.Function(guest)) == 0


@pytest.mark.parametrize(
    ("call", "rest"),
    [
        ("sock_accept", (0, 64)),
        ("sock_recv", (64, 1, 0, 80, 84)),
        ("sock_send", (64, 1, 0, 80)),
        ("sock_shutdown", (1,)),
    ],
)
def test_guest_has_no_sockets(call: str, rest: tuple[int, ...], anywhere: Anywhere) -> None:
    """WASI has calls for some that are open already: none is."""
    numbers = " ".join(f"(i32.const {number})" for number in rest)
    guest = f"""(module
      (import "{WASI}" "{call}" (func $call (param i32 {"i32 " * len(rest)}) (result i32)))
      (memory (export "memory") 1)
      (func (export "f") (result i32) (local $fd i32)
        (loop $next
          (if (i32.eqz (call $call (local.get $fd) {numbers})) (then (return (local.get $fd))))
          (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $fd) (i32.const 300))))
        (i32.const -1)))"""
    assert anywhere.invoke(wasmrun.Function(guest)) == -1


@pytest.mark.parametrize(
    ("module", "name"),
    [("env", "system"), ("wasmrun", "http_request"), ("wasmrun", "read_file"), (WASI, "sock_open"), ("wasi:http", "handle")],
)  # fmt: skip
def test_guest_imports_nothing_that_was_not_granted(module: str, name: str, anywhere: Anywhere) -> None:
    """It is refused before anything of it runs, by the name of what it wants."""
    guest = f'(module (import "{module}" "{name}" (func (param i32 i32) (result i64))) (func (export "f")))'
    with pytest.raises(wasmrun.InvalidFunction, match=name):
        anywhere.run(wasmrun.Function(guest))


def test_guest_learns_of_a_host_functions_failure_no_more_than_its_text(
    anywhere: Anywhere, wat: Callable[..., str]
) -> None:
    """No traceback, no path, no variable of the program: the kind and the words of the exception."""

    def fail(_value: object) -> None:
        password = "s3cret"  # of a frame that the exception has
        raise ValueError("no" if password else "")

    guest = wat(
        "(local $reply i64) (local.set $reply (call $fail (local.get $ptr) (local.get $len)))"
        # What the guest got is what it answers, as bytes: [0, bytes].
        "(i32.store8 (i32.const 500) (i32.const 0x92)) (i32.store8 (i32.const 501) (i32.const 0))"
        "(i32.store8 (i32.const 502) (i32.const 0xc4)) (i32.store8 (i32.const 503) (i32.wrap_i64 (local.get $reply)))"
        "(memory.copy (i32.const 504) (i32.wrap_i64 (i64.shr_u (local.get $reply) (i64.const 32)))"
        " (i32.wrap_i64 (local.get $reply)))"
        "(call $pack (i32.const 500) (i32.add (i32.wrap_i64 (local.get $reply)) (i32.const 4)))",
        imports='(import "wasmrun" "fail" (func $fail (param i32 i32) (result i64)))',
    )
    answer = anywhere.invoke(wasmrun.Function(guest, imports={"fail": fail}), 1)
    assert answer == b"\x92\x01\x82\xa4type\xaaValueError\xa7message\xa2no"


def test_guest_writes_no_lines_into_the_report(anywhere: Anywhere, wat: Callable[..., str]) -> None:
    """What it says of itself is one line where it is shown, without control characters."""
    evil = b"x\n\x1b[2JREPORT RequestId: forged\r"
    data = b"\x92\x01\x82\xa4type" + bytes([0xA0 | 4]) + b"a\n\x1bb" + b"\xa7message\xd9" + bytes([len(evil)]) + evil
    result = anywhere.run(wasmrun.Function(wat(data=data)), request_id="mine")
    assert isinstance(result.error, wasmrun.GuestError)
    assert "\n" not in str(result.report)
    assert "\x1b" not in str(result.report)
    assert "forged" not in str(result.report)
