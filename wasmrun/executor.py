"""The executor: runs functions in this process, each event in a sandbox of its own."""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from wasmrun.base_executor import BaseExecutor
from wasmrun.calls import DEFAULTS, CallOptions, check_function
from wasmrun.core import Core, Settings
from wasmrun.express import Express
from wasmrun.function import Function
from wasmrun.invocation import Report
from wasmrun.machine.artifacts import default_directory
from wasmrun.machine.engine import MOST_SLOTS
from wasmrun.machine.hotpath import check_kind
from wasmrun.machine.loader import Compiled
from wasmrun.runner import Runner
from wasmrun.shelf import ExpressShelf, PoolStats
from wasmrun.units import parse_duration
from wasmrun.watch import Watch

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from wasmrun.machine.compiler import CompileLimits
    from wasmrun.machine.inspection import Inspection


class Stats(NamedTuple):
    """Counters since the executor started: of its pool, and of invocations by the error that ended them."""

    pool: PoolStats
    failures: dict[str, int]


class Loaded(NamedTuple):
    """How a function is called: its ABI and what says so, its entry, and whether it takes and gives bytes."""

    abi: str
    reason: str
    entry: str
    is_raw: bool


_SHORT_SECONDS = 300e-6
_SHORT_CPU_SECONDS = 40e-6
"""An event that took less keeps the GIL for most of its time."""

_NO_POOL = PoolStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {})


