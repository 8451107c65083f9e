"""`wasmrun build` and `wasmrun run DIR`, with the C compiler, which is the quickest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wasmrun.projects import zig

if TYPE_CHECKING:
    from conftest import Run

Make = Callable[..., Path]
QUIET = ("--report", "none")


def test_from_nothing_to_an_answer_in_two_commands(make: Make, run: Run) -> None:
    """`new`, and `run` with the directory, which builds it; a third command tests it."""
    place = make()
    assert run("run", place, *QUIET).out == '{"hello": "Ada"}\n'
    tests = [sys.executable, "-m", "unittest"]
    done = subprocess.run(tests, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_build_tells_what_it_made(make: Make, run: Run) -> None:
    """The module and its size on standard output; the second time it does nothing."""
    make()
    first, second = run("build", "hello"), run("build", "hello")
    assert first.out.startswith("hello/build/hello.wasm  5.0 KiB, built in ")
    assert second.out == "hello/build/hello.wasm  5.0 KiB, nothing has changed\n"
    shown = run("build", "hello", "--json").json
    assert shown.pop("seconds") < 5
    assert shown == {"module": "hello/build/hello.wasm", "module_bytes": 5138, "was_cached": True}
    assert sorted(os.listdir("hello/build")) == ["hello.wasm", "wasmrun-build.json"]


def test_build_works_here_without_a_directory(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And `run .` too."""
    monkeypatch.chdir(make("späte grüße 日本"))
    assert run("build").out.startswith("./build/späte grüße 日本.wasm")
    assert run("run", ".", "--event", '{"name": "Grace"}', *QUIET).out == '{"hello": "Grace"}\n'


def test_build_begins_anew_where_something_changed(make: Make, run: Run) -> None:
    """A source, a header, how it is built, the module; not what a compiler does not read."""
    place = make()

    def was_cached() -> bool:
        done = run("build", place, "--json")
        assert done.status == 0, done.err
        return bool(done.json["was_cached"])

    assert not was_cached()
    for name in ("event.json", "README.md", "test_function.py"):
        (place / name).write_text("{}")
    settings = place / "wasmrun.toml"
    settings.write_text(settings.read_text().replace("3s", "1s"))
    assert was_cached()
    for name in ("handler.c", "wasmrun.h"):
        with (place / name).open("a") as file:
            file.write("/* changed */\n")
        assert not was_cached()
        assert was_cached()
    settings.write_text(settings.read_text().replace('stack = "16KiB"', 'stack = "32KiB"'))
    assert not was_cached()
    (place / "build" / "hello.wasm").write_bytes(b"somebody else's")
    assert not was_cached()
    (place / "build" / "wasmrun-build.json").write_text("[")
    assert not was_cached()


def test_compiler_errors_are_shown_as_they_are_and_their_status_kept(make: Make, run: Run) -> None:
    """On standard error, by `build` and `run`; the module of before stays where it is."""
    place = make()
    assert run("build", place).status == 0
    (place / "handler.c").write_text("int wrong = ;\n")
    for args in (("build", place), ("run", place), ("inspect", place)):
        done = run(*args)
        assert (done.status, done.out) == (1, "")
        assert "./handler.c:1:13: error: expected expression\n    1 | int wrong = ;\n" in done.err
        assert done.err.endswith("wasmrun: CompilerFailed: zig ended with status 1\n")
    assert sorted(os.listdir(place / "build")) == ["hello.wasm", "wasmrun-build.json"]


