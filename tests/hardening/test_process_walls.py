"""What a worker gives up of itself: privileges, descriptors, variables, its life without its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from walled import Inside, Start

from wasmrun.errors import HostError
from wasmrun.hardening.wall import NAMES, Walls


def test_harden_tells_of_every_wall_in_order(inside: Inside, available: frozenset[str]) -> None:
    """What is up, and of what is not why."""
    walls = inside("say(walls)")
    assert tuple(name for name, *_ in walls) == NAMES
    assert {name for name, is_up, *_ in walls if is_up} == available - {"cgroup"}
    assert all(detail for _, _, detail, _ in walls)


def test_harden_with_a_wall_that_is_required_and_missing_is_an_error_that_says_what_to_do(worker: Start) -> None:
    """It does not go on with less."""
    done = worker("say('went on')", required=["seccomp", "cgroup"])
    assert done.said is None
    assert (
        "HostError: the wall 'cgroup' was asked for and cannot be put up: none was made for it; to have it, "
        in done.err
    )


def test_harden_refuses_a_process_that_has_threads(worker: Start) -> None:
    """They would keep what is taken from the one that calls it."""
    done = worker(
        "say('went on')", "import threading; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    assert done.said is None
    assert "HostError: a process is hardened while it has one thread; this one has 2" in done.err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"required": frozenset({"moat"})}, "no such wall: moat; there are "),
        ({"readable": ("here",)}, "must be absolute"),
    ],
)
def test_walls_that_cannot_be_are_an_error(fields: dict[str, Any], message: str) -> None:
    """Before anything is put up."""
    with pytest.raises(ValueError, match=message):
        Walls(parent=1, **fields)


def test_worker_has_no_capabilities(inside: Inside) -> None:
    """Not root's, and not those that a user namespace gives."""
    assert inside("say([status(f'Cap{kind}') for kind in ('Inh', 'Prm', 'Eff', 'Amb')])") == [16 * "0"] * 4


def test_worker_gets_no_new_privileges(inside: Inside) -> None:
    """From programs that it executes, if it could."""
    assert inside("say(status('NoNewPrivs'))") == "1"


def test_worker_cannot_be_dumped(inside: Inside) -> None:
    """Nor traced by its own user: the kernel has one flag for both."""
    code = "from wasmrun.hardening import privileges\nprivileges.hide_memory()\nPR_GET_DUMPABLE = 3\nsay(libc('prctl', PR_GET_DUMPABLE))"
    assert inside("pass", code) == 0


def test_worker_leaves_no_core(inside: Inside) -> None:
    """And cannot allow itself one."""
    code = "import resource\nsay([resource.getrlimit(resource.RLIMIT_CORE), failure(resource.setrlimit, resource.RLIMIT_CORE, (1, 1))])"
    limit, error = inside(code)
    assert limit == [0, 0]
    assert error


def test_worker_has_as_many_descriptors_as_it_was_given(inside: Inside) -> None:
    """A guest that opens files without end finds an end."""
    code = """
kept = []
try:
    while True:
        kept.append(os.dup(0))
except OSError as error:
    say([max(kept), error.errno])
"""
    assert inside(code, descriptors=40) == [39, 24]


def test_worker_writes_files_of_the_size_that_it_was_given(inside: Inside, tmp_path: Any) -> None:
    """Larger ones are an error, and not its end."""
    code = "file = open(path, 'wb', 0)\nfile.write(bytes(1000))\nsay(failure(file.write, b'1'))"
    assert inside(code, names={"path": f"{tmp_path}/f"}, writable=[str(tmp_path)], file_size=1000) == "EFBIG"


def test_worker_has_the_memory_that_it_was_given(inside: Inside) -> None:
    """More is a `MemoryError`."""
    code = "bytearray(10_000_000)\ntry: bytearray(200_000_000)\nexcept MemoryError: say('refused')"
    assert inside(code, data=150_000_000) == "refused"


def test_worker_reserves_address_space_that_is_not_memory(inside: Inside) -> None:
    """The bound on memory leaves the engine its 4 GiB a sandbox."""
    code = "import mmap\nmmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=0)\nsay('reserved')"
    assert inside(code, data=150_000_000) == "reserved"


def test_worker_has_only_the_descriptors_that_were_kept(inside: Inside) -> None:
    """Beside those through which it may read of itself in /proc, which give no more than that."""
    kept, other = os.pipe()
    code = """
found = {}
for name in os.listdir('/proc/self/fd'):
    try: found[name] = os.readlink('/proc/self/fd/' + name)
    except OSError: pass
others = [found[number] for number in found if int(number) not in (0, 1, 2, kept)]
say([sorted(map(int, found)), others, failure(os.fstat, other)])
"""
    try:
        numbers, others, error = inside(
            code, names={"kept": kept, "other": other}, pass_fds=(kept, other), keep=[0, 1, 2, kept]
        )
    finally:
        os.close(kept)
        os.close(other)
    assert {0, 1, 2, kept} <= set(numbers)
    assert len(numbers) == 4 + len(others)
    assert [path for path in others if not path.startswith("/proc/")] == []
    assert error == "EBADF"