class Executor(BaseExecutor):
    """Runs functions in this process. A `concurrent.futures.Executor`, for functions instead of callables.

    *threads* serve `submit`, `map` and `ainvoke`; `invoke` and `run` use the calling thread. At most
    *max_sandboxes* are alive at once; an event that finds none free waits at most *wait* (seconds, or
    a text such as "500ms") and is then `Throttled`. *cache_dir* holds compiled modules (by default in
    the user's cache directory). *on_report* is called with the `Report` of every invocation that ran.
    Sandboxes beyond a function's ``warm`` go after *idle* without an event.

    Close it with `shutdown`, or by using it in ``with``. Nothing is allocated before the first use.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        max_sandboxes: int = 1_000,
        wait: float | str | timedelta = 10.0,
        cache_dir: str | os.PathLike[str] | None = None,
        on_report: Callable[[Report], object] | None = None,
        idle: float | str | timedelta = 300.0,
        compile_limits: CompileLimits | None = None,
    ) -> None:
        super().__init__(threads)
        if not 1 <= max_sandboxes <= MOST_SLOTS:
            raise ValueError(f"max_sandboxes must be from 1 to {MOST_SLOTS}, not {max_sandboxes}")
        directory = (
            default_directory(os.environ, os.path.expanduser("~")) if cache_dir is None else os.fspath(cache_dir)
        )
        self._settings = Settings(
            max_sandboxes, parse_duration(wait), parse_duration(idle), directory, compile_limits, check_kind(os.environ)
        )
        self._on_report = on_report
        self._runner: Runner | None = None

    # What users call, beside what every executor has

    def load(self, function: Function) -> Loaded:
        """Load *function* now rather than at its first event: how it is called. Raises `InvalidFunction`."""
        check_function(function)
        program = self._open().core.shelf(function).program
        return Loaded(*program.detected, program.abi.entry, program.abi.is_raw)

    def compile(self, function: Function) -> Compiled:
        """Compile *function* into the cache without loading it. Raises `InvalidFunction` or `HostError`.

        With an Extism plug-in goes its kernel.
        """
        check_function(function)
        return self._open().core.loader.compile_parts(function)

    def is_compiled(self, function: Function) -> bool:
        """Whether *function* is in the cache, so that loading it takes no compiler."""
        check_function(function)
        return self._open().core.loader.has_parts(function)

    def prewarm(self, function: Function) -> int:
        """Load *function* and fill its pool now; the number of sandboxes that are ready.

        Raises `InvalidFunction` or `HostError` where it cannot be loaded. A start-up that fails is logged:
        its error goes to the event that needs the sandbox.
        """
        check_function(function)
        return self._call(self._fill, self._open().core, function)  # type: ignore[no-any-return]  # a number

    def unload(self, function: Function) -> bool:
        """Forget *function* and free its sandboxes and its code; False where events of it run."""
        is_gone = self._open().core.unload(function)
        if is_gone:
            # Under the lock, in which `_board` looks whether the function is still loaded.
            with self._lock:
                self._expresses.pop(function, None)
        return is_gone

    def inspect(self, function: Function) -> Inspection:
        """What *function*'s module is, imports and exports; whether it could run, and why not.

        Raises `InvalidFunction` where there is no file to look at.
        """
        from wasmrun.machine.inspection import inspect_file

        check_function(function)
        return inspect_file(function, lambda: self._look(function))

    def _look(self, function: Function) -> Inspection:
        from wasmrun.machine.inspection import inspect_module

        with self._open().core.module(function) as module:
            return inspect_module(function, module)

    def stats(self) -> Stats:
        """Counters of pool and invocations. An executor that was not used yet has none above 0."""
        self._check_process()
        runner = self._runner
        return Stats(_NO_POOL, {}) if runner is None else Stats(runner.core.pool.stats(), runner.failures())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor, as the standard library promises it: what was submitted still runs, nothing new does.

        With *cancel_futures*, what has not begun is cancelled. Without *wait*, everything is freed in
        the background when the last invocation has ended. Raises `RuntimeError` where it would wait for
        itself: in a host function or in *on_report*.
        """
        if wait and self._state.depth:
            raise RuntimeError("an invocation cannot wait for its own end; use shutdown(wait=False)")
        self._refuse()
        workers, runner = self._workers, self._runner
        if self._pid not in (0, os.getpid()):
            return  # all of it stayed with the parent
        if cancel_futures:
            self._cancel_pending()
        if workers is not None:
            workers.shutdown(wait=wait, cancel_futures=cancel_futures)
        if runner is None:
            return
        if wait:
            runner.core.close()
        else:
            closer = threading.Thread(
                target=_close_later, args=(workers, runner.core), name="wasmrun-closer", daemon=True
            )
            closer.start()

    def __del__(self) -> None:
        runner = getattr(self, "_runner", None)
        if runner is None or self._is_shut or runner.core.is_closed or runner.pid != os.getpid():
            return
        try:
            warnings.warn(f"{self!r} was not shut down", ResourceWarning, stacklevel=1, source=self)
        finally:
            # Nothing runs any more: whatever did, kept this object alive. On a thread of its own, because
            # the collector calls this on any thread and between any two steps, those of the keeper with
            # the pool's lock held included; without the threading module's locks for the same reason.
            # Where no thread can be had any more, the core is closed at exit.
            if self._guard is not None:
                self._guard.leave()
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(runner.core.close, ())

    # The events of a map

    def _run_batch(self, function: Function, events: list[Any]) -> list[Any]:
        runner = self._runner
        if runner is None or runner.pid != os.getpid():
            return []
        if not self._state.size:
            self._state.meet()
        return runner.run_each(function, events)

    def _leaves(self, seconds: float, cpu_seconds: float) -> bool:
        # Threads that mostly wait for the GIL are slower together than one of them. Those whose guests run, or wait
        # for something, are not.
        return seconds < _SHORT_SECONDS and cpu_seconds < _SHORT_CPU_SECONDS

    # One invocation

    def _perform(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        if self._is_shut:
            raise RuntimeError("the executor was shut down")
        value = self._work_on(function, event, options, keep)
        if options is DEFAULTS and self._on_report is None:
            self._board(function)
        return value

    def _board(self, function: Function) -> None:
        """Let further events of *function* go by express, if it has one."""
        runner = self._runner
        shelf = None if runner is None else runner.core.shelves.get(function)
        if runner is None or not isinstance(shelf, ExpressShelf):
            return
        runner.core.pool.lend(shelf)
        with self._lock:
            found = self._expresses.get(function)
            is_loaded = runner.core.shelves.get(function) is shelf and not self._is_shut
            if is_loaded and (found is None or found.way is not shelf.way):
                self._expresses[function] = Express(shelf.program, shelf.way)

    def _work_on(self, function: Function, event: Any, options: CallOptions, keep: bool) -> Any:
        runner = self._runner
        if runner is None or runner.pid != os.getpid():
            runner = self._open()
        return self._call(runner.execute, function, event, options, keep)

    def _fill(self, watch: Watch | None, core: Core, function: Function) -> int:
        shelf = core.shelf(function)
        if function.stack > self._state.room:
            self._state.refuse(function.stack)
        if watch is not None:
            watch.is_busy = True
        core.pool.sweep()
        core.pool.fill(shelf, function.warm, watch=watch)
        # The keeper may have been faster, and still be at it.
        return core.pool.wait_for_fillers(shelf, watch)

    # Setting up

    def _open(self) -> Runner:
        """The runner and its core, made at the first use."""
        # Before the lock, which the parent may have held while it forked.
        self._check_process()
        with self._lock:
            if self._is_shut:
                raise RuntimeError("the executor was shut down")
            if self._runner is None:
                self._runner = Runner(self._new_core(), self._state, self._on_report)
            return self._runner

    def _new_core(self) -> Core:
        return Core(self._settings)


def _close_later(workers: ThreadPoolExecutor | None, core: Core) -> None:
    if workers is not None:
        workers.shutdown(wait=True)
    core.close()
