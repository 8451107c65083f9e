"""WASI gives a guest its own streams, and of the rest only what was granted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun import GuestExit, HostError, InvalidFunction, Result, ResultTooLarge
from wasmrun.machine.logbook import CUT

Wat = Callable[..., str]
Run = Callable[..., Result]


def wasi(name: str, params: str, result: str = "(result i32)") -> str:
    """The import of a function of WASI, under its own name."""
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) {result}))'


OPEN = wasi("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32")
READ = wasi("fd_read", "i32 i32 i32 i32")
WRITE = wasi("fd_write", "i32 i32 i32 i32")
EXIT = wasi("proc_exit", "i32", "")

# Opens the path in the event, after a byte of flags and one that says whether for writing, in the first
# granted directory, following symlinks; answers a byte of errno and what is in the file.
OPEN_AND_READ = """
  (i32.store8 (i32.const 8191)
    (call $path_open (i32.const 3) (i32.const 1)
      (i32.add (local.get $ptr) (i32.const 2)) (i32.sub (local.get $len) (i32.const 2))
      (i32.load8_u (local.get $ptr))
      (select (i64.const 0x40) (i64.const 0x2) (i32.load8_u offset=1 (local.get $ptr)))
      (i64.const 0) (i32.const 0) (i32.const 4096)))
  (i32.store (i32.const 4104) (i32.const 8192))
  (i32.store (i32.const 4108) (i32.const 1000))
  (i32.store (i32.const 4112) (i32.const 0))
  (if (i32.eqz (i32.load8_u (i32.const 8191)))
    (then (drop (call $fd_read (i32.load (i32.const 4096)) (i32.const 4104) (i32.const 1) (i32.const 4112)))))
  (call $pack (i32.const 8191) (i32.add (i32.const 1) (i32.load (i32.const 4112))))
"""
CREATE = 1
NOT_FOUND, NOT_CAPABLE, PERMISSION, BAD_DESCRIPTOR = 44, 76, 63, 8


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory to be granted, with things beside it that are not."""
    inside = tmp_path / "granted"
    (inside / "sub").mkdir(parents=True)
    (inside / "file").write_bytes(b"inside")
    (inside / "sub" / "file").write_bytes(b"deeper")
    (tmp_path / "secret").write_bytes(b"outside")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "uplink").symlink_to("../secret")
    (inside / "dirlink").symlink_to(tmp_path)
    (inside / "goodlink").symlink_to("sub/file")
    return inside


@pytest.fixture
def open_path(wat: Wat, run: Run) -> Callable[..., bytes]:
    """Has a guest open a path: a byte of errno, then what is in the file."""
    source = wat(OPEN_AND_READ, imports=OPEN + READ, entry="f_raw")

    def open_path(path: bytes, *, flags: int = 0, write: bool = False, **settings: Any) -> bytes:
        result = run(source, bytes((flags, write)) + path, entry="f_raw", **settings)
        assert result.error is None, result.error
        return bytes(result.value)

    return open_path


def test_guest_is_granted_no_directory(open_path: Callable[..., bytes]) -> None:
    """There is no descriptor to open anything with."""
    for path in (b"file", b"/etc/passwd", b".", b"../../etc/passwd"):
        assert open_path(path) == bytes((BAD_DESCRIPTOR,))


@pytest.mark.parametrize(
    ("path", "data"),
    [(b"file", b"inside"), (b"sub/file", b"deeper"), (b"sub/../file", b"inside"), (b"goodlink", b"deeper")],
)
@pytest.mark.parametrize("mode", ["", ":ro"])
def test_granted_directory_can_be_read(
    open_path: Callable[..., bytes], tree: Path, path: bytes, data: bytes, mode: str
) -> None:
    """Files in it and below it, and links that stay inside."""
    assert open_path(path, dirs=[f"{tree}::/data{mode}"]) == b"\0" + data


