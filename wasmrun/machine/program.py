"""A program: a function's module with its ABI chosen and its imports linked, ready to be instantiated."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Mapping

from wasmrun.errors import InvalidFunction, printable
from wasmrun.function import Function
from wasmrun.hints import TYPE_CHECKING, Any, NamedTuple
from wasmrun.machine import capi, hostcalls, wasi
from wasmrun.machine.abi.base import HANDLER, Abi, Codec, Shape
from wasmrun.machine.engine import Engine
from wasmrun.machine.hostcalls import ABORT, ALLOC_TYPE, LOG, MESSAGE, Exchange, Linker
from wasmrun.machine.hotpath import Plan
from wasmrun.machine.instance import Instance, first_look
from wasmrun.machine.module import PAGE, ExternType, Import, Module
from wasmrun.units import format_size

if TYPE_CHECKING:
    from typing import Protocol

    from wasmrun.machine.components.link import Link as ComponentLink
    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.kernel import Kernel, Link

    class RequestIds(Protocol):
        """Where request ids come from: 24 characters that all begin with, and numbers for the last 12 digits."""

        prefix: str

        @property
        def numbers(self) -> Iterator[int]:
            """For the last 12 digits."""
            ...


HTTP_REQUEST = ("wasmrun", "http_request")
"""The import by which guests reach the network, where they may."""

_BATCH_NS = 2_000_000
"""How long a batch may take: nobody ends a guest in it before its next look, and others wait for a place."""

_REPEATABLE = {("wasmrun", "log"), ("env", "abort")}
"""Imports of guests that leave no trace of an event but its answer and its log. Without an instance, abort ends them."""

_EXTISM = "extism:host/env"
_OF_EXTISM = (_EXTISM, "extism:host/user")


class Detected(NamedTuple):
    """The ABI that a module speaks, and what was seen in it that says so."""

    abi: str
    reason: str


def detect(function: Function, module: Module) -> Detected:
    """The ABI of *module*, by looking at it, unless *function* names one. Raises `InvalidFunction`."""
    if function.abi in ("component", "wasi-http"):
        raise InvalidFunction("it is a module, and not a component; leave `abi` out")
    if function.abi is not None:
        return Detected(function.abi, "named by the function")
    for item in module.imports:
        if item.module in _OF_EXTISM:
            return Detected("extism", f"it imports from {item.module}")
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
    if shape.abi == "component":
        from wasmrun.machine.abi.component import ComponentCodec

        return ComponentCodec(function, shape.entry, is_raw=shape.is_raw)
    if shape.abi == "extism":
        from wasmrun.machine.abi.extism import ExtismCodec

        return ExtismCodec(shape.entry, is_raw=shape.is_raw)
    if shape.abi == "wasi-http":
        from wasmrun.machine.abi.wasi_http import WasiHttpCodec

        return WasiHttpCodec(shape.entry)
    if shape.abi == "wagi":
        from wasmrun.machine.abi.wagi import WagiCodec

        return WagiCodec(shape.entry)
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
    if name == "extism":
        from wasmrun.machine.abi.extism import Extism

        return Extism(function, module)
    if name == "wagi":
        from wasmrun.machine.abi.wagi import Wagi

        return Wagi(function, module)
    from wasmrun.machine.abi.plain import Plain

    return Plain(function, module)


class BaseProgram:
    """What sandboxes of one function are made from, whatever its code is. Close it when none is left.

    ``link`` puts instances together where the engine cannot prepare that, as it does with ``pre``.
    """

    detected: Detected
    abi: Abi
    is_raw: bool
    has_http: bool
    uses_wasi: bool
    runs_at_start: bool
    store_limits: tuple[int, int, int, int, int]
    """Memory bytes, table elements, instances, tables, memories."""
    is_prepared_at_once = False
    """Whether the hot path prepares its sandboxes in one step."""
    is_run_in_batches = False
    """Whether `run_each` is for it: running an event twice is as good as once."""
    plan: Any
    """What the hot path needs to know of it."""

    def __init__(
        self,
        function: Function,
        engine: Engine,
        module: Module | Component,
        streams: wasi.Streams,
        exchanges: Mapping[str, Exchange] | None,
    ) -> None:
        self.function = function
        self.engine = engine
        self.streams = streams
        self.exchanges: Mapping[str, Exchange] = exchanges or {}
        self.has_start = module.facts.has_start
        self.log_bytes = function.log_bytes
        self.fuel = function.fuel_limit
        self.timeout_ns = int(function.timeout * 1e9)
        self.init_timeout_ns = int(function.init_timeout * 1e9)
        self.stack = function.stack
        self.event_bytes = function.event_bytes
        self.has_host_functions = bool(function.imports)
        self.has_alloc = self.has_memory = False
        self.memory_bytes = 0
        self.config: dict[bytes, bytes] = {}
        self.link: Link | ComponentLink | None = None
        self.pre = 0

    def _make_plan(self, *, has_free: bool = False) -> None:
        engine = self.engine
        plan = Plan(engine.pointer, engine.look_address or 0, self.store_limits)
        if self.is_prepared_at_once:
            plan = plan._replace(pre=self.pre, entry=self.abi.entry.encode(), has_free=has_free)
        self.plan = engine.crossings.plan(plan)

    def run_each(self, payloads: list[bytes]) -> list[bytes]:
        """The answers to the first of *payloads*, each from a fresh sandbox, up to the first that has none."""
        engine = self.engine
        run_each = engine.crossings.run_each
        record = engine.take_record()
        try:
            return run_each(
                self.plan, engine.address + record * 8, self.fuel, first_look(self.timeout_ns), self.memory_bytes,
                self.function.result_bytes, time.monotonic_ns() + _BATCH_NS, self.log_bytes, payloads,
            ) if run_each is not None else []  # fmt: skip
        finally:
            engine.give_record(record)

    def open_express(
        self,
        yard: Any,
        ids: RequestIds,
        level: int,
        wake: Callable[[int], None],
        note: Callable[[int], object] | None,
        number: int,
    ) -> Any:
        """The compiled express of this program, whose sandboxes have their places in *yard*; None where it has none.

        After an event it calls *wake* with *level* where the keeper's is lower, and at the first one, and the first
        after each `seen`, *note* with *number*.
        """
        return None

    def close(self) -> None:
        """Free the linked program and its code. Harmless when repeated."""
        raise NotImplementedError


def make_program(
    function: Function,
    engine: Engine,
    module: Module | Component,
    streams: wasi.Streams,
    exchanges: Mapping[str, Exchange] | None,
    adapt: Callable[[Abi, bool], Abi] | None,
    kernel: Callable[[], Kernel],
) -> BaseProgram:
    """The program of *function*, whose code is *module*; the arguments are those of `Program`."""
    if isinstance(module, Module):
        return Program(function, engine, module, streams, exchanges, adapt, kernel)
    from wasmrun.machine.components.program import ComponentProgram  # for the few functions that are components

    return ComponentProgram(function, engine, module, streams, exchanges, adapt)


class Program(BaseProgram):
    """The program of a module.

    *exchanges* answer what the guest asks the host, by name. *adapt* may put another ABI in the place of the
    one that was chosen; it is told whether preparing a sandbox runs code of the guest. *kernel* gives the kernel
    that an Extism plug-in is linked with.
    """

    def __init__(
        self,
        function: Function,
        engine: Engine,
        module: Module,
        streams: wasi.Streams,
        exchanges: Mapping[str, Exchange] | None = None,
        adapt: Callable[[Abi, bool], Abi] | None = None,
        kernel: Callable[[], Kernel] | None = None,
    ) -> None:
        super().__init__(function, engine, module, streams, exchanges)
        self.module = module
        self.detected = detect(function, module)
        is_plugin = self.detected.abi == "extism"
        offered = check(function, module, self.detected.abi, self.exchanges)
        self.has_http = any(
            item.name == HTTP_REQUEST[1] and item.module in (HTTP_REQUEST[0], _EXTISM) for item in module.imports
        )
        self.abi: Abi = make_abi(self.detected.abi, function, module)
        self.is_raw = self.abi.is_raw
        self.uses_wasi = any(item.module == wasi.MODULE for item in module.imports)
        self.has_alloc = not is_plugin and module.exports.get("wasmrun_alloc") == ALLOC_TYPE
        memory = module.exports.get("memory")
        self.has_memory = memory is not None and memory.kind == "memory"
        self.memory_bytes = memory.minimum * PAGE if self.has_memory and memory is not None else 0
        self.store_limits = (function.memory, function.table_elements, 1, 1, 1)
        self.link: Link | None = None
        self._linker = Linker(engine)
        try:
            if is_plugin:
                self._find_kernel(kernel)
            self._link(offered)
            self.runs_at_start = self.has_start or bool(self.abi.start_up) or self._runs_code_to_instantiate()
            self.is_prepared_at_once = self.abi.name == "native" and not self.runs_at_start
            # It asks the host for nothing but what an event can be told twice, once where none of it is kept.
            is_repeatable = self.abi.name == "native" and _names(module.imports) <= _REPEATABLE
            self.is_run_in_batches = (
                is_repeatable and self.is_prepared_at_once and engine.crossings.run_each is not None
            )
            # What the start-up logs is told with the first event, and an express knows of its events alone.
            self._is_carried = is_repeatable and adapt is None and not (self.runs_at_start and module.imports)
            self._make_plan(has_free="wasmrun_free" in module.exports)
            if adapt is not None:
                self.abi = adapt(self.abi, self.runs_at_start)
        except BaseException:
            self.close()
            raise

    def _find_kernel(self, kernel: Callable[[], Kernel] | None) -> None:
        from wasmrun.machine.kernel import Link

        if kernel is None:
            raise InvalidFunction(
                "an Extism plug-in has a part of its state in its kernel, which is not to be had here"
            )
        if not self.engine.settings.has_kernels:
            raise InvalidFunction("its imports say late that it is an Extism plug-in; name its ABI (--abi extism)")
        function = self.function
        # What the kernel gets beyond its first page, it gets from what the plug-in's own memory may have; where that
        # is not to be seen, each has half.
        memory = function.memory - PAGE if self.has_memory else function.memory // 2
        self.store_limits = (memory, function.table_elements, 2, 1, 2)
        self.config = {name.encode(): value.encode() for name, value in function.config}
        self.link = Link(kernel(), self.module, self._linker)

    def _link(self, offered: Offered) -> None:
        if self.uses_wasi:
            self._linker.define_wasi()
        for key in _names(self.module.imports):
            if key in offered:
                self._linker.define(*key, *offered[key])
        if self.link is None:
            self.pre = self._linker.link(self.module.pointer)
            # What was linked keeps what it imports. All of WASI, in each of thousands of programs, would be 20 KiB a piece.
            self._linker.close()

    def _runs_code_to_instantiate(self) -> bool:
        """Whether the engine compiled segments or initial values to code, which it does as it sees fit.

        Tried in a store without fuel and without time, in which no code gets past its first instruction.
        """
        out = (ctypes.c_uint64 * 5)()  # two instances, and a trap
        at = ctypes.addressof(out)
        with self.engine.spare:
            store = capi.store_new(self.engine.pointer, None, None)
            capi.store_limiter(store, *self.store_limits)
            context = capi.store_context(store)
            link = self.link
            error = (
                capi.instantiate_quick(self.pre, context, at, at + 32) if link is None else link.attempt(context, at)
            )
            if error:
                capi.error_delete(error)
            if out[4]:
                capi.trap_delete(out[4])
            capi.store_delete(store)
        return bool(error or out[4])

    def open_express(
        self,
        yard: Any,
        ids: RequestIds,
        level: int,
        wake: Callable[[int], None],
        note: Callable[[int], object] | None,
        number: int,
    ) -> Any:
        """As promised above: for guests that are repeatable, where the hot path is compiled."""
        new = self.engine.crossings.new_express
        if new is None or not self._is_carried:
            return None
        template, id_at = self.abi.template()  # type: ignore[attr-defined]  # the native ABI's
        function = self.function
        return new(
            yard, self.plan, self.plan, self.fuel, first_look(self.timeout_ns), self.memory_bytes, function.result_bytes,
            self.event_bytes, self.log_bytes, level, self.stack, self.is_prepared_at_once, note, number, wake,
            ids.numbers, ids.prefix,
            self.timeout_ns, template, id_at,
        )  # fmt: skip

    def close(self) -> None:
        """Free the linked program and its module. Harmless when repeated."""
        pre, self.pre = self.pre, 0
        if pre:
            capi.instance_pre_delete(pre)
        self._linker.close()
        self.module.close()


def _names(imports: tuple[Import, ...]) -> set[tuple[str, str]]:
    return {(item.module, item.name) for item in imports}


Offered = dict[tuple[str, str], tuple[ExternType, hostcalls.Body]]
"""What a module may import: by the import's two names its type, and what it does."""


