"""The hot path: both kinds take the same steps, and leave and say the same."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.hotpath import KINDS, Step, check_kind, choose
from wasmrun.machine.instance import Instance
from wasmrun.machine.loader import Loader
from wasmrun.machine.program import Program
from wasmrun.machine.record import ERROR, RECORD_WORDS, TRAP
from wasmrun.machine.wasi import Streams

PAGE = 65536
NATIVE = """(module {imports}
  (memory (export "memory") 1 4)
  (func (export "wasmrun_alloc") (param $size i32) (result i32) {alloc})
  (func (export "f_raw") (param $ptr i32) (param $len i32) (result i64) {handle})
  {more})"""
ECHO = "(i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32)) (i64.extend_i32_u (local.get $len)))"
AT_1024 = "(i32.const 1024)"


def wat(handle: str = ECHO, alloc: str = AT_1024, more: str = "", imports: str = "") -> str:
    return NATIVE.format(handle=handle, alloc=alloc, more=more, imports=imports)


def _skip_without(kind: str) -> None:
    if kind == "compiled" and choose(None) != kind:
        pytest.skip("the compiled hot path was not built: install wasmrun where a C compiler is")


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of each kind."""
    _skip_without(request.param)
    engine = Engine(EngineSettings(512 * 1024, True), 8, RECORD_WORDS, request.param)
    yield engine
    engine.close()


@pytest.fixture
def instance(
    engine: Engine, loader: Loader, compile_here: Callable[[wasmrun.Function], None]
) -> Iterator[Callable[..., Instance]]:
    """Makes instances that are ready for their event."""
    made: list[Any] = []

    def make(source: str, **settings: Any) -> Instance:
        function = wasmrun.Function(source, entry="f_raw", **settings)
        compile_here(function)
        program = Program(function, engine, loader.load(engine, function), Streams(engine))
        made.append(program)
        assert program.is_prepared_at_once
        one = Instance(program)
        made.append(one)
        one.prepare_at_once()
        one.arm(program.fuel, program.timeout_ns)
        return one

    yield make
    for one in reversed(made):
        one.delete() if isinstance(one, Instance) else one.close()


def step(instance: Instance, event: bytes, most: int = 1000) -> bytes | int:
    """What becomes of *event*."""
    return instance.engine.crossings.call(
        instance.context, instance.address, instance.memory_base, instance.memory_bytes, most, event
    )


@pytest.mark.parametrize("event", [b"", b"x", b"\0" * 100, bytes(range(256)) * 3])
def test_event_goes_in_and_answer_comes_out(instance: Callable[..., Instance], event: bytes) -> None:
    """As it stands; without an event there is no call of the allocator."""
    alloc = "(if (result i32) (local.get $size) (then (i32.const 1024)) (else (unreachable)))"
    assert step(instance(wat(alloc=alloc)), event) == event


def test_event_may_be_any_buffer(instance: Callable[..., Instance]) -> None:
    """Also one that lies elsewhere."""
    event = (ctypes.c_char * 5).from_buffer(bytearray(b"hello"))
    assert step(instance(wat()), event) == b"hello"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handle", "alloc", "event", "expected"),
    [
        (ECHO, "(unreachable)", b"x", Step.FAILED_IN_ALLOC),
        (ECHO, "(i32.const 0)", b"x", Step.NO_MEMORY),
        (ECHO, f"(i32.const {PAGE - 1})", b"xy", Step.EVENT_OUTSIDE),
        (ECHO, "(i32.const -1)", b"x", Step.EVENT_OUTSIDE),
        ("(unreachable)", AT_1024, b"x", Step.FAILED),
        ("(loop $l (br $l)) (unreachable)", AT_1024, b"x", Step.FAILED),
        ("(i64.const 0x0000ffff_00000002)", AT_1024, b"x", Step.ANSWER_OUTSIDE),
        ("(i64.const -1)", AT_1024, b"x", Step.ANSWER_OUTSIDE),
        ("(i64.const 0xffffffff_00000001)", AT_1024, b"x", Step.ANSWER_OUTSIDE),
        ("(i64.const 0x00000400_000003e9)", AT_1024, b"x", Step.ANSWER_TOO_LARGE),
        ("(i64.const 0x00000000_00000001)", AT_1024, b"x", Step.ANSWER_AT_NULL),
    ],
)
def test_what_is_no_answer_is_a_step(
    instance: Callable[..., Instance], handle: str, alloc: str, event: bytes, expected: Step
) -> None:
    """With the numbers that the guest chose in the record, and the trap where there was one."""
    one = instance(wat(handle, alloc), fuel=100_000)
    assert step(one, event) == expected
    has_trapped = expected in (Step.FAILED, Step.FAILED_IN_ALLOC)
    assert bool(one.words[one.record + TRAP]) == has_trapped
    assert not one.words[one.record + ERROR]
    if has_trapped:
        assert isinstance(one.failed(), (wasmrun.GuestTrap, wasmrun.OutOfFuel))
        assert not one.words[one.record + TRAP]