@pytest.mark.parametrize("mode", ["", ":ro"])
@pytest.mark.parametrize(
    "path",
    [b"../secret", b"sub/../../secret", b"link", b"uplink", b"dirlink/secret", b"/etc/passwd", b"//etc/passwd",
     b"./../secret",
     b"sub/./.././../secret", b"..", b"/proc/self/root/etc/passwd"],
)  # fmt: skip
def test_granted_directory_cannot_be_left(open_path: Callable[..., bytes], tree: Path, path: bytes, mode: str) -> None:
    """Neither upwards, nor by an absolute path, nor through a symlink."""
    (errno,) = open_path(path, dirs=[f"{tree}::/data{mode}"])
    assert errno in (NOT_CAPABLE, PERMISSION)


def test_directory_granted_read_only_cannot_be_written(open_path: Callable[..., bytes], tree: Path) -> None:
    """No new file, no old one opened for writing; it is as it was."""
    grant = {"dirs": [f"{tree}::/data:ro"]}
    assert open_path(b"new", flags=CREATE, write=True, **grant)[0] in (NOT_CAPABLE, PERMISSION)
    assert open_path(b"file", write=True, **grant)[0] in (NOT_CAPABLE, PERMISSION)
    assert not (tree / "new").exists()
    assert (tree / "file").read_bytes() == b"inside"


def test_directory_granted_for_writing_can_be_written(open_path: Callable[..., bytes], tree: Path) -> None:
    """So that the test above means something."""
    assert open_path(b"new", flags=CREATE, write=True, dirs=[f"{tree}::/data"]) == b"\0"
    assert (tree / "new").exists()