def test_worker_prints_to_nowhere_on_streams_that_were_not_kept(inside: Inside) -> None:
    """Else the next file that it opens would get what it prints."""
    assert inside("say([os.readlink(f'/proc/self/fd/{number}') for number in (0, 2)])", keep=[1]) == ["/dev/null"] * 2


def test_worker_keeps_the_descriptor_of_a_library_that_maps_itself_again(inside: Inside) -> None:
    """As libffi does where it is built so: its number must not become another file's."""
    before = """
from wasmrun.hardening.maps import executed_files
path = sorted(executed_files())[0]
library = os.open(path, os.O_RDONLY)
"""
    assert inside("say(os.readlink(f'/proc/self/fd/{library}') == path)", before) is True


def test_worker_has_an_empty_environment(inside: Inside) -> None:
    """In Python, in the C library, and where the kernel laid it."""
    code = """
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
laid = ctypes.string_at(*where)
say([dict(os.environ), getenv(b'SECRET'), laid.strip(b'\\0').decode()])
"""
    before = """
fields = open('/proc/self/stat').read().rpartition(')')[2].split()
start, end = int(fields[47]), int(fields[48])
where = start, end - start
assert b'SECRET=of the house' in ctypes.string_at(*where)
"""
    assert inside(code, before, environ={"SECRET": "of the house"}) == [{}, None, ""]


@pytest.mark.needs_wall("namespaces")
def test_worker_keeps_its_user_in_a_namespace_of_its_own(inside: Inside) -> None:
    """The cache's owner is still the one that it was."""
    user, group, namespace = inside("say([os.geteuid(), os.getegid(), os.readlink('/proc/self/ns/user')])")
    assert (user, group) == (os.geteuid(), os.getegid())
    assert namespace != os.readlink("/proc/self/ns/user")


@pytest.mark.needs_wall("namespaces")
def test_worker_has_no_network(inside: Inside) -> None:
    """One interface, which is down and leads nowhere."""
    interfaces = inside("say([line.split(':')[0].strip() for line in open('/proc/self/net/dev') if ':' in line])")
    assert interfaces == ["lo"]


def test_worker_without_namespaces_says_so_and_stays_who_it_is(inside: Inside) -> None:
    """A refusal is found out in a child: there is no way back from half of it."""
    before = """
from wasmrun.hardening import namespaces
def refuse(*_): raise PermissionError(1, 'refused')
namespaces.call = refuse
"""
    user, wall = inside("say([os.geteuid(), next(wall for wall in walls if wall.name == 'namespaces')])", before)
    assert user == os.geteuid()
    assert wall[1] is False
    assert "user.max_user_namespaces" in wall[3]


def test_worker_whose_parent_is_gone_does_not_start(worker: Start) -> None:
    """The signal would never come."""
    done = worker("say('went on')", parent=2**22 - 1)
    assert done.said is None
    assert f"HostError: process {2**22 - 1}, which started this one, is gone" in done.err


WORKER_THAT_WAITS = """
import os, time
from wasmrun.hardening.order import harden
from wasmrun.hardening.wall import Walls
harden(Walls(parent=os.getppid()))
os.write(1, b"x")
time.sleep(60)
"""


def test_worker_dies_with_its_parent() -> None:
    """However that ends: here by SIGKILL."""
    code = """
import subprocess, sys, time
subprocess.Popen([sys.executable, '-I', '-c', sys.argv[1]])
time.sleep(60)
"""
    reader, writer = os.pipe()
    parent = subprocess.Popen([sys.executable, "-I", "-c", code, WORKER_THAT_WAITS], stdout=writer)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"x"
        started = time.monotonic()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # Both had the writing end: its last holder is the worker.
        assert os.read(reader, 1) == b""
        assert time.monotonic() - started < 1
    finally:
        parent.kill()
        os.close(reader)


def test_worker_dies_with_the_thread_that_started_it() -> None:
    """So the kernel has it, and so whoever starts workers has to know."""
    started = []

    def start() -> None:
        started.append(subprocess.Popen([sys.executable, "-I", "-c", WORKER_THAT_WAITS], stdout=subprocess.PIPE))
        assert started[0].stdout is not None
        assert started[0].stdout.read(1) == b"x"

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as worker:
        assert worker.wait(timeout=5) == -signal.SIGKILL


def test_harden_without_proc_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is how the kernel is asked for most of this."""
    from wasmrun.hardening import order

    def refuse(path: str) -> list[str]:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(order.os, "listdir", refuse)
    with pytest.raises(HostError, match=r"with the help of /proc, which is not here .*; mount it"):
        order.harden(Walls(parent=os.getppid()))


def test_harden_tells_of_a_wall_that_the_kernel_refuses(inside: Inside) -> None:
    """With what the kernel said, and goes on with the others."""
    before = """
from wasmrun.hardening import privileges
def refuse(*_): raise PermissionError(1, 'Operation not permitted')
privileges.call = refuse
"""
    _, is_up, detail, remedy = inside("say(next(wall for wall in walls if wall.name == 'capabilities'))", before)
    assert (is_up, detail) == (False, "Operation not permitted")
    assert "a container's profile" in remedy
