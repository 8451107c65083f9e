"""What a file is, who made it and for whom is told of any file, however it was damaged, and never at length."""

from __future__ import annotations

import time
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from wasmrun.machine.origin import advice, host, kind_of_file, survey

HEADER = b"\0asm\1\0\0\0"
COMPONENT = b"\0asm\x0d\0\1\0"


def leb128(number: int) -> bytes:
    """*number* as WebAssembly writes it."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def name(text: str | bytes) -> bytes:
    """A name with its length."""
    data = text if isinstance(text, bytes) else text.encode()
    return leb128(len(data)) + data


def section(number: int, body: bytes) -> bytes:
    """One section of a binary module."""
    return bytes([number]) + leb128(len(body)) + body


def custom(title: str, body: bytes = b"") -> bytes:
    """A custom section."""
    return section(0, name(title) + body)


def producers(**fields: dict[str, str]) -> bytes:
    """The section in which tools name themselves."""
    body = leb128(len(fields))
    for field, tools in fields.items():
        body += name(field.replace("_", "-")) + leb128(len(tools))
        body += b"".join(name(tool) + name(version) for tool, version in tools.items())
    return custom("producers", body)


def imports(*names: tuple[str, str]) -> bytes:
    """Functions that are imported, all of the first type."""
    return section(2, leb128(len(names)) + b"".join(name(a) + name(b) + b"\0\0" for a, b in names))


def exports(*names: str) -> bytes:
    """Functions that are exported, all of them the first one."""
    return section(7, leb128(len(names)) + b"".join(name(item) + b"\0\0" for item in names))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x7fELF\2\1\1\0" + b"\0" * 50, "an ELF file"),
        (b"\x7fELF\2\1\1\xc8" + b"\0" * 50, "native code that wasmtime compiled"),
        (b"MZ\x90\0", "a program for Windows"),
        (b"\xcf\xfa\xed\xfe\7\0", "native code for macOS"),
        (b"BC\xc0\xde5\x14", "LLVM bitcode"),
        (b"!<arch>\n", "a static library"),
        (b"PK\3\4\x14\0", "a zip archive"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"\x28\xb5\x2f\xfd\0", "a compressed file"),
        (b"hello.wasm" + b"\0" * 247 + b"ustar\0" + b"\0" * 300, "a tar archive"),
        (b"\n<!DOCTYPE html>\n<title>404", "a web page"),
        (b"<HTML><body>", "a web page"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b'{"wasm": [{"path": "a.wasm"}]}', "JSON"),
        (b"#!/usr/bin/env node\n", "a script"),
        (b"int main(void) {}\n", "text that is no WAT"),
        ("été ".encode() * 200, "text that is no WAT"),
        (b"a" * 511 + "é".encode(), "text that is no WAT"),
        (b"\0as", "data that starts with 00 61 73, not"),
        (b"\xde\xad\xbe\xef", "data that starts with de ad be ef, not"),
        (b"", "data that starts with nothing, not"),
    ],
)
def test_kind_of_a_file_is_told_by_its_first_bytes(data: bytes, kind: str) -> None:
    """And what to do with it."""
    found, what = kind_of_file(data)
    assert found.startswith(kind)
    assert what
    assert (found + what).isprintable()


def test_tools_are_those_that_name_themselves() -> None:
    """Languages, compilers and libraries, in the order of the file; each once, with its version."""
    data = HEADER + producers(
        language={"Rust": ""}, processed_by={"rustc": "1.70.0", "clang": "16.0"}, sdk={"Rust": "", "walrus": "0.20"}
    )
    assert survey(data).made_by == ("Rust", "rustc 1.70.0", "clang 16.0", "walrus 0.20")


def test_tools_of_a_component_are_those_of_its_parts() -> None:
    """However deep they are; what nests for ever is not followed."""
    part = section(1, HEADER + producers(processed_by={"rustc": "1.80"}))
    inner = section(4, COMPONENT + part + producers(processed_by={"wit-component": "0.2"}))
    found = survey(COMPONENT + inner + producers(processed_by={"cargo-component": "0.1"}))
    assert (found.is_component, found.made_by) == (True, ("rustc 1.80", "wit-component 0.2", "cargo-component 0.1"))
    nested = COMPONENT
    for _ in range(2_000):
        nested = COMPONENT + section(4, nested)
    assert survey(nested).made_by == ()


@pytest.mark.parametrize(
    ("parts", "tool"),
    [
        (exports("__new", "__pin", "__unpin", "memory"), "AssemblyScript"),
        (section(11, b"\1\1\x0a" + "~lib/rt".encode("utf-16-le")), "AssemblyScript"),
        (imports(("gojs", "runtime.ticks")), "TinyGo"),
        (custom("go:buildid", b"x"), "Go"),
        (exports("__wbindgen_malloc"), "wasm-bindgen"),
        (custom("emscripten_metadata"), "Emscripten"),
        (exports("emscripten_stack_get_current"), "Emscripten"),
        (custom("javy_source"), "Javy"),
        (imports(("javy_quickjs_provider_v3", "invoke")), "Javy"),
        (imports(("extism:host/env", "alloc")), "Extism PDK"),
        (exports("proxy_abi_version_0_2_1"), "Proxy-wasm SDK"),
        (section(11, b"\1\1\x20/rustc/90c541806f23a127002de5b4038be731ba1458ca/x"), "Rust"),
    ],
)
def test_tools_that_do_not_name_themselves_leave_marks(parts: bytes, tool: str) -> None:
    """In names, sections and texts."""
    assert survey(HEADER + parts).made_by == (tool,)
    assert survey(HEADER).made_by == ()


@pytest.mark.parametrize(
    ("names", "made_for", "what"),
    [
        ([("env", "proxy_log")], "a Proxy-wasm host", "wasmrun new"),
        ([("go", "debug"), ("go", "runtime.wasmExit")], "JavaScript, as GOOS=js", "GOOS=wasip1"),
        ([("gojs", "runtime.wasmExit")], "JavaScript, as GOOS=js", "GOOS=wasip1"),
        ([("wbg", "__wbindgen_throw")], "JavaScript, by wasm-bindgen", "Rust SDK"),
        ([("./pkg_bg.js", "__wbg_log_1")], "JavaScript, by wasm-bindgen", "Rust SDK"),
        ([("env", "emscripten_resize_heap")], "JavaScript, by Emscripten", "-sSTANDALONE_WASM"),
        ([("env", "_emscripten_memcpy_js")], "JavaScript, by Emscripten", "-sSTANDALONE_WASM"),
        ([("env", "invoke_viii")], "JavaScript, by Emscripten", "-sSTANDALONE_WASM"),
        ([("a", "b"), ("a", "c")], "JavaScript, by Emscripten", "-sSTANDALONE_WASM"),
        ([("wasi_unstable", "fd_write")], "WASI preview 0", "wasm32-wasip1"),
        ([("wasi:cli/stdout@0.2.0", "get-stdout")], "the component model", "wasm32-wasip1"),
        ([("javy_quickjs_provider_v2", "eval_bytecode")], "a plugin of Javy", "javy build"),
        ([("wasix_32v1", "fd_dup")], "WASIX", "wasm32-wasip1"),
        ([("wasi", "thread-spawn")], "WASI threads", "without threads"),
        ([("wasi_ephemeral_nn", "load")], "WasmEdge", "without its extensions"),
        ([("env", "memory")], "a host that gives it its memory", "--import-memory"),
    ],
)  # fmt: skip
def test_host_is_told_by_what_is_imported(names: list[tuple[str, str]], made_for: str, what: str) -> None:
    """Whatever else is imported."""
    others = [("wasi_snapshot_preview1", "fd_write"), ("env", "abort")]
    found = host(survey(HEADER + imports(*others, *names)))
    assert found is not None
    assert found.name.startswith(made_for)
    assert what in found.advice


def test_host_is_unknown_where_nothing_tells() -> None:
    """A function of the program's own, WASI, and what only looks like a host's."""
    for names in (
        [],
        [("env", "puts")],
        [("wasi_snapshot_preview1", "fd_write")],
        [("env", "xproxy_log")],
        [("ab", "b")],
    ):
        assert host(survey(HEADER + imports(*names))) is None
    found = host(survey(HEADER + exports("proxy_abi_version_0_1_0")))
    assert found is not None
    assert "Proxy-wasm" in found.name


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        (section(5, b"\1\4\1"), "addresses of 64 bits"),
        (section(2, b"\1\3env\6memory\2\5\1\2"), "addresses of 64 bits"),
        (section(5, b"\1\3\1\2"), "shared by threads"),
        (section(5, b"\2\0\1\0\1"), "several memories"),
        (section(2, b"\1\3env\6memory\2\0\1") + section(5, b"\1\0\1"), "several memories"),
        (section(13, b"\1\0\0"), "exceptions"),
        (section(2, b"\1\3env\3tag\4\0\0"), "exceptions"),
        (section(1, b"\1\x5f\0"), "garbage collector"),
        (custom("linking", b"\2"), "object file"),
    ],
)
def test_what_is_switched_off_is_explained(parts: bytes, what: str) -> None:
    """By what is seen in the module, and by nothing in one that has none of it."""
    assert what in advice(HEADER + parts, "refused")
    assert advice(HEADER + section(5, b"\1\1\1\2"), "refused") == ""
    assert advice(COMPONENT + parts, "refused") == ""
    assert advice(b"", "exceptions") == ""


HOSTILE: list[bytes] = [
    producers(language={"\x1b[31m" * 50: "\n" * 50, "é" * 5_000: "x" * 5_000}),
    producers(**{f"f{i}": {str(i): "1"} for i in range(9)}),
    producers(processed_by={str(i): "v" for i in range(5_000)}),
    custom("producers", b"\3\xff\xff\xff\xff\x0f"),
    custom("producers", name("language") * 10_000),
    custom("producers", b"\1" + name("language") + b"\xff\xff\xff\xff\x0f" + (name("t") + name("v")) * 30_000),
    custom("producers", b"x" * (1 << 20)),
    b"".join(custom("producers", b"\1\1p\1" + name(str(i)) + name("")) for i in range(20_000)),
    b"".join(custom(str(i)) for i in range(20_000)),
    imports(*[("m" * 1000, "n" * 1000)] * 6_000),
    section(2, leb128(1 << 31) + (name("a") + name("b") + b"\0\0") * 50_000),
    section(2, b"\1" + leb128(0xFFFFFFFF)),
    exports(*[str(i) for i in range(60_000)]),
    section(7, leb128(1 << 31)),
    section(5, leb128(1 << 31) + b"\0\1" * 100_000),
    section(5, b"\1\4" + b"\xff" * 20),
    b"\0\xff\xff\xff\xff\x0f",
    b"\0",
]


@pytest.mark.parametrize("parts", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("header", [HEADER, COMPONENT], ids=["module", "component"])
def test_survey_is_bounded_and_can_be_shown(header: bytes, parts: bytes) -> None:
    """Whatever a file says of itself, and however often."""
    started = time.process_time()
    found = survey(header + parts)
    assert len(found.made_by) <= 12
    assert all(tool.isprintable() and len(tool) <= 60 for tool in found.made_by)
    assert len(found.imports) <= 5_000
    assert len(found.exports) <= 5_000
    host(found)
    advice(header + parts, "")
    assert time.process_time() - started < 2


@hypothesis.given(st.binary(max_size=80), st.sampled_from([b"", HEADER, COMPONENT, HEADER + b"\0", HEADER + b"\2"]))
def test_survey_of_any_bytes_raises_nothing(data: bytes, start: bytes) -> None:
    """Neither do the others."""
    found = survey(start + data)
    host(found)
    advice(start + data, "reason")
    kind, what = kind_of_file(start + data)
    assert kind.isprintable()
    assert what


def test_modules_of_the_sdks_are_surveyed_without_a_sign() -> None:
    """No advice for what runs."""
    for path in Path(__file__).parents[2].glob("guest_sdk/*/examples/*.wasm"):
        data = path.read_bytes()
        found = survey(data)
        assert (found.signs, host(found)) == (frozenset(), None)
        assert found.memory_pages
