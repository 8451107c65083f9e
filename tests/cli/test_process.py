"""The process: what only shows from outside, such as signals, pipes and what is loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import programs
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Run

    Save = Callable[..., Path]

COMMAND = (sys.executable, "-W", "error", "-m", "wasmrun")


def wait_for(what: Callable[[], object]) -> None:
    """Wait until *what* is true; the test fails after 20 seconds."""
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_script_and_the_module_are_the_same_program(start: Run) -> None:
    """`wasmrun` and `python -m wasmrun`, the name in the usage included."""
    script = Path(sys.executable).with_name("wasmrun")
    for args in (("--version",), ("run",), ("run", str(programs.ECHO), "--event", "[1]", "--report", "none")):
        done = subprocess.run([script, *args], capture_output=True, text=True, check=False)
        assert start(*args) == (done.returncode, done.stdout.encode(), done.stderr)


def test_standard_input_is_left_alone(start: Run, save: Save) -> None:
    """Without `--event -` nobody reads it: neither wasmrun nor the guest."""
    with tempfile.TemporaryFile() as file:
        file.write(b'"not for you"')
        for module in (programs.ECHO, save(programs.CAT)):
            file.seek(0)
            done = start("run", module, "--event", "7", "--report", "none", stdin=file.fileno())
            assert done.out.strip() == "7"
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0


def test_standard_input_that_never_ends_keeps_nothing_waiting(start: Run) -> None:
    """A pipe that nobody writes to."""
    reading, writing = os.pipe()
    try:
        assert start("run", programs.ECHO, stdin=reading).status == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_standard_input_that_is_closed_is_a_usage_error() -> None:
    """Where it is to be read, and only there."""
    for event, status in (("-", 2), ("7", 0)):
        line = f'exec "$@" run {programs.ECHO} --report none --event {event} <&-'
        done = subprocess.run(["sh", "-c", line, "sh", *COMMAND], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert ("Error: --event: standard input is closed\n" in done.stderr) == (status == 2)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("run", programs.ECHO, "--event", "7"),
        ("run", programs.ECHO, "--raw", "--event", "7"),
        ("run", programs.ECHO, "--json"),
        ("inspect", programs.ECHO),
        ("inspect", programs.ECHO, "--json"),
        ("cache", "list", "--json"),
        ("bench", programs.ECHO, "--cold", "1", "--warm", "1"),
        ("run", "--help"),
        ("completion", "bash"),
    ],
    ids=lambda args: " ".join(getattr(word, "name", word) for word in args),
)
def test_a_pipe_that_nobody_reads_is_no_failure(args: tuple[object, ...], start: Run) -> None:
    """As with `| head`: no traceback, exit status 0."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = start(*args, stdout=writing)
    finally:
        os.close(writing)
    assert (done.status, "Traceback" in done.err, "Broken pipe" in done.err) == (0, False, False)


def test_a_pipe_that_nobody_reads_does_not_hide_how_the_function_ended(start: Run, save: Save) -> None:
    """Where it is standard error that is gone, the exit status still tells."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        for args, status in (
            (("run", save(programs.SPIN), "--fuel", "1000"), 15),
            (("run", programs.ECHO, "--event", "7"), 0),
            (("run", "gone.wasm"), 3),
            (("rnu",), 2),
        ):
            assert start(*args, stderr=writing).status == status
    finally:
        os.close(writing)


def test_a_disk_that_is_full_is_told(start: Run) -> None:
    """An answer that could not be written is no success."""
    with open("/dev/full", "wb") as full:
        for args in (("run", programs.ECHO), ("run", programs.ECHO, "--raw", "--event", "x"), ("--help",)):
            done = start(*args, stdout=full)
            assert (done.status, done.err) == (70, "wasmrun: HostError: No space left on device\n")


def test_output_is_utf_8_wherever_it_goes(start: Run) -> None:
    """JSON has no other encoding; a locale that lacks a character changes nothing."""
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    assert start("run", programs.ECHO, "--event", '"é→"', env=env).output == '"é→"\n'.encode()


def test_arguments_that_are_no_text_are_refused(start: Run, save: Save) -> None:
    """Bytes that are not UTF-8 have no form in WASI or in JSON; a file may be called so all the same."""
    guest = save(programs.ARGS)
    done = start("run", guest, "--", os.fsdecode(b"\xff"))
    assert (done.status, done.output) == (2, b"")
    assert "Error: ARGS: must be a sequence of texts" in done.err
    done = start("run", programs.ECHO, "--event", os.fsdecode(b'"\xff"'))
    assert done.status == 2
    assert "wasmrun: InvalidEvent: the event is not JSON" in done.err
    named = guest.rename(guest.with_name(os.fsdecode(b"\xff.wat")))
    assert start("run", named).status == 0


def interrupt(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Ctrl-C: the terminal sends SIGINT to the whole group."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


def popen(*args: object) -> subprocess.Popen[bytes]:
    """A command line that runs on, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "wasmrun", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_ctrl_c_ends_a_guest_that_runs(save: Save, tmp_path: Path) -> None:
    """130, one line, and nothing of ctypes or of Python."""
    shared = tmp_path / "shared"
    shared.mkdir()
    guest = save(programs.WRITE_FILE_AND_SPIN)
    with popen("run", guest, "--timeout", "60s", "--dir", f"{shared}::/data") as process:
        wait_for((shared / "file").exists)
        started = time.monotonic()
        assert interrupt(process) == (130, b"", b"\nwasmrun: interrupted\n")
        assert time.monotonic() - started < 5


