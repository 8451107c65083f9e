"""The core of an executor: what it owns, without the executor itself.

Kept apart from `wasmrun.executor` so that a forgotten executor can be collected: its finalizer holds
the core, and the core does not hold the executor.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from wasmrun.errors import HostError
from wasmrun.function import Function
from wasmrun.keeper import Keeper
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import MOST_SLOTS, Engine
from wasmrun.machine.instance import RECORD_WORDS
from wasmrun.machine.loader import Loader
from wasmrun.machine.module import Module
from wasmrun.machine.program import Program
from wasmrun.machine.wasi import Streams
from wasmrun.pool import Pool, Shelf

if TYPE_CHECKING:
    from wasmrun.machine.compiler import CompileLimits

_LITTLE_MEMORY = 0.05
"""Share of the machine's memory below which nothing is kept ready."""


class Settings(NamedTuple):
    """What an executor was made with."""

    max_sandboxes: int
    wait: float
    idle: float
    cache_dir: str
    compile_limits: CompileLimits | None


class Core:
    """Engines, loaded functions, pool and keeper of one executor, made at its first use."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.settings = settings
        self.loader = Loader(settings.cache_dir, settings.compile_limits)
        self.pool = Pool(
            most=settings.max_sandboxes,
            wait=settings.wait,
            idle=settings.idle,
            is_short_of_memory=self._is_short_of_memory,
        )
        self._engines: dict[EngineSettings, tuple[Engine, Streams]] = {}
        self.keeper = Keeper(self.pool, lambda: [engine for engine, _ in list(self._engines.values())])
        self.shelves: dict[Function, Shelf] = {}
        # Guards what is loaded; one more for each function that is being loaded, because compiling
        # one must not keep others waiting.
        self._lock = threading.Lock()
        self._loading: dict[Function, threading.Lock] = {}
        self.is_closed = False

    def shelf(self, function: Function) -> Shelf:
        """The shelf of *function*, which is loaded first if need be. Raises `InvalidFunction`."""
        with self._lock:
            own = self._loading.setdefault(function, threading.Lock())
        try:
            with own:
                shelf = self.shelves.get(function)
                if shelf is None:
                    engine, streams = self.engine(function)
                    module = self.loader.load(engine, function)
                    try:
                        program = Program(function, engine, module, streams)
                    except BaseException:
                        module.close()
                        raise
                    shelf = self.shelves[function] = self.pool.add(program)
                return shelf
        finally:
            with self._lock:
                self._loading.pop(function, None)

    def unload(self, function: Function) -> bool:
        """Forget *function* and free what it holds; False where it is not loaded, or events of it run."""
        shelf = self.shelves.get(function)
        if shelf is None or not self.pool.remove(shelf):
            return False
        del self.shelves[function]
        shelf.program.close()
        return True

    def engine(self, function: Function) -> tuple[Engine, Streams]:
        """The engine for the stack size and the metering that *function* asks for; made on first need."""
        key = EngineSettings(function.stack, function.is_metered)
        found = self._engines.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._engines.get(key)
            if found is None:
                taken = sum(engine.slots for engine, _ in self._engines.values())
                slots = min(self.settings.max_sandboxes, MOST_SLOTS - taken)
                if slots <= 0:
                    raise HostError(
                        f"no slots left for an engine with another stack size or metering: {taken} of {MOST_SLOTS} are "
                        "taken; lower max_sandboxes"
                    )
                engine = Engine(key, slots, RECORD_WORDS)
                found = self._engines[key] = engine, Streams(engine)
            return found

    def load_module(self, function: Function) -> Module:
        """The module of *function*, for a look at it; the caller closes it."""
        return self.loader.load(self.engine(function)[0], function)

    def _is_short_of_memory(self) -> bool:
        import psutil  # 30 ms to import, and only a long-lived process needs it

        memory = psutil.virtual_memory()
        return bool(memory.available < memory.total * _LITTLE_MEMORY)

    def close(self, *, at_exit: bool = False) -> None:
        """Wait for what runs, and free everything, in order. Harmless when repeated, and in a forked child.

        At interpreter exit guests are stopped, and what still holds on is left to the kernel.
        """
        if self.is_closed or os.getpid() != self.pid:
            return
        self.is_closed = True
        if at_exit:
            for engine, _ in self._engines.values():
                for instance in list(engine.live.values()):
                    instance.stop = instance.stop or "cancelled"
        self.keeper.close()
        ended = self.pool.close(0.5 if at_exit else None)
        for shelf in self.shelves.values():
            if ended:
                shelf.program.close()
        for engine, _ in self._engines.values():
            engine.close(at_exit=at_exit or not ended)

