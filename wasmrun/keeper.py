"""The keeper: the background thread of one executor, which refills, destroys, trims, and stops the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from wasmrun.errors import HostError
from wasmrun.logger import Logger
from wasmrun.machine import capi
from wasmrun.machine.engine import Engine
from wasmrun.machine.hotpath.traffic import LEVEL
from wasmrun.machine.threads import guest_stack
from wasmrun.pool import ROUND_SECONDS, Pool
from wasmrun.shelf import Shelf

_log = Logger("wasmrun.keeper")

_LINGER_SECONDS = 0.05
_DOZE_SECONDS = 0.02
_LOOK_AROUND_SECONDS = 2.0

_MOST_ASIDE = 4
"""Threads that run slow start-ups at once."""


class Keeper:
    """Rounds of `Pool.round` while there is work; asleep otherwise.

    ``level`` is read without a lock by every event, which calls `wake` when it finds less than it
    wants: `PARKED` until woken, `DOZING` while events come that need no refill, `AWAKE` while
    functions are to be refilled. The thread starts with the first `wake`, which comes before the
    first guest runs: where the ticker's ticks are lost, the keeper's own are all there is.
    """

    PARKED, DOZING, AWAKE = 0, 1, 2

    def __init__(self, pool: Pool, engines: Callable[[], Iterable[Engine]]) -> None:
        self._pool = pool
        self._set_level(self.PARKED)
        self._engines = engines
        self._thread: threading.Thread | None = None
        self._bell = threading.Event()
        # Not the thread's `join`: one that Ctrl-C interrupts takes the thread for ended ever after.
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._is_closed = False
        # Start-ups that take long, and may take as long as `init_timeout`, keep no other function waiting.
        self._aside = threading.Semaphore(_MOST_ASIDE)

    def _set_level(self, level: int) -> None:
        self.level = self._pool.yards.traffic.words[LEVEL] = level

    def wake(self, level: int) -> None:
        """See to it that a round comes soon: at once for `AWAKE`, within 20 ms for `DOZING`.

        Raises `HostError` where the thread cannot be started.
        """
        with self._lock:
            if self._is_closed or self.level >= level:
                return
            if self._thread is None:
                self._thread = _started(self._keep, "wasmrun-keeper")
            self._set_level(level)
            self._bell.set()

    def close(self, patience: float | None = None) -> bool:
        """End the thread, and wait for its last round, at most *patience* seconds; whether it ended."""
        with self._lock:
            self._is_closed = True
            self._bell.set()
            if self._thread is None:
                return True
        return self._ended.wait(patience)

    def _keep(self) -> None:
        try:
            self._go_round()
        finally:
            self._ended.set()

    def _go_round(self) -> None:
        pool = self._pool
        handed = -1
        active_until = 0.0
        looked_around = time.monotonic()
        while not self._is_closed:
            now = time.monotonic()
            look_around = now - looked_around >= _LOOK_AROUND_SECONDS
            if look_around:
                looked_around = now
            before = handed
            try:
                handed = pool.round(handed, everything=look_around, aside=self._fill_aside)
            except BaseException:  # a host function may raise anything in a guest's start-up
                # The pool has counted it as a failure. Without a keeper no clock would stop again, and
                # nothing would be destroyed.
                _log.exception("a round of the pool failed")
                time.sleep(_DOZE_SECONDS)
            if pool.has_work:
                active_until = time.monotonic() + _LINGER_SECONDS
            if self.level == self.AWAKE and time.monotonic() < active_until:
                time.sleep(ROUND_SECONDS)
            elif handed != before or pool.has_rubbish or not pool.stop_clocks(self._engines()):
                self._doze()
            else:
                self._rest(self.PARKED, _LOOK_AROUND_SECONDS)

    def _fill_aside(self, shelf: Shelf, count: int) -> bool:
        """Fill *shelf* on a thread of its own; False where too many do so already, or none can be had."""
        if not self._aside.acquire(blocking=False):
            return False

        def fill() -> None:
            try:
                self._pool.fill(shelf, count)
            except BaseException:  # as in a round
                _log.exception("preparing sandboxes of %s failed", shelf.function.label)
            finally:
                self._aside.release()
                self.wake(self.AWAKE)

        try:
            # Counted by the pool as long as it has anything: the end of the pool is the end of this.
            _started(fill, "wasmrun-filler")
        except HostError:
            self._aside.release()
            return False
        return True

    def _doze(self) -> None:
        # Where the kernel gives the ticker's threads no room, its ticks vanish without a word. These
        # come late, but they come.
        for engine in self._engines():
            capi.increment_epoch(engine.pointer)
        self._rest(self.DOZING, _DOZE_SECONDS)

    def _rest(self, level: int, seconds: float) -> None:
        """Wait for *seconds*, or to be woken."""
        self._bell.clear()
        # In this order: an event that still finds a higher level has changed the pool before, which is
        # seen here; one that finds the new level rings the bell.
        self._set_level(level)
        pool = self._pool
        if pool.has_work or self._is_closed:
            self._set_level(self.AWAKE)
        elif level == self.PARKED and (pool.in_flight or pool.has_rubbish):
            self._set_level(self.DOZING)
        else:
            self._bell.wait(seconds)


def _started(target: Callable[[], None], name: str) -> threading.Thread:
    # A daemon, so that a program which never shuts its executor down can still end; what the executor
    # registered for exit stops it before the interpreter goes away. Guests' start-up runs on it.
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        with guest_stack():
            thread.start()
    except RuntimeError as error:
        raise HostError(f"no thread for the pool's keeper: {error}; raise the limit on processes (ulimit -u)") from None
    return thread
