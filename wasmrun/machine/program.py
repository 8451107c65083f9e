"""A program: a function's module with its ABI chosen and its imports linked, ready to be instantiated."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from wasmrun.errors import InvalidFunction, printable
from wasmrun.function import Function
from wasmrun.machine import capi, hostcalls, wasi
from wasmrun.machine.abi.base import HANDLER, Abi, Codec, Shape
from wasmrun.machine.engine import Engine
from wasmrun.machine.hostcalls import ABORT, ALLOC_TYPE, LOG, MESSAGE, Exchange, Linker
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import PAGE, ExternType, Import, Module
from wasmrun.units import format_size

HTTP_REQUEST = ("wasmrun", "http_request")
"""The import by which guests reach the network, where they may."""


class Detected(NamedTuple):
    """The ABI that a module speaks, and what was seen in it that says so."""

    abi: str
    reason: str


def detect(function: Function, module: Module) -> Detected:
    """The ABI of *module*, by looking at it, unless *function* names one. Raises `InvalidFunction`."""
    if function.abi is not None:
        return Detected(function.abi, "named by the function")
    if any(item.module.startswith("extism:") for item in module.imports):
        raise InvalidFunction(
            "an Extism plug-in (it imports from extism:host): this version of wasmrun does not run those yet"
        )
    exports = module.exports
    for name in ("wasmrun_alloc", "wasmrun_handle", "wasmrun_handle_raw"):
        if name in exports:
            return Detected("native", f"it exports {name}")
    entry = exports.get(function.entry or "")
    if (
        entry is not None
        and (entry.kind, entry.params, entry.results) == ("function", *HANDLER)
        and "memory" in exports
    ):
        return Detected("native", f"{printable(function.entry or '')} takes (ptr, len) and gives an i64")
    if "_start" in exports:
        return Detected("command", "it exports _start")
    return Detected("plain", "it exports neither wasmrun_alloc nor _start")


def make_codec(shape: Shape, function: Function) -> Codec:
    """What encodes events for *function* and decodes its answers, where its module is elsewhere."""
    if shape.abi == "native":
        from wasmrun.machine.abi.native import NativeCodec

        return NativeCodec(function, shape.entry)
    if shape.abi == "command":
        from wasmrun.machine.abi.command import CommandCodec

        return CommandCodec(shape.entry, is_raw=shape.is_raw)
    from wasmrun.machine.abi.plain import PlainCodec

    return PlainCodec(shape.entry, shape.params, shape.results)


def make_abi(name: str, function: Function, module: Module) -> Abi:
    """The guest ABI *name* for *function*. Raises `InvalidFunction` where *module* cannot serve it."""
    # Imported when wanted: most processes speak one of them.
    if name == "native":
        from wasmrun.machine.abi.native import Native

        return Native(function, module)
    if name == "command":
        from wasmrun.machine.abi.command import Command

        return Command(function, module)
    from wasmrun.machine.abi.plain import Plain

    return Plain(function, module)


class Program:
    """What sandboxes of one function are made from. Close it when none is left.

    *exchanges* answer what the guest asks the host, by name. *adapt* may put another ABI in the place of the
    one that was chosen; it is told whether preparing a sandbox runs code of the guest.
    """

    def __init__(
        self,
        function: Function,
        engine: Engine,
        module: Module,
        streams: wasi.Streams,
        exchanges: Mapping[str, Exchange] | None = None,
        adapt: Callable[[Abi, bool], Abi] | None = None,
    ) -> None:
        self.function = function
        self.engine = engine
        self.module = module
        self.streams = streams
        self.detected = detect(function, module)
        offered = check(function, module)
        for name, exchange in (exchanges or {}).items():
            offered["wasmrun", name] = (MESSAGE, hostcalls.message(name, exchange))
        self.has_http = any((item.module, item.name) == HTTP_REQUEST for item in module.imports)
        self.abi: Abi = make_abi(self.detected.abi, function, module)
        self.is_raw = self.abi.is_raw
        self.uses_wasi = any(item.module == wasi.MODULE for item in module.imports)
        self.has_start = module.facts.has_start
        self.log_bytes = function.log_bytes
        self.fuel = function.fuel_limit
        self.timeout_ns = int(function.timeout * 1e9)
        self.init_timeout_ns = int(function.init_timeout * 1e9)
        self.stack = function.stack
        self.event_bytes = function.event_bytes
        self.has_host_functions = bool(function.imports)
        self.has_alloc = module.exports.get("wasmrun_alloc") == ALLOC_TYPE
        memory = module.exports.get("memory")
        self.has_memory = memory is not None and memory.kind == "memory"
        self.memory_bytes = memory.minimum * PAGE if self.has_memory and memory is not None else 0
        # memory bytes, table elements, instances, tables, memories
        self.store_limits = (function.memory, function.table_elements, 1, 1, 1)
        self._linker = Linker(engine)
        self.pre = 0
        try:
            self._link(offered)
            self.runs_at_start = self.has_start or bool(self.abi.start_up) or self._runs_code_to_instantiate()
            if adapt is not None:
                self.abi = adapt(self.abi, self.runs_at_start)
        except BaseException:
            self.close()
            raise

    def _link(self, offered: dict[tuple[str, str], tuple[ExternType, hostcalls.Body]]) -> None:
        if self.uses_wasi:
            self._linker.define_wasi()
        for key in {(item.module, item.name) for item in self.module.imports}:
            if key in offered:
                self._linker.define(*key, *offered[key])
        self.pre = self._linker.link(self.module.pointer)

    def _runs_code_to_instantiate(self) -> bool:
        """Whether the engine compiled segments or initial values to code, which it does as it sees fit.

        Tried in a store without fuel and without time, in which no code gets past its first instruction.
        """
        out = (ctypes.c_uint64 * 3)()  # an instance, and a trap
        at = ctypes.addressof(out)
        with self.engine.spare:
            store = capi.store_new(self.engine.pointer, None, None)
            capi.store_limiter(store, *self.store_limits)
            error = capi.instantiate_quick(self.pre, capi.store_context(store), at, at + 16)
            if error:
                capi.error_delete(error)
            if out[2]:
                capi.trap_delete(out[2])
            capi.store_delete(store)
        return bool(error or out[2])

    def close(self) -> None:
        """Free the linked program and its module. Harmless when repeated."""
        pre, self.pre = self.pre, 0
        if pre:
            capi.instance_pre_delete(pre)
        self._linker.close()
        self.module.close()


def check(function: Function, module: Module) -> dict[tuple[str, str], tuple[ExternType, hostcalls.Body]]:
    """What *module* may import, once it is sure that it imports nothing else and fits its limits.

    Raises `InvalidFunction`.
    """
    offered = _offered(function)
    _check_imports(module.imports, offered)
    _check_sizes(module, function)
    _check_exports(module, function)
    check_directories(function)
    return offered


def check_directories(function: Function) -> None:
    """Raise `InvalidFunction` where a directory that is granted to *function* is none."""
    for directory in function.dirs:
        if not os.path.isdir(directory.host):
            raise InvalidFunction(f"the granted directory {printable(directory.host)} does not exist, or is none")


def _offered(function: Function) -> dict[tuple[str, str], tuple[ExternType, hostcalls.Body]]:
    """What a module of *function* may import besides WASI: the import's names, its type, and what it does."""
    offered: dict[tuple[str, str], tuple[ExternType, hostcalls.Body]] = {
        ("wasmrun", "log"): (LOG, hostcalls.log),
        ("env", "abort"): (ABORT, hostcalls.abort),
        (wasi.MODULE, "poll_oneoff"): (wasi.POLL, wasi.poll_oneoff),
        (wasi.MODULE, "proc_exit"): (wasi.EXIT, wasi.proc_exit),
    }
    names = [name for name, _ in function.imports] + ([HTTP_REQUEST[1]] if function.http else [])
    for name in names:
        offered["wasmrun", name] = (MESSAGE, hostcalls.message(name, _nobody))
    return offered


