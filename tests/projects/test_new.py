"""`wasmrun new`: a project that builds, all of it or nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wasmrun.projects import sdk
from wasmrun.projects.languages import LANGUAGES, language_of
from wasmrun.projects.project import read_project

if TYPE_CHECKING:
    from conftest import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_new_project_has_what_it_takes(language: str, make: Callable[..., Path]) -> None:
    """Handler, settings, event, test, README and the SDK, none with a word of the template left, none hidden away."""
    place = make("greeter", language)
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert {"wasmrun.toml", "event.json", "test_function.py", "README.md", ".gitignore"} <= names
    assert LANGUAGES[language] in [language_of(name) for name in names]
    for name in names:
        text = (place / name).read_text(encoding="utf-8")
        assert "@NAME@" not in text
        assert "@TITLE@" not in text
        assert not name.endswith(".in")
    project = read_project(str(place))
    assert (project.name, project.language.name, project.event) == ("greeter", language, "event.json")
    compile((place / "test_function.py").read_text(encoding="utf-8"), "test_function.py", "exec")


@pytest.mark.parametrize("language", LANGUAGES)
def test_new_project_has_the_sdk_as_it_is_here(language: str, make: Callable[..., Path]) -> None:
    """Byte for byte."""
    place = make("greeter", language)
    for source, target in LANGUAGES[language].sdk.items():
        path = ROOT / "guest_sdk" / source
        for file in [path] if path.is_file() else (place / target).rglob("*.*"):
            if path.is_file():
                assert (place / target).read_bytes() == file.read_bytes()
            else:
                assert file.read_bytes() == (path / file.relative_to(place / target)).read_bytes()


@pytest.mark.parametrize("language", LANGUAGES)
def test_wheel_carries_every_sdk(language: str, make: Callable[..., Path]) -> None:
    """Each file that `wasmrun new` copies is put into the wheel, where an installed wasmrun looks for it."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    place = make("greeter", language)
    for source, target in LANGUAGES[language].sdk.items():
        path = place / target
        for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
            inside = (Path("guest_sdk") / source / file.relative_to(path)).as_posix()
            assert build["force-include"][inside] == f"wasmrun/{inside}"


def test_new_project_may_be_called_what_a_file_may(make: Callable[..., Path], run: Run) -> None:
    """With spaces, in any script; the command to type next is quoted."""
    for name in ("späte grüße 日本", "a.b", "x" * 100, "function", "wasmrun"):
        assert read_project(str(make(name))).name == name
    assert "cd 'two words' && wasmrun dev" in run("new", "two words", "--lang", "c").err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "'' is no name"),
        (".", "'.' is no name"),
        ("..", "is no name"),
        (".hidden", "is no name"),
        ("/", "is no name"),
        ("a\nb", "can be printed"),
        ('a"b', "quotes or slashes"),
        ("a\\b", "quotes or slashes"),
        (" a", "is no name"),
        ("a ", "is no name"),
        ("x" * 201, "1 to 200 bytes"),
        ("gone/a", "there is no directory 'gone'"),
        ("taken", "'taken' exists already"),
        ("file", "'file' exists already"),
    ],
)
def test_new_refuses_what_is_no_name(name: str, reason: str, run: Run, place: Path) -> None:
    """A usage error that says which, and nothing is made."""
    (place / "taken").mkdir()
    (place / "taken" / "letter").touch()
    (place / "file").touch()
    done = run("new", "--lang", "c", "--", name)
    assert (done.status, done.out) == (2, "")
    assert "Error: NAME: " in done.err
    assert reason in done.err
    assert sorted(path.name for path in place.iterdir()) == ["file", "taken"]


def test_new_takes_a_directory_that_is_empty(run: Run, place: Path) -> None:
    """As one makes for it."""
    (place / "mine").mkdir()
    assert run("new", "mine/", "--lang", "c").status == 0
    assert (place / "mine" / "wasmrun.toml").is_file()


@pytest.mark.parametrize("args", [("new", "a"), ("new", "a", "--lang", "cobol"), ("new", "--lang", "c")])
def test_new_names_the_argument_that_is_missing_or_wrong(args: tuple[str, ...], run: Run, place: Path) -> None:
    """And the languages that there are."""
    done = run(*args)
    assert done.status == 2
    assert "NAME" in done.err if "a" not in args else "--lang" in done.err and "c" in done.err
    assert not list(place.iterdir())


def test_new_leaves_nothing_where_it_fails(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an installation without the SDK."""
    monkeypatch.setattr(sdk, "_PACKAGE", str(place / "elsewhere"))
    done = run("new", "a", "--lang", "c")
    assert done.status == 70
    assert "lacks guest_sdk/c/wasmrun.h" in done.err
    assert not list(place.iterdir())