@pytest.mark.parametrize(
    ("answer", "length"),
    [("0x00010000_00000000", 0), ("0x00000000_00000000", 0), ("0x0000fffe_00000002", 2), ("0x00000400_000003e8", 1000)],
)
def test_answer_at_the_border_is_taken(instance: Callable[..., Instance], answer: str, length: int) -> None:
    """The last byte of the memory, nothing behind it, nothing at null, as many as are allowed."""
    assert step(instance(wat(f"(i64.const {answer})")), b"") == b"\0" * length


def test_memory_that_has_grown_is_seen(instance: Callable[..., Instance]) -> None:
    """By the allocator for the event, and by the handler for its answer."""
    alloc = f"(drop (memory.grow (i32.const 1))) (i32.const {PAGE + 8})"
    assert step(instance(wat(alloc=alloc)), b"grown") == b"grown"
    grow = f"(drop (memory.grow (i32.const 1))) (i64.const {(PAGE + 8) << 32 | 3})"
    assert step(instance(wat(grow)), b"x") == b"\0\0\0"


def test_free_is_found(instance: Callable[..., Instance]) -> None:
    """Where it is exported, so that the instance can take another event."""
    more = """(global $freed (mut i64) (i64.const 0x0000040000000000))
      (func (export "wasmrun_free") (param i32 i32) (global.set $freed (i64.const 0x0000040000000002)))"""
    one = instance(wat("(global.get $freed)", more=more))
    assert step(one, b"") == b""
    one.program.abi.release(one)
    assert step(one, b"") == b"\0\0"


@pytest.mark.parametrize("kind", KINDS)
def test_instance_for_which_there_is_no_room(
    kind: str, loader: Loader, compile_here: Callable[[wasmrun.Function], None]
) -> None:
    """No trap but an error, which is told as what it is."""
    _skip_without(kind)
    # More records than its slots need.
    engine = Engine(EngineSettings(512 * 1024, True), 1, RECORD_WORDS * 3, kind)
    engine._free[:] = [0, RECORD_WORDS, 2 * RECORD_WORDS]
    function = wasmrun.Function(wat(), entry="f_raw")
    compile_here(function)
    program = Program(function, engine, loader.load(engine, function), Streams(engine))
    instances = [Instance(program) for _ in range(3)]
    for one in instances[:2]:  # one slot, and one that is spare
        one.prepare_at_once()
    with pytest.raises(wasmrun.InvalidFunction, match="cannot be instantiated"):
        instances[2].prepare_at_once()
    assert not instances[2].words[instances[2].record + ERROR]
    for one in instances:
        one.delete()
    program.close()
    engine.close()


def test_fuel_and_deadline_are_armed(instance: Callable[..., Instance]) -> None:
    """Anew, and exactly."""
    one = instance(wat("(loop $l (br $l)) (unreachable)"), fuel=1_000)
    one.arm(5_000, 10**9)
    assert one.fuel_left() == 5_000
    assert step(one, b"") == Step.FAILED
    assert isinstance(one.failed(), wasmrun.OutOfFuel)


