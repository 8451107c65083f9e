"""Scaffold: a new project from its language's template and SDK."""

from __future__ import annotations

import os
import shutil

from wasmrun.projects.languages import Language
from wasmrun.projects.project import check_name
from wasmrun.projects.sdk import sdk_file

_TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")

_ENDING = ".in"
"""Of a template's files, so that no tool takes them for what they will be."""


def make_project(path: str, language: Language) -> list[str]:
    """Make a directory *path* with a project in it, all of it or nothing; its files as paths in it.

    Raises `ValueError` where *path* is there already or ends in what is no name, and `OSError`.
    """
    path = path.rstrip("/") if path.strip("/") else path
    name = check_name(os.path.basename(path))
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise ValueError(f"{path!r} exists already")
    parent = os.path.dirname(path) or "."
    if not os.path.isdir(parent):
        raise ValueError(f"there is no directory {parent!r} to make it in")
    temporary = os.path.join(parent, f".{name}.{os.getpid()}.new")
    try:
        os.mkdir(temporary)
        for template in ("every", language.name):
            _fill(
                os.path.join(_TEMPLATES, template),
                temporary,
                {"NAME": name, "TITLE": language.title, "INSTALL": language.install},
            )
        for source, target in language.sdk.items():
            _copy(sdk_file(source), os.path.join(temporary, target))
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(
        os.path.relpath(os.path.join(where, file), path) for where, _, files in os.walk(path) for file in files
    )


def _fill(template: str, directory: str, words: dict[str, str]) -> None:
    for where, _, files in os.walk(template):
        target = os.path.normpath(os.path.join(directory, os.path.relpath(where, template)))
        os.makedirs(target, exist_ok=True)
        for file in files:
            if not file.endswith(_ENDING):
                continue
            with open(os.path.join(where, file), encoding="utf-8") as source:
                text = source.read()
            for word, value in words.items():
                text = text.replace(f"@{word}@", value)
            made = file.removesuffix(_ENDING).replace("dot-", ".", 1)
            with open(os.path.join(target, made), "w", encoding="utf-8") as output:
                output.write(text)


def _copy(source: str, target: str) -> None:
    if os.path.isfile(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        return
    for name in sorted(os.listdir(source)):
        # The library itself: neither its examples nor what tools left.
        if not name.startswith(".") and name not in (
            "examples",
            "tests",
            "target",
            "README.md",
            "build.py",
            "Cargo.lock",
        ):
            _copy(os.path.join(source, name), os.path.join(target, name))
