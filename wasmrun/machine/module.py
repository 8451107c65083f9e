"""A module: native code that the engine has loaded, and what it imports and exports."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable

from wasmrun.errors import InvalidFunction, printable
from wasmrun.hints import TYPE_CHECKING, NamedTuple
from wasmrun.machine import capi
from wasmrun.machine.artifacts import Artifact
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import Facts
from wasmrun.machine.shortage import shortage_in

if TYPE_CHECKING:
    from typing import Self

    from wasmrun.machine.components.loaded import Component

_NO_MAXIMUM = 0xFFFFFFFF
PAGE = 65536


class ExternType(NamedTuple):
    """The type of an import or an export. ``minimum`` and ``maximum`` in pages or elements."""

    kind: str
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int | None = None

    def __str__(self) -> str:
        match self.kind:
            case "function":
                return f"({', '.join(self.params)}) -> {_results(self.results)}"
            case "memory" | "table":
                unit = "page" if self.kind == "memory" else "element"
                most = "no maximum" if self.maximum is None else f"at most {self.maximum}"
                return f"{self.kind} of {self.minimum} {unit}{'' if self.minimum == 1 else 's'}, {most}"
        return self.kind


def _results(results: tuple[str, ...]) -> str:
    return results[0] if len(results) == 1 else f"({', '.join(results)})"


class Import(NamedTuple):
    """One import, by its two names."""

    module: str
    name: str
    type: ExternType

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}")


class Code:
    """Native code in one engine, a module's or a component's. Close it when no instance of it is left."""

    file: tuple[int, ...] | None = None
    """The identity of the file that it is mapped from; None where it is a copy in memory."""

    def __init__(
        self, engine: Engine, pointer: int, facts: Facts, artifact_bytes: int, free: Callable[[int], object]
    ) -> None:
        self.engine = engine
        self.pointer = pointer
        self.facts = facts
        self.artifact_bytes = artifact_bytes
        self._free = free

    def held(self, let_go: Callable[[], None]) -> Self:
        """The same code for one that shares it: what closing that does, is *let_go*, once."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _free=lambda _pointer: let_go())
        return other

    def close(self) -> None:
        """Free the code. Harmless when repeated."""
        pointer, self.pointer = self.pointer, 0
        if pointer:
            self._free(pointer)


class Module(Code):
    """A compiled module in one engine."""

    def __init__(self, engine: Engine, pointer: int, facts: Facts, artifact_bytes: int) -> None:
        super().__init__(engine, pointer, facts, artifact_bytes, capi.module_delete)
        self.imports = _imports(pointer)
        self.exports = _exports(pointer)

    @property
    def memory(self) -> ExternType | None:
        """The type of the memory that the module exports, or imports."""
        for type_ in (*self.exports.values(), *(item.type for item in self.imports)):
            if type_.kind == "memory":
                return type_
        return None


def load_bytes(engine: Engine, artifact: bytes, facts: Facts) -> Module | Component:
    """A module, or a component, from the bytes of an artifact that this process compiled itself."""
    if engine.settings.has_components:
        from wasmrun.machine.components.loaded import load_component  # for the few functions that are one

        return load_component(engine, facts, artifact=artifact)
    out = ctypes.c_void_p()
    error = capi.module_deserialize(engine.pointer, artifact, len(artifact), capi.addressof(out))
    return _loaded(engine, error, out, facts, len(artifact))


def load_artifact(engine: Engine, artifact: Artifact) -> Module | Component:
    """The same from an authenticated *artifact*, whose descriptor is closed."""
    try:
        code = load_descriptor(engine, artifact.descriptor, artifact.facts)
    finally:
        os.close(artifact.descriptor)
    code.file = artifact.identity
    return code


def load_descriptor(engine: Engine, descriptor: int, facts: Facts) -> Module | Component:
    """The same from the open file that holds an authenticated artifact; its pages are mapped, not copied."""
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.exists(path):
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return load_bytes(engine, file.read(), facts)
    size = os.fstat(descriptor).st_size
    if engine.settings.has_components:
        from wasmrun.machine.components.loaded import load_component  # as above

        return load_component(engine, facts, path=path, artifact_bytes=size)
    out = ctypes.c_void_p()
    error = capi.module_deserialize_file(engine.pointer, path.encode(), capi.addressof(out))
    return _loaded(engine, error, out, facts, size)


def _loaded(engine: Engine, error: int | None, out: ctypes.c_void_p, facts: Facts, artifact_bytes: int) -> Module:
    if error:
        text = capi.take_error(error)
        raise shortage_in("to load a module", text) or InvalidFunction(
            f"the module does not fit this engine: {printable(_causes(text))}"
        )
    return Module(engine, out.value or 0, facts, artifact_bytes)


def _causes(text: str) -> str:
    """The engine's chain of causes on one line, without the name that the artifact's file has in this process."""
    lines = [re.sub(r"^\d+: ", "", line.strip()) for line in text.splitlines()]
    return ": ".join(line for line in lines if line not in ("", "Caused by:") and "/proc/self/fd/" not in line)


def _imports(module: int) -> tuple[Import, ...]:
    vec = capi.ByteVec()
    capi.module_imports(module, capi.addressof(vec))
    found = tuple(
        Import(
            capi.take_text(capi.importtype_module(item)),
            capi.take_text(capi.importtype_name(item)),
            _extern_type(capi.importtype_type(item)),
        )
        for item in _pointers(vec)
    )
    capi.importtype_vec_delete(capi.addressof(vec))
    return found


def _exports(module: int) -> dict[str, ExternType]:
    vec = capi.ByteVec()
    capi.module_exports(module, capi.addressof(vec))
    found = {
        capi.take_text(capi.exporttype_name(item)): _extern_type(capi.exporttype_type(item)) for item in _pointers(vec)
    }
    capi.exporttype_vec_delete(capi.addressof(vec))
    return found


def _extern_type(pointer: int) -> ExternType:
    kind = capi.EXTERN_KINDS.get(capi.externtype_kind(pointer), "unknown")
    if kind == "function":
        function = capi.externtype_functype(pointer)
        return ExternType(kind, _values(capi.functype_params(function)), _values(capi.functype_results(function)))
    if kind == "memory":
        limits = capi.Limits.from_address(capi.memorytype_limits(capi.externtype_memorytype(pointer)))
        return ExternType(kind, minimum=limits.min, maximum=None if limits.max == _NO_MAXIMUM else limits.max)
    if kind == "table":
        limits = capi.Limits.from_address(capi.tabletype_limits(capi.externtype_tabletype(pointer)))
        return ExternType(kind, minimum=limits.min, maximum=None if limits.max == _NO_MAXIMUM else limits.max)
    return ExternType(kind)


def _values(vec_address: int) -> tuple[str, ...]:
    vec = capi.ByteVec.from_address(vec_address)
    v128 = capi.valtype_v128()
    # Asked for the kind of a v128, which wasm.h does not have, the library aborts the process.
    kinds = tuple(
        "v128" if capi.valtype_equal(item, v128) else capi.VALUE_KINDS[capi.valtype_kind(item)]
        for item in _pointers(vec)
    )
    capi.valtype_delete(v128)
    return kinds


def _pointers(vec: capi.ByteVec) -> list[int]:
    return list((ctypes.c_void_p * vec.size).from_address(vec.data)) if vec.size else []
