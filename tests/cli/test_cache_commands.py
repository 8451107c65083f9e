"""`wasmrun compile` and `wasmrun cache`: modules compiled ahead of time, listed and cleared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import programs
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]

LINE = re.compile(r"([0-9a-f]{16})  +(\d[\d.]* [KM]?i?B)  \d{4}-\d\d-\d\d \d\d:\d\d  (.+)")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("WASMRUN_CACHE_DIR", str(directory))
    return directory


# compile


def test_compile_fills_the_cache(run: Run, cache: Path) -> None:
    """The second time there is nothing to do, and neither is there for `run`."""
    first, second = run("compile", programs.ECHO), run("compile", programs.ECHO)
    assert (first.status, first.err, second.status, second.err) == (0, "", 0, "")
    assert re.fullmatch(r"[0-9a-f]{16}  [\d.]+ KiB, compiled in [\d.]+ m?s\n", first.out)
    assert second.out == first.out.partition("compiled in")[0] + "was in the cache\n"
    artifacts = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert run("run", programs.ECHO).status == 0
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == artifacts


def test_compile_with_json_tells_whether_it_was_cached(run: Run, cache: Path) -> None:
    """The whole key, bytes, seconds."""
    first, second = (run("compile", programs.ECHO, "--json").json for _ in range(2))
    assert list(first) == ["key", "was_cached", "artifact_bytes", "seconds"]
    assert (first["was_cached"], second["was_cached"]) == (False, True)
    assert first["key"] == second["key"]
    assert first["artifact_bytes"] == second["artifact_bytes"] == (cache / f"{first['key']}.cwasm").stat().st_size
    assert first["seconds"] > second["seconds"] > 0


def test_compile_takes_what_changes_the_code(run: Run, cache: Path) -> None:
    """Stack and metering do; other options do not."""
    keys = [
        run("compile", programs.ECHO, *options, "--json").json["key"]
        for options in ((), ("--stack", "128KiB"), ("--fuel", "none"), ("--fuel", "5"), ("--memory", "1MiB"))
    ]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3] == keys[4]


def test_compile_takes_a_module_that_could_not_run(run: Run, cache: Path, save: Save) -> None:
    """What it imports may be granted later, by a program."""
    assert run("compile", save('(module (import "wasmrun" "db.get" (func (param i32 i32) (result i64))))')).status == 0


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_compile_of_what_is_no_module_is_an_error(option: tuple[str, ...], run: Run, cache: Path, save: Save) -> None:
    """And nothing is kept of it."""
    done = run("compile", save("(module (func (export 7)))"), *option)
    assert (done.status, done.output) == (3, b"")
    assert done.err.startswith("wasmrun: InvalidFunction: the module cannot be used: ")
    assert not list(cache.glob("*.cwasm"))


@pytest.mark.parametrize(
    "command", [("compile", programs.ECHO), ("cache", "list"), ("cache", "clear")], ids=lambda c: c[-1]
)
def test_a_cache_that_cannot_be_used_is_an_error_where_it_is_what_was_asked_for(
    command: tuple[object, ...], run: Run, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """70, and the reason: here, others may write to it."""
    cache.mkdir()
    cache.chmod(0o777)
    done = run(*command)
    assert (done.status, done.output) == (70, b"")
    assert f"wasmrun: HostError: the cache directory {cache} cannot be used: others may write to it" in done.err
    assert "--cache-dir" in done.err


def test_run_works_without_a_cache_and_says_that_it_is_slow(start: Run, cache: Path) -> None:
    """A warning, not a failure."""
    cache.mkdir()
    cache.chmod(0o777)
    done = start("run", programs.ECHO, "--event", "7", "--report", "none")
    assert (done.status, done.out) == (0, "7\n")
    assert done.err.startswith(f"the cache directory {cache} cannot be used: others may write to it")
    assert done.err.count("\n") == 1


def test_cache_dir_is_where_compiled_modules_go(run: Run, tmp_path: Path, cache: Path) -> None:
    """The flag before the variable, and the user's cache directory without either."""
    other = tmp_path / "other"
    assert run("compile", programs.ECHO, "--cache-dir", other).status == 0
    assert list(other.glob("*.cwasm"))
    assert not cache.exists()


