"""The ticker: a native timer that moves an engine's epoch on, so that deadlines come without the GIL.

A Python thread that ticks stands still whenever other code keeps the GIL, and deadlines with it.
Here the kernel's timer calls ``wasmtime_engine_increment_epoch`` itself: the notify function of a
SIGEV_THREAD timer takes one pointer, and so does that function.

Each tick runs on a thread of its own, which a busy machine may start long after the timer has gone, and
with it the engine. So the pointer that a tick gets is not the engine's. That one points to a single
pointer, to what holds the epoch; a tick gets a copy of it which is never freed, and which leads nowhere
once the engine is to go.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time

from wasmrun.errors import HostError
from wasmrun.machine import capi

TICK_NS = 10_000_000
"""Length of a tick: deadlines, cancellation and Ctrl-C are noticed on ticks."""

_CLOCK_MONOTONIC = 1
_SIGEV_THREAD = 2
_SETTLE_SECONDS = 0.02
_NOWHERE_BYTES = 4096  # the epoch is 1,240 bytes into what the engine points to


class _SigEvent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("pad", ctypes.c_char * 32),
    )


class _Timer:
    """The three functions of the C library, found once."""

    def __init__(self) -> None:
        libc = ctypes.PyDLL(None, use_errno=True)
        try:
            self.create, self.settime, self.delete = libc.timer_create, libc.timer_settime, libc.timer_delete
        except AttributeError:
            # Before glibc 2.34 they live in a library of their own.
            librt = ctypes.PyDLL("librt.so.1", use_errno=True)
            self.create, self.settime, self.delete = librt.timer_create, librt.timer_settime, librt.timer_delete
        self.create.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self.settime.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self.delete.argtypes = (ctypes.c_void_p,)


def _for_ever(size: int) -> int:
    """The address of *size* zero bytes that are never freed."""
    calloc = ctypes.PyDLL(None).calloc
    calloc.restype, calloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)
    address = calloc(1, size)
    if not address:
        raise MemoryError
    return int(address)


_NOWHERE = _for_ever(_NOWHERE_BYTES)
"""What ticks count in whose engine is gone. Nobody reads it."""


def check_layout() -> None:
    """Raise `HostError` unless a tick adds 1 to a number in what its pointer's pointer leads to, and does nothing else."""
    epoch = ctypes.create_string_buffer(_NOWHERE_BYTES)
    engine = ctypes.c_void_p(ctypes.addressof(epoch))
    capi.increment_epoch(ctypes.addressof(engine))
    numbers = memoryview(epoch).cast("B").cast("Q")
    if engine.value != ctypes.addressof(epoch) or sum(numbers) != 1:
        raise HostError(
            "the engine keeps its epoch elsewhere than in the version of wasmtime that this one is written for"
        )


class Ticker:
    """Ticks of one engine, *tick_ns* apart, from `start` to `stop`. The caller keeps the two from running at once."""

    def __init__(self, engine: int, tick_ns: int = TICK_NS) -> None:
        self.flag = (ctypes.c_uint64 * 1)()
        """Whether it ticks, for those who cannot ask: 1 or 0."""
        self._set_running(False)
        self._timer = _Timer()
        self._pid = os.getpid()
        self._handle: int | None = None
        self._was_started = False
        check_layout()
        self.target = _for_ever(8)
        """What ticks get: the address of a copy of the engine's one pointer."""
        ctypes.c_uint64.from_address(self.target).value = ctypes.c_uint64.from_address(engine).value
        function = ctypes.cast(capi.increment_epoch, ctypes.c_void_p).value
        event = _SigEvent(self.target, 0, _SIGEV_THREAD, function, None)
        handle = ctypes.c_void_p()
        if self._timer.create(_CLOCK_MONOTONIC, ctypes.addressof(event), ctypes.addressof(handle)) != 0:
            code = ctypes.get_errno()
            hint = "; raise the limit on pending signals (ulimit -i)" if code == errno.EAGAIN else ""
            raise HostError(f"no timer for deadlines: {os.strerror(code)}{hint}")
        self._handle = handle.value or 0
        self._on = (ctypes.c_long * 4)(0, tick_ns, 0, tick_ns)
        self._off = (ctypes.c_long * 4)(0, 0, 0, 0)

    def start(self) -> None:
        """Tick from now on, the first time after one whole tick."""
        self._set(self._on)
        self._was_started = True
        self._set_running(True)

    def stop(self) -> None:
        """Tick no more, so that an idle process is not woken."""
        self._set(self._off)
        self._set_running(False)

    def _set_running(self, is_running: bool) -> None:
        self.is_running = is_running
        self.flag[0] = is_running

    def _set(self, interval: ctypes.Array[ctypes.c_long]) -> None:
        if self._handle is None:
            raise RuntimeError("this ticker is closed")
        if self._timer.settime(self._handle, 0, ctypes.addressof(interval), None) != 0:
            raise HostError(f"the timer for deadlines cannot be set: {os.strerror(ctypes.get_errno())}")

    def close(self, *, settle: bool = True) -> None:
        """Delete the timer. With *settle*, the engine may be deleted afterwards, whatever tick is still on its way.

        In a forked child there is no timer to delete.
        """
        handle, self._handle = self._handle, None
        self._set_running(False)
        if handle is None or os.getpid() != self._pid:
            return
        self._timer.delete(handle)
        if settle and self._was_started:
            ctypes.c_uint64.from_address(self.target).value = _NOWHERE
            # For a tick that has read the pointer and not yet used it, which is one instruction later.
            time.sleep(_SETTLE_SECONDS)
