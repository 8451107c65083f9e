"""Waiting for a stream: the engine is asked whether it is ready, from inside of the same store, and never waits itself.

Only components can call the engine's WASI. So there is a small one of ours, linked with preview 2 as the engine has it. It is put
into a store when its guest first waits for a stream; the host gives it what the guest gave.
"""

from __future__ import annotations

import ctypes
import threading

from wasmrun.errors import HostError
from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine import capi
from wasmrun.machine.components import binding, failing
from wasmrun.machine.components.binding import Value, addressof

if TYPE_CHECKING:
    from wasmrun.machine.engine import Engine
    from wasmrun.machine.instance import Instance

_SOURCE = """(component
  (import "wasi:io/poll@VERSION" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@VERSION" (instance $streams
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (alias outer 1 $pollable (type $p0)) (export "pollable" (type $p (eq $p0)))
    (export "[method]input-stream.subscribe" (func (param "self" (borrow $in)) (result (own $p))))
    (export "[method]output-stream.subscribe" (func (param "self" (borrow $out)) (result (own $p))))))
  (alias export $streams "input-stream" (type $in))
  (alias export $streams "output-stream" (type $out))
  (core func $ready (canon lower (func $poll "[method]pollable.ready")))
  (core func $input (canon lower (func $streams "[method]input-stream.subscribe")))
  (core func $output (canon lower (func $streams "[method]output-stream.subscribe")))
  (core func $drop-pollable (canon resource.drop $pollable))
  (core func $drop-input (canon resource.drop $in))
  (core func $drop-output (canon resource.drop $out))
  (core module $m
    (import "" "ready" (func $ready (param i32) (result i32)))
    (import "" "input" (func $input (param i32) (result i32)))
    (import "" "output" (func $output (param i32) (result i32)))
    (import "" "drop-pollable" (func $drop-pollable (param i32)))
    (import "" "drop-input" (func $drop-input (param i32)))
    (import "" "drop-output" (func $drop-output (param i32)))
    (func (export "ready") (param i32) (result i32)
      (call $ready (local.get 0)) (call $drop-pollable (local.get 0)))
    (func (export "input-stream") (param i32) (result i32)
      (call $input (local.get 0)) (call $drop-input (local.get 0)))
    (func (export "output-stream") (param i32) (result i32)
      (call $output (local.get 0)) (call $drop-output (local.get 0))))
  (core instance $i (instantiate $m (with "" (instance
    (export "ready" (func $ready)) (export "input" (func $input)) (export "output" (func $output))
    (export "drop-pollable" (func $drop-pollable)) (export "drop-input" (func $drop-input))
    (export "drop-output" (func $drop-output))))))
  (func (export "ready") (param "self" (borrow $pollable)) (result bool) (canon lift (core func $i "ready")))
  (func (export "input-stream") (param "self" (borrow $in)) (result (own $pollable))
    (canon lift (core func $i "input-stream")))
  (func (export "output-stream") (param "self" (borrow $out)) (result (own $pollable))
    (canon lift (core func $i "output-stream"))))"""

_EXPORTS = ("ready", "input-stream", "output-stream")


class Waiter:
    """The component in one engine. It is made at the first need, and it lives as long as the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._component = 0
        self.linker = 0
        self.indexes: dict[str, int] = {}

    @property
    def component(self) -> int:
        """The compiled component. Raises `HostError` where the engine does not take it."""
        with self._lock:
            if not self._component:
                self._make()
            return self._component

    def _make(self) -> None:
        # Compiled in this process: it is ours, and takes two milliseconds.
        source = _SOURCE.replace("VERSION", binding.WASI_VERSION).encode()
        vec, out = capi.ByteVec(), ctypes.c_void_p()
        self._check(capi.wat2wasm(source, len(source), addressof(vec)))
        error = binding.component_new(
            self._engine.pointer, capi.string_at(vec.data, vec.size), vec.size, addressof(out)
        )
        capi.byte_vec_delete(addressof(vec))
        self._check(error)
        self.linker = binding.linker_new(self._engine.pointer)
        self._check(binding.linker_add_wasi(self.linker))
        for name in _EXPORTS:
            text = name.encode()
            self.indexes[name] = binding.export_index(out.value, None, text, len(text))
        self._component = out.value or 0

    def _check(self, error: int | None) -> None:
        if error:
            raise HostError(f"streams cannot be waited for: {capi.take_error(error)}")

    def close(self) -> None:
        """Free the component. Harmless when repeated."""
        component, self._component = self._component, 0
        if component:
            for index in self.indexes.values():
                binding.export_index_delete(index)
            binding.linker_delete(self.linker)
            binding.component_delete(component)


class Asking:
    """The component in one store, and what it was asked to watch: handles of the engine's, which are ours to free."""

    __slots__ = ("_functions", "_values", "_waiter", "handles")

    def __init__(self, waiter: Waiter, instance: Instance) -> None:
        self._waiter = waiter
        self.handles: dict[int, int] = {}
        own = (ctypes.c_uint64 * 2)()
        component = waiter.component
        error = binding.instantiate(waiter.linker, instance.context, component, addressof(own))
        if error:
            raise failing.failure(instance, error)
        self._values = (Value * 2)()
        self._functions = {}
        for name in _EXPORTS:
            function = (ctypes.c_uint64 * 4)()
            binding.instance_function(addressof(own), instance.context, waiter.indexes[name], addressof(function))
            self._functions[name] = function

    def _call(self, instance: Instance, name: str, handle: int) -> int:
        argument, result = self._values
        argument.kind, argument.first = binding.RESOURCE, handle
        result.kind = binding.BOOL
        error = binding.call(
            addressof(self._functions[name]), instance.context, addressof(argument), 1, addressof(result), 1
        )
        if error:
            raise failing.failure(instance, error)
        return int(result.first)

    def watch(self, instance: Instance, number: int, kind: str, stream: int) -> None:
        """Keep what tells of the borrowed *stream*, of a *kind* of stream, under *number*."""
        self.handles[number] = self._call(instance, kind, stream)

    def is_ready(self, instance: Instance, number: int) -> bool:
        """Whether the stream under *number* is ready."""
        return bool(self._call(instance, "ready", self.handles[number]) & 0xFF)

    def drop(self, instance: Instance, number: int) -> None:
        """Let go of what is under *number*, if anything."""
        handle = self.handles.pop(number, None)
        if handle is not None:
            error = binding.resource_drop(instance.context, handle)
            binding.resource_any_delete(handle)
            if error:
                raise failing.failure(instance, error)

    def __del__(self) -> None:
        for handle in self.handles.values():
            binding.resource_any_delete(handle)
