"""seccomp: of the kernel's calls, only those that a worker makes.

The filter is written by libseccomp, which knows the numbers and the conventions of each architecture, through
pyseccomp, a binding of it in Python. Three answers, by what the call tells about its caller:

* What programs may try in good faith is refused with EPERM, and they go on: a socket, a process, a program.
* What nothing here calls, and whoever takes over a process would, ends the worker; its parent sees SIGSYS.
* Everything else does not exist (ENOSYS), which is what makes C libraries take the older call that is listed.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from wasmrun.hardening.wall import Missing

ALLOWED = (
    # memory and time
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "membarrier",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    # threads, their locks, and the timer that ticks: its thread waits in rt_sigtimedwait
    "futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "gettid", "exit", "exit_group",
    "sched_yield", "sched_getaffinity", "restart_syscall", "getcpu",
    "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending", "sigaltstack",
    # what a process may know of itself and of the machine
    "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgrp", "getpgid",
    "getsid", "getrusage", "times", "uname", "sysinfo", "getrandom", "getcwd", "getrlimit",
    # descriptors that are open already, sockets among them, and waiting for them
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev", "pwritev2", "lseek",
    "close", "close_range", "dup", "dup2", "dup3", "pipe2",
    "recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown", "getsockname", "getpeername", "getsockopt",
    "poll", "ppoll", "select", "pselect6", "eventfd2",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
    # files: which ones is for Landlock to say
    "open", "openat", "openat2", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat",
    "faccessat2", "readlink", "readlinkat", "getdents64", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat",
    "renameat2", "linkat", "symlinkat", "ftruncate", "fallocate", "fadvise64", "fsync", "fdatasync", "flock", "utimensat",
)  # fmt: skip

REFUSED = (
    "socket", "connect", "bind", "listen", "accept", "accept4", "fork", "vfork", "execve", "execveat",
    "kill", "tkill", "pidfd_open", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "setuid", "setgid", "setresuid", "setresgid", "setgroups", "setpgid", "setsid", "capset", "setpriority", "sched_setaffinity",
    "chdir", "fchdir", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "umask", "mknod", "mknodat",
)  # fmt: skip

FATAL = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "add_key", "request_key", "keyctl", "open_by_handle_at", "name_to_handle_at",
    "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
    "mount_setattr", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon",
    "swapoff", "acct", "quotactl", "settimeofday", "clock_settime", "syslog", "fanotify_init", "modify_ldt", "iopl", "ioperm",
)  # fmt: skip

_ALL = 2**64 - 1
"""The mask under which an argument counts as a whole."""
_UNKNOWN = -1
"""What libseccomp gives for a name that it does not know."""
_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020080
"""Every kind of namespace."""
_AF_UNIX = 1
_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: whether it is a terminal, how much there is to read, two flags."""
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1033, 1034)
"""Copies, flags, locks and seals; not who gets signals."""
_PRCTLS = (15, 16, 0x53564D41)
"""Names of threads and of memory."""

_LIBRARY = "install libseccomp (apt install libseccomp2, dnf install libseccomp, apk add libseccomp)"
_REMEDY = "use a kernel with seccomp filters (CONFIG_SECCOMP_FILTER), and a container that allows them"


def load_library() -> Any:
    """The binding. Before any other wall: it looks for the library with programs of the system. Raises `Missing`."""
    try:
        # Here, and not above: it starts processes when it is imported.
        import pyseccomp
    except ImportError:
        raise Missing("missing: pyseccomp", "pip install pyseccomp") from None
    except (RuntimeError, OSError):
        raise Missing("missing: libseccomp", _LIBRARY) from None
    return pyseccomp


def put_up() -> str:
    """Filter the calls of every thread of this process, those to come included. Raises `Missing`."""
    library = load_library()
    try:
        _load(_Rules(library))
    except OSError as error:
        raise Missing(f"the kernel refused the filter: {error.strerror}", _REMEDY) from None
    return f"{len(ALLOWED)} calls allowed, {len(FATAL)} end the worker"


def _load(rules: _Rules) -> None:
    for name in ALLOWED:
        rules.allow(name)
    for name in REFUSED:
        rules.refuse(name)
    for name in FATAL:
        rules.kill(name)
    this = os.getpid()
    # A thread, in the namespaces that there are. For clone3, whose flags are in memory where no filter sees them, the
    # C library takes this one instead.
    rules.allow("clone", (0, _CLONE_THREAD | _CLONE_NEW, _CLONE_THREAD))
    rules.refuse("clone", (0, _CLONE_THREAD, 0))
    # Signals to its own threads only: abort() is one.
    rules.allow("tgkill", (0, _ALL, this))
    rules.allow("socketpair", (0, _ALL, _AF_UNIX))
    for name, place, values in (("ioctl", 1, _IOCTLS), ("fcntl", 1, _FCNTLS), ("prctl", 0, _PRCTLS)):
        for value in values:
            rules.allow(name, (place, _ALL, value))
    # Asking for a limit, its own, and not setting it.
    for process in (0, this):
        rules.allow("prlimit64", (0, _ALL, process), (2, _ALL, 0))
    rules.load()


class _Rules:
    """A filter in the making."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._filter = library.SyscallFilter(library.ERRNO(errno.ENOSYS))
        # All threads take it in one step, or none does.
        self._filter.set_attr(library.Attr.CTL_TSYNC, 1)

    def allow(self, name: str, *wanted: tuple[int, int, int]) -> None:
        self._add(self._library.ALLOW, name, *wanted)

    def refuse(self, name: str, *wanted: tuple[int, int, int]) -> None:
        self._add(self._library.ERRNO(errno.EPERM), name, *wanted)

    def kill(self, name: str) -> None:
        self._add(self._library.KILL_PROCESS, name)

    def load(self) -> None:
        self._filter.load()

    def _add(self, action: int, name: str, *wanted: tuple[int, int, int]) -> None:
        """*action* for *name* where each argument, by its place and under its mask, has its value."""
        library = self._library
        number = library.resolve_syscall(library.Arch.NATIVE, name)
        # Unknown to this libseccomp, which is older than the call: it stays one that does not exist.
        if number != _UNKNOWN:
            tests = (library.Arg(place, library.MASKED_EQ, mask, value) for place, mask, value in wanted)
            self._filter.add_rule(action, number, *tests)
