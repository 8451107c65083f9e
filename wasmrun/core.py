"""The core of an executor: what it owns, without the executor itself.

Kept apart from `wasmrun.executor` so that a forgotten executor can be collected: what closes the core
at exit holds the core, and the core does not hold the executor.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from wasmrun.errors import HostError
from wasmrun.function import Function
from wasmrun.hints import TYPE_CHECKING, NamedTuple
from wasmrun.keeper import Keeper
from wasmrun.machine.abi.base import Abi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import MOST_SLOTS, Engine
from wasmrun.machine.hostcalls import Exchange
from wasmrun.machine.instance import Instance
from wasmrun.machine.loader import Loader, form_of, settings_for
from wasmrun.machine.module import Module
from wasmrun.machine.program import BaseProgram, make_program
from wasmrun.machine.record import RECORD_WORDS
from wasmrun.machine.wasi import Streams
from wasmrun.pool import Pool
from wasmrun.requestids import RequestIds
from wasmrun.serving import Server
from wasmrun.shelf import Shelf

if TYPE_CHECKING:
    from wasmrun.machine.compiler import CompileLimits
    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.kernel import Kernel

_LITTLE_MEMORY = 0.05
"""Share of the machine's memory below which nothing is kept ready."""

_EXIT_SECONDS = 5.0
"""How long the end of the interpreter waits for guests, which stop as soon as they get to run.

Not waiting would be worse: output of a guest that still writes aborts the process.
"""

_EXIT_SECONDS_OF_HOST = 0.5
"""The same for functions of the program that guests called: nothing stops those."""

_STOP_AGAIN_SECONDS = 0.02


class Settings(NamedTuple):
    """What an executor was made with."""

    max_sandboxes: int
    wait: float
    idle: float
    cache_dir: str
    compile_limits: CompileLimits | None
    hotpath: str | None = None


