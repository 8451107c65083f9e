"""The committed example modules are what their sources say, and small."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["echo", "hello", "links", "proxy", "thumbnail", "words"]

GRANTS: dict[str, dict[str, Any]] = {"links": {"http": "granted.invalid"}}  # no request leaves

PAGE = 65_536


def url_event(method: str, path: str, **more: Any) -> dict[str, Any]:
    return {"rawPath": path, "requestContext": {"http": {"method": method}}, **more}


EVENTS: dict[str, list[Any]] = {
    "echo": [None, 1, -(2**63), 1.5, "text", b"bytes", [[{}]], {"a": {"b": [None]}}],
    "hello": [{"name": ""}, {"name": 3}, {}, "Ada", None],
    "links": [{"urls": []}, {"urls": ["", "https://u@a.test", "http://granted.invalid"]}, {"urls": [5]}, {}, None],
    "proxy": [
        *(url_event(method, path) for method in ("GET", "POST") for path in ("/", "/api/echo", "/api/sum", "/x")),
        *(url_event("POST", "/api/sum", body=body) for body in ('{"numbers": [0.1, 0.2]}', "{", "")),
        url_event("POST", "/api/sum", body="?", isBase64Encoded=True),
        {},
    ],
    "thumbnail": [
        *(
            {"image": b"P6 3 2 255\n" + bytes(range(18)), "width": 2, "format": format_}
            for format_ in ("ppm", "png", "gif")
        ),
        *({"image": image} for image in (b"P6 9 9 255\n", b"", "====", 5)),
        {},
    ],
    "words": ["", "one two two", {"text": "a b c", "top": 2}, {"text": None}, {"text": "", "top": -1}, None],
}


def outcome(executor: wasmrun.Executor, module: Path, event: Any) -> tuple[Any, ...]:
    result = executor.run(wasmrun.Function(module, **GRANTS.get(module.stem, {})), event)
    if result.error is None:
        return ("value", result.value)
    return (type(result.error), result.error.type, result.error.message)


@pytest.mark.parametrize("name", NAMES)
def test_rebuilt_example_answers_like_the_committed_one(
    executor: wasmrun.Executor, examples: Path, rebuilt: Path, name: str
) -> None:
    """Values and errors alike, over the samples and over events that go wrong."""
    samples = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((examples / "events").glob(f"{name}*.json"))
    ]
    assert samples
    outcomes = [outcome(executor, rebuilt / f"{name}.wasm", event) for event in samples + EVENTS[name]]
    assert outcomes == [outcome(executor, examples / f"{name}.wasm", event) for event in samples + EVENTS[name]]
    assert {kind for kind, *_ in outcomes} == {"value"} | ({wasmrun.GuestError} if name != "echo" else set())


def test_every_example_is_committed_and_rebuilt(examples: Path, rebuilt: Path) -> None:
    """Sources, modules and this test name the same ones."""
    for directory, suffix in ((examples, "c"), (examples, "wasm"), (rebuilt, "wasm")):
        assert sorted({path.stem for path in directory.glob(f"*.{suffix}")} - {"vectors"}) == NAMES


def sections(module: bytes) -> dict[int, bytes]:
    """The sections of a module by number, custom ones left out."""

    def number(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = module[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    assert module[:8] == b"\0asm\1\0\0\0"
    found = {}
    at = 8
    while at < len(module):
        kind = module[at]
        size, start = number(at + 1)
        at = start + size
        found[kind] = module[start:at]
    found.pop(0, None)
    return found


IMPORTS, MEMORY, GLOBALS, DATA = 2, 5, 6, 11


@pytest.mark.parametrize("name", NAMES)
def test_example_is_small_and_imports_only_what_it_calls(examples: Path, name: str) -> None:
    """Under 40 KB, one page of memory to start with, and no imports but hello's `wasmrun.log` and links' requests."""
    module = (examples / f"{name}.wasm").read_bytes()
    assert len(module) < 40_000
    imports = {"hello": b"\x01\x07wasmrun\x03log\x00\x00", "links": b"\x01\x07wasmrun\x0chttp_request\x00\x00"}
    assert sections(module).get(IMPORTS) == imports.get(name)
    assert sections(module)[MEMORY] == b"\1\0\1"  # one memory, without a maximum, of one page


@pytest.mark.parametrize("name", NAMES)
def test_example_has_its_stack_below_its_data(examples: Path, name: str) -> None:
    """From the first address up to the data: one that overflows leaves memory, and traps, overwriting nothing."""
    found = sections((examples / f"{name}.wasm").read_bytes())
    size = {"echo": b"\x80\x10"}.get(name, b"\x80\xc0\0")  # 2048, and 8192, as constants are written
    assert found[GLOBALS] == b"\1\x7f\1\x41" + size + b"\x0b"  # the stack pointer, and no other global
    assert found[DATA].startswith(b"\1\0\x41" + size + b"\x0b")  # one piece


def test_echo_stays_in_one_page_of_memory(executor: wasmrun.Executor, examples: Path) -> None:
    """64 bytes need no growth."""
    result = executor.run(wasmrun.Function(examples / "echo.wasm"), "x" * 64)
    assert result.report.memory_bytes == PAGE


def test_build_explains_its_arguments(examples: Path) -> None:
    """What is not a directory name is a usage error."""
    build = [sys.executable, str(examples.parent / "build.py"), "--check"]
    done = subprocess.run(build, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_build_says_how_to_get_the_compiler(examples: Path) -> None:
    """An interpreter without packages gets the command to type."""
    build = [sys.executable, "-I", "-S", str(examples.parent / "build.py")]
    done = subprocess.run(build, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install ziglang" in done.stderr