def test_ctrl_c_ends_a_benchmark(save: Save, tmp_path: Path) -> None:
    """Within a measurement, or between two."""
    guest = save(programs.WRITE_FILE)
    with popen("bench", guest, "--cold", "100000000", "--dir", f"{tmp_path}::/data") as process:
        wait_for((tmp_path / "file").exists)
        assert interrupt(process) == (130, b"", b"\nwasmrun: interrupted\n")


@pytest.mark.parametrize("command", ["bench", "profile"])
def test_ctrl_c_ends_a_measurement(command: str, save: Save, tmp_path: Path) -> None:
    """Of a guest that does not end by itself."""
    guest = save(programs.WRITE_FILE_AND_SPIN)
    with popen(command, guest, "--timeout", "60s", "--dir", f"{tmp_path}::/data") as process:
        wait_for((tmp_path / "file").exists)
        started = time.monotonic()
        assert interrupt(process) == (130, b"", b"\nwasmrun: interrupted\n")
        assert time.monotonic() - started < 5


def test_ctrl_c_ends_a_compiler(save: Save) -> None:
    """Its process is gone, too."""
    guest = save("(module (func " + "(if (i32.const 1) (then (nop)))" * 200_000 + "))")
    with popen("run", guest) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(lambda: children.read_text().strip())
        child = int(children.read_text().split()[0])
        status, out, err = interrupt(process)
    assert (status, out, err) == (130, b"", b"\nwasmrun: interrupted\n")
    wait_for(lambda: not Path(f"/proc/{child}").exists())


def test_ctrl_c_ends_the_wait_for_an_event() -> None:
    """While standard input is read."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmrun", "run", programs.ECHO, "--event", "-"],
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        os.close(reading)
        # Asleep in the read of a pipe, which is what this kernel function is.
        wait_for(lambda: "pipe" in Path(f"/proc/{process.pid}/wchan").read_text())
        assert interrupt(process) == (130, b"", b"\nwasmrun: interrupted\n")
    os.close(writing)


@pytest.mark.parametrize("module", ["wasmrun.cli.dispatch", "wasmrun.single", "click", "wasmrun.cli.inspect_command"])
def test_ctrl_c_while_programs_load_ends_them(module: str) -> None:
    """Most of the time of a short run; no traceback then either."""
    script = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from wasmrun.cli import main
main({["run", str(programs.ECHO)] if module == "wasmrun.single" else ["inspect", str(programs.ECHO)]!r})
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WASMRUN_")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nwasmrun: interrupted\n")


def test_the_entry_point_loads_next_to_nothing() -> None:
    """Before it can answer to Ctrl-C, at least."""
    script = "import sys; before = set(sys.modules); import wasmrun.cli; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "gc", "wasmrun", "wasmrun.cli"}


NOT_FOR_A_RUN = {
    *(
        "_hashlib",
        "argparse",
        "ast",
        "asyncio",
        "click",
        "concurrent",
        "copy",
        "dataclasses",
        "dis",
        "email",
        "hashlib",
    ),
    *("importlib.metadata", "importlib.resources", "importlib.util", "inspect", "linecache", "logging", "pathlib"),
    *("pickle", "psutil"),
    *("random", "rich", "shutil", "socket", "string", "subprocess", "tempfile", "textwrap", "tokenize", "traceback"),
    *("typing", "uuid", "wasmrun.base_executor", "wasmrun.bench", "wasmrun.executor", "wasmrun.machine.compiler"),
    *("wasmrun.machine.wasmfile", "wasmrun.processes", "wasmrun.projects", "wasmtime"),
}
"""What a run of a compiled function does without, because each takes longer to load than the function to run."""

MESSAGES = {"datetime", "msgpack"}
"""And what those do without, too, that get and give bytes."""


@pytest.mark.parametrize(
    ("module", "options", "never"),
    [
        (programs.ECHO, (), NOT_FOR_A_RUN),
        (programs.ECHO, ("--json",), NOT_FOR_A_RUN),
        (programs.RAW, (), NOT_FOR_A_RUN | MESSAGES),
        (programs.CAT, (), NOT_FOR_A_RUN | MESSAGES),
        (programs.ADD, ("--entry", "add", "--event", "[1, 2]"), NOT_FOR_A_RUN | MESSAGES),
    ],
    ids=["native", "json", "raw", "command", "plain"],
)
def test_run_loads_only_what_it_needs(
    module: Path | str, options: tuple[str, ...], never: set[str], cache_dir: Path, tmp_path: Path
) -> None:
    """A cached small function starts as fast as Python does: no table, no psutil, no compiler, no OpenSSL."""
    if isinstance(module, str):
        path = tmp_path / "function.wat"
        path.write_text(module)
        module = path
    args = ["run", str(module), "--report", "none", "--cache-dir", str(cache_dir), *options]
    # What the interpreter's own start loads, for an editable install for instance, is not ours.
    script = f"""
import sys
before = set(sys.modules)
from wasmrun import cli
status = cli.status_of({args!r})
print()
print(status, *sorted(set(sys.modules) - before))
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WASMRUN_")}
    for _ in range(2):  # the first time it is compiled
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    status, *loaded = done.stdout.splitlines()[-1].split()
    assert (status, done.stderr) == ("0", "")
    assert "wasmrun.cli.run" in loaded
    assert never.isdisjoint(loaded)
