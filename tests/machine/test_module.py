"""A loaded module tells what it imports and exports, of every kind."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import wasmrun
from wasmrun.errors import InvalidFunction
from wasmrun.machine.engine import Engine
from wasmrun.machine.module import ExternType, Import, Module, load_bytes, load_descriptor
from wasmrun.machine.wasmfile import scan

EVERYTHING = """(module
  (import "m" "f" (func (param i32 i64 f32 f64) (result v128)))
  (import "m" "g" (global i32))
  (import "m" "t" (table 1 2 externref))
  (import "m" "mem" (memory 3))
  (func (export "nothing"))
  (func (export "many") (param funcref externref) (result i32 i64)
    (i32.const 1) (i64.const 2))
  (global (export "global") (mut f64) (f64.const 0))
  (table (export "table") 5 funcref)
  (export "memory" (memory 0)))"""
FUNC = "function"
LOAD = Callable[..., Module]


def test_module_tells_its_imports(load: LOAD) -> None:
    """In their order, by both names, with their types."""
    assert load(EVERYTHING).imports == (
        Import("m", "f", ExternType(FUNC, ("i32", "i64", "f32", "f64"), ("v128",))),
        Import("m", "g", ExternType("global")),
        Import("m", "t", ExternType("table", minimum=1, maximum=2)),
        Import("m", "mem", ExternType("memory", minimum=3, maximum=None)),
    )


def test_module_tells_its_exports(load: LOAD) -> None:
    """By name, with their types."""
    assert load(EVERYTHING).exports == {
        "nothing": ExternType(FUNC),
        "many": ExternType(FUNC, ("funcref", "externref"), ("i32", "i64")),
        "global": ExternType("global"),
        "table": ExternType("table", minimum=5, maximum=None),
        "memory": ExternType("memory", minimum=3, maximum=None),
    }


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (ExternType(FUNC), "() -> ()"),
        (ExternType(FUNC, ("i32", "i64"), ("f32",)), "(i32, i64) -> f32"),
        (ExternType(FUNC, (), ("i32", "i32")), "() -> (i32, i32)"),
        (ExternType("memory", minimum=1, maximum=None), "memory of 1 page, no maximum"),
        (ExternType("memory", minimum=2, maximum=16), "memory of 2 pages, at most 16"),
        (ExternType("table", minimum=0, maximum=None), "table of 0 elements, no maximum"),
        (ExternType("global"), "global"),
    ],
    ids=str,
)
def test_extern_type_is_written_as_people_read_it(type_: ExternType, text: str) -> None:
    """In messages and in `wasmrun inspect`."""
    assert str(type_) == text


def test_import_name_is_escaped_and_cut_where_it_is_shown() -> None:
    """A guest chooses it."""
    assert str(Import("env", "a\x1b[31m\n", ExternType(FUNC))) == "env.a\\x1b[31m\\n"
    assert len(str(Import("env", "x" * 90_000, ExternType(FUNC)))) == 300


@pytest.mark.parametrize(
    ("source", "minimum"),
    [
        ('(module (memory (export "memory") 2))', 2),
        ('(module (memory (export "other") 3))', 3),
        ('(module (import "m" "mem" (memory 4)))', 4),
        ("(module (memory 5))", None),
        ("(module)", None),
    ],
)
def test_module_tells_the_memory_that_it_exports_or_imports(load: LOAD, source: str, minimum: int | None) -> None:
    """One that it keeps to itself is not seen; its limits hold all the same."""
    memory = load(source).memory
    assert (None if memory is None else memory.minimum) == minimum


def test_module_may_have_the_largest_memory_there_is(load: LOAD) -> None:
    """A maximum of 65,536 pages is one."""
    memory = load('(module (memory (export "memory") 0 65536))').memory
    assert memory == ExternType("memory", minimum=0, maximum=65536)


def test_module_closes_once(load: LOAD) -> None:
    """Harmless when repeated."""
    module = load("(module)")
    module.close()
    module.close()
    assert module.pointer == 0


def test_module_that_does_not_fit_the_engine_is_the_functions_fault(engine: Engine) -> None:
    """Whatever the engine refuses to load is an error and no crash: here bytes that are no artifact at all."""
    with pytest.raises(InvalidFunction, match="the module does not fit this engine: "):
        load_bytes(engine, b"not an artifact", scan(b"\0asm\1\0\0\0"))


@pytest.mark.parametrize("place", ["export", "import", "result"])
def test_module_with_vectors_in_a_signature_is_no_crash(run: Callable[..., wasmrun.Result], place: str) -> None:
    """The library aborts the process when it is asked for the kind of a v128: any SIMD module could do that."""
    source = {
        "export": '(module (func (export "v") (param i32 v128)) (func (export "f") (result i32) (i32.const 1)))',
        "result": '(module (func (export "v") (result v128) (v128.const i64x2 0 0))'
        ' (func (export "f") (result i32) (i32.const 1)))',
        "import": '(module (import "wasmrun" "log" (func (param v128))))',
    }[place]
    if place == "import":
        with pytest.raises(
            InvalidFunction, match=r"wasmrun\.log must be \(i32, i32, i32\) -> \(\), not \(v128\) -> \(\)"
        ):
            run(source)
    else:
        assert run(source).value == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(module (table 20000 funcref))", None),
        (
            "(module (table 20001 funcref))",
            "the module cannot be used: its table starts with 20001 elements, more than `table_elements` can allow",
        ),
        (
            "(module (table 1 funcref) (table 1 funcref))",
            "does not fit this engine: module table does not fit in .*: defined tables count of 2 exceeds the per-instance limit of 1$",
        ),
        ("(module " + "(global (mut v128) (v128.const i64x2 0 0))" * 50_000 + ")", None),
        ("(module (memory 65536))", None),
    ],
    ids=["table", "larger table", "two tables", "globals", "memory"],
)
def test_module_that_the_pool_has_no_room_for_is_refused_by_name(
    executor: wasmrun.Executor, source: str, message: str | None
) -> None:
    """What compiles, but fits no sandbox; and what just fits, does."""
    function = wasmrun.Function(source, warm=0, memory="4GiB")
    found = executor.inspect(function)
    if message is None:
        assert found.artifact_bytes > 0
    else:
        assert found.problem is not None
        assert re.search(message, found.problem)


def test_module_is_loaded_without_proc(
    engine: Engine, load: LOAD, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc is not mounted, the artifact is read instead of mapped."""
    from wasmrun.limits import KIB
    from wasmrun.machine import module as machine_module
    from wasmrun.machine.compiler import CompileLimits, compile_module
    from wasmrun.machine.config import EngineSettings

    facts, artifact = compile_module(
        b'(module (func (export "f")))',
        is_text=True,
        module_bytes=100,
        settings=EngineSettings(512 * KIB, True),
        limits=CompileLimits(),
    )
    path = tmp_path_factory.mktemp("artifact") / "code"
    path.write_bytes(artifact)
    monkeypatch.setattr(machine_module.os.path, "exists", lambda path: False)
    with path.open("rb") as file:
        file.seek(10)
        module = load_descriptor(engine, file.fileno(), facts)
    assert list(module.exports) == ["f"]
    module.close()
