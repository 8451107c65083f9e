"""Which files a worker sees."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from walled import Inside, Start

from wasmrun.hardening import landlock
from wasmrun.hardening.wall import Missing

pytestmark = pytest.mark.needs_wall("landlock")

OPEN = "def opened(path, flags=os.O_RDONLY):\n    return failure(lambda: os.close(os.open(path, flags, 0o600)))\n"


@pytest.fixture
def granted(tmp_path: Path) -> Path:
    """A directory with a file in it."""
    directory = tmp_path / "granted"
    directory.mkdir()
    (directory / "f").write_text("text")
    (tmp_path / "outside").write_text("secret")
    (directory / "link").symlink_to(tmp_path / "outside")
    return directory


@pytest.mark.parametrize("path", ["/etc/passwd", "/", "/proc", "/proc/1/status", "/dev/null", "/tmp", "/sys"])
def test_worker_sees_no_file_that_is_not_named(path: str, inside: Inside) -> None:
    """Neither what is in it nor what it lists."""
    assert inside(f"{OPEN}say(opened(path))", names={"path": path}) in ("EACCES", "ENOENT")


def test_worker_does_not_see_its_parent(inside: Inside) -> None:
    """Whose variables are in a file that the same user may read."""
    assert inside(f"{OPEN}say(opened(f'/proc/{{os.getppid()}}/environ'))") == "EACCES"


def test_worker_reads_a_directory_that_is_readable(inside: Inside, granted: Path) -> None:
    """What is in it, and what is in the files."""
    said = inside(
        "say([sorted(os.listdir(path)), open(path + '/f').read()])",
        names={"path": str(granted)},
        readable=[str(granted)],
    )
    assert said == [["f", "link"], "text"]


@pytest.mark.parametrize(
    "call",
    [
        "os.open, path + '/f', os.O_WRONLY", "os.open, path + '/new', os.O_CREAT | os.O_WRONLY", "os.truncate, path + '/f', 0",
        "os.unlink, path + '/f'", "os.mkdir, path + '/d'", "os.rename, path + '/f', path + '/g'", "os.symlink, 'f', path + '/g'",
        "os.link, path + '/f', path + '/g'",
    ],
)  # fmt: skip
def test_worker_changes_nothing_in_a_directory_that_is_readable(call: str, inside: Inside, granted: Path) -> None:
    """The artifact cache is one."""
    assert inside(f"say(failure({call}))", names={"path": str(granted)}, readable=[str(granted)])
    assert (granted / "f").read_text() == "text"
    assert sorted(os.listdir(granted)) == ["f", "link"]


def test_worker_changes_a_directory_that_is_writable(inside: Inside, granted: Path) -> None:
    """It makes, writes, renames and removes."""
    code = """
os.mkdir(path + '/d')
with open(path + '/d/new', 'w') as file: file.write('new')
os.rename(path + '/d/new', path + '/new')
os.unlink(path + '/f'); os.rmdir(path + '/d')
say(sorted(os.listdir(path)))
"""
    assert inside(code, names={"path": str(granted)}, writable=[str(granted)]) == ["link", "new"]
    assert (granted / "new").read_text() == "new"


@pytest.mark.parametrize("made", ["os.mkfifo, path + '/p'", "os.mknod, path + '/p', 0o140600"])
def test_worker_makes_no_pipes_and_sockets_in_a_directory_that_is_writable(
    made: str, inside: Inside, granted: Path
) -> None:
    """Through which it would speak with others."""
    assert inside(f"say(failure({made}))", names={"path": str(granted)}, writable=[str(granted)])


@pytest.mark.parametrize("way", ["/link", "/../outside"])
def test_worker_finds_no_way_out_of_a_directory(way: str, inside: Inside, granted: Path) -> None:
    """What counts is where a path leads."""
    said = inside(f"{OPEN}say(opened(path))", names={"path": f"{granted}{way}"}, writable=[str(granted)])
    assert said == "EACCES"


def test_worker_imports_what_it_has_not_imported_before(inside: Inside) -> None:
    """The standard library, and packages with libraries of their own."""
    code = "import sqlite3, psutil\nsay(sqlite3.connect(':memory:').execute('select 1').fetchone())"
    assert inside(code, "assert 'sqlite3' not in sys.modules and 'psutil' not in sys.modules") == [1]


def test_worker_knows_how_much_memory_the_machine_has(inside: Inside) -> None:
    """The pool lets go of ready sandboxes when that is little."""
    assert inside("import psutil\nsay(psutil.virtual_memory().total > 0)") is True


def test_worker_knows_the_processor(inside: Inside) -> None:
    """Which artifact is its own depends on that."""
    assert inside("say(len(open('/proc/cpuinfo').read()) > 0)") is True


def test_worker_reads_of_itself(inside: Inside) -> None:
    """Its resident memory, and where its stack is: the C library asks for that on the main thread."""
    code = "from wasmrun.machine.threads import stack_bytes\nsay([stack_bytes() > 0, int(open('/proc/self/statm').read().split()[1]) > 0])"
    assert inside(code) == [True, True]


def test_worker_holds_on_to_the_files_of_proc_that_it_reads(inside: Inside) -> None:
    """The rule is for an inode, which the kernel forgets, and makes anew, unless somebody holds it."""
    code = """
found = set()
for name in os.listdir('/proc/self/fd'):
    try: found.add(os.readlink('/proc/self/fd/' + name))
    except OSError: pass
say([path in found for path in ('/proc/meminfo', '/proc/cpuinfo', f'/proc/{os.getpid()}')])
"""
    assert inside(code) == [True] * 3


def test_worker_whose_directory_is_not_there_does_not_start(worker: Start, tmp_path: Path) -> None:
    """Rather than tell a guest that it is empty."""
    done = worker("say('went on')", writable=[str(tmp_path / "gone")])
    assert done.said is None
    assert f"HostError: {tmp_path}/gone, which the worker is to see, cannot be opened" in done.err


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_landlock_of_an_older_kernel_is_used_for_what_it_knows(version: int, inside: Inside) -> None:
    """Files are refused by all of them."""
    before = f"from wasmrun.hardening import landlock\nif landlock._version() >= {version}: landlock._version = lambda: {version}"
    error, detail = inside(
        f"{OPEN}say([opened('/etc/passwd'), dict((wall.name, wall.detail) for wall in walls)['landlock']])", before
    )
    assert error == "EACCES"
    assert ("TCP" in detail) == (version >= 4)
    assert ("signals" in detail) == (version >= 6)


@pytest.mark.parametrize(
    ("number", "message"), [(38, "this kernel has no Landlock"), (95, "was not switched on at boot")]
)
def test_landlock_that_is_missing_says_what_to_do(number: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And changes nothing."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(landlock, "call", refuse)
    with pytest.raises(Missing, match=message) as caught:
        landlock.put_up((), ())
    assert "lsm=landlock" in caught.value.remedy


def test_interpreter_paths_are_directories_of_the_interpreter() -> None:
    """Of its modules and libraries; never all there is."""
    paths = landlock.interpreter_paths()
    assert os.path.dirname(os.__file__) in map(os.path.realpath, paths)
    assert {"/", ""} & set(paths) == set()
    assert {os.path.realpath(path) for path in sys.path if path} <= set(paths)
