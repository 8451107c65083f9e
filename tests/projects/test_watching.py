"""`wasmrun dev` and `wasmrun build --watch`: again at every save, until Ctrl-C."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wasmrun.projects.saves import look, wait_for_save

Make = Callable[..., Path]


@contextmanager
def watching(*args: object) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], list[str]]]]:
    """A command that does not end by itself, and a function that reads its lines up to one with a text in it."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "wasmrun", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    stream = process.stdout
    reader = threading.Thread(target=lambda: [lines.put(line) for line in stream])
    reader.start()

    def until(text: str) -> list[str]:
        seen = []
        while not seen or text not in seen[-1]:
            seen.append(lines.get(timeout=30))
        return seen

    try:
        yield process, until
    finally:
        process.kill()
        process.wait(30)
        reader.join(30)
        stream.close()


def save(path: Path, old: str, new: str) -> None:
    """As editors do it: a new file in the place of the old one."""
    text = path.read_text()
    assert old in text
    new_path = path.with_name(f".{path.name}.swp")
    new_path.write_text(text.replace(old, new))
    os.replace(new_path, path)


def test_dev_shows_the_answer_or_what_is_wrong_at_every_save(make: Make) -> None:
    """An answer, a compiler's error, a function's error, broken settings, and an answer again; then Ctrl-C."""
    place = make()
    handler = place / "handler.c"
    with watching("dev", place, "--report", "none") as (process, until):
        assert '{"hello": "Ada"}\n' in until("waiting for a save")
        save(handler, "return 0;", "return 0")
        assert any("error: expected ';'" in line for line in until("waiting for a save"))
        save(handler, "return 0", 'return wasmrun_fail(answer, "Sad", "not today");')
        assert "wasmrun: GuestError: Sad: not today\n" in until("waiting for a save")
        save(place / "wasmrun.toml", "memory", "memroy")
        assert any("did you mean 'memory'?" in line for line in until("waiting for a save"))
        save(place / "wasmrun.toml", "memroy", "memory")
        until("waiting for a save")
        save(handler, 'return wasmrun_fail(answer, "Sad", "not today");', "return 0;")
        assert '{"hello": "Ada"}\n' in until("waiting for a save")
        (place / "event.json").write_text('{"name": "Grace"}')
        assert '{"hello": "Grace"}\n' in until("waiting for a save")
        process.send_signal(signal.SIGINT)
        until("interrupted")
        assert process.wait(10) == 130


def test_build_watch_builds_at_every_save(make: Make) -> None:
    """And tells of each."""
    place = make()
    with watching("build", place, "--watch") as (process, until):
        assert any("built in" in line for line in until("waiting for a save"))
        save(place / "handler.c", "return 0;", "return 0")
        assert any("error: expected ';'" in line for line in until("waiting for a save"))
        save(place / "handler.c", "return 0", "return 0;")
        assert any("hello.wasm" in line for line in until("waiting for a save"))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_save_is_seen_once_it_is_done(place: Path) -> None:
    """A file that is still being written is waited for; what tools make is not looked at."""
    (place / "a.c").write_text("1")
    (place / "build").mkdir()
    seen = look(str(place))
    steps = iter(["build/out", "a.c", "a.c", None, None])

    def sleep(_seconds: float) -> None:
        name = next(steps)
        if name is not None:
            with (place / name).open("a") as file:
                file.write("more")

    now = wait_for_save(str(place), seen, sleep)
    assert next(steps) is None  # one quiet look was enough
    assert set(now) == {"a.c"}
    assert now["a.c"][1] == 9


@pytest.mark.parametrize("name", [".a.c.swp", ".a.c.swx", "a.c~", ".#a.c", "#a.c#", "4913"])
def test_what_an_editor_keeps_for_itself_is_no_save(name: str, place: Path) -> None:
    """Nor a source."""
    (place / "a.c").touch()
    seen = look(str(place))
    (place / name).write_text("not yet")
    assert look(str(place)) == seen


def test_dev_goes_on_where_a_file_cannot_be_read(make: Make) -> None:
    """As where a directory was unmounted for a moment; and where one goes while it is looked at."""
    place = make()
    for command in (("dev", place, "--report", "none"), ("build", place, "--watch")):
        with watching(*command) as (_, until):
            until("waiting for a save")
            (place / "build").rename(place / "target")
            (place / "build").touch()
            save(place / "handler.c", "return 0;", "return 0; ")
            assert any("/build: File exists" in line for line in until("waiting for a save"))
            (place / "build").unlink()
            (place / "target").rename(place / "build")
            save(place / "handler.c", "return 0; ", "return 0;")
            assert not any("File exists" in line for line in until("waiting for a save"))


@pytest.mark.parametrize("change", ["made", "removed", "renamed"])
def test_files_that_come_and_go_are_saves_too(place: Path, change: str) -> None:
    """As a checkout of another branch does it."""
    (place / "a.c").touch()
    seen = look(str(place))
    if change == "made":
        (place / "b.c").touch()
    elif change == "removed":
        (place / "a.c").unlink()
    else:
        (place / "a.c").rename(place / "b.c")
    assert wait_for_save(str(place), seen, lambda _seconds: None) != seen