# Which of the two


def test_kind_is_named_by_the_environment() -> None:
    """One of two, or none."""
    assert check_kind({}) is None
    assert check_kind({"WASMRUN_HOTPATH": ""}) is None
    for kind in KINDS:
        assert check_kind({"WASMRUN_HOTPATH": kind}) == kind
    with pytest.raises(wasmrun.HostError, match="WASMRUN_HOTPATH must be compiled or ctypes, not 'fast'"):
        check_kind({"WASMRUN_HOTPATH": "fast"})


def test_compiled_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error where it was asked for; else the other one is taken."""
    monkeypatch.setitem(sys.modules, "wasmrun.machine.hotpath.compiled", None)
    assert choose(None) == "ctypes"
    assert choose("ctypes") == "ctypes"
    with pytest.raises(wasmrun.HostError, match="install wasmrun where a C compiler"):
        choose("compiled")


def test_wheel_without_the_compiled_one_fails_its_test(cache_dir: Path, tmp_path: Path) -> None:
    """The command by which a wheel is tried, with the compiled one that is here, and where it cannot be imported."""
    _skip_without("compiled")
    project = Path(__file__).parents[2]
    wheels = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    assert wheels["environment"] == {"WASMRUN_HOTPATH": "compiled"}
    command = (
        wheels["test-command"].replace("{project}", str(project)).replace("wasmrun run", '"$PYTHON" -m wasmrun run')
    )
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['wasmrun.machine.hotpath._crossings'] = None")
    environ = {**os.environ, "PYTHON": sys.executable, "WASMRUN_CACHE_DIR": str(cache_dir)}
    for path, status, answer in (("", 0, b'{"hello": "Ada"}\n'), (str(tmp_path), 70, b"")):
        done = subprocess.run(
            command, shell=True, env={**environ, "PYTHONPATH": path}, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (status, answer), done.stderr


def test_compiled_one_of_an_earlier_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as good as none: what is called may not be there."""
    _skip_without("compiled")
    from wasmrun.machine.hotpath import _crossings

    monkeypatch.delitem(sys.modules, "wasmrun.machine.hotpath.compiled")
    monkeypatch.delattr("wasmrun.machine.hotpath.compiled")
    monkeypatch.setattr(_crossings, "INTERFACE", 1)
    assert choose(None) == "ctypes"
    with pytest.raises(wasmrun.HostError, match=r"built for another version of wasmrun; install that again"):
        choose("compiled")


