"""Modules are compiled in a child that the kernel bounds, and whatever happens there is one clear error."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from wasmrun.errors import HostError, InvalidFunction
from wasmrun.limits import KIB, MIB
from wasmrun.machine.compiler import CompileLimits, compile_module
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import Facts
from wasmrun.machine.module import load_bytes

SETTINGS = EngineSettings(512 * KIB, True)


def compiled(
    source: bytes | str, limits: CompileLimits | None = None, module_bytes: int = 50 * MIB
) -> tuple[Facts, bytes]:
    data = source.encode() if isinstance(source, str) else source
    return compile_module(
        data,
        is_text=isinstance(source, str),
        module_bytes=module_bytes,
        settings=SETTINGS,
        limits=limits or CompileLimits(),
    )


def leb(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*data, number))


def module_of(bodies: list[bytes]) -> bytes:
    """A module of functions that take and give nothing, with these bodies."""
    sections = {
        1: b"\1\x60\0\0",
        3: leb(len(bodies)) + b"\0" * len(bodies),
        10: leb(len(bodies)) + b"".join(leb(len(body)) + body for body in bodies),
    }
    return b"\0asm\1\0\0\0" + b"".join(bytes((number,)) + leb(len(body)) + body for number, body in sections.items())


NESTED_IFS = module_of([b"\0" + b"\x41\0\x04\x40" * 300_000 + b"\x0b" * 300_001])
IFS_IN_A_ROW = module_of([b"\0" + b"\x41\0\x04\x40\x0b" * 300_000 + b"\x0b"])
MANY_FUNCTIONS = module_of([b"\0\x0b"] * 1_000_000)


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_compiler_gives_facts_and_an_artifact_that_loads(engine: Engine) -> None:
    """From text and from the binary, the same facts; the child's engine and the pooling one agree."""
    facts, artifact = compiled('(module (func $f (export "f")) (start $f))')
    assert facts[:4] == (True, 1, 0, 1)
    assert facts._fields[:4] == ("has_start", "functions", "imports", "exports")
    binary = bytes.fromhex("0061736d 01000000 01040160 0000 03020100 07050101 660000 080100 0a040102 000b")
    assert compiled(binary)[0][:4] == facts[:4]
    module = load_bytes(engine, artifact, facts)
    assert list(module.exports) == ["f"]
    module.close()
    module.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"\x7fELF", "not WebAssembly, but an ELF file"),
        (b"\0asm\1\0\0\0\1\5", "truncated: the section at byte 8"),
        (b"\0asm\1\0\0\0\3\2\1\0", "not a valid module: "),
        (module_of([b"\0\x6a\x0b"]), "not a valid module: .*type mismatch"),
        ("(module", "not valid WAT: expected `\\)`"),
        ("(module (func (i32.bogus)))", "not valid WAT: unknown operator"),
        ('(module (import "a" "b" (func', "not valid WAT"),
        ("(module \udcff)", "not valid WAT: .*utf-8"),
    ],
    ids=["elf", "truncated", "no types", "type mismatch", "open", "operator", "open import", "not text"],
)
def test_compiler_refuses_what_is_no_module(source: bytes | str, message: str) -> None:
    """On one line, with what is wrong and where."""
    data = source.encode(errors="surrogatepass") if isinstance(source, str) else source
    with pytest.raises(InvalidFunction, match=f"^the module cannot be used: {message}") as caught:
        compile_module(
            data, is_text=isinstance(source, str), module_bytes=1000, settings=SETTINGS, limits=CompileLimits()
        )
    assert caught.value.message.isprintable()


def test_compiler_measures_the_binary_of_a_text() -> None:
    """Its size is what the function's limit is about."""
    with pytest.raises(InvalidFunction, match=r"it has \d+ bytes as a binary; at most 20 are allowed"):
        compiled("(module (func))", module_bytes=20)


def test_compiler_escapes_what_a_module_says_in_errors() -> None:
    """A name in a message does not reach the terminal as it stands, and does not fill the screen."""
    with pytest.raises(InvalidFunction) as caught:
        compiled('(module (func $"\\1b[31m' + "x" * 5000 + '" (i32.add)))')
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 700


@pytest.mark.parametrize(
    ("source", "limits", "message"),
    [
        (NESTED_IFS, CompileLimits(cpu=1), "more than 1.00 s of processor time to compile"),
        (NESTED_IFS, CompileLimits(wall="200ms"), "more than 200 ms to compile, and was given up"),
        (IFS_IN_A_ROW, CompileLimits(cpu=5, address_space="256MiB"), "more than 256 MiB of address space to compile"),
        (MANY_FUNCTIONS, CompileLimits(cpu=2), "it has 1000000 function entries; at most 100000 are allowed"),
    ],
    ids=["nested ifs", "wall", "address space", "a million functions"],
)
def test_compiler_gives_bombs_up(
    monkeypatch: pytest.MonkeyPatch, source: bytes, limits: CompileLimits, message: str
) -> None:
    """In bounded time, with the limit that was hit, and with no process left behind."""
    monkeypatch.setenv("RUST_BACKTRACE", "1")  # with which the library hangs when it runs out of memory
    began, before = time.monotonic(), children()
    with pytest.raises(InvalidFunction, match=message):
        compiled(source, limits)
    assert time.monotonic() - began < 10
    assert children() == before


