"""The keeper: the background thread of one executor, which refills, destroys, trims, and stops the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from wasmrun.machine import capi
from wasmrun.machine.engine import Engine
from wasmrun.pool import ROUND_SECONDS, Pool

_LINGER_SECONDS = 0.05
_DOZE_SECONDS = 0.02
_LOOK_AROUND_SECONDS = 2.0


class Keeper:
    """Rounds of `Pool.round` while events come; asleep otherwise.

    The thread starts with the first `wake`. ``is_awake`` is read without a lock by every event: it
    is False only while the thread waits to be woken.
    """

    def __init__(self, pool: Pool, engines: Callable[[], Iterable[Engine]]) -> None:
        self.is_awake = False
        self._pool = pool
        self._engines = engines
        self._thread: threading.Thread | None = None
        self._bell = threading.Event()
        self._lock = threading.Lock()
        self._is_closed = False

    def wake(self) -> None:
        """See to it that a round comes soon."""
        with self._lock:
            if self._is_closed:
                return
            self.is_awake = True
            if self._thread is None:
                # A daemon, so that a program which never shuts its executor down can still end; the
                # executor's finalizer stops it before the interpreter goes away.
                self._thread = threading.Thread(target=self._keep, name="wasmrun-keeper", daemon=True)
                self._thread.start()
            self._bell.set()

    def close(self) -> None:
        """End the thread, and wait for its last round."""
        with self._lock:
            self._is_closed = True
            self._bell.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _keep(self) -> None:
        pool = self._pool
        handed = -1
        active_until = 0.0
        looked_around = time.monotonic()
        while not self._is_closed:
            now = time.monotonic()
            look_around = now - looked_around >= _LOOK_AROUND_SECONDS
            if look_around:
                looked_around = now
            before, handed = handed, pool.round(handed, everything=look_around)
            now = time.monotonic()
            if handed != before or pool.has_work:
                active_until = now + _LINGER_SECONDS
            if now < active_until:
                time.sleep(ROUND_SECONDS)
            else:
                self._rest()

    def _rest(self) -> None:
        """Wait to be woken, with the clock stopped where nothing runs."""
        pool = self._pool
        self._bell.clear()
        # In this order: an event that finds `is_awake` False rings the bell, one that found it True
        # has changed the pool before, which is seen here.
        self.is_awake = False
        if pool.has_work or self._is_closed:
            self.is_awake = True
            return
        running = not pool.stop_clocks(self._engines())
        if running:
            # Where the kernel gives the ticker's threads no room, its ticks vanish without a word.
            # These come late, but they come.
            for engine in self._engines():
                capi.increment_epoch(engine.pointer)
        self._bell.wait(_DOZE_SECONDS if running else _LOOK_AROUND_SECONDS)
        self.is_awake = True