class Core:
    """Engines, loaded functions, pool and keeper of one executor, made at its first use."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.settings = settings
        self.ids = RequestIds()
        self.loader = Loader(settings.cache_dir, settings.compile_limits)
        self.pool = Pool(
            most=settings.max_sandboxes,
            wait=settings.wait,
            idle=settings.idle,
            is_short_of_memory=self._is_short_of_memory,
        )
        self._engines: dict[EngineSettings, tuple[Engine, Streams]] = {}
        self.keeper = Keeper(self.pool, lambda: [engine for engine, _ in list(self._engines.values())])
        self.pool.yards.wake = self.keeper.wake
        self.shelves: dict[Function, Shelf] = {}
        self.server = Server()
        self._kernels: dict[Engine, Kernel] = {}
        self._loading_kernel = threading.Lock()
        # Guards everything below, and what is loaded. Held for a few assignments and to make an
        # engine, never while a module is compiled or loaded.
        self._changed = threading.Condition(threading.Lock())
        self._claimed: set[Function] = set()
        self._users = 0
        self.is_closed = False
        # Held by whoever frees, which one does and others wait for.
        self._freeing = threading.Lock()
        self._is_free = False
        # The interpreter goes away under guests that run on daemon threads, and under timers.
        atexit.register(self.close, at_exit=True)

    def shelf(self, function: Function) -> Shelf:
        """The shelf of *function*, which is loaded first if need be. Raises `InvalidFunction`."""
        with self._using(), self._claim(function):
            shelf = self.shelves.get(function)
            if shelf is None:
                # Before a guest can run: its deadline may depend on the keeper.
                self.keeper.wake(self.keeper.DOZING)
                shelf = self.shelves[function] = self.pool.add(self._program(function), self.ids)
                if shelf.needs_keeper:
                    self.keeper.wake(self.keeper.AWAKE)
            return shelf

    def unload(self, function: Function) -> bool:
        """Forget *function* and free what it holds; False where it is not loaded, or events of it run."""
        with self._using(), self._claim(function):
            shelf = self.shelves.get(function)
            if shelf is None or not self.pool.remove(shelf):
                return False
            del self.shelves[function]
            shelf.program.close()
            return True

    def _program(self, function: Function) -> BaseProgram:
        engine, streams = self._engine(function)
        module = self._load(engine, function)
        try:
            return make_program(
                function,
                engine,
                module,
                streams,
                self._serve(function),
                self._adaptation(function),
                lambda: self._kernel(engine, function),
            )
        except BaseException:
            module.close()
            raise

    def _kernel(self, engine: Engine, function: Function) -> Kernel:
        """The kernel of Extism plug-ins in *engine*, loaded with the first of them."""
        with self._loading_kernel:
            kernel = self._kernels.get(engine)
            if kernel is None:
                from wasmrun.machine.kernel import Kernel  # few programs run plug-ins

                kernel = self._kernels[engine] = Kernel(engine, self._load_kernel(engine, function))
            return kernel

    # What differs elsewhere: in a worker process, and where guests are profiled

    def _new_engine(self, settings: EngineSettings, slots: int) -> Engine:
        """An engine for *settings*."""
        return Engine(settings, slots, RECORD_WORDS, self.settings.hotpath)

    def _form(self, function: Function) -> str:
        """What the code of *function* is, as `form_of` has it."""
        return form_of(function)

    def _load_kernel(self, engine: Engine, function: Function) -> Module:
        """The code of the kernel that *function* is linked with."""
        from wasmrun.machine.kernel import kernel_for  # as above

        return self.loader.load(engine, kernel_for(function))  # type: ignore[return-value]  # never a component

    def _load(self, engine: Engine, function: Function) -> Module | Component:
        """The function's code."""
        return self.loader.load(engine, function)

    def _serve(self, function: Function) -> dict[str, Exchange]:
        """What answers the function's calls of the host."""
        return self.server.exchanges(function)

    def _adaptation(self, function: Function) -> Callable[[Abi, bool], Abi] | None:
        """What is to take the place of the function's ABI, if anything."""
        return None

    @contextlib.contextmanager
    def module(self, function: Function) -> Iterator[Module | Component]:
        """The module of *function*, for a look at it."""
        with self._using():
            module = self._load(self._engine(function)[0], function)
            try:
                yield module
            finally:
                module.close()

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Engines stay while in here. Raises `RuntimeError` once the core is being closed."""
        with self._changed:
            if self.is_closed:
                raise RuntimeError("the executor was shut down")
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def _claim(self, function: Function) -> Iterator[None]:
        """One at a time loads or unloads *function*; compiling it keeps no other function waiting."""
        with self._changed:
            self._changed.wait_for(lambda: function not in self._claimed)
            self._claimed.add(function)
        try:
            yield
        finally:
            with self._changed:
                self._claimed.discard(function)
                self._changed.notify_all()

    def _engine(self, function: Function) -> tuple[Engine, Streams]:
        """The engine for the stack size and the metering that *function* asks for; made on first need."""
        key = settings_for(function, self._form(function))
        found = self._engines.get(key)
        if found is not None:
            return found
        with self._changed:
            found = self._engines.get(key)
            if found is None:
                taken = sum(engine.memories for engine, _ in self._engines.values())
                slots = min(self.settings.max_sandboxes, (MOST_SLOTS - taken) // key.room.memories)
                if slots <= 0:
                    raise HostError(
                        f"no slots left for an engine with another stack size or metering: {taken} of {MOST_SLOTS} are "
                        "taken; lower max_sandboxes"
                    )
                engine = self._new_engine(key, slots)
                found = self._engines[key] = engine, _streams(engine)
            return found

    def _is_short_of_memory(self) -> bool:
        import psutil  # 30 ms to import, and only a long-lived process needs it

        memory = psutil.virtual_memory()
        return bool(memory.available < memory.total * _LITTLE_MEMORY)

    def close(self, *, at_exit: bool = False) -> None:
        """Wait for what runs, and free everything, in order. Harmless when repeated, and in a forked child.

        At interpreter exit guests are stopped, and what still holds on is left to the kernel.
        """
        if os.getpid() != self.pid:
            return
        # First nothing new begins: no load, no event, no refill. What has begun is counted.
        with self._changed:
            self.is_closed = True
        self.pool.refuse()
        if at_exit:
            self._stop_guests()
        # Two may close at once, a thread of `shutdown(wait=False)` and the interpreter's exit.
        if not self._freeing.acquire(timeout=_EXIT_SECONDS if at_exit else -1):
            return
        try:
            if not self._is_free:
                self._free(at_exit=at_exit)
                # Only now: a Ctrl-C while this waited leaves the rest to the next call.
                self._is_free = True
        finally:
            self._freeing.release()
        atexit.unregister(self.close)

    def _free(self, *, at_exit: bool) -> None:
        started = time.monotonic()
        while True:
            patience = _STOP_AGAIN_SECONDS if at_exit else None
            # Loads end before the keeper, which they may start; the keeper before the pool is emptied,
            # which it may fill; and everything that runs before the code that it runs is freed.
            has_ended = self._wait_for_users(patience) and self.keeper.close(patience) and self.pool.close(patience)
            if has_ended or time.monotonic() - started >= self._exit_seconds():
                break
            # Again, because one may have been made after the last time.
            self._stop_guests()
        if has_ended:
            for shelf in self.shelves.values():
                shelf.program.close()
            for kernel in self._kernels.values():
                kernel.close()
            for _, streams in self._engines.values():
                streams.close()
        for engine, _ in self._engines.values():
            engine.close(at_exit=at_exit or not has_ended)

    def _wait_for_users(self, patience: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._users, patience)

    def _exit_seconds(self) -> float:
        return _EXIT_SECONDS_OF_HOST if any(one.is_hosting for one in self._instances()) else _EXIT_SECONDS

    def _stop_guests(self) -> None:
        for instance in self._instances():
            instance.stop = instance.stop or "cancelled"

    def _instances(self) -> list[Instance]:
        return [instance for engine, _ in list(self._engines.values()) for instance in list(engine.live.values())]


def _streams(engine: Engine) -> Streams:
    if not engine.settings.has_components:
        return Streams(engine)
    from wasmrun.machine.components.wasi import Streams as ComponentStreams  # for the few engines that have any

    return ComponentStreams(engine)
