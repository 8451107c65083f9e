"""The ticker: a native timer that moves an engine's epoch on, so that deadlines come without the GIL.

A Python thread that ticks stands still whenever other code keeps the GIL, and deadlines with it.
Here the kernel's timer calls ``wasmtime_engine_increment_epoch`` itself: the notify function of a
SIGEV_THREAD timer takes one pointer, and so does that function.
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


class Ticker:
    """Ticks of one engine, from `start` to `stop`. The caller keeps the two from running at once."""

    def __init__(self, engine: int) -> None:
        self.is_running = False
        self._timer = _Timer()
        self._pid = os.getpid()
        self._handle: int | None = None
        self._was_started = False
        function = ctypes.cast(capi.quick.wasmtime_engine_increment_epoch, ctypes.c_void_p).value
        event = _SigEvent(engine, 0, _SIGEV_THREAD, function, None)
        handle = ctypes.c_void_p()
        if self._timer.create(_CLOCK_MONOTONIC, ctypes.addressof(event), ctypes.addressof(handle)) != 0:
            code = ctypes.get_errno()
            hint = "; raise the limit on pending signals (ulimit -i)" if code == errno.EAGAIN else ""
            raise HostError(f"no timer for deadlines: {os.strerror(code)}{hint}")
        self._handle = handle.value or 0
        self._on = (ctypes.c_long * 4)(0, TICK_NS, 0, TICK_NS)
        self._off = (ctypes.c_long * 4)(0, 0, 0, 0)

    def start(self) -> None:
        """Tick from now on, the first time after one whole tick."""
        self._set(self._on)
        self.is_running = self._was_started = True

    def stop(self) -> None:
        """Tick no more, so that an idle process is not woken."""
        self._set(self._off)
        self.is_running = False

    def _set(self, interval: ctypes.Array[ctypes.c_long]) -> None:
        if self._handle is None:
            raise RuntimeError("this ticker is closed")
        if self._timer.settime(self._handle, 0, ctypes.addressof(interval), None) != 0:
            raise HostError(f"the timer for deadlines cannot be set: {os.strerror(ctypes.get_errno())}")

    def close(self, *, settle: bool = True) -> None:
        """Delete the timer. With *settle*, also wait until no tick can still be on its way.

        Each tick runs on a thread of its own, which may have been started just before the timer went;
        an engine that is deleted under it is a crash. In a forked child there is no timer to delete.
        """
        handle, self._handle, self.is_running = self._handle, None, False
        if handle is None or os.getpid() != self._pid:
            return
        self._timer.delete(handle)
        if settle and self._was_started:
            time.sleep(_SETTLE_SECONDS)
