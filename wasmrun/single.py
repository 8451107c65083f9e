"""Single: runs a function on the calling thread, for who needs nothing else of an executor.

An `Executor` is one of `concurrent.futures`, which takes longer to load than a function to run.
"""

from __future__ import annotations

import _thread
import contextlib
import os

from wasmrun.calls import DEFAULTS, check_function
from wasmrun.core import Core, Settings
from wasmrun.function import Function
from wasmrun.hints import Any
from wasmrun.invocation import Result
from wasmrun.machine.artifacts import default_directory
from wasmrun.machine.hotpath import check_kind
from wasmrun.machine.program import BaseProgram
from wasmrun.runner import Runner
from wasmrun.threadstate import ThreadState
from wasmrun.watch import guard_interrupts

_SANDBOXES = 4
_WAIT_SECONDS = 10.0
_IDLE_SECONDS = 300.0


class Single:
    """Loads and runs functions, one event at a time. *cache_dir* as an `Executor` has it."""

    def __init__(self, cache_dir: str | None) -> None:
        directory = default_directory(os.environ, os.path.expanduser("~")) if cache_dir is None else cache_dir
        settings = Settings(_SANDBOXES, _WAIT_SECONDS, _IDLE_SECONDS, directory, None, check_kind(os.environ))
        self._state = ThreadState()
        self._core = Core(settings)
        self._runner = Runner(self._core, self._state, None)

    def load(self, function: Function) -> BaseProgram:
        """The program of *function*. Raises `InvalidFunction` or `HostError`."""
        check_function(function)
        return self._core.shelf(function).program

    def run(self, function: Function, event: Any) -> Result:
        """Run *function* on *event*. Raises as `Executor.run`; `KeyboardInterrupt` on Ctrl-C, which ends the guest."""
        self._state.meet()
        guard = guard_interrupts() if self._state.is_main else None
        watch = None if guard is None else guard.watch
        try:
            return self._runner.execute(watch, function, event, DEFAULTS, True)  # type: ignore[no-any-return]  # a Result
        finally:
            if guard is not None:
                # In this order: a Ctrl-C before it left its mark, one after it raises by itself.
                guard.watch.is_busy = False
                reason, guard.watch.reason = guard.watch.reason, None
                guard.leave()
                if reason is not None:
                    raise KeyboardInterrupt from None

    def close(self) -> None:
        """Free everything in the background; at the interpreter's exit, where no thread can be had."""
        # Not by the threading module, which waits until the thread runs.
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(self._core.close, ())
