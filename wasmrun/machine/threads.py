"""Threads: how much stack the calling one has. A guest that outgrows it kills the process."""

from __future__ import annotations

import ctypes

_ATTRIBUTE_BYTES = 64  # pthread_attr_t is 56 bytes on x86-64 and 64 on aarch64


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
