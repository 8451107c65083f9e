"""The loader finds a function's code, or says why there is none, and gives no bomb a second chance."""

from __future__ import annotations

import logging
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import wasmrun
from wasmrun.errors import HostError, InvalidFunction
from wasmrun.function import Function
from wasmrun.machine.compiler import CompileLimits
from wasmrun.machine.engine import Engine
from wasmrun.machine.loader import Loader, read_source

WAT = '(module (func (export "f")))'
BINARY = bytes.fromhex("0061736d 01000000 01040160 0000 03020100 07050101 660000 0a040102 000b")


def exports(loader: Loader, engine: Engine, function: Function) -> list[str]:
    module = loader.load(engine, function)
    names = list(module.exports)
    module.close()
    return names


@pytest.mark.parametrize(
    "source",
    [
        WAT,
        BINARY,
        WAT.encode(),
        ";; odd\n" + WAT,
        "(; odd ;) " + WAT,
        '\n\t(  module (func (export "f")))',
        '(func (export "f"))',
    ],
    ids=["text", "binary", "text as bytes", "comment", "block comment", "spaces", "without (module)"],
)
def test_source_is_loaded_from_memory(loader: Loader, engine: Engine, source: str | bytes) -> None:
    """Text or binary, whatever the text begins with."""
    assert exports(loader, engine, Function(source)) == ["f"]


@pytest.mark.parametrize(
    ("name", "data"), [("a.wasm", BINARY), ("a.wat", WAT.encode()), ("a.wasm", WAT.encode()), ("a", BINARY)]
)
def test_source_is_loaded_from_a_file_whatever_its_name(
    loader: Loader, engine: Engine, tmp_path: Path, name: str, data: bytes
) -> None:
    """What is in it counts."""
    path = tmp_path / name
    path.write_bytes(data)
    assert exports(loader, engine, Function(path)) == exports(loader, engine, Function(str(path))) == ["f"]


def test_source_that_is_missing_is_named(tmp_path: Path) -> None:
    """Before anything else is tried."""
    with pytest.raises(InvalidFunction, match=f"there is no module {tmp_path}/a.wasm"):
        read_source(Function(tmp_path / "a.wasm"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "the module . cannot be read: .*Is a directory"),
        ("a\0b", r"the module a\\x00b cannot be read: embedded null byte"),
        ("x" * 5000, "the module x{299}… cannot be read: .*File name too long"),
        ("\x1b[1m", r"there is no module \\x1b\[1m"),
        ("/proc/self/mem", "the module /proc/self/mem cannot be read"),
    ],
    ids=["directory", "NUL", "long", "escape", "unreadable"],
)
def test_source_that_cannot_be_read_is_named_safely(path: str, message: str) -> None:
    """With the reason; the path is escaped."""
    with pytest.raises(InvalidFunction, match=message):
        read_source(Function(path))


def test_source_over_its_limit_is_refused_without_being_read(tmp_path: Path) -> None:
    """A file of 10 GB, of which nothing is on the disk."""
    path = tmp_path / "a.wasm"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(InvalidFunction, match=r"the module has .*more than its limit of 1 KiB; .*raise `module_bytes`"):
        read_source(Function(path, module_bytes="1KiB"))


@pytest.mark.parametrize("source", [WAT, BINARY], ids=["text", "binary"])
def test_source_at_its_limit_is_taken_and_one_byte_more_is_not(source: str | bytes) -> None:
    """The limit is the last size that is allowed."""
    assert len(read_source(Function(source, module_bytes=len(source)))[0]) == len(source)
    with pytest.raises(
        InvalidFunction, match=f"the module has {len(source)} B, more than its limit of {len(source) - 1} B"
    ):
        read_source(Function(source, module_bytes=len(source) - 1))


def test_source_that_is_empty_says_so(tmp_path: Path) -> None:
    """An empty file, as a build that failed leaves it."""
    (tmp_path / "a.wasm").touch()
    with pytest.raises(InvalidFunction, match="the module is empty"):
        read_source(Function(tmp_path / "a.wasm"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF\2\1\1\0", "not WebAssembly, but an ELF file"),
        (b"#!/usr/bin/env python", "not WebAssembly, but a script"),
        (b" ", "not WebAssembly, but text that is no WAT"),
        (BINARY[:20], "truncated: "),
    ],
    ids=["elf", "script", "space", "truncated"],
)
def test_source_that_is_no_module_says_what_it_is(loader: Loader, engine: Engine, data: bytes, message: str) -> None:
    """By its first bytes."""
    with pytest.raises(InvalidFunction, match=f"the module cannot be used: {message}"):
        loader.load(engine, Function(data))