def _nobody(_instance: Instance, _request: bytes) -> bytes:
    """Stands where a program is made without its host functions, to be looked at."""
    return hostcalls.refusal("nobody answers this here")


def _check_imports(
    imports: tuple[Import, ...], offered: dict[tuple[str, str], tuple[ExternType, hostcalls.Body]]
) -> None:
    refused = []
    for item in imports:
        known = offered.get((item.module, item.name))
        if known is not None and item.type != known[0]:
            raise InvalidFunction(f"the import {item} must be {known[0]}, not {item.type}")
        if known is None and item.module != wasi.MODULE:
            refused.append(str(item))
    if refused:
        more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
        hint = ""
        if ".".join(HTTP_REQUEST) in refused:
            hint = "; grant HTTP requests with http=['HOST'] (--http HOST)"
        elif any(name.startswith("wasmrun.") for name in refused):
            hint = "; grant host functions with imports={name: function}"
        raise InvalidFunction(f"the module imports what it is not granted: {', '.join(refused[:10])}{more}{hint}")


def _check_exports(module: Module, function: Function) -> None:
    """What host calls need of a module that makes them."""
    wanted = [item for item in module.imports if item.module == "wasmrun"]
    if not wanted:
        return
    memory = module.exports.get("memory")
    if memory is None or memory.kind != "memory":
        raise InvalidFunction(f"the module imports {wanted[0]}, which needs a memory exported as 'memory'")
    granted = {name for name, _ in function.imports} | ({"http_request"} if function.http else set())
    for item in wanted:
        if item.name in granted and module.exports.get("wasmrun_alloc") != ALLOC_TYPE:
            raise InvalidFunction(f"the module imports {item}, which needs the export 'wasmrun_alloc' of (i32) -> i32")


def _check_sizes(module: Module, function: Function) -> None:
    """What the module starts with, exported or not, must be within the function's limits."""
    memory_bytes = module.facts.memory_pages * PAGE
    if memory_bytes > function.memory:
        raise InvalidFunction(
            f"the module starts with {format_size(memory_bytes)} of memory, more than its limit of "
            f"{format_size(function.memory)}; build it with less, or raise `memory`"
        )
    elements = module.facts.table_elements
    if elements > function.table_elements:
        raise InvalidFunction(
            f"the module's table starts with {elements} elements, more than its limit of {function.table_elements}; "
            "build it with less, or raise `table_elements`"
        )
