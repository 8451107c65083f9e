"""Threads: how much stack one has. A guest that outgrows its thread's stack kills the process."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import threading
from collections.abc import Iterator

GUEST_STACK = 2 * 1024 * 1024
"""Bytes of stack that the threads have on which guests run, at least."""

_ATTRIBUTE_BYTES = 64  # pthread_attr_t is 56 bytes on x86-64 and 64 on aarch64
_PATIENCE_SECONDS = 1.0

# Guards what `threading.stack_size` sets: it belongs to the process, so its guard does, too.
_stack_size_lock = threading.Lock()


def stack_bytes() -> int:
    """The size of the calling thread's stack in bytes."""
    libc = ctypes.PyDLL(None)
    libc.pthread_self.restype = ctypes.c_void_p
    attributes = ctypes.create_string_buffer(_ATTRIBUTE_BYTES)
    address, size = ctypes.c_void_p(), ctypes.c_size_t()
    thread = ctypes.c_void_p(libc.pthread_self())
    if libc.pthread_getattr_np(thread, attributes) != 0:
        return 0
    libc.pthread_attr_getstack(attributes, ctypes.byref(address), ctypes.byref(size))
    libc.pthread_attr_destroy(attributes)
    return size.value


@contextlib.contextmanager
def guest_stack() -> Iterator[None]:
    """Threads started in here have room for a guest, whatever the program or its shell chose for threads."""
    # Two that took turns badly would each restore what the other had set. Not for ever, because a child
    # that was forked while another thread was in here inherits a lock that nobody opens.
    is_mine = _stack_size_lock.acquire(timeout=_PATIENCE_SECONDS)
    try:
        chosen = threading.stack_size()  # asking without a size also sets it to 0
        enough = chosen if (chosen or _default_stack()) >= GUEST_STACK else GUEST_STACK
        threading.stack_size(enough)
        try:
            yield
        finally:
            # Unless the program changed it meanwhile, which it may do without asking anybody.
            found = threading.stack_size(chosen)
            if found != enough:
                threading.stack_size(found)
    finally:
        if is_mine:
            _stack_size_lock.release()


def _default_stack() -> int:
    """What a thread gets of which nothing was said: the limit on the main thread's stack (ulimit -s)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return GUEST_STACK if soft == resource.RLIM_INFINITY else soft
