"""Which calls of the kernel a worker can make."""

from __future__ import annotations

import ctypes.util
import signal
import sys
from typing import Any

import pytest
from walled import GUESTS, Inside, Start

from wasmrun.hardening import seccomp
from wasmrun.hardening.wall import Missing

pytestmark = pytest.mark.needs_wall("seccomp")


@pytest.mark.parametrize(
    "call",
    [
        "socket.socket", "socket.socket, socket.AF_UNIX", "socket.socket, socket.AF_NETLINK, socket.SOCK_RAW", "os.fork",
        "subprocess.run, [sys.executable]", "os.execv, sys.executable, ['python']", "os.posix_spawn, sys.executable, ['python'], {}",
        "os.kill, os.getppid(), 0", "os.kill, os.getpid(), 0", "os.setuid, os.getuid()", "os.chdir, '/'", "os.setpriority, 0, 0, 5",
        "libc, 'bind', 0, 0, 0", "libc, 'connect', 0, 0, 0", "libc, 'vfork'",
    ],
)  # fmt: skip
def test_worker_is_refused(call: str, inside: Inside) -> None:
    """And goes on: programs may try this in good faith."""
    assert inside(f"say(failure({call}))", "import socket, subprocess") == "EPERM"


@pytest.mark.parametrize(
    "call",
    [
        "'ptrace', 0, 0, 0, 0", "'process_vm_readv', os.getppid(), 0, 0, 0, 0, 0", "'unshare', 0x10000000", "'setns', 0, 0",
        "'mount', 0, 0, 0, 0, 0", "'chroot', b'/'", "'syscall', 425, 1, 0", "'syscall', 321, 0, 0, 0", "'open_by_handle_at', 0, 0, 0",
    ],
)  # fmt: skip
def test_worker_is_killed_for(call: str, worker: Start) -> None:
    """What nothing here calls, and whoever takes over a process would; the parent sees which signal it was."""
    if "'syscall', 321" in call and seccomp.os.uname().machine != "x86_64":
        pytest.skip("the number of bpf is another one here")
    done = worker(f"say('before')\nlibc({call})\nsay('went on')")
    assert (done.said, done.status) == ("before", -signal.SIGSYS)


@pytest.mark.parametrize(
    "call",
    [
        "'syscall', 435, 0, 0", "'memfd_create', b'x', 0", "'prctl', 4, 1, 0, 0, 0", "'ioctl', 0, 0x5412, b'x'", "'fcntl', 0, 8, 1",
        "'shmget', 0, 4096, 512", "'mlockall', 1", "'syscall', 100000",
    ],
)  # fmt: skip
def test_worker_is_told_that_there_is_no_such_call(call: str, inside: Inside) -> None:
    """Also of clone3, whose flags no filter sees: so the C library takes clone; and of what is newer than the list."""
    assert inside(f"say(failure(libc, {call}))") == "ENOSYS"


def test_worker_cannot_raise_its_limits(inside: Inside) -> None:
    """It may only ask what they are."""
    assert inside("import resource\nsay(failure(resource.setrlimit, resource.RLIMIT_NOFILE, (10, 10)))") == "ENOSYS"


@pytest.mark.parametrize(
    "call", ["os.getpid", "os.cpu_count", "time.sleep, 0", "os.urandom, 8", "socket.socketpair", "os.pipe"]
)
def test_worker_may(call: str, inside: Inside) -> None:
    """What it lives from."""
    assert inside(f"say(failure({call}))", "import socket") is None


def test_worker_speaks_through_a_socket_that_it_has(inside: Inside) -> None:
    """It cannot make one, but it was started with one."""
    code = """
ours, theirs = socket.socketpair()
ours.settimeout(5)
ours.sendall(b'x')
say([theirs.recv(1).decode(), ours.family == socket.AF_UNIX])
"""
    assert inside(code, "import socket") == ["x", True]


def test_worker_makes_threads(inside: Inside) -> None:
    """And no other processes: see above."""
    code = "import threading\nthread = threading.Thread(target=lambda: say('from a thread'))\nthread.start(); thread.join()"
    assert inside(code) == "from a thread"