def test_source_with_text_that_is_none_is_refused_as_such(loader: Loader, engine: Engine) -> None:
    """Half a character, as an undecodable command line gives it."""
    with pytest.raises(InvalidFunction, match="not valid WAT: input was not valid utf-8"):
        loader.load(engine, Function("(module \udcff)"))


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], int]:
    """How many children were started to compile since the test began, counted by a wrapper of the interpreter."""
    wrapper, journal = tmp_path / "python", tmp_path / "journal"
    wrapper.write_text(f'#!/bin/sh\necho >> {journal}\nexec {sys.executable} "$@"\n')
    wrapper.chmod(stat.S_IRWXU)
    journal.touch()
    monkeypatch.setattr(sys, "executable", str(wrapper))
    return lambda: len(journal.read_text())


def test_module_that_is_refused_is_not_compiled_twice(
    engine: Engine, tmp_path: Path, compilations: Callable[[], int]
) -> None:
    """A bomb takes its 30 seconds once, not at every event; the error stays the same."""
    loader = Loader(tmp_path / "cache", CompileLimits())
    messages = set()
    for _ in range(3):
        with pytest.raises(InvalidFunction) as caught:
            loader.load(engine, Function("(module (func (i32.add)))"))
        messages.add(caught.value.message)
    assert compilations() == 1
    assert len(messages) == 1


def test_module_that_is_refused_under_one_limit_is_tried_under_another(
    engine: Engine, tmp_path: Path, compilations: Callable[[], int]
) -> None:
    """What the refusal depended on has changed."""
    loader = Loader(tmp_path / "cache", CompileLimits())
    with pytest.raises(InvalidFunction, match="bytes as a binary; at most 28 are allowed"):
        loader.load(engine, Function(WAT, module_bytes=28))
    assert exports(loader, engine, Function(WAT)) == ["f"]
    assert compilations() == 2


def test_module_that_we_failed_to_compile_is_tried_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own failure is not the function's, and may have passed."""
    loader = Loader(tmp_path / "cache", CompileLimits())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "")
        with pytest.raises(HostError):
            loader.load(engine, Function(WAT))
    assert exports(loader, engine, Function(WAT)) == ["f"]


def test_limit_on_the_binary_of_a_text_holds_for_what_is_cached(engine: Engine, tmp_path: Path) -> None:
    """Whether another function, which was allowed more, came first makes no difference."""
    large, small = Function("(module (func))"), Function("(module (func))", module_bytes=20)
    for first in (small, large, small):
        loader = Loader(tmp_path / "cache", CompileLimits())
        if first is large:
            assert exports(loader, engine, large) == []
            assert loader.has(large, engine.settings)
            continue
        with pytest.raises(InvalidFunction, match="as a binary"):
            loader.load(engine, small)
        with pytest.raises(InvalidFunction, match="as a binary"):
            loader.compile(small, engine.settings)


def test_refusals_that_are_kept_are_bounded(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends one bad module after another does not fill the memory."""
    from wasmrun.machine import loader as machine_loader

    monkeypatch.setattr(machine_loader, "_MOST_REFUSED", 1)
    loader = Loader(tmp_path / "cache", CompileLimits())
    for number in range(3):
        with pytest.raises(InvalidFunction):
            loader.load(engine, Function(f"(module {number})"))
    assert len(loader._refused) == 1


def test_loader_takes_the_compilers_limits_when_they_are_first_needed(engine: Engine, tmp_path: Path) -> None:
    """None stands for the defaults."""
    assert exports(Loader(tmp_path / "cache", None), engine, Function(WAT)) == ["f"]
    with pytest.raises(InvalidFunction, match=r"more than 1.00 ms to compile"):
        Loader(tmp_path / "cache", CompileLimits(wall="1ms")).load(engine, Function("(module (memory 1))"))


def test_loader_logs_nothing_when_all_is_well(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Compiling and finding are no news."""
    with caplog.at_level(logging.DEBUG, "wasmrun"):
        for _ in range(2):
            assert exports(Loader(tmp_path / "cache", CompileLimits()), engine, Function(WAT)) == ["f"]
    assert not caplog.records


def test_executor_loads_many_functions_of_one_module_from_one_artifact(
    tmp_path: Path, compilations: Callable[[], int]
) -> None:
    """Settings of a function that compiled code does not depend on compile nothing anew."""
    source = '(module (func (export "a") (result i32) (i32.const 1)) (func (export "b") (result i32) (i32.const 2)))'
    with wasmrun.Executor(cache_dir=tmp_path / "cache", max_sandboxes=4) as executor:
        for entry, value in (("a", 1), ("b", 2)):
            for timeout in (1, 2):
                assert executor.invoke(Function(source, entry=entry, timeout=timeout, warm=0)) == value
    assert compilations() == 1
