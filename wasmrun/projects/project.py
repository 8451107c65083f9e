"""A project: a directory with a ``wasmrun.toml``, and what that says, checked."""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from wasmrun.errors import InvalidFunction
from wasmrun.function import Function
from wasmrun.projects.languages import LANGUAGES, Language, language_of
from wasmrun.units import parse_size

FILE = "wasmrun.toml"

OUTPUT = "build"
"""The directory, in the project's, that built modules go to."""

_EDITORS = ("*~", "*.sw[op-x]", ".#*", "#*#", "4913")
"""Files that editors have beside those that are being written: whoever types has not saved."""

SKIPPED = (OUTPUT, "node_modules", "target", "zig-out", "zig-cache", "__pycache__")
"""Directories in which nothing is written by hand, beside those whose names start with a point."""

_KEYS = ("name", "language", "event", "build", "function")
_BUILD_KEYS = ("sources", "arguments", "stack", "libc")
_NOT_HERE = ("module", "name", "version", "imports", "http_secrets", "warm", "concurrency", "reuse", "args", "tenant")
_SETTINGS = tuple(item.name for item in fields(Function) if item.name not in _NOT_HERE)

_STACK = 64 * 1024

_NO_LETTERS = "/\\\"'`$"
"""What a file's name may have, and its quoting in wasmrun.toml or in a shell may not."""


class Project(NamedTuple):
    """What is to be built, how, and with which settings it runs.

    *sources* are paths in *directory*; *settings* are those of a `Function`; *stack* is None for languages
    whose stack is their own affair.
    """

    directory: str
    name: str
    language: Language
    event: str | None
    sources: tuple[str, ...]
    arguments: tuple[str, ...]
    stack: int
    libc: bool
    settings: dict[str, Any]

    @property
    def module(self) -> str:
        """Where the built module is."""
        return os.path.join(self.directory, OUTPUT, f"{self.name}.wasm")

    @property
    def event_path(self) -> str | None:
        """The file with the event that is for trying it out."""
        return None if self.event is None else os.path.join(self.directory, self.event)


def has_project(directory: str) -> bool:
    """Whether there is a file for `read_project`."""
    return os.path.isfile(os.path.join(directory, FILE))


def read_project(directory: str) -> Project:
    """The project in *directory*. Raises `InvalidFunction` with the file and the key that is wrong."""
    path = os.path.join(directory, FILE)
    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except FileNotFoundError:
        raise InvalidFunction(
            f"{path} is missing, so this is no project; 'wasmrun new NAME --lang LANG' makes one"
        ) from None
    except UnicodeDecodeError:
        raise InvalidFunction(f"{path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidFunction(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise InvalidFunction(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _checked(directory, given)
    except ValueError as error:
        raise InvalidFunction(f"{path}: {error}") from None


def files_of(directory: str) -> list[str]:
    """The files of a project as paths in it, in order; not what tools made of them, nor what editors keep for themselves."""
    found = []
    for where, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in SKIPPED and not name.startswith("."))
        inside = os.path.relpath(where, directory)
        written = [name for name in sorted(names) if not any(fnmatchcase(name, pattern) for pattern in _EDITORS)]
        found += [os.path.normpath(os.path.join(inside, name)) for name in written]
    return [name for name in found if os.path.isfile(os.path.join(directory, name))]


def check_name(name: str) -> str:
    """*name*, which can be that of a project: a file can be called so. Raises `ValueError`."""
    if not name or not name.isprintable() or len(name.encode("utf-8", "replace")) > 200:
        raise ValueError(f"{name!r} is no name: write 1 to 200 bytes that can be printed")
    if name[0] in ".-~" or name.strip() != name or any(letter in _NO_LETTERS for letter in name):
        raise ValueError(
            f"{name!r} is no name: it must not have quotes or slashes, or start with one of . - ~ or a space"
        )
    return name


def _checked(directory: str, given: dict[str, Any]) -> Project:
    _known(given, _KEYS, "")
    build = _table(given, "build")
    _known(build, _BUILD_KEYS, "build.")
    settings = _table(given, "function")
    _known(settings, _SETTINGS, "function.")
    language = _language(directory, given)
    for key in build:
        if key not in language.build_keys:
            raise ValueError(f"build.{key}: not for {language.title}, whose own files say it")
    return Project(
        directory,
        check_name(_text(given, "name", os.path.basename(os.path.abspath(directory)))),
        language,
        _inside(_text(given, "event"), "event"),
        _sources(directory, build, language),
        _texts(build, "arguments"),
        _stack(build),
        _switch(build, "libc", language.has_libc),
        _settings(directory, settings),
    )