def test_cache_dir_is_by_default_in_the_users_cache_directory(
    start: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_CACHE_HOME, else .cache in the home directory; private."""
    monkeypatch.delenv("WASMRUN_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for expected in (tmp_path / "home" / ".cache" / "wasmrun", tmp_path / "xdg" / "wasmrun"):
        assert start("cache", "list", "--json").json["directory"] == str(expected)
        assert expected.stat().st_mode & 0o777 == 0o700
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


# cache


def test_cache_list_shows_what_is_there(run: Run, cache: Path) -> None:
    """A line each on standard output, the sum on standard error; keys as `compile` prints them."""
    empty = run("cache", "list")
    assert empty == (0, b"", f"0 compiled modules, 0 B, in {cache}\n")
    compiled = [run("compile", module).out.split("  ") for module in (programs.ECHO, programs.WORDS)]
    done = run("cache", "list")
    found = [LINE.fullmatch(line) for line in done.out.splitlines()]
    assert all(found)
    shown = {match[3]: (match[1], match[2]) for match in found if match}
    assert shown == {
        name: (key, size.partition(",")[0]) for name, (key, size) in zip(("echo", "words"), compiled, strict=True)
    }
    assert re.fullmatch(rf"2 compiled modules, [\d.]+ KiB, in {re.escape(str(cache))}\n", done.err)


def test_cache_list_with_json_has_every_field(run: Run, cache: Path) -> None:
    """Keys whole, sizes in bytes, times in Unix time."""
    key = run("compile", programs.ECHO, "--json").json["key"]
    done = run("cache", "list", "--json")
    assert (done.status, done.err) == (0, "")
    assert list(done.json) == ["directory", "artifacts"]
    assert done.json["directory"] == str(cache)
    (artifact,) = done.json["artifacts"]
    assert list(artifact) == ["key", "name", "module_bytes", "artifact_bytes", "created"]
    assert (artifact["key"], artifact["name"]) == (key, "echo")
    assert artifact["module_bytes"] == programs.ECHO.stat().st_size
    assert artifact["created"] == pytest.approx((cache / f"{key}.cwasm").stat().st_mtime, abs=60)


def test_cache_clear_removes_what_was_compiled(run: Run, cache: Path) -> None:
    """It says how much; the next run compiles again."""
    run("compile", programs.ECHO)
    done = run("cache", "clear")
    assert (done.status, done.output) == (0, b"")
    assert re.fullmatch(rf"removed 1 compiled module, [\d.]+ KiB, from {re.escape(str(cache))}\n", done.err)
    assert [path.name for path in cache.iterdir()] == ["secret"]
    assert run("compile", programs.ECHO, "--json").json["was_cached"] is False


def test_cache_clear_with_json_counts(run: Run, cache: Path) -> None:
    """Modules and bytes."""
    run("compile", programs.ECHO)
    size = sum(path.stat().st_size for path in cache.iterdir() if path.name != "secret")
    assert run("cache", "clear", "--json").json == {"directory": str(cache), "removed": 1, "bytes": size}
    assert run("cache", "clear", "--json").json == {"directory": str(cache), "removed": 0, "bytes": 0}


def test_cache_clear_leaves_files_of_others_alone(run: Run, cache: Path) -> None:
    """Whoever names the wrong directory loses nothing."""
    cache.mkdir(mode=0o700)
    for name in (".bashrc", "notes.txt", "tmpabc", "guest.wasm"):
        (cache / name).write_text("mine")
    (cache / "more.cwasm").mkdir()
    run("compile", programs.ECHO)
    assert run("cache", "clear", "--json").json["removed"] == 1
    assert sorted(path.name for path in cache.iterdir()) == [
        ".bashrc", "guest.wasm", "more.cwasm", "notes.txt", "secret", "tmpabc",
    ]  # fmt: skip
