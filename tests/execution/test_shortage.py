"""Where descriptors run out, the error names the limit, blames no module, and goes when there is room again."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING

import pytest
from kit import eventually

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MODULE = '(module (func (export "number") (result i32) (i32.const {})))'
COMPONENT = """(component (core module $m (func (export "f") (result i32) (i32.const 5))) (core instance $i (instantiate $m))
  (func (export "handle") (result u32) (canon lift (core func $i "f"))))"""
NEEDED = 2
"""Descriptors that a load takes: one of the artifact's file, and the engine's own of the same."""


@contextlib.contextmanager
def descriptors(left: int) -> Iterator[None]:
    """So many may be opened in here, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + left + 2, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def number(of: int, name: str = "function") -> wasmrun.Function:
    """A function that answers a number, which makes it another module."""
    return wasmrun.Function(MODULE.format(of), entry="number", warm=0, name=name)


@pytest.fixture
def local(make: Callable[..., wasmrun.Executor], tmp_path: Path) -> wasmrun.Executor:
    """An executor that runs already, with a few functions in its cache."""
    executor = make(cache_dir=tmp_path)
    for of in range(2):
        executor.compile(number(of))
    assert executor.invoke(number(0)) == 0
    return executor


@pytest.mark.parametrize("left", range(NEEDED))
def test_load_without_descriptors_names_the_limit(local: wasmrun.Executor, left: int) -> None:
    """And no module: the same one loads as soon as there are some."""
    with descriptors(left), pytest.raises(wasmrun.HostError, match=r"^no room to load a module: .*ulimit -n"):
        local.invoke(number(1))
    with descriptors(NEEDED):
        assert local.invoke(number(1)) == 1


@pytest.mark.parametrize("left", [0, 1, 2, 4])
def test_compiling_without_descriptors_names_the_limit(local: wasmrun.Executor, left: int) -> None:
    """Which needs some for the child process."""
    with descriptors(left), pytest.raises(wasmrun.HostError, match=r"^no room to .*ulimit -n"):
        local.invoke(number(5))
    assert local.invoke(number(5)) == 5


def test_code_that_is_loaded_needs_no_descriptor(local: wasmrun.Executor) -> None:
    """However many functions have it; and one that was unloaded leaves room for another."""
    with descriptors(0):
        for count in range(20):
            assert local.invoke(number(0, f"function-{count}")) == 0
    with descriptors(1):
        for count in range(20):
            assert local.unload(number(0, f"function-{count}"))
        assert local.unload(number(0))

        def answers() -> bool:
            # The engine keeps the file until the last sandbox is destroyed, which is done between events.
            with contextlib.suppress(wasmrun.HostError):
                return local.invoke(number(1)) == 1
            return False

        eventually(answers)


@pytest.mark.parametrize("left", range(NEEDED))
def test_component_without_descriptors_names_the_limit(
    make: Callable[..., wasmrun.Executor], tmp_path: Path, left: int
) -> None:
    """As a module."""
    executor = make(cache_dir=tmp_path)
    function = wasmrun.Function(COMPONENT, warm=0)
    executor.inspect(function)
    with descriptors(left), pytest.raises(wasmrun.HostError, match="ulimit -n"):
        executor.inspect(function)
    assert executor.inspect(function)