def _language(directory: str, given: dict[str, Any]) -> Language:
    name = _text(given, "language")
    if name is not None:
        if name not in LANGUAGES:
            raise ValueError(f"language: must be one of {', '.join(LANGUAGES)}, not {name!r}")
        return LANGUAGES[name]
    found: dict[str, str] = {}
    for path in files_of(directory):
        language = language_of(path)
        if language is not None and not language.has_in_sdk(path):
            found.setdefault(language.name, path)
    if len(found) == 1:
        return LANGUAGES[next(iter(found))]
    if not found:
        raise ValueError(f"language: is missing, and there are no sources to tell it from; {', '.join(LANGUAGES)}")
    files = " and ".join(f"{LANGUAGES[name].title} ({path})" for name, path in found.items())
    raise ValueError(f'language: is missing, and there are files of {files}; say which with language = "…"')


def _sources(directory: str, build: dict[str, Any], language: Language) -> tuple[str, ...]:
    if "sources" not in language.build_keys:
        return ()
    files = [path for path in files_of(directory) if not language.has_in_sdk(path)]
    named = _texts(build, "sources")
    for source in named:
        _inside(source, "build.sources")
        if not os.path.isfile(os.path.join(directory, source)):
            raise ValueError(f"build.sources: there is no file {source!r}")
        other = language_of(source)
        if other is not language:
            what = f"is {other.title}" if other else f"ends in none of {', '.join(language.endings)}"
            raise ValueError(f"build.sources: {source!r} {what}, and the language is {language.title}")
    sources = named or tuple(path for path in files if language_of(path) is language)
    if not sources:
        others = sorted({other.title for path in files if (other := language_of(path))})
        hint = f"; there are files of {' and '.join(others)}" if others else ""
        raise ValueError(f"there is no file of {language.title} ({', '.join(language.endings)}){hint}")
    if language.has_one_source and len(sources) > 1:
        raise ValueError(f"build.sources: name the one file that brings in the others; there are {', '.join(sources)}")
    return sources


def _settings(directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    settings = dict(settings)
    if isinstance(settings.get("dirs"), (str, list)):
        dirs = settings["dirs"]
        # Beside the file that names them, wherever the command is typed.
        settings["dirs"] = tuple(
            os.path.join(directory, item) if isinstance(item, str) else item
            for item in ([dirs] if isinstance(dirs, str) else dirs)
        )
    try:
        made = Function(FILE, **settings)
    except InvalidFunction as error:
        raise ValueError(f"function.{error.message}") from None
    return {name: getattr(made, name) if name != "fuel" else settings[name] for name in settings}


def _stack(build: dict[str, Any]) -> int:
    try:
        stack = parse_size(build.get("stack", _STACK))
    except (ValueError, TypeError) as error:
        raise ValueError(f"build.stack: {error}") from None
    if not 1024 <= stack <= 64 * 1024 * 1024:
        raise ValueError(f"build.stack: must be from 1KiB to 64MiB, not {build['stack']!r}")
    return stack // 16 * 16


def _known(given: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(keys)}"
            raise ValueError(f"{where}{key}: is no key; {hint}")


def _table(given: dict[str, Any], key: str) -> dict[str, Any]:
    value = given.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{key}: must be a table, [{key}], not {value!r}")
    return value


def _text(given: dict[str, Any], key: str, default: str | None = None) -> Any:
    value = given.get(key, default)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key}: must be text, not {value!r}")
    return value


def _texts(given: dict[str, Any], key: str) -> tuple[str, ...]:
    value = given.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item and "\0" not in item for item in value):
        raise ValueError(f"build.{key}: must be an array of texts, not {value!r}")
    return tuple(value)


def _switch(given: dict[str, Any], key: str, default: bool) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"build.{key}: must be true or false, not {value!r}")
    return value


def _inside(path: str | None, key: str) -> str | None:
    """*path*, which stays in the project's directory and cannot be taken for an option."""
    if path is not None:
        parts = path.split("/")
        if not path or path.startswith(("/", "-", "@")) or ".." in parts or "\0" in path:
            raise ValueError(f"{key}: {path!r} must be a path in the project")
    return path
