"""What the package offers by name exists, is documented and typed, and is all that it offers."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun import errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(str(wasmrun.__file__)).parent
NAMES = [name for name in wasmrun.__all__ if not name.startswith("__")]
by_name = pytest.mark.parametrize("name", NAMES)

# The design's own list, so that a name cannot go unnoticed.
OF_THE_DESIGN = {
    "Function", "Limits", "Executor", "Context", "Report", "Result", "invoke", "WasmrunError", "InvalidFunction",
    "FunctionNotFound", "PayloadTooLarge", "Throttled", "FunctionError", "GuestError", "GuestExit", "GuestTrap",
    "TimedOut",
    "OutOfMemory", "OutOfFuel", "InvalidAnswer", "ResultTooLarge", "HostError", "InvalidEvent",
}  # fmt: skip


def members(cls: type) -> dict[str, Any]:
    """The public methods and properties that a class of ours defines, not those it inherits from elsewhere."""
    return {
        name: value
        for base in cls.__mro__
        if base.__module__.startswith("wasmrun")
        for name, value in vars(base).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod)))
    }


def callables(name: str) -> dict[str, Any]:
    """A public function, or the functions behind the members of a public class, by their full names."""
    value = getattr(wasmrun, name)
    if not isinstance(value, type):
        return {name: value}
    found = {}
    for member, function in members(value).items():
        function = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
        found[f"{name}.{member}"] = function
    return found


def test_names_are_sorted_and_there_once() -> None:
    """And they are what `dir` shows."""
    assert sorted(NAMES, key=lambda name: (name != "invoke", name)) == NAMES
    assert len(set(wasmrun.__all__)) == len(wasmrun.__all__)
    assert sorted(dir(wasmrun)) == sorted(wasmrun.__all__)
    assert set(NAMES) >= OF_THE_DESIGN


@by_name
def test_name_exists_and_is_its_homes(name: str) -> None:
    """The same object, wherever it is taken from; its home is a module of the package."""
    value = getattr(wasmrun, name)
    assert value.__module__.split(".")[0] == "wasmrun"
    home = sys.modules[value.__module__]
    assert getattr(home, name) is value


def test_names_can_be_imported_with_a_star() -> None:
    """All of them."""
    names: dict[str, Any] = {}
    exec("from wasmrun import *", names)
    assert set(NAMES) <= set(names)


def test_name_that_there_is_not_is_an_attribute_error() -> None:
    """As for every module."""
    with pytest.raises(AttributeError, match="module 'wasmrun' has no attribute 'Lambda'"):
        wasmrun.Lambda  # noqa: B018  # what raises
    with pytest.raises(ImportError, match="cannot import name 'Lambda'"):
        from wasmrun import Lambda  # type: ignore[attr-defined]  # noqa: F401  # what raises


def test_names_that_type_checkers_see_are_those_that_there_are() -> None:
    """They are written down twice, once for each reader."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (node.module, alias.name, alias.asname)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    # "X as X" is how a name is given on to those who import the package.
    assert seen == {(home, name, name) for home, names in wasmrun._HOMES.items() for name in names}


def test_names_include_every_error() -> None:
    """Whatever is raised can be caught by a name that is public."""
    public = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.WasmrunError)
    }
    assert public <= set(NAMES)


@by_name
def test_name_is_documented(name: str) -> None:
    """It has a docstring of its own, in sentences."""
    value = getattr(wasmrun, name)
    text = inspect.cleandoc(value.__doc__ or "")
    assert text
    assert not text.startswith(f"{name}(")  # what dataclasses and named tuples write themselves
    assert re.search(r"[.!:]($|\n| )", text)


@by_name
def test_members_of_a_name_are_documented(name: str) -> None:
    """Each method and property says what it promises."""
    for full_name, function in callables(name).items():
        assert inspect.cleandoc(function.__doc__ or ""), full_name


@by_name
def test_callables_of_a_name_are_typed(name: str) -> None:
    """Every parameter and every result."""
    for full_name, function in callables(name).items():
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, full_name
        for parameter in list(signature.parameters.values())[0 if full_name == name else 1 :]:
            assert parameter.annotation is not inspect.Parameter.empty, f"{full_name}: {parameter.name}"


@by_name
def test_name_is_mentioned_in_the_documents(name: str) -> None:
    """In the README or below docs/, where a user looks first."""
    text = "\n".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    assert re.search(rf"\b{name}\b", text)


def test_version_is_one_number() -> None:
    """The package's, and the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wasmrun.__version__ == project["version"]


def test_types_ship_with_the_package() -> None:
    """`py.typed` lies beside the code, and the wheel takes the package as it is."""
    assert (PACKAGE / "py.typed").is_file()
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["wasmrun"]


def test_types_are_what_users_need(tmp_path: Path) -> None:
    """mypy, as strict as it gets, in a user's program: settings take text and hold numbers; a slip is found."""
    (tmp_path / "program.py").write_text(
        """
import wasmrun

function = wasmrun.Function("x.wasm", memory="64MiB", timeout=2, env={"A": "b"})
reveal_type(function.memory)
reveal_type(function.timeout)
reveal_type(function.env)
with wasmrun.Executor() as executor:
    reveal_type(executor.run(function, {}).report.duration)
    reveal_type(executor.run(function).error)
    reveal_type(executor.submit(function))
wasmrun.Function("x.wasm", memroy=1)
wasmrun.Function("x.wasm", memory=[])
function.memory = 5.5
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary",
         "--cache-dir", str(tmp_path / "cache"), "program.py"],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(PACKAGE.parent)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert revealed == [
        "int",
        "float",
        "tuple[tuple[str, str], ...]",
        "float",
        "wasmrun.errors.FunctionError | None",
        "wasmrun.futures.Future[Any]",
    ], done.stdout + done.stderr
    mistakes = re.findall(r"program\.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    assert mistakes == [("12", "call-arg"), ("13", "arg-type"), ("14", "assignment")], done.stdout
