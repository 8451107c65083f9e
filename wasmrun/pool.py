"""The pool: sandboxes that are ready before their event, for every function of one executor.

`wasmrun.plan` decides, as a function from state to actions; `Pool` holds the state under one small lock
and acts outside it. An event takes the sandbox that was made last (its memory is the warmest), and makes
its own where none is ready. Refilling and destroying are done between events, by the keeper's thread:

* While events come, the keeper stays out of their way, except for functions that run dry.
* When a round has seen no event, it destroys what is spent and fills up what is missing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from wasmrun.errors import Throttled, WasmrunError
from wasmrun.hints import Protocol
from wasmrun.logger import Logger
from wasmrun.machine.engine import Engine
from wasmrun.machine.failures import Stopped
from wasmrun.machine.hotpath.traffic import CHANGES
from wasmrun.machine.program import BaseProgram
from wasmrun.plan import PoolState, ShelfState, plan
from wasmrun.requestids import RequestIds
from wasmrun.sandbox import Sandbox
from wasmrun.shelf import ExpressShelf, PoolStats, Shelf
from wasmrun.yards import Yards

_log = Logger("wasmrun.pool")

ROUND_SECONDS = 0.001
"""Pause between two rounds of the keeper while there is something to do."""

MOST_SPENT = 64
"""Spent sandboxes that may wait for the keeper; an event that finds more destroys its own."""

_MOST_LARGE_SPENT = 8
_LARGE = 4 << 20
"""Of sandboxes with more memory than this, in bytes, fewer may wait: what they touched stays resident till then."""

_MOST_LENT = MOST_SPENT + 8
"""Places that events which go by express have at once: as many as may wait for the keeper, and some that run."""

_FILLED_QUIETLY, _FILLED_AT_ONCE = 16, 128
"""Sandboxes that are prepared before it is asked whether an event came; and before another thread may have the
interpreter's lock where events do come: each time it is handed over costs as much as several sandboxes."""

_MOST_READINGS = 50

_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 60.0
_SLOW_NS = 5_000_000
"""A start-up that took longer than this, in nanoseconds, does not keep other functions waiting."""

_TURN_SECONDS = 0.02
_CLOSE_TURN_SECONDS = 0.1


class SupportsStop(Protocol):
    """Something that may come to have a reason to stop: to wait no longer, and to end a guest that it sees."""

    @property
    def reason(self) -> str | None:
        """The reason, once there is one."""
        ...

    def see(self, sandbox: Sandbox) -> None:
        """From now on, *sandbox* is what runs."""
        ...

    def lose(self) -> bool:
        """From now on, nothing runs; False where the sandbox must not serve."""
        ...


class Unloaded(Exception):
    """The function was unloaded before the event that looked it up took a sandbox: load it anew."""