@pytest.mark.parametrize("ignored", [signal.SIG_DFL, signal.SIG_IGN])
def test_compiler_bounds_processor_time_to_parts_of_a_second(ignored: signal.Handlers) -> None:
    """What the message says is what was allowed, also where the caller's process ignores the timer's signal."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    handler = signal.signal(signal.SIGPROF, ignored)
    try:
        with pytest.raises(InvalidFunction, match="more than 300 ms of processor time to compile"):
            compiled(NESTED_IFS, CompileLimits(cpu="300ms"))
    finally:
        signal.signal(signal.SIGPROF, handler)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert 0.25 < spent < 0.7


def test_compiler_bounds_the_memory_of_the_child(tmp_path: Path) -> None:
    """What bombs made the children use at most, as the kernel measured it, in a process that has no others."""
    (tmp_path / "bomb.wasm").write_bytes(IFS_IN_A_ROW)
    program = """
import resource, sys, wasmrun
from wasmrun.machine.compiler import compile_module
from wasmrun.machine.config import EngineSettings
with open(sys.argv[1], "rb") as file: source = file.read()
limits = wasmrun.CompileLimits(cpu=5, address_space="256MiB")
try: compile_module(source, is_text=False, module_bytes=10**9, settings=EngineSettings(2**19, True), limits=limits)
except wasmrun.InvalidFunction: print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb.wasm")], capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) <= 256 * KIB


def test_compile_limits_default_to_what_the_design_says() -> None:
    """30 s of processor, 40 s by the clock, 1 GiB."""
    limits = CompileLimits()
    assert (limits.cpu, limits.wall, limits.address_space) == (30.0, 40.0, 1024 * MIB)


@pytest.mark.parametrize("setting", [{"cpu": 0}, {"wall": "x"}, {"address_space": "1MiB"}], ids=str)
def test_compile_limits_refuse_what_cannot_work_by_name(setting: dict[str, object]) -> None:
    """As every setting does; no interpreter starts in a megabyte."""
    with pytest.raises(InvalidFunction, match=f"^{next(iter(setting))}: "):
        CompileLimits(**setting)  # type: ignore[arg-type]


def test_compile_limits_are_frozen() -> None:
    """Those that there are, and any other."""
    for name in ("cpu", "cpus"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(CompileLimits(), name, 5)


def test_compiler_needs_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedding program may have none to offer."""
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(HostError, match=r"compiled by a child interpreter, but sys.executable is empty here"):
        compiled("(module)")


def test_compiler_that_cannot_be_started_is_our_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not the function's."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(HostError, match=r"no child process to compile in: .*No such file"):
        compiled("(module)")


def test_compiler_without_a_place_for_what_comes_out_is_our_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container without a directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(HostError, match=r"no child process to compile in: .*No such file"):
        compiled("(module)")


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in the interpreter's place: write it, and it is what modules are compiled with."""
    path = tmp_path / "python"
    path.touch()
    path.chmod(stat.S_IRWXU)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        (f"kill -{signal.SIGKILL} $$", InvalidFunction, "processor time"),
        (f"kill -{signal.SIGXCPU} $$", InvalidFunction, "processor time"),
        (f"kill -{signal.SIGPROF} $$", InvalidFunction, "processor time"),
        (f"kill -{signal.SIGABRT} $$", InvalidFunction, "address space"),
        (f"kill -{signal.SIGSEGV} $$", InvalidFunction, "address space"),
        (f"kill -{signal.SIGBUS} $$", InvalidFunction, "address space"),
        (f"kill -{signal.SIGXFSZ} $$", InvalidFunction, "address space"),
        ("echo MemoryError >&2; exit 1", InvalidFunction, "address space"),
        (f"kill -{signal.SIGTERM} $$", HostError, "ended with status -15"),
        ("echo no module named this >&2; exit 3", HostError, "ended with status 3: no module named this"),
        ("exit 0", HostError, "ended with status 0"),
        ("echo an embedding program", HostError, "ended with status 0"),
        ("echo 5", HostError, "ended with status 0"),
        ("echo '{}'", HostError, "ended with status 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_compiler_child_that_dies_is_told_apart(
    interpreter: Path, script: str, error: type[Exception], message: str
) -> None:
    """By limit where it was one, else as our own failure with what the child said."""
    interpreter.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
    with pytest.raises(error, match=message):
        compiled("(module)")


def test_compiler_child_that_does_not_read_is_no_hang(interpreter: Path) -> None:
    """A module larger than a pipe holds."""
    interpreter.write_text("#!/bin/sh\nexit 4\n")
    with pytest.raises(HostError, match="ended with status 4"):
        compiled(b"\0" * MIB)


def test_compiler_child_gets_neither_environment_nor_directory_as_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs isolated: a wasmtime.py where it starts, or in PYTHONPATH, is not imported."""
    for name in ("wasmtime", "wasmrun", "json", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    assert compiled("(module)")[0].functions == 0


def test_compiler_child_keeps_lower_limits_of_its_parent() -> None:
    """Under hard limits that are below ours it still works, within them."""
    program = """
import resource, wasmrun
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
from wasmrun.machine.compiler import compile_module
from wasmrun.machine.config import EngineSettings
made = compile_module(
    b"(module)", is_text=True, module_bytes=100, settings=EngineSettings(2**19, True), limits=wasmrun.CompileLimits()
)
print(len(made[1]) > 100)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_compiler_fits_its_limit_on_a_machine_with_many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would start a thread for each of them, whose memory alone is more than the limit. Made so by its variable."""
    monkeypatch.setenv("RAYON_NUM_THREADS", "200")
    source = "".join(f'(func (export "f{number}") (result i32) (i32.const {number}))' for number in range(300))
    assert compiled(f"(module {source})", CompileLimits(address_space="256MiB"))[0].functions == 300


def test_compiler_works_in_a_daemonic_process(tmp_path: Path) -> None:
    """Celery's workers are such: `multiprocessing` allows them no children; spawned ones import the caller's main."""
    script = tmp_path / "main.py"
    script.write_text(
        """
import multiprocessing, sys, wasmrun
print("imported as", __name__, flush=True)
def work(queue, directory):
    with wasmrun.Executor(cache_dir=directory) as executor:
        queue.put(executor.invoke(wasmrun.Function('(module (func (export "f") (result i32) (i32.const 5)))', warm=0)))
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue, sys.argv[1]), daemon=True)
    process.start()
    print(queue.get(timeout=30))
    process.join()
    print(process.exitcode)
