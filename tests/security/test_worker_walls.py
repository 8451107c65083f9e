"""What a worker that was taken over can do: every test runs Python in one, behind the walls of a real executor."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wasmrun

TakenOver = Any


@pytest.mark.needs("landlock")
def test_worker_reads_no_file_outside(taken_over: TakenOver, tmp_path: Path) -> None:
    """Not of the system, not of users, not of other processes, and not what its executor can read."""
    (tmp_path / "secret").write_text("secret")
    paths = ["/etc/passwd", "/etc/shadow", "/etc/hostname", str(tmp_path / "secret"), str(Path.home()), "/", "/tmp",
             f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/mem", "/proc/1/cmdline", "/dev/mem", "/sys/kernel"]  # fmt: skip
    assert taken_over.says(f"[failure(os.open, path, 0) in ('EACCES', 'ENOENT', 'EPERM') for path in {paths}]") == (
        [True] * len(paths)
    )


@pytest.mark.needs("landlock")
def test_worker_writes_no_file(taken_over: TakenOver, cache_dir: Path) -> None:
    """Neither elsewhere nor in the cache, from which all programs of its user load compiled code."""
    (artifact, *_) = [path for path in cache_dir.iterdir() if path.suffix == ".cwasm"]
    said = taken_over.says(
        f"[failure(os.open, path, os.O_WRONLY | os.O_CREAT, 0o600) for path in ('/tmp/x', '{cache_dir}/x', {str(artifact)!r})]"
        f" + [failure(os.unlink, {str(artifact)!r}), failure(os.rename, {str(artifact)!r}, '{cache_dir}/y'),"
        f" failure(os.symlink, '/', '{cache_dir}/z'), failure(os.mkdir, '{cache_dir}/d')]"
    )
    assert set(said) <= {"EACCES", "EPERM", "EROFS", "ENOSYS"}
    assert artifact.exists()


@pytest.mark.needs("landlock")
def test_worker_has_the_directories_of_its_place_only(taken_over: TakenOver, tmp_path: Path) -> None:
    """A worker that serves a function with a directory has that one, as it was granted."""
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    said = taken_over.says(
        f"[failure(os.open, '{tmp_path}/' + path, flags) for path, flags in"
        " (('mine/f', 0), ('mine/f', 1), ('mine/../other/f', 0), ('other/f', 0))]",
        dirs=[f"{tmp_path}/mine::/d:ro"],
    )
    assert said == [None, "EACCES", "EACCES", "EACCES"]


@pytest.mark.needs("seccomp")
@pytest.mark.parametrize(
    "call",
    [
        "socket.socket", "socket.socket, socket.AF_UNIX", "socket.socket, socket.AF_NETLINK, socket.SOCK_RAW",
        "libc, 'connect', 0, 0, 0", "libc, 'bind', 0, 0, 0",
    ],
)  # fmt: skip
def test_worker_makes_no_sockets(call: str, taken_over: TakenOver) -> None:
    """Of no family: what it has is what it was started with."""
    assert taken_over.says(f"failure({call})") == "EPERM"


@pytest.mark.needs("namespaces")
def test_worker_has_no_network(taken_over: TakenOver) -> None:
    """One namespace of its own, with nothing in it: the second wall where the first would have a hole."""
    taken_over.says("1")
    assert os.readlink(f"/proc/{taken_over.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    names = [
        line.split(":")[0].strip() for line in Path(f"/proc/{taken_over.pid}/net/dev").read_text().splitlines()[2:]
    ]
    assert set(names) <= {
        "lo",
        "tunl0",
        "sit0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "ip6tnl0",
        "ip6gre0",
    }
    assert Path(f"/proc/{taken_over.pid}/net/route").read_text().count("\n") <= 1


@pytest.mark.needs("seccomp")
@pytest.mark.parametrize(
    "call",
    [
        "os.fork", "libc, 'vfork'", "os.execv, sys.executable, ['python']", "subprocess.run, [sys.executable]",
        "os.posix_spawn, sys.executable, ['python'], {}",
    ],
)  # fmt: skip
def test_worker_starts_no_programs(call: str, taken_over: TakenOver) -> None:
    """Neither by fork nor by exec."""
    assert taken_over.says(f"failure({call})") == "EPERM"


@pytest.mark.needs("seccomp")
def test_worker_signals_nobody(taken_over: TakenOver) -> None:
    """Neither its parent, nor its neighbours, nor all."""
    assert taken_over.says("[failure(os.kill, pid, 0) for pid in (os.getppid(), 1, -1, 0)]") == ["EPERM"] * 4


@pytest.mark.needs("seccomp")
@pytest.mark.parametrize(
    "call",
    [
        "'ptrace', 16, os.getppid(), 0, 0", "'process_vm_readv', os.getppid(), 0, 0, 0, 0, 0", "'unshare', 0x10000000",
        "'mount', 0, 0, 0, 0, 0", "'syscall', 425, 1, 0", "'setns', 0, 0",
    ],
)  # fmt: skip
def test_worker_that_reaches_for_others_is_ended(call: str, taken_over: TakenOver) -> None:
    """By the kernel, and its event is told by which signal; the next one gets a new worker."""
    assert "SIGSYS" in taken_over.dies_of(f"libc({call})")
    assert taken_over.says("7") == 7


@pytest.mark.needs("environment")
def test_worker_has_no_environment(taken_over: TakenOver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of the program's environment are not in it, nor in what the kernel remembers of its start."""
    monkeypatch.setenv("TOKEN", "secret")
    said = taken_over.says("[dict(os.environ), open('/proc/self/environ').read().strip(chr(0))]")
    assert said == [{}, ""]


