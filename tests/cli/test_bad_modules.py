"""Files that are no functions: `run` refuses each with one line that says what it is and what to do, `inspect` shows more."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

sys.path.append(str(Path(__file__).parents[1] / "machine"))  # its bytes of modules

from test_origin import COMPONENT, HEADER, custom, name, producers, section

from wasmrun.machine import capi

if TYPE_CHECKING:
    from conftest import Run

RUN = '(memory (export "memory") 1) (func (export "_start"))'


class Case(NamedTuple):
    """A file, what `run` says about it, and what `inspect` shows besides."""

    file: bytes | str
    says: tuple[str, ...]
    shows: tuple[str, ...] = ()


def binary(text: str) -> bytes:
    """The module that WAT stands for."""
    vec = capi.ByteVec()
    assert not capi.wat2wasm(text.encode(), len(text), capi.addressof(vec))
    data = bytes(capi.string_at(vec.data, vec.size))
    capi.byte_vec_delete(capi.addressof(vec))
    return data


def imports(*names: str, more: str = RUN) -> bytes:
    """A module that imports functions, each named as "module.name"."""
    fields = "".join('(import "{}" "{}" (func (param i32)))'.format(*item.split(".", 1)) for item in names)
    return binary(f"(module {fields} {more})")


def zipped() -> bytes:
    """An archive with a module in it."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("function.wasm", HEADER)
    return into.getvalue()


LEGACY = HEADER + section(1, b"\1\x60\0\0") + section(3, b"\1\0") + section(10, b"\1\6\0\x06\x40\x19\x0b\x0b")
"""A function with ``try`` and ``catch_all``, as compilers wrote exceptions until 2024."""

NOT_GRANTED = "the module imports what it is not granted: "

