"""The kernel: the module that Extism plug-ins share memory with their host through, in one engine."""

from __future__ import annotations

import ctypes
import os

from wasmrun.errors import HostError
from wasmrun.function import Function
from wasmrun.machine import capi, kernelcalls
from wasmrun.machine.engine import Engine
from wasmrun.machine.hostcalls import Linker
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import PAGE, ExternType, Module
from wasmrun.machine.record import BEGIN, INSTANCE, KERNEL, KERNEL_MEMORY, TRAP

MODULE = "extism:host/env"
"""What plug-ins import the kernel's functions from."""

STATE = 32
"""Where the kernel keeps what an event left: offset and length of the output, handle and length of the error."""


def _function(params: str = "", result: str = "") -> ExternType:
    return ExternType("function", tuple(params.split()), tuple(result.split()))


FUNCTIONS = {
    **dict.fromkeys(("alloc", "length", "length_unsafe", "load_u64", "input_load_u64", "config_get", "var_get"),
                    _function("i64", "i64")),
    **dict.fromkeys(("free", "error_set", "log_trace", "log_debug", "log_info", "log_warn", "log_error"),
                    _function("i64")),
    **dict.fromkeys(("load_u8", "input_load_u8"), _function("i64", "i32")),
    **dict.fromkeys(("store_u64", "input_set", "output_set", "var_set"), _function("i64 i64")),
    **dict.fromkeys(("input_offset", "input_length", "output_offset", "output_length", "error_get", "memory_bytes",
                     "http_headers"), _function("", "i64")),
    **dict.fromkeys(("http_status_code", "get_log_level"), _function("", "i32")),
    "store_u8": _function("i64 i32"),
    "http_request": _function("i64 i64", "i64"),
    "reset": _function(),
}  # fmt: skip
"""The functions that plug-ins may import, and their types."""


def kernel_for(function: Function) -> Function:
    """The kernel that *function* is to be linked with, as a function for the loader: compiled as that one was."""
    path = os.path.join(os.path.dirname(__file__), "abi", "extism_kernel.wat")
    fuel = "auto" if function.is_metered else None
    return Function(path, name="extism-kernel", stack=function.stack, fuel=fuel, warm=0)


class Kernel:
    """The kernel's module in one engine, with what it imports. Close it when no plug-in is left."""

    def __init__(self, engine: Engine, module: Module) -> None:
        self._module = module
        self._linker = Linker(engine)
        self.pre = 0
        try:
            for name, (type_, body) in kernelcalls.IMPORTS.items():
                self._linker.define("host", name, type_, body, of_kernel=True)
            self.pre = self._linker.link(module.pointer)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the linked kernel and its module. Harmless when repeated."""
        pre, self.pre = self.pre, 0
        if pre:
            capi.instance_pre_delete(pre)
        self._linker.close()
        self._module.close()


class Link:
    """A plug-in's module and the kernel, to be instantiated together; the rest of its imports is in *linker*.

    The engine prepares only what no store has a part in. So the plug-in's imports are put together here, for each
    store anew.
    """

    def __init__(self, kernel: Kernel, module: Module, linker: Linker) -> None:
        self._kernel = kernel
        self._module = module.pointer
        self._linker = linker
        self._new = capi.instance_new if module.facts.has_start else capi.instance_new_quick
        self._count = len(module.imports)
        self._of_kernel: list[tuple[bytes, int, int]] = []
        self._of_host: list[tuple[bytes, int, bytes, int, int]] = []
        for at, item in enumerate(module.imports):
            place, name = item.module.encode(), item.name.encode()
            if item.module == MODULE:
                self._of_kernel.append((name, len(name), 32 * at))
            else:
                self._of_host.append((place, len(place), name, len(name), 32 * at))

    def instantiate(self, instance: Instance) -> int:
        """Put both into *instance*'s store; the plug-in's start function runs. 0, or the engine's error.

        Raises `HostError` where there is no room for the kernel.
        """
        context, address = instance.context, instance.address
        at = address + KERNEL * 8
        self._start_kernel(context, at, address + TRAP * 8)
        find = capi.export_get
        find(context, at, b"memory", 6, address + (KERNEL_MEMORY - 1) * 8)
        instance.kernel_base = capi.memory_data(context, address + KERNEL_MEMORY * 8) or 0
        instance.kernel_bytes = PAGE
        find(context, at, b"wasmrun:begin", 13, address + (BEGIN - 1) * 8)
        return self._start_plugin(context, at, address + INSTANCE * 8, address + TRAP * 8)

    def attempt(self, context: int, at: int) -> int:
        """The same in a store of no sandbox, with 5 words at *at* for two instances and a trap."""
        self._start_kernel(context, at, at + 32)
        return self._start_plugin(context, at, at + 16, at + 32)

    def _start_kernel(self, context: int, at: int, trap: int) -> None:
        error = capi.instantiate_quick(self._kernel.pre, context, at, trap)
        if error:
            raise HostError(f"no room for the kernel of another plug-in: {capi.take_error(error)}; lower max_sandboxes")

    def _start_plugin(self, context: int, kernel: int, at: int, trap: int) -> int:
        # One's own, since another thread may do the same meanwhile.
        externs = (ctypes.c_uint64 * (4 * self._count or 1))()
        base = ctypes.addressof(externs)
        find = capi.export_get
        for name, length, offset in self._of_kernel:
            find(context, kernel, name, length, base + offset)
        for place, place_length, name, length, offset in self._of_host:
            capi.linker_get(self._linker.pointer, context, place, place_length, name, length, base + offset)
        error: int | None = self._new(context, self._module, base, self._count, at, trap)
        return error or 0
