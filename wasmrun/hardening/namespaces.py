"""A user namespace of one's own, with a network that leads nowhere.

What is refused by number in seccomp is here simply not there: no interface, no port, no abstract socket of the host.
"""

from __future__ import annotations

import contextlib
import os

from wasmrun.errors import HostError
from wasmrun.hardening.kernel import call
from wasmrun.hardening.wall import Missing

_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_REMEDY = (
    "allow user namespaces to this user (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns), or run the container with a profile that allows unshare"
)


def put_up() -> str:
    """Move this process into new user, network and IPC namespaces, in which it keeps its user's number."""
    # Tried in a child first: where the namespace can be had but not its map, there is no way back,
    # and this process would be another user, whose files are not its own.
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            _enter()
            status = 0
        os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise Missing("user namespaces are not allowed to this process", _REMEDY)
    try:
        _enter()
    except OSError as error:
        raise HostError(f"the worker is left in half a user namespace: {error.strerror}; start it again") from None
    return "user, network and IPC of its own"


def _enter() -> None:
    user, group = os.geteuid(), os.getegid()
    call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        # Each takes one write, whole.
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