def check(
    function: Function, module: Module, abi: str | None, exchanges: Mapping[str, Exchange] | None = None
) -> Offered:
    """What *module* may import besides WASI and the kernel, once it is sure that it imports nothing else and fits.

    *exchanges* answer what it asks the host; without them it can be looked at, and not run. Raises `InvalidFunction`.
    """
    offered = _offered(function, exchanges or {})
    if abi == "extism":
        offered = _offered_to_plugin(function, module, offered, exchanges or {})
    _check_imports(module.imports, offered, abi)
    _check_sizes(module, function, PAGE if abi == "extism" else 0)
    _check_exports(module, function)
    check_directories(function)
    return offered


def check_directories(function: Function) -> None:
    """Raise `InvalidFunction` where a directory that is granted to *function* is none."""
    for directory in function.dirs:
        if not os.path.isdir(directory.host):
            raise InvalidFunction(f"the granted directory {printable(directory.host)} does not exist, or is none")


def _offered(function: Function, exchanges: Mapping[str, Exchange]) -> Offered:
    """What a module of *function* may import besides WASI."""
    offered: Offered = {
        ("wasmrun", "log"): (LOG, hostcalls.log),
        ("env", "abort"): (ABORT, hostcalls.abort),
        (wasi.MODULE, "poll_oneoff"): (wasi.POLL, wasi.poll_oneoff),
        (wasi.MODULE, "proc_exit"): (wasi.EXIT, wasi.proc_exit),
    }
    names = [name for name, _ in function.imports] + ([HTTP_REQUEST[1]] if function.http else [])
    for name in names:
        offered["wasmrun", name] = (MESSAGE, hostcalls.message(name, exchanges.get(name, _nobody)))
    return offered


