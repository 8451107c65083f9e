"""The artifact cache: what was changed behind our back is compiled again, and a directory that fails is no failure."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def answer(directory: Path, guest: str) -> object:
    """What *guest* answers in an executor of its own."""
    with wasmrun.Executor(cache_dir=directory, max_sandboxes=2) as executor:
        return executor.invoke(wasmrun.Function(guest, warm=0), None)


def artifact(directory: Path) -> Path:
    """The one artifact in *directory*."""
    [path] = directory.glob("*.cwasm")
    return path


def flip(path: Path, at: float) -> None:
    """Flip one bit of the file, so far into it."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)


@pytest.fixture
def directory(tmp_path: Path, wat: Callable[..., str]) -> Path:
    """A cache that holds the guest `wat()`."""
    assert answer(tmp_path / "cache", wat()) is True
    return tmp_path / "cache"


CHANGES: dict[str, Callable[[Path], object]] = {
    "one bit, early": lambda path: flip(path, 0.1),
    "one bit, in the middle": lambda path: flip(path, 0.5),
    "one bit, late": lambda path: flip(path, 0.99),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "other content": lambda path: path.write_bytes(b"\x7fELF" + os.urandom(10_000)),
    "gone": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.rename(path.with_suffix(".real")), path.symlink_to(path.with_suffix(".real"))),
    "writable by others": lambda path: path.chmod(0o666),
    "tag: one bit": lambda path: flip(path.with_suffix(".tag"), 0.9),
    "tag: one bit of its digest": lambda path: flip(path.with_suffix(".tag"), 0.05),
    "tag: truncated": lambda path: os.truncate(path.with_suffix(".tag"), 70),
    "tag: empty": lambda path: path.with_suffix(".tag").write_bytes(b""),
    "tag: gone": lambda path: path.with_suffix(".tag").unlink(),
    "secret: another": lambda path: (path.parent / "secret").write_bytes(os.urandom(32)),
    "secret: truncated": lambda path: os.truncate(path.parent / "secret", 5),
    "secret: gone": lambda path: (path.parent / "secret").unlink(),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_an_artifact_that_was_changed_is_compiled_again(change: str, directory: Path, wat: Callable[..., str]) -> None:
    """Whatever happened to the files: the answer is right, and the cache is whole again for the next process."""
    CHANGES[change](artifact(directory))
    assert answer(directory, wat()) is True
    before = artifact(directory).stat()
    assert answer(directory, wat()) is True
    after = artifact(directory).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_artifact_that_was_changed_is_reported(
    directory: Path, wat: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit is worth a warning that names the file; an untouched one is not."""
    assert answer(directory, wat()) is True
    assert caplog.records == []
    flip(artifact(directory), 0.5)
    assert answer(directory, wat()) is True
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert artifact(directory).stem in record.getMessage()


def test_an_artifact_does_not_serve_under_another_name(tmp_path: Path, wat: Callable[..., str]) -> None:
    """Whole files, with whole tags, renamed to those of another module: each still answers as itself."""
    one, two = wat(data=b"\x92\0\1"), wat(data=b"\x92\0\2")
    assert answer(tmp_path, one) == 1
    first = artifact(tmp_path)
    assert answer(tmp_path, two) == 2
    [second] = [path for path in tmp_path.glob("*.cwasm") if path != first]
    for suffix in (".cwasm", ".tag"):
        shutil.copyfile(second.with_suffix(suffix), first.with_suffix(suffix))
    assert answer(tmp_path, one) == 1
    # With its own tag, but the other's code.
    shutil.copyfile(second, first)
    assert answer(tmp_path, one) == 1
    assert answer(tmp_path, two) == 2


def test_an_artifact_that_is_changed_after_its_check_is_checked_again(directory: Path, wat: Callable[..., str]) -> None:
    """One check counts for one file as it is: a change under a running executor is noticed at the next load."""
    function = wasmrun.Function(wat(), warm=0)
    with wasmrun.Executor(cache_dir=directory, max_sandboxes=2) as executor:
        assert executor.invoke(function, None) is True
        for at in (0.2, 0.6):
            flip(artifact(directory), at)
            assert executor.invoke(function, None) is True  # what is loaded stays loaded
            assert executor.unload(function)
            assert executor.invoke(function, None) is True
            assert executor.unload(function)


def test_an_artifact_cannot_be_given_as_a_module(directory: Path, executor: wasmrun.Executor) -> None:
    """Native code from a user is refused: only WebAssembly is taken."""
    path = artifact(directory)
    for module in (path, path.read_bytes()):
        with pytest.raises(wasmrun.InvalidFunction, match="not WebAssembly"):
            executor.invoke(wasmrun.Function(module, warm=0), None)


def in_the_way(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def open_to_others(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o777)
    return path


def not_ours(path: Path) -> Path:
    """A directory of another user, or for all but root, who may write everywhere, one that is read-only."""
    path.mkdir(mode=0o500)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    return path


@pytest.mark.parametrize(
    "make",
    [
        in_the_way,
        open_to_others,
        lambda path: in_the_way(path) / "below",
        lambda path: path.with_name("x" * 300),
        lambda _path: "/proc/wasmrun",
        not_ours,
    ],
)
def test_a_cache_directory_that_cannot_be_used_is_done_without(
    make: Callable[[Path], Path], tmp_path: Path, wat: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A file in the way, a directory of others, one that cannot be made: one warning says what to do, and all works."""
    directory = make(tmp_path / "cache")
    with wasmrun.Executor(cache_dir=directory, max_sandboxes=4) as executor:
        for answer in (1, 2):
            guest = wat(data=bytes([0x92, 0, answer]))
            assert executor.invoke(wasmrun.Function(guest, warm=0), None) == answer
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"the cache directory {directory} cannot be used" in record.getMessage()
    assert "cache_dir=" in record.getMessage()
    assert not list(tmp_path.rglob("*.cwasm"))


def test_a_cache_directory_that_goes_away_is_done_without(
    tmp_path: Path, wat: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that is deleted, or replaced by a file, while an executor uses it: functions are compiled and run."""
    directory = tmp_path / "cache"
    with wasmrun.Executor(cache_dir=directory, max_sandboxes=4) as executor:
        assert executor.invoke(wasmrun.Function(wat(), warm=0), None) is True
        shutil.rmtree(directory)
        assert executor.invoke(wasmrun.Function(wat(data=b"\x92\0\5"), warm=0), None) == 5
        in_the_way(directory)
        assert executor.invoke(wasmrun.Function(wat(data=b"\x92\0\6"), warm=0), None) == 6
    assert all("cannot be stored" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) >= 2
