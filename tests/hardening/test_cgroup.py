"""The control group of a worker, in a directory that behaves as the kernel's does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmrun.hardening import cgroup
from wasmrun.hardening.cgroup import MemoryGroup
from wasmrun.hardening.wall import Missing

LISTING = "4:memory:/elsewhere\n0::/user/app\n"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Has directories made in one place filled as the kernel does, and taken away with what is in them."""

    def at(place: Path) -> None:
        make, remove = os.mkdir, os.rmdir
        files = ("memory.max", "memory.swap.max", "cgroup.procs")

        def mkdir(path: str, mode: int = 0o777) -> None:
            make(path, mode)
            if Path(path).parent == place:
                for name in files:
                    (Path(path) / name).write_text("")

        def rmdir(path: str) -> None:
            for name in files:
                (Path(path) / name).unlink(missing_ok=True)
            remove(path)

        monkeypatch.setattr(cgroup.os, "mkdir", mkdir)
        monkeypatch.setattr(cgroup.os, "rmdir", rmdir)

    return at


@pytest.mark.parametrize("below", ["user", "user/app"])
def test_group_is_made_where_the_controller_is(below: str, tmp_path: Path, kernel: Callable[[Path], None]) -> None:
    """Beside the parent's own if it can be, else below it."""
    (tmp_path / "user" / "app").mkdir(parents=True)
    kernel(tmp_path / below)
    with MemoryGroup(1000, str(tmp_path), LISTING) as group:
        path = Path(group.path)
        assert path.parent == tmp_path / below
        assert (path / "memory.max").read_text() == "1000"
        assert (path / "memory.swap.max").read_text() == "0"
    assert not path.exists()


def test_group_that_cannot_be_limited_is_not_left_behind(tmp_path: Path) -> None:
    """Where directories can be made, but the memory controller is not switched on."""
    (tmp_path / "user" / "app").mkdir(parents=True)
    with pytest.raises(Missing, match="no writable cgroup v2 with the memory controller") as caught:
        MemoryGroup(1000, str(tmp_path), LISTING)
    assert "Delegate=yes" in caught.value.remedy
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["app", "user"]


def test_group_of_a_process_that_is_in_none_is_missing(tmp_path: Path) -> None:
    """As on a machine with the first version alone."""
    with pytest.raises(Missing, match="in no cgroup v2"):
        MemoryGroup(1000, str(tmp_path), "4:memory:/elsewhere\n")


def test_group_is_closed_once(tmp_path: Path, kernel: Callable[[Path], None]) -> None:
    """Another of that name is not its own any more."""
    (tmp_path / "user" / "app").mkdir(parents=True)
    kernel(tmp_path / "user")
    group = MemoryGroup(1000, str(tmp_path), LISTING)
    path = Path(group.path)
    group.close()
    path.mkdir()
    group.close()
    assert path.exists()
    assert group.path == ""


def test_worker_moves_into_its_group(tmp_path: Path) -> None:
    """And tells its limit."""
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "memory.max").write_text("1000\n")
    assert cgroup.put_up(str(tmp_path)) == "1000 bytes"
    assert (tmp_path / "cgroup.procs").read_text() == "0"


def test_group_with_a_process_in_it_stays_to_be_closed_later(
    tmp_path: Path, kernel: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses to remove it."""
    (tmp_path / "user" / "app").mkdir(parents=True)
    kernel(tmp_path / "user")
    group = MemoryGroup(1000, str(tmp_path), LISTING)
    path = Path(group.path)

    def refuse(path: str) -> None:
        raise OSError(16, "Device or resource busy", path)

    with monkeypatch.context() as patch:
        patch.setattr(cgroup.os, "rmdir", refuse)
        with pytest.raises(OSError, match="busy"):
            group.close()
    group.close()
    assert not path.exists()


def test_worker_without_a_group_has_none_and_is_told_how_to() -> None:
    """Its parent makes it."""
    with pytest.raises(Missing, match="none was made for it") as caught:
        cgroup.put_up(None)
    assert "Delegate=yes" in caught.value.remedy