@pytest.mark.parametrize(
    ("name", "params", "call"),
    [
        ("path_create_directory", "i32 i32 i32",
         "(call $path_create_directory (i32.const 3) (i32.const 16) (i32.const 3))"),
        ("path_unlink_file", "i32 i32 i32", "(call $path_unlink_file (i32.const 3) (i32.const 20) (i32.const 4))"),
        ("path_remove_directory", "i32 i32 i32",
         "(call $path_remove_directory (i32.const 3) (i32.const 25) (i32.const 3))"),
        (
            "path_rename", "i32 i32 i32 i32 i32 i32",
            "(call $path_rename (i32.const 3) (i32.const 20) (i32.const 4) (i32.const 3) (i32.const 16) (i32.const 3))",
        ),
        (
            "path_symlink", "i32 i32 i32 i32 i32",
            "(call $path_symlink (i32.const 20) (i32.const 4) (i32.const 3) (i32.const 16) (i32.const 3))",
        ),
        (
            "path_link", "i32 i32 i32 i32 i32 i32 i32",
            """(call $path_link (i32.const 3) (i32.const 0) (i32.const 20) (i32.const 4)
               (i32.const 3) (i32.const 16) (i32.const 3))""",
        ),
    ],
)  # fmt: skip
def test_directory_granted_read_only_keeps_its_entries(run: Run, tree: Path, name: str, params: str, call: str) -> None:
    """Nothing in it is made, moved or removed."""
    (tree / "sub" / "file").unlink()
    before = sorted(os.listdir(tree))
    source = f"""(module {wasi(name, params)} (memory (export "memory") 1) (data (i32.const 16) "new file sub")
      (func (export "f") (result i32) {call}))"""
    assert run(source, dirs=[f"{tree}::/data:ro"]).value in (NOT_CAPABLE, PERMISSION)
    assert sorted(os.listdir(tree)) == before


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch()], ids=["missing", "file"])
def test_directory_that_is_none_is_refused_before_anything_runs(
    run: Run, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """The grant names what is not there."""
    make(tmp_path / "gone")
    source = f'(module {READ} (memory (export "memory") 1) (func (export "f")))'
    with pytest.raises(InvalidFunction, match=f"the granted directory {tmp_path}/gone does not exist, or is none"):
        run(source, dirs=[f"{tmp_path}/gone::/data"])


def test_directory_whose_name_is_no_text_is_an_error_and_no_crash(
    open_path: Callable[..., bytes], tmp_path: Path
) -> None:
    """Linux allows such names; the engine takes UTF-8."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(path)
    with pytest.raises(HostError, match="cannot be opened"):
        open_path(b"file", dirs=[f"{path}::/data"])


def test_directories_have_the_names_that_were_granted(run: Run, tree: Path) -> None:
    """In their order, from descriptor 3 on; after the last there is none."""
    imports = wasi("fd_prestat_get", "i32 i32") + wasi("fd_prestat_dir_name", "i32 i32 i32")
    source = f"""(module {imports} (memory (export "memory") 1)
      (func (export "size") (param i32) (result i32 i32)
        (call $fd_prestat_get (local.get 0) (i32.const 8)) (i32.load (i32.const 12)))
      (func (export "name") (param i32 i32) (result i32 i64)
        (call $fd_prestat_dir_name (local.get 0) (i32.const 16) (local.get 1)) (i64.load (i32.const 16))))"""
    dirs = [f"{tree}::/in", f"{tree}::out:ro"]
    assert run(source, 3, entry="size").value == [BAD_DESCRIPTOR, 0]
    assert [run(source, number, entry="size", dirs=dirs).value for number in (3, 4, 5)] == [
        [0, 3],
        [0, 3],
        [BAD_DESCRIPTOR, 0],
    ]
    assert run(source, [3, 3], entry="name", dirs=dirs).value == [0, int.from_bytes(b"/in", "little")]
    assert run(source, [4, 3], entry="name", dirs=dirs).value == [0, int.from_bytes(b"out", "little")]


STRINGS = """(module
  {sizes} {get} (memory (export "memory") 1) {more}
  (func (export "_start") (local $n i32)
    (drop (call ${name}_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call ${name}_get (i32.const 16) (i32.const 1024)))
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"""


def strings(run: Run, name: str, /, **settings: Any) -> list[bytes]:
    """A guest's arguments or environment, as it gets them."""
    source = STRINGS.format(
        name=name, sizes=wasi(f"{name}_sizes_get", "i32 i32"), get=wasi(f"{name}_get", "i32 i32") + WRITE, more=""
    )
    result = run(source, b"", raw=True, **settings)
    assert result.error is None, result.error
    return bytes(result.value).split(b"\0")[:-1]


def test_guest_has_no_environment_but_what_was_granted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the host's."""
    monkeypatch.setenv("SECRET", "x")
    assert strings(run, "environ") == []
    assert strings(run, "environ", env={"MODE": "fast", "EMPTY": "", "ü": "=\n"}) == [
        b"MODE=fast",
        b"EMPTY=",
        "ü==\n".encode(),
    ]


def test_guest_has_no_arguments_but_its_name_and_what_was_given(run: Run) -> None:
    """As a program has at a shell; the host's own arguments are not among them."""
    assert strings(run, "args") == [b"function"]
    assert strings(run, "args", name="resize", args=["-v", "", "größe"]) == [b"resize", b"-v", b"", "größe".encode()]


def writer(descriptor: int, text: bytes, times: int = 1, after: str = "") -> str:
    """A command that writes *text* so many times, and then does *after*; it stops when a write is refused."""
    data = "".join(f"\\{byte:02x}" for byte in text)
    return f"""(module {WRITE} {EXIT} (memory (export "memory") 2) (data (i32.const 1024) "{data}")
      (func (export "_start") (local $n i32)
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const {len(text)}))
        (local.set $n (i32.const {times}))
        (block $refused (loop $again
          (br_if $refused (call $fd_write (i32.const {descriptor}) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        {after}))"""


def test_standard_output_of_a_command_is_its_answer(run: Run) -> None:
    """All of it, whatever the chunks; nothing of it is log."""
    result = run(writer(1, b"0123456789" * 1000, 7), raw=True, event=b"")
    assert result.value == b"0123456789" * 7000
    assert result.logs == ()
    assert result.report.result_bytes == 70_000


def test_standard_error_is_the_log(run: Run) -> None:
    """A line is an entry of the level info, also the last one that does not end."""
    result = run(writer(2, b"one\ntwo\nthree"), raw=True, event=b"")
    assert (result.value, [tuple(log) for log in result.logs]) == (
        b"",
        [("info", "one"), ("info", "two"), ("info", "three")],
    )
    assert result.report.log_bytes == 11


def test_standard_output_of_other_guests_is_the_log(wat: Wat, run: Run) -> None:
    """Their answer is another thing; a native guest's printf is not lost."""
    body = """(i32.store (i32.const 4096) (i32.const 16)) (i32.store (i32.const 4100) (i32.const 5))
      (drop (call $fd_write (i32.const 1) (i32.const 4096) (i32.const 1) (i32.const 4104)))
      (drop (call $fd_write (i32.const 2) (i32.const 4096) (i32.const 1) (i32.const 4104)))
      (call $answer)"""
    result = run(wat(body, imports=WRITE, entry="f_raw", data=b"hello"), b"", entry="f_raw")
    assert (result.value, [log.message for log in result.logs]) == (b"hello", ["hellohello"])


@pytest.mark.parametrize("descriptor", [1, 2])
def test_standard_streams_at_their_limit_are_whole(run: Run, descriptor: int) -> None:
    """The last byte that fits is kept."""
    limit = {1: "result_bytes", 2: "log_bytes"}[descriptor]
    result = run(writer(descriptor, b"x" * 1000, 4), raw=True, event=b"", **{limit: 4000 + 16})
    assert result.error is None
    assert len(result.value) + sum(len(log.message) for log in result.logs) == 4000
    assert CUT not in result.logs


@pytest.mark.parametrize(
    "after",
    ["", "(unreachable)", "(call $proc_exit (i32.const 0))", "(call $proc_exit (i32.const 1))", "(loop $l (br $l))"],
)
def test_standard_output_over_its_limit_is_the_failure_whatever_the_guest_makes_of_it(run: Run, after: str) -> None:
    """It ends normally, traps, exits or loops: it is ResultTooLarge, soon, and no part of the output is an answer."""
    result = run(writer(1, b"x" * 1000, 1000, after), raw=True, event=b"", result_bytes=5000, timeout=20)
    assert isinstance(result.error, ResultTooLarge)
    assert "wrote more than its limit of 4.9 KiB" in result.error.message
    assert result.value is None
    assert result.report.duration < 10


def test_standard_output_without_end_is_ended(run: Run) -> None:
    """A guest that ignores that its writes are refused is stopped, long before its time."""
    source = (
        writer(1, b"x" * 1000)
        .replace("(br_if $refused (call", "(drop (call")
        .replace("(br_if $again (local.tee", "(br $again) (drop (local.tee")
    )
    result = run(source, raw=True, event=b"", result_bytes=5000, timeout=20)
    assert isinstance(result.error, ResultTooLarge)
    assert result.report.duration < 10


def test_standard_error_over_its_limit_is_cut_and_the_guest_goes_on(run: Run) -> None:
    """Its answer counts all the same."""
    result = run(writer(2, b"x" * 1000 + b"\n", 1000), raw=True, event=b"", log_bytes=5000)
    assert result.value == b""
    assert result.logs[-1] == CUT
    assert result.report.log_bytes <= 5000


def test_standard_error_without_a_newline_is_kept_within_its_limit(run: Run) -> None:
    """One endless line."""
    result = run(writer(2, b"x" * 1000, 1000), raw=True, event=b"", log_bytes=5000)
    assert [len(log.message) for log in result.logs[:-1]] == [5000 - 16]
    assert result.logs[-1] == CUT


CAT = f"""(module {READ} {WRITE} (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $again
      (i32.store (i32.const 4) (i32.const 5000))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (if (i32.load (i32.const 4)) (then
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $again))))))"""


@pytest.mark.parametrize("event", [b"", b"x", bytes(range(256)) * 400], ids=len)
def test_standard_input_is_the_event(run: Run, event: bytes) -> None:
    """To the last byte, and then its end."""
    assert run(CAT, event, raw=True).value == event


def test_standard_input_of_other_guests_is_empty(wat: Wat, run: Run) -> None:
    """Not the host's, which might wait for somebody to type."""
    body = """(i32.store (i32.const 4096) (i32.const 4104)) (i32.store (i32.const 4100) (i32.const 5))
      (i32.store (i32.const 16) (i32.const 99))
      (i32.store8 (i32.const 20) (call $fd_read (i32.const 0) (i32.const 4096) (i32.const 1) (i32.const 16)))
      (call $answer)"""
    assert run(wat(body, imports=READ, entry="f_raw", data=b"12345"), b"", entry="f_raw").value == bytes(5)


@pytest.mark.parametrize("name", ["_start", "f"])
def test_start_function_may_write_before_there_is_an_event(run: Run, name: str) -> None:
    """It runs while the sandbox is prepared, when a command has no input yet: calling WASI then must be no crash."""
    source = f"""(module {WRITE} (memory (export "memory") 1) (data (i32.const 16) "early\\nlater")
      (func $write (param i32 i32) (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
      (func $s (call $write (i32.const 16) (i32.const 6))) (start $s)
      (func (export "{name}") (call $write (i32.const 22) (i32.const 5))))"""
    result = run(source)
    assert result.error is None
    if name == "_start":
        assert (result.value, [log.message for log in result.logs]) == ("later", ["early"])
    else:
        assert (result.value, [log.message for log in result.logs]) == (None, ["early", "later"])


def test_exit_status_of_a_guest_is_its_error(run: Run) -> None:
    """0 is an answer, everything else a GuestExit with that status."""
    assert run(writer(1, b"x", after="(call $proc_exit (i32.const 0))"), raw=True, event=b"").value == b"x"
    result = run(writer(2, b"sorry", after="(call $proc_exit (i32.const 42))"), raw=True, event=b"")
    assert isinstance(result.error, GuestExit)
    assert (result.error.status, str(result.error)) == (42, "the program exited with status 42")
    assert result.logs[0].message == "sorry"


def test_output_before_an_exit_status_is_kept(run: Run) -> None:
    """Of a program; whatever it is, and unless it was too much."""
    result = run(writer(1, b"no\xff", after="(call $proc_exit (i32.const 1))"), event={})
    assert isinstance(result.error, GuestExit)
    assert (result.error.status, result.error.output, result.value) == (1, b"no\xff", None)
    result = run(writer(1, b"much", 5, after="(call $proc_exit (i32.const 1))"), event={}, result_bytes=10)
    assert isinstance(result.error, ResultTooLarge)


def test_exit_of_a_guest_that_answers_otherwise_is_an_error(wat: Wat, run: Run) -> None:
    """A native guest that exits has not answered, whatever the status."""
    for status in (0, 3):
        result = run(
            wat(f"(call $proc_exit (i32.const {status})) (call $answer)", imports=EXIT, entry="f_raw"),
            b"",
            entry="f_raw",
        )
        assert isinstance(result.error, GuestExit)
        assert result.error.status == status


def test_streams_of_a_context_that_nobody_knows_are_refused(executor: wasmrun.Executor, engine: Any) -> None:
    """An errno, not an exception: one raised here would panic a thread of the engine's."""
    from wasmrun.machine.wasi import Streams

    streams = Streams(engine)
    assert streams.output(12345, 0, 5) < 0
    assert streams.log(12345, 0, 5) < 0


def test_guests_of_one_engine_write_to_their_own_streams(cache_dir: Any) -> None:
    """Many at once: nobody's output is another's."""
    functions = {
        letter: wasmrun.Function(writer(1, letter * 3000, 5), raw=True, warm=0) for letter in (b"a", b"b", b"c")
    }
    with wasmrun.Executor(cache_dir=cache_dir, threads=3, max_sandboxes=10) as executor:
        futures = [(letter, executor.submit(functions[letter], b"")) for _ in range(20) for letter in functions]
        for letter, future in futures:
            assert future.result() == letter * 15_000
