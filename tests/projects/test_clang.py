"""C and C++ without zig: by a clang that is there, if it has all that it takes; else what it lacks is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wasmrun.projects import clang, zig
from wasmrun.projects.clang import INSTALL, find_clang

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Run

    Make = Callable[..., Path]

QUIET = ("--report", "none")


@pytest.fixture(autouse=True)
def _no_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the package ziglang is not installed."""
    monkeypatch.setattr(zig, "_zig", lambda environ: None)


@pytest.fixture
def make(run: Run, place: Path) -> Make:
    """A new project, with a C library if so wished."""

    def make(name: str, language: str, *, libc: bool = False) -> Path:
        assert run("new", name, "--lang", language).status == 0
        settings = place / name / "wasmrun.toml"
        settings.write_text(settings.read_text().replace("libc = false", f"libc = {str(libc).lower()}"))
        return place / name

    return make


@pytest.mark.parametrize(("language", "libc"), [("c", False), ("c", True), ("cpp", True)])
def test_clang_builds_what_zig_would(language: str, libc: bool, make: Make, run: Run) -> None:
    """With a C library and without; errors are the compiler's own, and nothing is built twice."""
    found = find_clang(language, os.environ, has_libc=libc)
    if isinstance(found, str):
        pytest.skip(f"{found}; {INSTALL[language]}")
    project = make("mein projekt ü", language, libc=libc)
    source = project / f"handler.{language}"
    if libc and language == "c":
        source.write_text(
            source.read_text().replace('#include "wasmrun.h"', '#include <stdlib.h>\n#include "wasmrun.h"')
        )
    done = run("run", project, *QUIET)
    assert (done.status, done.out) == (0, '{"hello": "Ada"}\n'), done.err
    assert run("build", project, "--json").json["was_cached"] is True
    whole = source.read_text()
    handler = "WASMRUN_HANDLER(deep) {" if language == "c" else 'extern "C" WASMRUN_HANDLER(deep) {'
    source.write_text(f"""{whole}
int down(volatile char *up) {{ volatile char here[1000]; here[0] = *up; return here[0] + down(here) + here[1]; }}
{handler} (void)event; (void)context; (void)answer; char top = 1; return down(&top); }}
""")
    assert "memory out of bounds" in run("run", project, "--entry", "deep", *QUIET).err
    source.write_text(whole)
    with source.open("a") as file:
        file.write("\nint wrong = ;\n")
    done = run("build", project)
    assert done.status == 1
    assert "error: expected expression" in done.err
    assert done.err.endswith("wasmrun: CompilerFailed: clang ended with status 1\n")


def fake(directory: Path, name: str, *files: str) -> Path:
    """A clang that has these files, and says so as clang does."""
    directory.mkdir(exist_ok=True)
    for file in files:
        (directory / file).touch()
    program = directory / name
    program.write_text(
        '#!/bin/sh\nfor last; do :; done\nname="${last#*=}"\n[ "$last" = -print-libgcc-file-name ] && name=builtins.a\n'
        f'echo "$@" >> {directory}/asked\n'
        f'if [ -e "{directory}/$name" ]; then echo "{directory}/$name"; else echo "$name"; fi\n'
    )
    program.chmod(0o755)
    return program


LIBC = ("wasm-ld", "libc.a", "builtins.a")


@pytest.mark.parametrize(
    ("language", "has_libc", "files", "lacks"),
    [
        ("c", False, (), "a linker (wasm-ld)"),
        ("c", True, ("wasm-ld",), "a C library for wasm32-wasi, its builtins"),
        ("c", True, ("wasm-ld", "libc.a"), "its builtins"),
        ("cpp", True, LIBC, "libc++ for wasm32-wasi"),
        ("c", False, ("wasm-ld",), None),
        ("c", True, LIBC, None),
        ("cpp", True, (*LIBC, "libc++.a"), None),
    ],
)
def test_clang_is_asked_for_what_it_takes(
    language: str, has_libc: bool, files: tuple[str, ...], lacks: str | None, place: Path
) -> None:
    """The first one that has it all is taken; what the first one lacks is told where none has."""
    name = "clang" if language == "c" else "clang++"
    program = fake(place / "bin", name, *files)
    environ = {"PATH": f"{place / 'bin'}:/usr/bin:/bin"}
    if lacks is None:
        found = find_clang(language, environ, has_libc=has_libc)
        assert not isinstance(found, str)
        assert found.path == str(program)
        assert all(str(place / "bin" / file) in found.identity for file in files)
    else:
        environ["PATH"] = f"{place / 'bin'}"
        # Its own shell has to be found by its full name: nothing else is on the search path.
        assert find_clang(language, environ, has_libc=has_libc) == f"and {name} lacks {lacks}"


def test_clang_of_wasi_sdk_and_a_sysroot_are_named_by_variables(place: Path) -> None:
    """As other tools have it: WASI_SDK_PATH, WASI_SYSROOT."""
    first = fake(place / "sdk", "other", *LIBC).parent
    (first / "bin").mkdir()
    program = fake(first / "bin", "clang", *LIBC)
    fake(place / "bin", "clang", *LIBC)
    environ = {"PATH": str(place / "bin"), "WASI_SDK_PATH": str(first), "WASI_SYSROOT": "/a root"}
    found = find_clang("c", environ, has_libc=True)
    assert not isinstance(found, str)
    assert found.path == str(program)
    assert "--sysroot=/a root" in found.arguments
    assert "--sysroot=/a root" in (first / "bin" / "asked").read_text()
    assert not (place / "bin" / "asked").exists()
    plain = find_clang("c", environ, has_libc=False)
    assert not isinstance(plain, str)
    assert not [argument for argument in plain.arguments if "sysroot" in argument]


def test_clang_that_lacks_something_is_told_with_both_ways_out(
    make: Make, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of pip, one of Debian; its status is that of a missing toolchain."""
    project = make("hello", "cpp")
    fake(place / "bin", "clang++", "wasm-ld")
    monkeypatch.setenv("PATH", str(place / "bin"))
    done = run("build", project)
    assert (done.status, done.out) == (70, "")
    assert (
        "the C++ compiler is missing (no package ziglang, no zig, and clang++ lacks a C library for wasm32-wasi, its "
        "builtins, libc++ for wasm32-wasi); install it with: pip install 'wasmrun[cpp]', or on Debian: "
        f"{INSTALL['cpp']}\n" in done.err
    )


def test_clang_that_cannot_be_asked_has_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails, one that does not start, one that answers with what is no file."""
    program = fake(place / "bin", "clang", "wasm-ld")
    environ = {"PATH": str(place / "bin")}
    for text in ("#!/bin/sh\nexit 1\n", "#!/nowhere/sh\n", f"#!/bin/sh\necho {place}\n", "#!/bin/sh\necho\n"):
        program.write_text(text)
        assert find_clang("c", environ, has_libc=False) == "and clang lacks a linker (wasm-ld)"
    assert find_clang("c", {"PATH": "/nowhere"}, has_libc=False) == "no clang"
    assert clang.INSTALL.keys() == {"c", "cpp"}
