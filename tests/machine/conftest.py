"""How these tests use the machine: by its own layer where a promise is the layer's, else as users do."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import wasmrun
from wasmrun.limits import KIB
from wasmrun.machine.compiler import CompileLimits
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.instance import RECORD_WORDS, Instance
from wasmrun.machine.loader import Loader
from wasmrun.machine.program import Program
from wasmrun.machine.wasi import Streams

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
    engine = Engine(SETTINGS, 16, RECORD_WORDS)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def loader(cache_dir: Path) -> Loader:
    """A loader on the directory of artifacts that all tests share."""
    return Loader(cache_dir, CompileLimits())


@pytest.fixture
def load(engine: Engine, loader: Loader) -> Iterator[Callable[..., Module]]:
    """The module of a text or of bytes; closed when the test has ended."""
    with contextlib.ExitStack() as stack:

        def load(source: str | bytes, **settings: Any) -> Module:
            module = loader.load(engine, wasmrun.Function(source, **settings))
            stack.callback(module.close)
            return module

        yield load


@pytest.fixture
def program(engine: Engine, loader: Loader) -> Iterator[Callable[..., Program]]:
    """A function as a program, ready to be instantiated; closed when the test has ended."""
    with contextlib.ExitStack() as stack:

        def make(source: str | bytes, **settings: Any) -> Program:
            function = wasmrun.Function(source, **settings)
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
def run(executor: wasmrun.Executor) -> Callable[..., wasmrun.Result]:
    """Runs a function on an event as a user does: the `Result`."""

    def run(module: str | bytes, event: Any = None, **settings: Any) -> wasmrun.Result:
        return executor.run(wasmrun.Function(module, **{"warm": 0, **settings}), event)

    return run
