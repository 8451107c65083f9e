"""Watched threads: those of a load, whose guests are ended where the measuring is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wasmrun.base_executor import BaseExecutor
from wasmrun.processes.executor import ProcessExecutor
from wasmrun.watch import Watch


class WatchedExecutor(BaseExecutor):
    """An executor that can be told to end what `invoke` runs on a thread of the caller, as Ctrl-C does on the main one."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[Watch]:
        """While in here, the calling thread, which is in no invocation, runs what the watch can end."""
        state = self._state
        state.watch = watch = Watch()
        try:
            yield watch
        finally:
            state.watch = None


class WatchedProcesses(WatchedExecutor, ProcessExecutor):
    """The same in worker processes."""
