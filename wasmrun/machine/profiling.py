"""Profiling: an engine that looks at its guests often, and notes where each one is.

The samples are taken by the engine's own profiler, which names functions as the module's name section does, and writes
what profiler.firefox.com shows. It is asked on ticks, where compiled code looks for one: at the entry of functions
and at the head of loops.
"""

from __future__ import annotations

import ctypes
from time import perf_counter_ns

from wasmrun.errors import HostError, printable
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.module import Module
from wasmrun.machine.record import RECORD_WORDS

MOST_SAMPLES = 100_000
"""A profile takes no more: each may be some hundred bytes in memory and in the file."""


class _Modules(ctypes.Structure):
    """``wasmtime_guestprofiler_modules_t``."""

    _fields_ = (("name", ctypes.c_void_p), ("module", ctypes.c_void_p))


class Profile:
    """Samples of guests of one module, until it is finished or closed. *interval_ns* is that of the samples, as it is meant."""

    def __init__(self, module: Module, name: str, interval_ns: int) -> None:
        # The library takes a name that is not UTF-8 for a reason to abort the process.
        data = name.encode("utf-8", "replace")
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        vec = capi.ByteVec(len(data), capi.addressof(buffer))
        modules = _Modules(capi.addressof(vec), module.pointer)
        self._pointer: int = capi.guestprofiler_new(
            module.engine.pointer, capi.addressof(vec), interval_ns, capi.addressof(modules), 1
        )
        self._last = perf_counter_ns()
        self.samples = 0

    @property
    def is_full(self) -> bool:
        """Whether it takes no more samples."""
        return self.samples >= MOST_SAMPLES

    def sample(self, store: int) -> None:
        """Note where the guest of *store* is, which has called its host on this thread."""
        if self._pointer and not self.is_full:
            now = perf_counter_ns()
            capi.guestprofiler_sample(self._pointer, store, now - self._last)
            self._last = now
            self.samples += 1

    def finish(self) -> bytes:
        """The profile in the format of Firefox's profiler, JSON. Ends it."""
        pointer, self._pointer = self._pointer, 0
        out = capi.ByteVec()
        error = capi.guestprofiler_finish(pointer, capi.addressof(out))
        if error:
            raise HostError(f"the profile cannot be written: {printable(capi.take_error(error))}")
        try:
            return capi.string_at(out.data, out.size)
        finally:
            capi.byte_vec_delete(capi.addressof(out))

    def close(self) -> None:
        """End it without a result. Harmless when repeated, and after `finish`."""
        pointer, self._pointer = self._pointer, 0
        if pointer:
            capi.guestprofiler_delete(pointer)


class ProfilingEngine(Engine):
    """An engine whose ticks are *interval_ns* apart, and which adds a sample to ``profile`` at each look."""

    def __init__(self, settings: EngineSettings, slots: int, hotpath: str | None, interval_ns: int) -> None:
        self.profile: Profile | None = None
        super().__init__(settings, slots, RECORD_WORDS, hotpath, interval_ns)

    def _on_look(self, context: int, data: int, delta: int, kind: int) -> int:
        try:
            if self.profile is not None:
                self.profile.sample(self.live[context].store)
        except BaseException:  # noqa: S110  # as in every look: the profile lacks a sample
            pass
        error = super()._on_look(context, data, delta, kind)
        if not error:
            ctypes.c_uint64.from_address(delta).value = 1
        return error
