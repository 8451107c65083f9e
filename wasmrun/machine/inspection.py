"""Inspection: what a module is, what it wants, and whether it could run here."""

from __future__ import annotations

from typing import NamedTuple

from wasmrun.errors import InvalidFunction
from wasmrun.function import Function
from wasmrun.machine import wasi
from wasmrun.machine.module import Import, Module
from wasmrun.machine.program import check, detect, make_abi


class Inspection(NamedTuple):
    """What there is to know about a module without running it.

    ``problem`` says why the function could not run, None where it could. ``needs`` names what the
    module imports beyond what every function has. Imports and exports are pairs of name and type.
    """

    abi: str | None
    reason: str
    entry: str | None
    is_raw: bool
    problem: str | None
    needs: tuple[str, ...]
    uses_wasi: bool
    has_start: bool
    functions: int
    module_bytes: int
    artifact_bytes: int
    memory_bytes: int
    memory_maximum_bytes: int | None
    imports: tuple[tuple[str, str], ...]
    exports: tuple[tuple[str, str], ...]


def inspect_module(function: Function, module: Module) -> Inspection:
    """Look at *module* as *function* would use it."""
    abi, reason, entry, is_raw, problem = None, "", None, False, None
    try:
        abi, reason = detect(function, module)
        check(function, module, abi)
        made = make_abi(abi, function, module)
        entry, is_raw = made.entry, made.is_raw
    except InvalidFunction as error:
        problem = error.message
    memory = module.memory
    return Inspection(
        abi=abi,
        reason=reason,
        entry=entry,
        is_raw=is_raw,
        problem=problem,
        needs=tuple(str(item) for item in module.imports if not _is_free(item)),
        uses_wasi=any(item.module == wasi.MODULE for item in module.imports),
        has_start=module.facts.has_start,
        functions=module.facts.functions,
        module_bytes=module.facts.module_bytes,
        artifact_bytes=module.artifact_bytes,
        memory_bytes=memory.minimum * 65536 if memory else 0,
        memory_maximum_bytes=memory.maximum * 65536 if memory and memory.maximum is not None else None,
        imports=tuple((str(item), str(item.type)) for item in module.imports),
        exports=tuple((name, str(type_)) for name, type_ in module.exports.items()),
    )


def _is_free(item: Import) -> bool:
    free = item.module == wasi.MODULE or (item.module, item.name) in (("wasmrun", "log"), ("env", "abort"))
    return free or (item.module == "extism:host/env" and item.name != "http_request")
