"""How these tests use the machine: by its own layer where a promise is the layer's, else as users do."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import wasmrun
from wasmrun.limits import KIB
from wasmrun.machine import capi
from wasmrun.machine.compiler import CompileLimits
from wasmrun.machine.config import EngineSettings, new_config
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import is_wasm
from wasmrun.machine.hotpath import check_kind
from wasmrun.machine.instance import Instance
from wasmrun.machine.loader import Loader, read_source
from wasmrun.machine.program import Program
from wasmrun.machine.record import RECORD_WORDS
from wasmrun.machine.wasi import Streams
from wasmrun.machine.wasmfile import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wasmrun.machine.module import Module

hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")

SETTINGS = EngineSettings(512 * KIB, True)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """One engine, with room for a few sandboxes."""
    engine = Engine(SETTINGS, 16, RECORD_WORDS, check_kind(os.environ))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def loader(cache_dir: Path) -> Loader:
    """A loader on the directory of artifacts that all tests share."""
    return Loader(cache_dir, CompileLimits())


@pytest.fixture(scope="session")
def compile_here(loader: Loader) -> Callable[[wasmrun.Function], None]:
    """Puts the artifact of a function where loaders find it, compiled in this process.

    These guests are small and known to be harmless, and a child for each of them would take half of the
    suite's time. What does not compile is left to the compiler, which says why.
    """

    def compile_here(function: wasmrun.Function) -> None:
        settings = EngineSettings(function.stack, function.is_metered)
        source, _ = read_source(function)
        if loader.has(function, settings):
            return
        binary, module, artifact = capi.ByteVec(), ctypes.c_void_p(), capi.ByteVec()
        if is_wasm(source):
            capi.byte_vec_new(capi.addressof(binary), len(source), source)
        elif error := capi.wat2wasm(source, len(source), capi.addressof(binary)):
            capi.error_delete(error)
            return
        data = capi.string_at(binary.data, binary.size)
        capi.byte_vec_delete(capi.addressof(binary))
        engine = capi.engine_new(new_config(settings))
        with contextlib.suppress(ValueError):
            facts = scan(data)
            if error := capi.module_new(engine, data, len(data), capi.addressof(module)):
                capi.error_delete(error)
            elif len(data) <= function.module_bytes:
                assert not capi.module_serialize(module.value, capi.addressof(artifact))
                code = capi.string_at(artifact.data, artifact.size)
                capi.byte_vec_delete(capi.addressof(artifact))
                assert loader.cache is not None
                loader.cache.store(loader.key(source, settings), function.label, len(source), facts, code)
            if module.value:
                capi.module_delete(module.value)
        capi.engine_delete(engine)

    return compile_here


@pytest.fixture
def load(
    engine: Engine, loader: Loader, compile_here: Callable[[wasmrun.Function], None]
) -> Iterator[Callable[..., Module]]:
    """The module of a text or of bytes; closed when the test has ended."""
    with contextlib.ExitStack() as stack:

        def load(source: str | bytes, **settings: Any) -> Module:
            function = wasmrun.Function(source, **settings)
            compile_here(function)
            module = loader.load(engine, function)
            stack.callback(module.close)
            return module

        yield load


@pytest.fixture
def program(
    engine: Engine, loader: Loader, compile_here: Callable[[wasmrun.Function], None]
) -> Iterator[Callable[..., Program]]:
    """A function as a program, ready to be instantiated; closed when the test has ended."""
    with contextlib.ExitStack() as stack:

        def make(source: str | bytes, **settings: Any) -> Program:
            function = wasmrun.Function(source, **settings)
            compile_here(function)
            made = Program(function, engine, loader.load(engine, function), Streams(engine))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def live(program: Callable[..., Program]) -> Callable[..., AbstractContextManager[Instance]]:
    """An instance of a function, armed, instantiated and prepared; deleted at the end of the block."""

    @contextlib.contextmanager
    def make(source: str | bytes, **settings: Any) -> Iterator[Instance]:
        made = program(source, **settings)
        instance = Instance(made)
        try:
            instance.arm(made.fuel, made.timeout_ns)
            instance.instantiate()
            made.abi.prepare(instance)
            yield instance
        finally:
            instance.delete()

    return make


@pytest.fixture
def run(executor: wasmrun.Executor, compile_here: Callable[[wasmrun.Function], None]) -> Callable[..., wasmrun.Result]:
    """Runs a function on an event as a user does: the `Result`."""

    def run(module: str | bytes, event: Any = None, **settings: Any) -> wasmrun.Result:
        function = wasmrun.Function(module, **{"warm": 0, **settings})
        compile_here(function)
        return executor.run(function, event)

    return run
