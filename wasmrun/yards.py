"""Yards: the places that a pool lends to events which go by express, and what is counted there.

A yard belongs to one engine, and all expresses of functions in it share its places; see machine/hotpath/express.c. All
of it is empty where the hot path is not compiled. The pool's lock guards lending and reclaiming; events take no lock.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable

from wasmrun.errors import HostError
from wasmrun.hints import TYPE_CHECKING, Any
from wasmrun.machine.engine import Engine
from wasmrun.machine.hotpath.traffic import HANDED, OPEN, RUBBISH, RUNNING, WAITING, Traffic
from wasmrun.machine.program import BaseProgram
from wasmrun.requestids import RequestIds

if TYPE_CHECKING:
    from wasmrun.machine.hotpath._crossings import Yard

_DOZING, _AWAKE = 1, 2
"""How awake the keeper is to be after an event, as it calls that: where nothing of its function is kept ready, and else."""


class Yards:
    """The yards of one pool."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.wake: Callable[[int], None] = lambda _: None
        """Has the keeper awake, as `Keeper.wake`."""
        # Numbers of functions that had events.
        self.touched: deque[int] = deque()
        self._yards: dict[Engine, Yard] = {}

    @property
    def running(self) -> int:
        """Events that run now, and sandboxes that are being prepared."""
        return self.traffic.words[RUNNING]

    @property
    def handed(self) -> int:
        """Events that got a sandbox so far."""
        return self.traffic.words[HANDED]

    @property
    def spent(self) -> int:
        """Sandboxes that are to be destroyed, or are just being."""
        return self.traffic.words[RUBBISH]

    @property
    def free(self) -> int:
        """Places that were lent, and have no sandbox."""
        return sum(yard.free for yard in self._yards.values())

    def open(self, is_open: bool) -> None:
        """From now on, events may begin, or not. Those that run go on."""
        self.traffic.words[OPEN] = is_open

    @property
    def waiting(self) -> int:
        """Events that wait for a place. The pool counts them, under its lock; none takes a free place in a yard meanwhile."""
        return self.traffic.words[WAITING]

    @waiting.setter
    def waiting(self, count: int) -> None:
        self.traffic.words[WAITING] = count

    def new_express(self, program: BaseProgram, ids: RequestIds, number: int, *, is_kept_ready: bool) -> Any:
        """The express of *program*, with which its engine has a yard; None where it has none.

        At its first event, and at the first after each `seen`, *number* is in ``touched`` where *is_kept_ready*.
        """
        engine = program.engine
        if engine.crossings.new_yard is None:
            return None
        yard = self._yards.get(engine)
        if yard is None:
            traffic, clock = self.traffic, ctypes.addressof(engine.ticker.flag)
            # The engine has the clock and the records, which an event uses that others no longer know of.
            yard = engine.crossings.new_yard(traffic.address, traffic, clock, engine)
        level, note = (_AWAKE, self.touched.append) if is_kept_ready else (_DOZING, None)
        way = program.open_express(yard, ids, level, self.wake, note, number)
        if way is not None:
            self._yards[engine] = yard
        return way

    def is_short(self, engine: Engine) -> bool:
        """Whether events in *engine* find no place, not even one that is spent."""
        yard = self._yards.get(engine)
        return yard is not None and not (yard.free or yard.spent)

    def lend(self, engine: Engine, count: int) -> int:
        """Have *count* places more in *engine*, as far as it has records; how many there are more."""
        yard = self._yards[engine]
        for lent in range(count):
            try:
                record = engine.take_record()
            except HostError:
                return lent
            yard.lend(engine.address + record * 8)
        return max(count, 0)

    def free_in(self, engine: Engine) -> int:
        """Free places in *engine*."""
        return self._yards[engine].free

    def reclaim(self) -> bool:
        """Have one place less, where one is free or spent."""
        for engine, yard in self._yards.items():
            if not yard.free:
                yard.destroy(1)
            address = yard.reclaim()
            if address is not None:
                engine.give_record((address - engine.address) >> 3)
                return True
        return False

    def clear(self) -> int:
        """Destroy everything that is spent; how many sandboxes that were. Needs no lock."""
        return sum(yard.destroy(yard.spent) for yard in list(self._yards.values()))