"""
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )
    # The main module runs once here and once in the worker, and not a third time to compile.
    assert (done.stdout, done.stderr) == ("imported as __main__\nimported as __mp_main__\n5\n0\n", "")


def test_compiler_child_tells_its_facts_first() -> None:
    """The protocol of the child by itself: a line of JSON, then the artifact; nothing on standard error."""
    from wasmrun.machine import capi, compile_child

    site = str(Path(capi.LIBRARY_PATH).parents[2])
    package = str(Path(compile_child.__file__).parents[2])
    job = {
        "paths": [package, site],
        "is_text": True,
        "module_bytes": 1000,
        "stack": 512 * KIB,
        "is_metered": False,
        "cpu_seconds": 30,
        "address_space": 1024 * MIB,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(compile_child.__file__), json.dumps(job)],
        input=b"(module (func))",
        capture_output=True,
        check=True,
    )
    line, _, artifact = done.stdout.partition(b"\n")
    assert Facts(**json.loads(line)["facts"]).functions == 1
    assert len(artifact) > 1000
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("source", "is_text", "module_bytes", "message"),
    [
        (b"(module (func))", True, 1000, None),
        (b"\0asm\1\0\0\0", False, 8, None),
        (b"\0asm\1\0\0\0", True, 8, None),
        (b'(module (import "a" "b" (func)) (func (export "f") (param i32)) (memory (export "m") 1))', True, 1000, None),
        (
            b"(module (func (param" + b" i32" * 999 + b"))" + b'(export "%d" (func 0))' * 51 % (*range(51),) + b")",
            True,
            9000,
            "its imports and exports have 50949 parameters and results together; at most 50000 are allowed",
        ),
        (b"(module (func))", False, 1000, "not WebAssembly"),
        (b"(module (func))", True, 9, "bytes as a binary; at most 9 are allowed"),
        (b"(module", True, 1000, "not valid WAT"),
        (b"\0asm\1\0\0\0\3\2\1\0", False, 1000, "not a valid module"),
    ],
)
def test_compiler_child_does_its_work_in_one_function(
    source: bytes, is_text: bool, module_bytes: int, message: str | None
) -> None:
    """The same in this process, where it can be watched: an artifact, or what is wrong."""
    from wasmrun.machine import compile_child

    job = {"is_text": is_text, "module_bytes": module_bytes, "stack": 512 * KIB, "is_metered": True}
    if message is None:
        facts, artifact = compile_child._compile(job, source)
        assert Facts(**facts).module_bytes >= 8  # type: ignore[arg-type]  # what JSON holds
        assert len(artifact) > 500
    else:
        with pytest.raises(ValueError, match=message):
            compile_child._compile(job, source)


def test_compiler_child_says_where_compiled_code_cannot_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the engine refuses is a line of the answer, and no traceback."""
    from wasmrun.machine import capi, compile_child

    monkeypatch.setattr(capi, "module_serialize", lambda module, out: capi.error_new(b"no room"))
    job = {"is_text": True, "module_bytes": 1000, "stack": 512 * KIB, "is_metered": True}
    with pytest.raises(ValueError, match="cannot be stored: no room"):
        compile_child._compile(job, b"(module)")
