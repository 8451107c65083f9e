"""Building: a project's module from its sources, unless it is there already."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

from wasmrun.errors import HostError
from wasmrun.projects.project import FILE, OUTPUT, Project, files_of
from wasmrun.projects.recipe import Recipe, ToolchainMissing

_COOKS = {
    **dict.fromkeys(("c", "cpp", "zig"), "zig"),
    "go": "golang",
    "rust": "rust",
    "assemblyscript": "asc",
    "javascript": "javascript",
    "python": "componentize",
}

_NO_SOURCES = (FILE, "README.md", "test_function.py")
"""Files that no compiler reads."""

_STAMP = "wasmrun-build.json"


class Built(NamedTuple):
    """A module that is as its sources are, and what that took."""

    module: str
    module_bytes: int
    was_cached: bool
    seconds: float


class CompilerFailed(HostError):
    """A compiler ended with a *status* of its own other than 0; what it had to say, it has printed."""

    def __init__(self, command: str, status: int) -> None:
        self.status = status
        super().__init__(f"{command} ended with status {status}")


def build(project: Project, environ: Mapping[str, str], *, again: bool = False) -> Built:
    """Make the module of *project*, where its sources or its toolchain changed, or where *again* is wanted.

    What the compiler prints goes to standard error as it stands. Raises `ToolchainMissing`, `CompilerFailed` and
    `OSError`.
    """
    started = time.perf_counter()
    output = os.path.join(project.directory, OUTPUT)
    inputs = _inputs(project)
    stamp = None if again else _read_stamp(output, project)
    is_fresh = stamp is not None and stamp["inputs"] == inputs
    temporary = f".{os.getpid()}.{project.name}.part.wasm"
    target = os.path.join(OUTPUT, temporary)
    try:
        cook = import_module(f"wasmrun.projects.{_COOKS[project.language.name]}").cook
        recipe: Recipe = cook(project, target, environ)
    except ToolchainMissing:
        if not is_fresh:
            raise
        return _built(project, started, was_cached=True)  # as where it was built for others to run
    if is_fresh and stamp is not None and stamp["toolchain"] == recipe.toolchain:
        return _built(project, started, was_cached=True)
    os.makedirs(output, exist_ok=True)
    made = os.path.join(project.directory, recipe.made or target)
    try:
        with recipe.alone():
            _run(recipe, project.directory, environ)
            with open(made, "rb") as file:
                module = file.read()
        _write(project.module, module)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(project.directory, target))
    digest = hashlib.sha256(module).hexdigest()
    text = json.dumps({"inputs": inputs, "toolchain": recipe.toolchain, "module": digest})
    _write(os.path.join(output, _STAMP), text.encode())
    return _built(project, started, was_cached=False)


def _run(recipe: Recipe, directory: str, environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        recipe.command,
        cwd=directory,
        env={**environ, **recipe.variables},
        stdin=subprocess.DEVNULL,
        stdout=2,  # standard output is for answers
        check=False,
    )
    if done.returncode != 0:
        # As a shell tells of a signal.
        status = done.returncode if done.returncode > 0 else 128 - done.returncode
        raise CompilerFailed(recipe.name or os.path.basename(recipe.command[0]), status)


def _inputs(project: Project) -> str:
    """A digest of all that a compiler may read in the project, and of what it is told."""
    told = (project.name, project.language.name, project.sources, project.arguments, project.stack, project.libc)
    whole = hashlib.sha256(repr(told).encode("utf-8", "backslashreplace"))
    for path in files_of(project.directory):
        if path in (*_NO_SOURCES, project.event):
            continue
        try:
            with open(os.path.join(project.directory, path), "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except FileNotFoundError:
            continue  # it went while we looked
        whole.update(os.fsencode(path) + b"\0" + content)
    return whole.hexdigest()


def _read_stamp(output: str, project: Project) -> dict[str, str] | None:
    """What the module that is there was made of; None where there is none, or somebody else made it."""
    try:
        with open(os.path.join(output, _STAMP), encoding="utf-8") as file:
            stamp = json.load(file)
        with open(project.module, "rb") as module:
            digest = hashlib.file_digest(module, "sha256").hexdigest()
        if stamp["module"] == digest and {"inputs", "toolchain"} <= set(stamp):
            return {name: str(stamp[name]) for name in ("inputs", "toolchain")}
    except (OSError, ValueError, TypeError, KeyError):
        pass  # then it is made anew
    return None


def _built(project: Project, started: float, *, was_cached: bool) -> Built:
    seconds = time.perf_counter() - started
    return Built(project.module, os.stat(project.module).st_size, was_cached, seconds)


def _write(path: str, data: bytes) -> None:
    """Put *data* at *path*, all of it or nothing."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{os.getpid()}.{name}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