@pytest.mark.parametrize("kind", KINDS)
def test_executor_takes_the_kind_that_is_named(kind: str, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its engines, and those of workers."""
    _skip_without(kind)
    monkeypatch.setenv("WASMRUN_HOTPATH", kind)
    function = wasmrun.Function(wat(), entry="f_raw")
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        assert executor.invoke(function, b"x") == b"x"
        engines = list(executor._runner.core._engines.values())  # type: ignore[union-attr]
        assert {engine.crossings.kind for engine, _ in engines} == {kind}
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1) as executor:
        assert executor.invoke(function, b"x") == b"x"
        [pid] = executor.walls()
        maps = Path(f"/proc/{pid}/maps")
        monkeypatch.setenv("WASMRUN_HOTPATH", "")
        assert executor._roster._settings.hotpath == kind
        if kind == "compiled" and _may_read(maps):
            assert "_crossings" in maps.read_text()


def _may_read(path: Path) -> bool:
    try:
        path.read_text()
    except PermissionError:
        return False
    return True


# What C checks of what Python gives it


def test_functions_must_be_known_first() -> None:
    """Each copy of the module has its own."""
    _skip_without("compiled")
    from wasmrun.machine.hotpath import _crossings

    spec = importlib.util.spec_from_file_location("wasmrun.machine.hotpath._crossings", _crossings.__file__)
    assert spec is not None
    copy = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    for _ in range(2):  # before it is set up, and after
        _check_that_it_needs_the_functions(copy)
        spec.loader.exec_module(copy)
    with pytest.raises(KeyError):
        copy.bind({})
    with pytest.raises(ValueError, match="store_new has no address"):
        copy.bind(dict.fromkeys(_names(), 0))


def _check_that_it_needs_the_functions(copy: Any) -> None:
    for call in (
        lambda: copy.open_store(1), lambda: copy.prepare(1, 1, 1), lambda: copy.arm(1, 1, 1),
        lambda: copy.call(1, 1, 1, 1, 1, b""), lambda: copy.close_store(1),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="bind"):
            call()


def _names() -> list[str]:
    from wasmrun.machine.hotpath.compiled import _FUNCTIONS

    return list(_FUNCTIONS)


def test_arguments_are_counted_and_are_numbers() -> None:
    """A mistake of ours is an exception, and no crash."""
    _skip_without("compiled")
    from wasmrun.machine.hotpath import _crossings as compiled

    wrong: list[Callable[[], object]] = [
        compiled.open_store, compiled.prepare, compiled.arm, compiled.call, lambda: compiled.arm(1, 2),  # type: ignore[call-arg, list-item]
        lambda: compiled.arm("1", 2, 3), lambda: compiled.call(1, 2, 3, 4, 5, "text"),  # type: ignore[arg-type]
        lambda: compiled.arm(-1, 2, 3), lambda: compiled.arm(1 << 64, 2, 3), lambda: compiled.close_store("x"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call in wrong:
        with pytest.raises((TypeError, OverflowError)):
            call()


def test_yard_and_express_check_what_they_get() -> None:
    """As above; and what is not there is not had."""
    _skip_without("compiled")
    from wasmrun.machine.hotpath import _crossings as compiled

    words = (ctypes.c_uint64 * 64)()
    at = ctypes.addressof(words)
    yard = compiled.Yard(at, words, at, words)
    usual = [yard, at, words, 0, 2, 65536, 10, 10, 10, 1, 0, True, None, 0, print, iter([]), "x" * 24, 10**9, None, 0]
    express = compiled.Express(*usual)  # type: ignore[arg-type]
    assert (len(express), express.pop(), express.trim(5), express.counts, express.fill(3)) == (0, None, 0, (0, 0, 0), 0)
    assert (yard.free, yard.spent, yard.reclaim(), yard.destroy(5)) == (0, 0, None, 0)
    assert express.carry(b"x", 1 << 30) is NotImplemented, "nothing may begin: the words say so"
    short, long = bytearray(b"context"), bytes(5000)
    for place, value in ((16, "short"), (18, bytes(short)), (18, long), (19, -1)):
        changed = list(usual)
        changed[18] = bytes(60)
        changed[place] = value
        if place == 19:
            changed[18] = bytes(60)
        with pytest.raises(ValueError, match="no place for what goes into it"):
            compiled.Express(*changed)  # type: ignore[arg-type]
    wrong: list[Callable[[], object]] = [
        compiled.Yard, compiled.Express, lambda: compiled.Yard(at, words, at), lambda: compiled.Yard(traffic=at),  # type: ignore[call-arg]
        lambda: compiled.Express("yard", *usual[1:]), lambda: express.carry(b"x"), lambda: express.carry(b"x", "room"),  # type: ignore[arg-type, call-arg]
        lambda: express.carry_and_tell(b"x", 1, 2), lambda: express.fill("x"), lambda: express.append(1, 2, 3),  # type: ignore[arg-type, call-arg]
        lambda: express.trim(-1), lambda: yard.lend("x"), lambda: yard.destroy(-1), lambda: yard.destroy("all"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call in wrong:
        with pytest.raises((TypeError, OverflowError)):
            call()
    with pytest.raises(ValueError, match="a record has an address"):
        yard.lend(0)
    assert express.close() is True
    assert express.carry(b"x", 1 << 30) is NotImplemented
