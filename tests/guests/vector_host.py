"""A host of the native ABI that is not wasmrun: a guest's entry gets the bytes of a vector as they are, and its bytes are seen."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import wasmtime

Exchange = Callable[[bytes], bytes]


class Guest:
    """One instance of a module, prepared as the ABI says. *exchanges* answers its host functions by name."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module, exchanges: dict[str, Exchange]) -> None:
        self.logs: list[tuple[int, str]] = []
        self.exchanges = exchanges
        self._store = wasmtime.Store(engine)
        self._store.set_wasi(wasmtime.WasiConfig())
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
        for item in module.imports:
            if item.module == "env" and item.name == "abort":
                linker.define_func("env", "abort", wasmtime.FuncType([i32] * 4, []), self._abort)
            elif item.module == "wasmrun" and item.name == "log":
                linker.define_func("wasmrun", "log", wasmtime.FuncType([i32] * 3, []), self._log)
            elif item.module == "wasmrun" and item.name is not None:
                called = self._called(item.name)
                linker.define_func("wasmrun", item.name, wasmtime.FuncType([i32, i32], [i64]), called)
        self._exports = linker.instantiate(self._store, module).exports(self._store)
        for name in ("_initialize", "wasmrun_init"):
            if name in self._exports:
                self._call(name)

    def _call(self, name: str, *arguments: int) -> Any:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return function(self._store, *arguments)

    @property
    def _memory(self) -> wasmtime.Memory:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    @property
    def memory_bytes(self) -> int:
        return self._memory.data_len(self._store)

    def _read(self, pointer: int, length: int) -> bytes:
        pointer, length = pointer & 0xFFFFFFFF, length & 0xFFFFFFFF
        assert pointer + length <= self.memory_bytes
        return bytes(self._memory.read(self._store, pointer, pointer + length))

    def _give(self, data: bytes) -> int:
        """Has the guest allocate, and writes there; the pointer."""
        pointer = self._call("wasmrun_alloc", len(data)) & 0xFFFFFFFF
        assert pointer, "the guest has no memory"
        self._memory.write(self._store, data, pointer)
        return pointer

    def _log(self, level: int, pointer: int, length: int) -> None:
        self.logs.append((level, self._read(pointer, length).decode()))

    def _abort(self, *_places: int) -> None:
        raise AssertionError("the guest aborted")

    def _called(self, name: str) -> Callable[[int, int], int]:
        def call(pointer: int, length: int) -> int:
            reply = self.exchanges[name](self._read(pointer, length))
            packed = self._give(reply) << 32 | len(reply)
            return struct.unpack(">q", struct.pack(">Q", packed))[0]

        return call

    def answer(self, entry: str, data: bytes) -> bytes:
        """The bytes that *entry* answers to *data*; then the guest is told that they were read."""
        packed = self._call(entry, self._give(data), len(data))
        pointer, length = struct.unpack(">II", struct.pack(">q", packed))
        answer = self._read(pointer, length)
        if "wasmrun_free" in self._exports:
            self._call("wasmrun_free", pointer, length)
        return answer


class GuestModule:
    """A compiled module, for as many guests as are wanted."""

    def __init__(self, path: Path) -> None:
        self._engine = wasmtime.Engine()
        self._module = wasmtime.Module(self._engine, path.read_bytes())

    def guest(self, **exchanges: Exchange) -> Guest:
        """A fresh one. The names of *exchanges* have ``_`` for the dots."""
        return Guest(self._engine, self._module, {name.replace("_ask", ".ask"): one for name, one in exchanges.items()})


def answered(answer: bytes) -> Any:
    """The value of an answer. Raises `Reported` for an error."""
    status, value = msgpack.unpackb(answer)
    if status == 1:
        raise Reported(value)
    assert status == 0
    return value


class Reported(Exception):
    """What a guest reported: its argument is the map."""