def _offered_to_plugin(
    function: Function, module: Module, offered: Offered, exchanges: Mapping[str, Exchange]
) -> Offered:
    """What an Extism plug-in may import besides WASI: functions of the program have the type that it gives them."""
    from wasmrun.machine import kernelcalls

    granted = {name for name, _ in function.imports}
    found = {key: value for key, value in offered.items() if key[0] != "wasmrun"}
    for item in module.imports:
        key = item.module, item.name
        if item.module in (_OF_EXTISM[1], "env") and item.name in granted and key not in found:
            kinds = {*item.type.params, *item.type.results}
            if item.type.kind != "function" or not kinds <= {"i32", "i64", "f32", "f64"} or len(item.type.results) > 1:
                raise InvalidFunction(f"the import {item} must take numbers and give one or none, not {item.type}")
            body = kernelcalls.user_function(item.name, item.type, exchanges.get(item.name, _nobody))
            found[key] = item.type, body
    return found


def _nobody(_instance: Instance, _request: bytes) -> bytes:
    """Stands where a program is made without its host functions, to be looked at."""
    return hostcalls.refusal("nobody answers this here")


def _check_imports(imports: tuple[Import, ...], offered: Offered, abi: str | None) -> None:
    types = {key: type_ for key, (type_, _) in offered.items()}
    if abi == "extism":
        from wasmrun.machine.kernel import FUNCTIONS

        types |= {(_EXTISM, name): type_ for name, type_ in FUNCTIONS.items()}
    refused: list[Import] = []
    for item in imports:
        known = types.get((item.module, item.name))
        if known is not None and item.type != known:
            raise InvalidFunction(f"the import {item} must be {known}, not {item.type}")
        if known is None and item.module != wasi.MODULE:
            refused.append(item)
    if refused:
        shown = ", ".join(str(item) for item in refused[:10])
        more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
        raise InvalidFunction(f"the module imports what it is not granted: {shown}{more}{_hint(refused)}")


