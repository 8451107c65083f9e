"""C, C++ and Zig, by zig: one package from PyPI that brings compiler, linker and libraries for all three."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from wasmrun.projects import clang
from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, ToolchainMissing, identity, program

_WITH_LIBC = ("-target", "wasm32-wasi", "-mexec-model=reactor")

_COMMON = ("-Os", "-s", "-Wall", "-Wextra")


def cook(project: Project, target: str, environ: Mapping[str, str]) -> Recipe:
    """By the zig of this environment, or the one of the search path; without it C and C++ by a clang that can."""
    zig = _zig(environ)
    language = project.language
    if zig is None and language.name in clang.INSTALL:
        return clang.cook(project, _COMMON, _rest(project, target), environ)
    if zig is None:
        raise ToolchainMissing(f"the {language.title} compiler", language.install, " (no package ziglang, no zig)")
    make = {"c": _c, "cpp": _cpp, "zig": _zig_itself}[language.name]
    return Recipe(identity(zig), (zig, *make(project, target)), {})


def _zig(environ: Mapping[str, str]) -> str | None:
    # Not `python -m ziglang`, which starts an interpreter to start the same program.
    package = importlib.util.find_spec("ziglang")
    if package is not None and package.origin is not None:
        path = os.path.join(os.path.dirname(package.origin), "zig")
        if os.access(path, os.X_OK):
            return path
    return program("zig", environ)


def _c(project: Project, target: str) -> tuple[str, ...]:
    freestanding = ("-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry")
    return ("cc", *(_WITH_LIBC if project.libc else freestanding), *_COMMON, *_rest(project, target))


def _cpp(project: Project, target: str) -> tuple[str, ...]:
    return ("c++", *_WITH_LIBC, "-std=c++20", "-fno-exceptions", "-fno-rtti", *_COMMON, *_rest(project, target))


def _rest(project: Project, target: str) -> tuple[str, ...]:
    sources = tuple(os.path.join(".", source) for source in project.sources)
    return (f"-Wl,-z,stack-size={project.stack}", *project.arguments, *sources, "-o", target)


def _zig_itself(project: Project, target: str) -> tuple[str, ...]:
    (source,) = project.sources
    return (
        *("build-exe", "-target", "wasm32-freestanding", "-OReleaseSmall", "-fstrip", "-fno-entry", "-rdynamic"),
        *("--stack", str(project.stack), *project.arguments, "--dep", "wasmrun"),
        *(f"-Mroot={os.path.join('.', source)}", "-Mwasmrun=sdk/wasmrun.zig", f"-femit-bin={target}"),
    )
