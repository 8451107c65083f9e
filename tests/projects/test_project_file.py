"""`wasmrun.toml`: every key is checked, and what is wrong is named with its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wasmrun
from wasmrun.projects.project import read_project

if TYPE_CHECKING:
    from conftest import Run

HANDLER = '#include "wasmrun.h"\n'


def project(place: Path, text: str, *files: str) -> Path:
    """A directory with this wasmrun.toml and these empty files."""
    (place / "wasmrun.toml").write_text(text, encoding="utf-8")
    for file in files:
        (place / file).parent.mkdir(exist_ok=True)
        (place / file).touch()
    return place


def test_directory_without_a_project_is_told(run: Run, place: Path) -> None:
    """By every command that takes one, with what makes one; the same where there is no directory at all."""
    for args in (("build",), ("build", "--watch"), ("build", "gone"), ("dev",), ("run", "."), ("inspect", ".")):
        done = run(*args)
        assert (done.status, done.out) == (3, ""), args
        assert "wasmrun.toml is missing, so this is no project; 'wasmrun new NAME --lang LANG' makes one" in done.err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "is not TOML"),
        ("nmae = 'x'", "nmae: is no key; did you mean 'name'?"),
        ("zzz = 1", "zzz: is no key; there are name, language, event, build, function"),
        ("[build]\nlibcc = true", "build.libcc: is no key; did you mean 'libc'?"),
        ("[function]\nmemroy = '1MiB'", "function.memroy: is no key; did you mean 'memory'?"),
        ("[function]\nhttp_secrets = {}", "function.http_secrets: is no key"),
        ("[function]\nmemory = 'lots'", "function.memory: 'lots' is not a size"),
        ("[function]\ndirs = ['data']", "function.dirs: "),
        ("[function]\ndirs = [7]", "function.dirs: "),
        ("[function]\nenv = {A = 7}", "function.env: "),
        ("build = 7", "build: must be a table, [build], not 7"),
        ("name = 7", "name: must be text, not 7"),
        ("name = 'a/b'", "name: 'a/b' is no name"),
        ("language = 'cobol'", "language: must be one of c, "),
        ("event = '../x'", "event: '../x' must be a path in the project"),
        ("event = '/etc/passwd'", "event: '/etc/passwd' must be a path in the project"),
        ("[build]\nsources = 'x.c'", "build.sources: must be an array of texts, not 'x.c'"),
        ("[build]\nsources = ['gone.c']", "build.sources: there is no file 'gone.c'"),
        ("[build]\nsources = ['../x.c']", "build.sources: '../x.c' must be a path in the project"),
        ("[build]\nsources = ['notes.txt']", "build.sources: 'notes.txt' ends in none of .c"),
        ("[build]\narguments = [7]", "build.arguments: must be an array of texts"),
        ("[build]\nstack = 'deep'", "build.stack: 'deep' is not a size"),
        ("[build]\nstack = true", "build.stack: True is not a size"),
        ("[build]\nstack = '1GiB'", "build.stack: must be from 1KiB to 64MiB"),
        ("[build]\nlibc = 'yes'", "build.libc: must be true or false, not 'yes'"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str, run: Run, place: Path) -> None:
    """The file, the key, what was given or is allowed; exit status 3, and no compiler has run."""
    if "name" not in text.split("=", maxsplit=1)[0]:
        text = f"name = 'x'\n{text}"
    done = run("build", project(place, text, "handler.c", "notes.txt"))
    assert (done.status, done.out) == (3, "")
    assert f"{place}/wasmrun.toml" in done.err
    assert reason.replace("name: 'a/b' is no name", "'a/b' is no name") in done.err
    assert not (place / "build").exists()


def test_file_that_is_no_text_is_told(run: Run, place: Path) -> None:
    """As it happens to files that were saved by another program."""
    (place / "wasmrun.toml").write_bytes(b"name = '\xff'")
    assert "is not UTF-8" in run("build").err


def test_language_is_told_by_the_files(place: Path) -> None:
    """Where wasmrun.toml does not say it; the SDK's own files do not count."""
    found = read_project(str(project(place, "", "handler.c", "wasmrun.h", "build/old.go", "node_modules/x.go")))
    assert (found.language.name, found.sources, found.name) == ("c", ("handler.c",), place.name)


def test_two_languages_files_need_a_word(run: Run, place: Path) -> None:
    """Both are named; with the language said, the other's files are left alone."""
    done = run("build", project(place, "name = 'x'", "handler.c", "handler.go"))
    assert done.status == 3
    assert "there are files of C (handler.c) and Go (handler.go); say which" in done.err
    assert read_project(str(project(place, "name = 'x'\nlanguage = 'c'"))).sources == ("handler.c",)


def test_sources_of_another_language_are_told(run: Run, place: Path) -> None:
    """Instead of being given to a compiler that cannot read them; and none at all."""
    project(place, "name = 'x'\nlanguage = 'c'\n[build]\nsources = ['handler.go']", "handler.go")
    assert "'handler.go' is Go, and the language is C" in run("build").err
    project(place, "name = 'x'\nlanguage = 'c'")
    assert "there is no file of C (.c); there are files of Go" in run("build").err
    (place / "handler.go").unlink()
    assert "there is no file of C (.c)\n" in run("build").err
    project(place, "name = 'x'")
    assert "there are no sources to tell it from" in run("build").err


def test_key_that_means_nothing_for_a_language_is_told(run: Run, place: Path) -> None:
    """Rather than ignored."""
    project(place, "name = 'x'\nlanguage = 'go'\n[build]\nlibc = true", "handler.go")
    assert "build.libc: not for Go" in run("build").err


def test_settings_are_those_of_a_function(place: Path) -> None:
    """Paths are the project's, wherever the command is typed."""
    text = """
name = 'x'
[function]
memory = '16MiB'
timeout = '500ms'
entry = 'shout'
env = { A = '1' }
dirs = ['data::/data:ro']
"""
    settings = read_project(str(project(place, text, "handler.c"))).settings
    function = wasmrun.Function("x.wasm", **settings)
    assert (function.memory, function.timeout, function.entry) == (16 << 20, 0.5, "shout")
    assert [str(item) for item in function.dirs] == [f"{place}/data::/data:ro"]
    assert dict(function.env) == {"A": "1"}


def test_every_template_says_only_what_is_so(make: Callable[..., Path]) -> None:
    """Its comments name keys that there are."""
    text = (make() / "wasmrun.toml").read_text()
    commented = text.replace("# env", "env").replace("# dirs", "dirs").replace("# http", "http")
    place = make("other")
    (place / "wasmrun.toml").write_text(commented)
    assert set(read_project(str(place)).settings) == {"memory", "timeout", "env", "dirs", "http"}
