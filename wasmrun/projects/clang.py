"""C and C++, by a clang that is there already: Debian's, wasi-sdk's, or any with a linker and libraries for WebAssembly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, ToolchainMissing, identity, program

INSTALL = {
    "c": "apt-get install --no-install-recommends clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc",
    "cpp": "apt-get install --no-install-recommends clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc "
    "libc++-19-dev-wasm32 libc++abi-19-dev-wasm32",
}
"""On Debian, by language."""

_NAMES = ("clang", *(f"clang-{version}" for version in range(25, 15, -1)))

# The stack first, as newer linkers have it by themselves: one that overflows then traps, and overwrites nothing.
_FREESTANDING = ("--target=wasm32-unknown-unknown", "-nostdlib", "-mbulk-memory", "-Wl,--no-entry,--stack-first")
_WITH_LIBC = ("--target=wasm32-wasi", "-mexec-model=reactor", "-Wl,--stack-first")
_CPP = ("-std=c++20", "-stdlib=libc++", "-fno-exceptions", "-fno-rtti")


class Clang(NamedTuple):
    """A clang that can build for WebAssembly, and what it has to be told for that."""

    path: str
    arguments: tuple[str, ...]
    identity: str


def cook(project: Project, common: tuple[str, ...], rest: tuple[str, ...], environ: Mapping[str, str]) -> Recipe:
    """A module by the first clang that has all that it takes. Raises `ToolchainMissing` that says what it lacks."""
    language = project.language
    found = find_clang(language.name, environ, has_libc=project.libc or language.has_libc)
    if isinstance(found, str):
        install = f"{language.install}, or on Debian: {INSTALL[language.name]}"
        raise ToolchainMissing(f"the {language.title} compiler", install, f" (no package ziglang, no zig, {found})")
    return Recipe(found.identity, (found.path, *found.arguments, *common, *rest), {}, name="clang")


def find_clang(language: str, environ: Mapping[str, str], *, has_libc: bool) -> Clang | str:
    """A clang for *language*, with a C library or without; where there is none, what the first one lacks."""
    lacks = "no clang"
    for path in _candidates(language, environ):
        root = environ.get("WASI_SYSROOT")
        arguments = (
            *(_WITH_LIBC if has_libc else _FREESTANDING),
            *((f"--sysroot={root}",) if has_libc and root else ()),
            *(_CPP if language == "cpp" else ()),
        )
        wanted = {"-print-prog-name=wasm-ld": "a linker (wasm-ld)"}
        if has_libc:
            wanted |= {
                "-print-file-name=libc.a": "a C library for wasm32-wasi",
                "-print-libgcc-file-name": "its builtins",
            }
        if language == "cpp":
            wanted["-print-file-name=libc++.a"] = "libc++ for wasm32-wasi"
        places = {question: _ask(path, (*arguments, question), environ) for question in wanted}
        missing = [what for question, what in wanted.items() if not os.path.isfile(places[question])]
        if not missing:
            return Clang(path, arguments, " ".join(identity(place) for place in (path, *places.values())))
        lacks = lacks if lacks != "no clang" else f"and {os.path.basename(path)} lacks {', '.join(missing)}"
    return lacks


def _candidates(language: str, environ: Mapping[str, str]) -> Iterator[str]:
    """wasi-sdk's where it is named, then those of the search path, the plain name first."""
    names = _NAMES if language == "c" else tuple(name.replace("clang", "clang++") for name in _NAMES)
    sdk = environ.get("WASI_SDK_PATH")
    if sdk and os.access(path := os.path.join(sdk, "bin", names[0]), os.X_OK):
        yield path
    for name in names:
        found = program(name, environ)
        if found is not None:
            yield found


def _ask(clang: str, arguments: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """What clang answers: a path, or the name alone where it has no such file."""
    command = (clang, *(argument for argument in arguments if not argument.startswith("-Wl,")))
    try:
        done = subprocess.run(
            command, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    answer = done.stdout.strip()
    return answer if done.returncode == 0 and os.path.isabs(answer) else ""