class Pool:
    """Sandboxes of all functions of one executor: at most *most* alive at once.

    An event that finds no room waits at most *wait* seconds, then `Throttled`. What is ready beyond a
    function's ``warm`` goes after *idle* seconds. *is_short_of_memory* is asked now and then.
    """

    def __init__(
        self, *, most: int, wait: float, idle: float, is_short_of_memory: Callable[[], bool] = lambda: False
    ) -> None:
        self.most = most
        self.wait = wait
        self._idle = idle
        self._is_short_of_memory = is_short_of_memory
        # Guards everything below and every shelf. Held for a few assignments only, never while a
        # sandbox is made, used or destroyed.
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._shelves: dict[int, Shelf] = {}
        self._noted: list[Shelf] = []
        self._spent: deque[Sandbox] = deque()
        # What events could not give back themselves; `take_back` does it. Appending takes no lock, and no
        # frame of the interpreter: it still works where its recursion limit is reached.
        self.returned: deque[tuple[Shelf, Sandbox]] = deque()
        # Being prepared ahead of their events.
        self._preparing: set[Sandbox] = set()
        # Being destroyed: no longer in `_spent`, and still alive.
        self._going = 0
        self._live = 0
        self._handed = 0
        self._waiting = 0
        self._is_closed = False
        self._is_short = False
        self._next_number = 0
        self._in_flight = 0
        # What goes by express is counted there, without the lock.
        self.yards = Yards()

    @property
    def in_flight(self) -> int:
        """Events, and sandboxes that are being prepared."""
        return self._in_flight + self.yards.running

    @property
    def _room(self) -> int:
        """How many sandboxes more there may be."""
        return self.most - self._live + self.yards.free

    @property
    def _taken(self) -> int:
        """Events that got a sandbox so far."""
        return self._handed + self.yards.handed

    def add(self, program: BaseProgram, ids: RequestIds | None = None) -> Shelf:
        """A shelf for *program*, to be filled by the keeper. With *ids*, its events may go by express."""
        with self.lock:
            shelf = self._new_shelf(program, ids)
            self._next_number += 1
            self._shelves[shelf.number] = shelf
            if not shelf.is_noted:
                self._note(shelf)
        return shelf

    def _new_shelf(self, program: BaseProgram, ids: RequestIds | None) -> Shelf:
        shelf, function = Shelf(program, self._next_number), program.function
        # Of the others, the lock keeps account: who has what, and how many there are.
        if ids is None or function.concurrency or function.reuse or function.tenant:
            return shelf
        way = self.yards.new_express(program, ids, shelf.number, is_kept_ready=shelf.needs_keeper)
        return shelf if way is None else ExpressShelf(program, shelf.number, way)

    def lend(self, shelf: ExpressShelf) -> None:
        """Have places for events of *shelf* that go by express, where all are taken, and nobody waits for one."""
        engine = shelf.program.engine
        if self.yards.waiting or not self.yards.is_short(engine):
            return
        if self._live >= self.most:
            self._destroy(1)
        with self.lock:
            if not self._is_closed:
                room = self.most - self._live
                self._live += self.yards.lend(engine, min(room, _MOST_LENT, max(1, room // 4)))

    def _reclaim(self) -> bool:
        """Have one place back from what goes by express, where that can be. Lock held."""
        if not self.yards.reclaim():
            return False
        self._live -= 1
        return True

    def acquire(self, shelf: Shelf, tenant: str | None = None, watch: SupportsStop | None = None) -> Sandbox | None:
        """A ready sandbox, or None: then the caller has a place, and makes its own.

        Either way `release` or `forfeit` must follow, or an entry in ``returned``. Raises `Throttled` after the wait, `Stopped`
        when *watch* has a reason to give up before, and `Unloaded` where *shelf* was removed.
        """
        with self.lock:
            if shelf.in_flight < shelf.most and not self._is_closed:
                sandbox = None if shelf.by_tenant else shelf.take()
                if sandbox is not None:
                    shelf.in_flight += 1
                    self._in_flight += 1
                    self._handed += 1
                    shelf.warm_starts += 1
                    if not shelf.is_noted:
                        self._note(shelf)
                    return sandbox
                if not shelf.ready and self._live < self.most:
                    shelf.in_flight += 1
                    self._in_flight += 1
                    self._handed += 1
                    self._live += 1
                    shelf.cold_starts += 1
                    if not shelf.is_noted:
                        self._note(shelf)
                    return None
            return self._acquire_slowly(shelf, tenant, watch)

    def _acquire_slowly(self, shelf: Shelf, tenant: str | None, watch: SupportsStop | None) -> Sandbox | None:
        """The rest of `acquire`, lock held: concurrency, tenants, room, waiting."""
        until = 0.0
        while True:
            if self._is_closed:
                raise RuntimeError("the executor was shut down")
            if shelf.is_removed:
                raise Unloaded
            has_place = shelf.in_flight < shelf.most
            if has_place:
                sandbox = self._take(shelf, tenant)
                if sandbox is not None or self._make_room(shelf):
                    break
            now = time.monotonic()
            if not until:
                until = now + self.wait
                shelf.waits += 1
            if now >= until:
                shelf.throttled += 1
                reason = (
                    f"all {self.most} sandboxes are in use (max_sandboxes)"
                    if has_place
                    else f"{shelf.function.label} has reached its concurrency of {shelf.most}"
                )
                raise Throttled(
                    f"no sandbox for {shelf.function.label} within {self.wait:g} s: {reason}; try again later"
                )
            if watch is not None and watch.reason is not None:
                raise Stopped(watch.reason)
            self._waiting += 1
            self.yards.waiting += has_place
            try:
                # In turns, because who wants to stop a wait only leaves a mark.
                self._changed.wait(min(until - now, _TURN_SECONDS))
            finally:
                self._waiting -= 1
                self.yards.waiting -= has_place
        shelf.in_flight += 1
        self._in_flight += 1
        self._handed += 1
        if sandbox is None:
            self._live += 1
            shelf.cold_starts += 1
        else:
            shelf.warm_starts += 1
        if not shelf.is_noted:
            self._note(shelf)
        return sandbox

    def _take(self, shelf: Shelf, tenant: str | None) -> Sandbox | None:
        if not shelf.by_tenant:
            return shelf.take()
        # What one tenant's event left in a sandbox is never there for another's.
        for at in range(len(shelf.ready) - 1, -1, -1):
            sandbox: Sandbox = shelf.ready[at]
            if not sandbox.is_used or sandbox.tenant == tenant:
                del shelf.ready[at]
                return sandbox
        return None

    def _make_room(self, wanting: Shelf) -> bool:
        """Whether one more sandbox may live, if need be instead of one that only waits."""
        if self._live < self.most:
            return True
        if self._spent:
            sandbox = self._spent.popleft()
        elif self._reclaim():
            return True
        else:
            idle = [shelf for shelf in self._shelves.values() if shelf.ready]
            if not idle:
                return False
            shelf = min(idle, key=lambda shelf: (shelf is wanting and not shelf.by_tenant, shelf.last_used))
            going = shelf.drop(1)
            if not shelf.is_noted:
                self._note(shelf)
            if not going:
                return self._reclaim()
            [sandbox] = going
        self._live -= 1
        # A few microseconds under the lock: the place is only free once the store is gone.
        sandbox.delete()
        return True

    def release(self, shelf: Shelf, sandbox: Sandbox, *, reusable: bool) -> None:
        """Take back a sandbox after its event: onto the shelf where it may serve again, else to be destroyed."""
        waiting = len(self._spent)
        is_doomed = not reusable and (
            waiting >= MOST_SPENT or (waiting >= _MOST_LARGE_SPENT and sandbox.current_memory_bytes() > _LARGE)
        )
        if is_doomed:
            sandbox.delete()
        with self.lock:
            # First what can fail: from the next line on it is counted as given back, and never again.
            if self._waiting:
                self._changed.notify_all()
            sandbox.is_handed = False
            shelf.in_flight -= 1
            self._in_flight -= 1
            if is_doomed:
                self._live -= 1
            elif reusable and not self._is_closed:
                shelf.put(sandbox)
            else:
                self._spent.append(sandbox)

    def forfeit(self, shelf: Shelf) -> None:
        """Give back the place that `acquire` gave, because no sandbox could be made."""
        with self.lock:
            if self._waiting:
                self._changed.notify_all()
            shelf.in_flight -= 1
            self._in_flight -= 1
            self._live -= 1

    def occupy(self, shelf: Shelf) -> bool:
        """Have a place for one sandbox after the other, where there is one; `vacate` must follow."""
        with self.lock:
            if self._is_closed or shelf.is_removed or shelf.in_flight >= shelf.most:
                return False
            if self._live >= self.most and not self._reclaim():
                return False
            shelf.in_flight += 1
            self._in_flight += 1
            self._handed += 1
            self._live += 1
            return True

    def vacate(self, shelf: Shelf, count: int) -> None:
        """Give back what `occupy` gave, after *count* sandboxes were made and destroyed there."""
        with self.lock:
            shelf.cold_starts += count
        self.forfeit(shelf)

    def take_back(self) -> None:
        """Take back what events could not give back themselves. For the keeper, whose stack has room."""
        while self.returned:
            try:
                shelf, sandbox = self.returned.popleft()
            except IndexError:  # another thread was first
                return
            sandbox.delete()
            self.forfeit(shelf)

    def start_clock(self, engine: Engine) -> None:
        """Let *engine* tick: something is about to run on it."""
        with self.lock:
            if not engine.ticker.is_running and engine.pointer:
                engine.ticker.start()

    def stop_clocks(self, engines: Iterable[Engine]) -> bool:
        """Stop the ticks of *engines*, unless something runs; False where it does.

        Under the same lock as counting what runs, so that an event which found its clock running
        keeps it: it was counted before it looked.
        """
        with self.lock:
            # Nothing begins by express from here on, so that what is counted is all there is.
            self.yards.open(False)
            try:
                if self.in_flight:
                    return False
                for engine in engines:
                    if engine.ticker.is_running:
                        engine.ticker.stop()
                return True
            finally:
                self.yards.open(not self._is_closed)

    def _note(self, shelf: Shelf) -> None:
        # The keeper looks at noted shelves only: thousands of idle functions cost it nothing.
        shelf.is_noted = True
        self._noted.append(shelf)

    @property
    def has_work(self) -> bool:
        """Whether there are functions for the keeper to look at."""
        return bool(self._noted or self.yards.touched)

    @property
    def has_rubbish(self) -> bool:
        """Whether there are spent sandboxes for the keeper to destroy."""
        return bool(self._spent or self.yards.spent)

    def round(
        self, handed_before: int, *, everything: bool = False, aside: Callable[[Shelf, int], bool] | None = None
    ) -> int:
        """One round of the keeper: plan, then act. Gives the number of sandboxes handed out so far.

        *handed_before* is what the last round gave: no event since then means that this one may take
        its time. With *everything*, idle functions and memory are looked at too. A function whose
        start-up may take long is given to *aside*, which fills its shelf on another thread; False where
        there is none, and it has to wait.
        """
        self.take_back()
        short = everything and self._is_short_of_memory()
        with self.lock:
            if everything:
                # Remembered until the next look: what went must not be prepared again a moment later.
                self._is_short = short
            handed = self._taken
            quiet = handed == handed_before
            now = time.monotonic()
            self._note_touched()
            noted, self._noted = self._noted, []
            # Of thousands of functions that ask for nothing, nothing is ready.
            everyone = [one for one in self._shelves.values() if one.needs_keeper] if everything else noted
            shelves = [one for one in everyone if not one.is_removed]
            for shelf in shelves:
                if shelf.is_noted and shelf.needs_keeper:
                    shelf.last_used = now
                    shelf.is_noted = False
            state = PoolState(
                shelves=tuple(
                    ShelfState(
                        shelf.number,
                        shelf.function.warm,
                        len(shelf.ready),
                        now - shelf.last_used,
                        now >= shelf.retry_at and not self._is_short,
                    )
                    for shelf in shelves
                ),
                room=self._room,
                spent=len(self._spent) + self.yards.spent,
                is_quiet=quiet,
                is_short_of_memory=short,
                idle_limit=self._idle,
            )
        actions = plan(state)
        self._destroy(actions.destroy)
        if quiet or short:
            self._clear_yards()
        for number, count in actions.trim:
            self._trim(number, count)
        prepared = {number for number, _ in actions.prepare}
        for number, count in actions.prepare:
            found = self._shelves.get(number)
            if found is None:
                continue
            if aside is None or not found.is_slow:
                self.fill(found, count, while_quiet=handed if quiet else None)
            elif found.filling or not aside(found, count):
                prepared.discard(number)  # not to be looked at again in a millisecond
        self._note_missing(shelves, prepared, quiet=quiet)
        return handed

    def _note_touched(self) -> None:
        """Note what had events by express. Lock held."""
        touched = self.yards.touched
        while touched:
            shelf = self._shelves.get(touched.popleft())
            if isinstance(shelf, ExpressShelf):
                shelf.way.seen()
                if not shelf.is_noted:
                    self._note(shelf)

    def _clear_yards(self) -> None:
        """Destroy everything in the yards that is spent."""
        if self.yards.clear() and self._waiting:
            with self.lock:
                self._changed.notify_all()

    def _note_missing(self, shelves: list[Shelf], prepared: set[int], *, quiet: bool) -> None:
        now = time.monotonic()
        with self.lock:
            for shelf in shelves:
                # What could not be done now is looked at again, what is backed off when its time comes.
                missing = len(shelf.ready) + shelf.filling < shelf.function.warm and self._room > 0
                may = not (self._is_short or shelf.is_noted or shelf.is_removed) and now >= shelf.retry_at
                if missing and may and (shelf.number in prepared or not quiet):
                    self._note(shelf)

    def fill(
        self, shelf: Shelf, count: int, *, while_quiet: int | None = None, watch: SupportsStop | None = None
    ) -> None:
        """Prepare up to *count* sandboxes for *shelf*; stop when an event came since *while_quiet* were handed out.

        A failure is logged and backed off: the event that needs the sandbox will get the error. *watch*
        sees what is prepared; once it has a reason, nothing more is.
        """
        if isinstance(shelf, ExpressShelf):
            count -= self._fill_at_once(shelf, count, while_quiet, watch)
        for _ in range(count):
            with self.lock:
                if not self._may_fill(shelf, while_quiet, watch) or (self._live >= self.most and not self._reclaim()):
                    return
                self._live += 1
                self._in_flight += 1
                # What is counted here keeps `remove` from freeing the program meanwhile.
                shelf.filling += 1
            sandbox, is_prepared = None, False
            try:
                if not shelf.program.engine.ticker.is_running:
                    self.start_clock(shelf.program.engine)
                sandbox = Sandbox(shelf.program)
                self._begin(sandbox)
                if watch is not None:
                    watch.see(sandbox)
                sandbox.prepare()
                is_prepared = watch is None or watch.lose()
            except (WasmrunError, OSError) as error:
                _log.warning("a sandbox of %s cannot be prepared: %s", shelf.function.label, error)
            except Stopped:
                pass  # whoever had it stopped knows
            finally:
                if sandbox is not None and not is_prepared:
                    sandbox.delete()
                self._shelve(shelf, sandbox, is_prepared=is_prepared)
            if not is_prepared:
                return

    def _may_fill(self, shelf: Shelf, while_quiet: int | None, watch: SupportsStop | None) -> bool:
        """Whether one more may be prepared for *shelf*, if there is room. Lock held."""
        return not (
            self._is_closed
            or shelf.is_removed
            or len(shelf.ready) + shelf.filling >= shelf.function.warm
            or (while_quiet is not None and self._taken != while_quiet)
            or (watch is not None and watch.reason is not None)
        )

    def _fill_at_once(
        self, shelf: ExpressShelf, count: int, while_quiet: int | None, watch: SupportsStop | None
    ) -> int:
        """Prepare sandboxes for *shelf* many at a time, where that can be; how many. What fails is left to `fill`."""
        engine, done = shelf.program.engine, 0
        most = _FILLED_AT_ONCE if while_quiet is None else _FILLED_QUIETLY
        while done < count and shelf.program.is_prepared_at_once:
            with self.lock:
                if not self._may_fill(shelf, while_quiet, watch):
                    break
                wanted = min(count - done, most, shelf.function.warm - len(shelf.ready) - shelf.filling)
                lacking = min(wanted - self.yards.free_in(engine), self.most - self._live)
                self._live += self.yards.lend(engine, lacking)
                shelf.filling += wanted
            made = 0
            try:
                if not engine.ticker.is_running:
                    self.start_clock(engine)
                made = shelf.way.fill(wanted)
            finally:
                with self.lock:
                    shelf.filling -= wanted
                    shelf.refills += made
                    if self._waiting:
                        self._changed.notify_all()
            if not made:
                break
            done += made
        return done

    def _begin(self, sandbox: Sandbox) -> None:
        with self.lock:
            self._preparing.add(sandbox)
            if self._is_closed:
                sandbox.stop = "cancelled"

    def _shelve(self, shelf: Shelf, sandbox: Sandbox | None, *, is_prepared: bool) -> None:
        with self.lock:
            self._in_flight -= 1
            shelf.filling -= 1
            if sandbox is not None:
                self._preparing.discard(sandbox)
            if sandbox is None or not is_prepared:
                self._live -= 1
                shelf.refill_failures += 1
                shelf.backoff = min(max(shelf.backoff * 2, _FIRST_BACKOFF), _LONGEST_BACKOFF)
                shelf.retry_at = time.monotonic() + shelf.backoff
            elif self._is_closed:
                self._spent.append(sandbox)
            else:
                shelf.backoff = 0.0
                shelf.is_slow = sandbox.prepare_ns > _SLOW_NS
                shelf.refills += 1
                sandbox.start = "warm"
                shelf.put(sandbox)
            if self._waiting:
                self._changed.notify_all()

    def wait_for_fillers(self, shelf: Shelf, watch: SupportsStop | None = None) -> int:
        """Wait until nothing is being prepared for *shelf* any more, or *watch* has a reason; what is ready then."""
        with self.lock:
            self._waiting += 1
            try:
                while shelf.filling and not self._is_closed and (watch is None or watch.reason is None):
                    self._changed.wait(_TURN_SECONDS)
            finally:
                self._waiting -= 1
            return len(shelf.ready)

    def sweep(self) -> None:
        """Destroy everything that is spent: its places, and memory that is in the processor's caches, serve again."""
        self._destroy(len(self._spent))
        self._clear_yards()

    def _destroy(self, count: int) -> None:
        for _ in range(count):
            with self.lock:
                if not self._spent:
                    return
                sandbox = self._spent.popleft()
                self._going += 1
            sandbox.delete()
            with self.lock:
                self._going -= 1
                self._live -= 1
                if self._waiting:
                    self._changed.notify_all()

    def _trim(self, number: int, count: int) -> None:
        with self.lock:
            shelf = self._shelves.get(number)
            if shelf is None:
                return
            going = shelf.drop(count)
            self._spent.extend(going)
        self._destroy(len(going))
        if not going:
            self._clear_yards()

    def remove(self, shelf: Shelf) -> bool:
        """Forget *shelf* and destroy what is ready on it; False while events of it run.

        Waits for what is being prepared of it. From then on nothing uses its program: whoever looked
        the shelf up before gets `Unloaded`.
        """
        with self.lock:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not shelf.filling)
            finally:
                self._waiting -= 1
            going = None if shelf.is_removed else shelf.shut()
            if going is None:
                return False
            shelf.is_removed = True
            shelf.most = 0  # so that `acquire` takes its slow path, where it is told
            self._shelves.pop(shelf.number, None)
            self._spent.extend(going)
            shelf.is_noted = True  # never to be noted again
            count = len(self._spent)
            if self._waiting:
                self._changed.notify_all()
        self._destroy(count if going else 0)
        self._clear_yards()
        return True

    def refuse(self) -> None:
        """Hand out nothing more, and prepare nothing more. Who waits for a sandbox is told."""
        with self.lock:
            self._is_closed = True
            self.yards.open(False)
            # No event wants them any more, and a start-up may take long.
            for sandbox in self._preparing:
                sandbox.stop = sandbox.stop or "cancelled"
            self._changed.notify_all()

    def close(self, patience: float | None) -> bool:
        """Hand out nothing more, and destroy everything. Harmless when repeated.

        Waits for events that still run, at most *patience* seconds; False where one runs on.
        """
        self.refuse()
        until = None if patience is None else time.monotonic() + patience
        while not self._is_idle(until):
            self.take_back()  # nobody is told when there is something
            if until is not None and time.monotonic() >= until:
                break
        with self.lock:
            ended = not self.in_flight
            # After the wait: nothing comes back any more.
            for shelf in self._shelves.values():
                self._spent.extend(shelf.shut() or ())
        self.sweep()
        with self.lock:
            while self._reclaim():
                pass
        return ended

    def _is_idle(self, until: float | None) -> bool:
        """Whether nothing is in flight, now or a turn later."""
        left = _CLOSE_TURN_SECONDS if until is None else min(_CLOSE_TURN_SECONDS, max(0.0, until - time.monotonic()))
        with self.lock:
            self._waiting += 1
            try:
                return self._changed.wait_for(lambda: not self.in_flight, left)
            finally:
                self._waiting -= 1

    def stats(self) -> PoolStats:
        """All counters, as one consistent value; unless events come by express faster than they can be read."""
        words = self.yards.traffic.words
        for _ in range(_MOST_READINGS):
            changes = words[CHANGES]
            stats = self._stats()
            if words[CHANGES] == changes:
                break
        return stats

    def _stats(self) -> PoolStats:
        with self.lock:
            functions = {shelf.function: shelf.stats() for shelf in self._shelves.values()}
            rows = list(functions.values())
            return PoolStats(
                live=self._live - self.yards.free,
                ready=sum(row.ready for row in rows),
                in_flight=self.in_flight,
                spent=len(self._spent) + self._going + self.yards.spent,
                warm_starts=sum(row.warm_starts for row in rows),
                cold_starts=sum(row.cold_starts for row in rows),
                waits=sum(row.waits for row in rows),
                throttled=sum(row.throttled for row in rows),
                refills=sum(row.refills for row in rows),
                refill_failures=sum(row.refill_failures for row in rows),
                evictions=sum(row.evictions for row in rows),
                functions=functions,
            )