@pytest.mark.parametrize(("body", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_status_of_any_compiler_is_kept(
    body: str, status: int, make: Make, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a signal as shells have it."""
    fake = place / "zig"
    fake.write_text(f"#!/bin/sh\necho 'it said this'\n{body}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(zig, "_zig", lambda environ: str(fake))
    done = run("build", make())
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("it said this\n")


def test_compiler_that_makes_no_module_is_told(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name of the file that is missing."""
    monkeypatch.setattr(zig, "_zig", lambda environ: "/bin/true")
    done = run("build", make())
    assert done.status == 70
    assert "No such file or directory" in done.err


def test_missing_toolchain_is_told_with_the_command_that_installs_it(
    make: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the package nor the program is there."""
    monkeypatch.setattr(zig.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    done = run("build", make())
    assert done.status == 70
    assert (
        "the C compiler is missing (no package ziglang, no zig, no clang); install it with: pip install 'wasmrun[c]', "
        "or on Debian: apt-get install --no-install-recommends clang-19 lld-19 " in done.err
    )


def test_module_runs_where_its_toolchain_is_missing(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is what its sources say."""
    place = make()
    assert run("build", place).status == 0
    monkeypatch.setattr(zig, "_zig", lambda environ: None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert run("run", place, *QUIET).out == '{"hello": "Ada"}\n'
    with (place / "handler.c").open("a") as file:
        file.write("/* changed */\n")
    assert "the C compiler is missing" in run("run", place).err


def test_user_s_own_zig_is_found(make: Make, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the search path, where the package is not installed."""
    import ziglang

    own = place / "bin"
    own.mkdir()
    (own / "zig").symlink_to(Path(ziglang.__file__).with_name("zig"))
    monkeypatch.setattr(zig.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(own))
    assert run("build", make()).status == 0


def test_run_takes_settings_and_event_of_the_project(make: Make, run: Run) -> None:
    """What the command line says wins."""
    place = make()
    settings = place / "wasmrun.toml"
    settings.write_text(settings.read_text().replace("16MiB", "1MiB"))
    (place / "event.json").write_text('{"name": "Edsger"}')
    assert run("run", place, "--report", "json").out == '{"hello": "Edsger"}\n'
    assert "Memory Size: 1 MB" in run("run", place).err
    assert "Memory Size: 2 MB" in run("run", place, "--memory", "2MiB").err
    (place / "event.json").unlink()
    done = run("run", place)
    assert done.status == 2
    assert "event.json cannot be read" in done.err
    settings.write_text(settings.read_text().replace("event =", "# event ="))
    assert run("run", place).status == 10  # {} has no name


def test_other_commands_take_a_project_as_well(make: Make, run: Run) -> None:
    """In the place of its module."""
    place = make()
    assert "wasmrun_alloc" in run("inspect", place).out
    assert run("compile", place).status == 0
    assert json.loads(run("bench", place, "--cold", "1", "--warm", "1", "--json").out)["functions"]


def test_what_is_written_of_a_project_is_beside_its_module(
    make: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the directory is written, and called; there, no build takes it for a source."""
    place = make("my.project")
    monkeypatch.chdir(place)
    for directory, path in ((".", "./build/my.project"), (f"{place}/", f"{place}/build/my.project")):
        done = run("profile", directory, "--duration", "10ms", "--json")
        assert done.json["path"] == f"{path}.profile.json"
        done = run("snapshot", directory, "--json")
        assert done.json["path"] == f"{path}.snapshot.wasm"
    assert sorted(one.name for one in place.iterdir() if not one.name.startswith(".")) == sorted(
        ["README.md", "build", "event.json", "handler.c", "test_function.py", "wasmrun.h", "wasmrun.toml"]
    )
    assert run("build", ".", "--json").json["was_cached"]


def test_project_with_a_libc_and_more_than_one_file(make: Make, run: Run) -> None:
    """Sources below directories, arguments for the compiler, and printf, which goes to the log."""
    place = make("bigger")
    (place / "wasmrun.toml").write_text(
        'language = "c"\n[build]\nlibc = true\narguments = ["-DWHO=\\"Ada\\"", "-I."]\n'
    )
    (place / "src").mkdir()
    (place / "src" / "more.c").write_text("int more(void) { return 41; }\n")
    (place / "handler.c").write_text(
        '#include "wasmrun.h"\n#include <stdio.h>\nint more(void);\n'
        'WASMRUN_HANDLER(wasmrun_handle) { printf("for %s\\n", WHO); wasmrun_write_int(answer, more() + 1); return 0; }\n'
    )
    done = run("run", place, *QUIET)
    assert done.out == "42\n", done.err
    assert done.err.endswith("INFO  for Ada\n")