def test_filter_is_on_every_thread(inside: Inside, prepared: Any) -> None:
    """The keeper's, the ones that wait for ticks and write output, and the executor's own."""
    code = """
with wasmrun.Executor(cache_dir=cache, max_sandboxes=2, threads=1) as executor:
    executor.submit(wasmrun.Function(printing)).result()
    executor.run(wasmrun.Function(looping, timeout='50ms'))
    names = os.listdir('/proc/self/task')
    say([[status('Seccomp', f'/proc/self/task/{name}'), status('NoNewPrivs', f'/proc/self/task/{name}')] for name in names])
"""
    found = inside(
        code,
        names={"cache": str(prepared), "printing": GUESTS["print"], "looping": GUESTS["spin"]},
        readable=[str(prepared)],
    )
    assert len(found) >= 5
    assert {tuple(one) for one in found} == {("2", "1")}


def test_filter_is_on_the_threads_of_ticks(inside: Inside) -> None:
    """Each tick has one of its own, made by the C library when it comes."""
    code = """
import threading
from wasmrun.machine import ticker
seen, enough = [], threading.Event()
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def on_tick(_):
    seen.append([threading.get_native_id(), status('Seccomp', '/proc/thread-self')])
    if len(seen) == 3: enough.set()
timer, handle = ticker._Timer(), ctypes.c_void_p()
event = ticker._SigEvent(None, 0, ticker._SIGEV_THREAD, ctypes.cast(on_tick, ctypes.c_void_p).value, None)
assert timer.create(1, ctypes.addressof(event), ctypes.addressof(handle)) == 0
interval = (ctypes.c_long * 4)(0, 10_000_000, 0, 10_000_000)
timer.settime(handle.value or 0, 0, ctypes.addressof(interval), None)
assert enough.wait(10)
timer.delete(handle.value or 0)
time.sleep(0.05)
say([[thread != os.getpid(), filtered] for thread, filtered in seen[:3]])
"""
    assert inside(code) == [[True, "2"]] * 3


def test_tables_of_calls_share_none() -> None:
    """The filter would keep one of two answers."""
    tables = (seccomp.ALLOWED, seccomp.REFUSED, seccomp.FATAL)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))


def test_tables_of_calls_are_known_to_the_library() -> None:
    """A name that is spelled wrong would be refused, or allowed to be missing, in silence."""
    library = seccomp.load_library()
    names = {*seccomp.ALLOWED, *seccomp.REFUSED, *seccomp.FATAL}
    unknown = {name for name in names if library.resolve_syscall(library.Arch.NATIVE, name) == -1}
    assert unknown <= {"futex_waitv"}  # newer than libseccomp 2.5.3


def test_library_that_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its binding says only that it is not there."""
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None if name == "seccomp" else "libc.so.6")
    with pytest.raises(Missing, match="missing: libseccomp") as caught:
        seccomp.load_library()
    assert "apt install libseccomp2" in caught.value.remedy


def test_binding_that_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a package as any other."""
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(Missing, match="missing: pyseccomp") as caught:
        seccomp.load_library()
    assert caught.value.remedy == "pip install pyseccomp"


def test_worker_without_the_library_has_the_other_walls(inside: Inside) -> None:
    """Unless it was asked for."""
    said = inside(
        "say([wall for wall in walls if not wall.is_up and wall.name != 'cgroup'])", "sys.modules['pyseccomp'] = None"
    )
    assert [name for name, *_ in said if name != "namespaces"] == ["seccomp"]


def test_kernel_without_filters_is_named_with_what_to_do(worker: Start) -> None:
    """Here one that another filter, as a container has it, takes them away from."""
    before = """
from wasmrun.hardening import seccomp
library = seccomp.load_library()
outer = library.SyscallFilter(library.ALLOW)
outer.add_rule(library.ERRNO(22), 'seccomp')
outer.load()
"""
    done = worker("say(next(wall for wall in walls if wall.name == 'seccomp'))", before)
    assert done.status == 0, done.err
    assert done.said[1] is False
    assert done.said[2].startswith("the kernel refused the filter: ")
    assert "CONFIG_SECCOMP_FILTER" in done.said[3]
