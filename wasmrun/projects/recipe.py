"""A recipe: the command lines that make a project's module, and what they are run with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from wasmrun.errors import HostError
from wasmrun.projects.project import Project


class Recipe(NamedTuple):
    """One command line, which writes the module.

    *variables* are set beside those of the environment. *made* is where the tool puts the module, where that is its
    own affair; else it is the path that the recipe was asked for. *toolchain* tells one from another, its version too.
    *name* is what the command is called, where its file is called otherwise. While *alone* is entered, no other build
    writes to where this one does.
    """

    toolchain: str
    command: tuple[str, ...]
    variables: dict[str, str]
    made: str | None = None
    name: str | None = None
    alone: Callable[[], AbstractContextManager[object]] = nullcontext


Cook = Callable[[Project, str, Mapping[str, str]], Recipe]
"""From a project, the path for its module and the environment to a recipe. Raises `ToolchainMissing`."""


class ToolchainMissing(HostError):
    """A project's toolchain is not installed. The message says with which command it would be."""

    def __init__(self, what: str, install: str, detail: str = "") -> None:
        super().__init__(f"{what} is missing{detail}; install it with: {install}")


def program(name: str, environ: Mapping[str, str]) -> str | None:
    """The program of that name on the search path."""
    return shutil.which(name, path=environ.get("PATH", os.defpath))


def identity(path: str) -> str:
    """What changes when another version of a program is installed."""
    real = os.path.realpath(path)
    status = os.stat(real)
    return f"{real} {status.st_size} {status.st_mtime_ns}"