def _hint(refused: list[Import]) -> str:
    """What to do about imports that are not granted."""
    if any((item.module, item.name) == HTTP_REQUEST for item in refused):
        return "; grant HTTP requests with http=['HOST'] (--http HOST)"
    if any(item.module in ("wasmrun", _OF_EXTISM[1]) for item in refused):
        return "; grant host functions with imports={name: function}"
    from wasmrun.machine.origin import host_of  # for modules that were made for another host

    host = host_of((item.module, item.name) for item in refused)
    return "" if host is None else f"; it was made for {host.name}: {host.advice}"


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


def _check_sizes(module: Module, function: Function, kernel_bytes: int) -> None:
    """What the module starts with, exported or not, and its kernel, must be within the function's limits."""
    memory_bytes = module.facts.memory_pages * PAGE + kernel_bytes
    if memory_bytes > function.memory:
        with_kernel = " with its kernel" if kernel_bytes else ""
        raise InvalidFunction(
            f"the module starts with {format_size(memory_bytes)} of memory{with_kernel}, more than its limit of "
            f"{format_size(function.memory)}; build it with less, or raise `memory`"
        )
    elements = module.facts.table_elements
    if elements > function.table_elements:
        raise InvalidFunction(
            f"the module's table starts with {elements} elements, more than its limit of {function.table_elements}; "
            "build it with less, or raise `table_elements`"
        )