CASES = {
    "Proxy-wasm": Case(
        imports("env.proxy_log", "env.proxy_get_header_map_value", more='(func (export "proxy_abi_version_0_2_1"))'),
        (NOT_GRANTED + "env.proxy_log, env.proxy_get_header_map_value", "a Proxy-wasm host such as Envoy", "wasmrun new"),
        ("made by   Proxy-wasm SDK", "made for  a Proxy-wasm host such as Envoy"),
    ),
    "Emscripten": Case(
        imports("env.emscripten_resize_heap", "wasi_snapshot_preview1.fd_close"),
        (NOT_GRANTED + "env.emscripten_resize_heap", "JavaScript, by Emscripten", "-sSTANDALONE_WASM"),
        ("made for  JavaScript, by Emscripten",),
    ),
    "Emscripten, minified": Case(imports("a.a", "a.b"), ("JavaScript, by Emscripten", "zig cc -target wasm32-wasi")),
    "gojs": Case(
        imports("gojs.runtime.wasmExit", "gojs.syscall/js.valueGet"),
        ("JavaScript, as GOOS=js builds it", "GOOS=wasip1 GOARCH=wasm go build"),
        ("made for  JavaScript, as GOOS=js builds it",),
    ),
    "gojs of an older Go": Case(imports("go.runtime.wasmExit"), ("GOOS=wasip1",)),
    "wasm-bindgen": Case(
        imports("wbg.__wbindgen_throw", more='(func (export "__wbindgen_malloc"))'),
        ("JavaScript, by wasm-bindgen", "Rust SDK"),
        ("made by   wasm-bindgen",),
    ),
    "WASI preview 0": Case(imports("wasi_unstable.fd_write"), ("WASI preview 0", "wasm32-wasip1")),
    "a core module of a component": Case(
        imports("wasi:cli/exit.exit"), ("the component model, before it was made a component",)
    ),
    "missing imports": Case(
        imports("host.lookup"), (NOT_GRANTED + "host.lookup\n",), ("needs     host.lookup", "  host.lookup  (i32) -> ()")
    ),
    "a memory that is imported": Case(
        binary('(module (import "env" "memory" (memory 1)) (func (export "_start")))'), (NOT_GRANTED + "env.memory", "--import-memory")
    ),
    "a component": Case(
        COMPONENT + producers(processed_by={"wit-component": "0.2"}),
        ("the export 'handle' is missing", "in the world wasmrun:function/function"),
        ("file      component", "made by   wit-component 0.2"),
    ),
    "exceptions": Case("(module (tag) (func (throw 0)))", ("exceptions, which are switched off", "-fno-exceptions")),
    "legacy exceptions": Case(LEGACY, ("exceptions, which are switched off", 'panic = "abort"'), ("size      28 B",)),
    "memory64": Case("(module (memory i64 1))", ("addresses of 64 bits", "build it for wasm32")),
    "shared memory": Case("(module (memory 1 2 shared))", ("shared by threads", "build it without them")),
    "several memories": Case("(module (memory 1) (memory 1))", ("it has several memories",)),
    "the collector's types": Case("(module (type (struct (field i32))))", ("garbage collector",)),
    "an object file": Case(
        HEADER + section(5, b"\1\4\1") + custom("linking", b"\2"), ("it is an object file, which was not linked",)
    ),
    "a module without memory": Case(
        '(module (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 0))'
        ' (func (export "wasmrun_handle") (param i32 i32) (result i64) (i64.const 0)))',
        ("the export 'memory' is missing",),
        ("memory    0 B, no maximum",),
    ),
    "text": Case("def handler(event): ...\n", ("text that is no WAT", "wasmrun build"), ("size      24 B",)),
    "WAT that is none": Case("(module (func (export", ("not valid WAT",)),
    "an ELF file": Case(b"\x7fELF\2\1\1\0" + bytes(99), ("an ELF file",), ("file      an ELF file",)),
    "a zip archive": Case(zipped(), ("a zip archive; unpack it",), ("file      a zip archive",)),
    "a gzip file": Case(gzip.compress(HEADER), ("a gzip file; unpack it with gunzip",)),
    "a web page": Case("<!DOCTYPE html>\n<title>404</title>", ("a web page; is it what a failed download left?",)),
    "another version": Case(b"\0asm\2\0\0\0", ("an unknown version of WebAssembly: 02 00 00 00",)),
    "a module that is cut": Case(HEADER + b"\1\x05\1", ("truncated",)),
    "producers that would take over the terminal": Case(
        HEADER + producers(language={"\x1b[2J": "", "t\n1": ""}) + custom("\x1b", name("\n")) + b"\1\x05\1",
        ("truncated",),
        (r"made by   \x1b[2J, t\n1",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_file_that_is_no_function_is_refused_with_what_it_is(case: Case, run: Run, tmp_path: Path) -> None:
    """On one line; `inspect` shows the same as its problem, with all else that is known."""
    path = tmp_path / "größe 1.wasm"
    path.write_bytes(case.file.encode() if isinstance(case.file, str) else case.file)
    done = run("run", path)
    assert (done.status, done.out) == (3, "")
    assert done.err.startswith("wasmrun: InvalidFunction: ")
    assert done.err.rstrip("\n").isprintable()
    for words in case.says:
        assert words in done.err
    shown = run("inspect", path)
    assert (shown.status, shown.err) == (3, "")
    lines = shown.out.splitlines()
    assert all(line.isprintable() for line in lines)
    problem = done.err.removeprefix("wasmrun: InvalidFunction: ").rstrip("\n")
    assert f"problem   {problem}" in lines
    for line in case.shows:
        assert any(found.startswith(line) for found in lines), (line, lines)
    found = run("inspect", path, "--json").json
    assert found["problem"] == problem


def test_component_and_module_are_not_taken_for_each_other(run: Run, tmp_path: Path) -> None:
    """Whatever ABI is named; `inspect` says so, too."""
    component, module = tmp_path / "component.wasm", Path(__file__).parents[2] / "guest_sdk/c/examples/hello.wasm"
    component.write_bytes(COMPONENT)
    for command in ("run", "inspect"):
        for path, abi, says in (
            (component, "native", "it is a component, and not a module"),
            (component, "wagi", "it is a component, and not a module"),
            (module, "component", "a module, and not a component"),
        ):
            done = run(command, path, "--abi", abi)
            assert done.status == 3
            assert says in done.out + done.err


def test_file_that_is_empty_or_none_is_an_error(run: Run, tmp_path: Path) -> None:
    """There is nothing to tell about it."""
    (tmp_path / "empty.wasm").touch()
    for command in ("run", "inspect"):
        for path, says in (
            (tmp_path / "empty.wasm", "the module is empty"),
            (tmp_path / "gone.wasm", "there is no module"),
            (tmp_path, "wasmrun.toml"),
        ):
            done = run(command, path)
            assert (done.status, done.out) == (3, "")
            assert says in done.err


def test_inspect_tells_who_made_a_module_that_runs(run: Run, tmp_path: Path) -> None:
    """In JSON, too."""
    path = tmp_path / "made.wasm"
    binary = (Path(__file__).parents[2] / "guest_sdk/c/examples/hello.wasm").read_bytes()
    path.write_bytes(binary + producers(language={"C11": ""}, processed_by={"clang": "19.1.5"}))
    done = run("inspect", path)
    assert done.status == 0
    assert done.out.splitlines()[0] == "made by   C11, clang 19.1.5"
    found = run("inspect", path, "--json").json
    assert (found["kind"], found["made_by"], found["made_for"]) == ("module", ["C11", "clang 19.1.5"], None)