@pytest.mark.needs("descriptors")
def test_worker_has_no_descriptors_but_its_own(taken_over: TakenOver) -> None:
    """A file and a socket of the program, although they may be inherited, are not in it."""
    with tempfile.TemporaryFile() as file, socket.socket() as sock:
        os.set_inheritable(file.fileno(), True)
        os.set_inheritable(sock.fileno(), True)
        inode = {os.fstat(file.fileno()).st_ino, os.fstat(sock.fileno()).st_ino}
        taken_over.says("1")
        directory = Path(f"/proc/{taken_over.pid}/fd")
        links = {path.name: os.readlink(path) for path in directory.iterdir()}
        assert not inode & {os.stat(path).st_ino for path in directory.iterdir()}
    sockets = [link for link in links.values() if link.startswith("socket:")]
    others = [link for link in links.values() if link not in sockets]
    assert len(sockets) == 3  # its supervisor, host calls of start-ups, and its one lane
    allowed = ("/dev/null", "/proc/", "/memfd:", "anon_inode:", "pipe:")
    assert all(link.startswith(allowed) or "(deleted)" in link or link.endswith(".cwasm") for link in others), others


def test_worker_has_the_filter_on_every_thread(processes: wasmrun.ProcessExecutor, walls: frozenset[str]) -> None:
    """Of a real executor, after a guest ran, the threads of timer and engine included; and none has a capability."""
    spin = wasmrun.Function('(module (func (export "spin") (loop br 0)))', timeout="50ms", fuel=None)
    assert isinstance(processes.run(spin).error, wasmrun.TimedOut)
    threads = 0
    for pid in processes.walls():
        for task in Path(f"/proc/{pid}/task").iterdir():
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            threads += 1
            assert "seccomp" not in walls or status["Seccomp"] == "2"
            assert "privileges" not in walls or status["NoNewPrivs"] == "1"
            assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    assert threads >= 2 * len(processes.walls())


@pytest.mark.needs("limits")
def test_worker_leaves_no_core_and_has_few_descriptors(processes: wasmrun.ProcessExecutor) -> None:
    """Limits that it cannot raise."""
    for pid in processes.walls():
        limits = {
            line[:26].strip(): line[26:].split()[:2] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        }
        assert limits["Max core file size"] == ["0", "0"]
        assert int(limits["Max open files"][1]) <= 256


@pytest.mark.needs("seccomp")
def test_worker_raises_no_limits(taken_over: TakenOver) -> None:
    """It may only ask what they are."""
    assert taken_over.says("failure(resource.setrlimit, resource.RLIMIT_NOFILE, (10, 10))") == "ENOSYS"


@pytest.mark.needs("memory image")
def test_worker_is_dumped_and_traced_by_nobody_of_its_user(processes: wasmrun.ProcessExecutor) -> None:
    """Its memory belongs to root, whoever runs it."""
    for pid in processes.walls():
        assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0


def test_hardening_that_is_required_and_missing_is_an_error(cache_dir: Path) -> None:
    """No worker serves, and the error names the wall and what would put it up. A cgroup is only made for a limit."""
    with (
        wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, hardening=["cgroup"]) as executor,
        pytest.raises(wasmrun.HostError, match=r"not fit to serve.*'cgroup' was asked for.*to have it, "),
    ):
        executor.invoke(wasmrun.Function('(module (func (export "f")))'))


def test_hardening_that_is_required_is_up(cache_dir: Path, walls: frozenset[str]) -> None:
    """And so is every other one that the machine has."""
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, hardening=sorted(walls)[:1]) as executor:
        executor.invoke(wasmrun.Function('(module (func (export "f")))'))
        (found,) = executor.walls().values()
        assert {wall[0] for wall in found if wall[1]} >= walls - {"cgroup"}


def test_hardening_that_is_off_says_so(cache_dir: Path) -> None:
    """No wall is up, none is claimed to be, and guests run."""
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, hardening="off") as executor:
        assert executor.invoke(wasmrun.Function('(module (func (export "f") (result i32) (i32.const 7)))')) == 7
        assert [*executor.walls().values()] == [()]


def test_secret_of_the_http_grant_is_in_no_worker(
    taken_over: TakenOver, wat: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker knows that its function may make requests, and neither where to nor with what."""
    pytest.importorskip("httpcore")
    seen = taken_over.says(
        "(lambda gc: [sum('s3c' + 'ret' in repr(one.__dict__) or 'api.' + 'example' in repr(one.__dict__) for one in gc.get_objects()"
        " if type(one).__name__ == 'Function'), sum(type(one).__name__ == 'Function' for one in gc.get_objects())])"
        "(__import__('gc'))",
        http=["https://api.example.com"],
        http_secrets={"https://api.example.com": {"Authorization": "s3cret"}},
    )
    assert seen[0] == 0
    assert seen[1] >= 1
