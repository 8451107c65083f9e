"""Two components in Python, each built and compiled once: a new project as it is, and a probe with the SDK's examples in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun import cli
from wasmrun.projects import componentize
from wasmrun.projects.building import build
from wasmrun.projects.languages import LANGUAGES
from wasmrun.projects.project import read_project
from wasmrun.projects.recipe import ToolchainMissing
from wasmrun.projects.scaffold import make_project

HERE = Path(__file__).resolve().parent
SDK = HERE.parents[1] / "guest_sdk" / "python"

Call = Callable[..., Any]


@pytest.fixture(scope="session")
def executor(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """One that lets compiling take long: there is much to compile, and machines are busy."""
    with wasmrun.Executor(cache_dir=cache_dir, compile_limits=wasmrun.CompileLimits(cpu=300, wall=600)) as executor:
        yield executor


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where componentize-py is missing."""
    place = tmp_path_factory.mktemp("toolchain") / "any"
    make_project(str(place), LANGUAGES["python"])
    try:
        componentize.cook(read_project(str(place)), "x.wasm", os.environ)
    except ToolchainMissing as missing:
        pytest.skip(missing.message)


@pytest.fixture(scope="session")
def project(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `wasmrun new` makes it, built as `wasmrun build` does."""
    place = tmp_path_factory.mktemp("python") / "greeter"
    make_project(str(place), LANGUAGES["python"])
    assert cli.status_of(["build", str(place)]) == 0
    return place


@pytest.fixture(scope="session")
def probe(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The component of probe.py, which has the examples as modules beside it."""
    place = tmp_path_factory.mktemp("python") / "probe"
    make_project(str(place), LANGUAGES["python"])
    shutil.copy(HERE / "probe.py", place / "handler.py")
    for example in ("hello", "report", "vectors"):
        shutil.copy(SDK / "examples" / example / "handler.py", place / f"{example}.py")
    shutil.copy(SDK / "examples" / "vectors" / "function.wit", place)
    return Path(build(read_project(str(place)), os.environ).module)


@pytest.fixture(scope="session")
def make(probe: Path) -> Callable[..., wasmrun.Function]:
    """Makes a function of the probe; what it imports is granted, and refuses."""

    def make(**settings: Any) -> wasmrun.Function:
        usual = {"imports": {"ask": lambda value: value}, "http": ["nobody.example"], "timeout": "10s"}
        return wasmrun.Function(probe, **{**usual, **settings})

    return make


@pytest.fixture
def call(executor: wasmrun.Executor, make: Callable[..., wasmrun.Function]) -> Call:
    """Has the probe *do* something, with an event."""

    def call(do: str, event: Any = None, **settings: Any) -> Any:
        return executor.invoke(make(**settings), {"do": do, "event": event})

    return call
