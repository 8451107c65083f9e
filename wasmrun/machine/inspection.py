"""Inspection: what a module is, what it wants, and whether it could run here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from wasmrun.errors import InvalidFunction, printable
from wasmrun.function import Function
from wasmrun.machine import origin, wasi
from wasmrun.machine.facts import is_wasm
from wasmrun.machine.loader import read_source
from wasmrun.machine.module import PAGE, Import, Module
from wasmrun.machine.program import check, detect, make_abi

if TYPE_CHECKING:
    from wasmrun.machine.components.loaded import Component


class Inspection(NamedTuple):
    """What there is to know about a module without running it.

    ``problem`` says why the function could not run, None where it could. ``needs`` names what the
    module imports beyond what every function has. Imports and exports are pairs of name and type.

    ``kind`` is "module", "text" (WAT), "component", or what else the file is. ``made_by`` are the tools that it names,
    or that left their mark in it; ``made_for`` is a host that it was made for instead of this one.
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
    kind: str = "module"
    made_by: tuple[str, ...] = ()
    made_for: str | None = None


def inspect_file(function: Function, look: Callable[[], Inspection]) -> Inspection:
    """What *look* finds, and what the file itself tells: also where it is refused before it can be looked at.

    Raises `InvalidFunction` where there is no file to tell anything.
    """
    source, is_text = read_source(function)
    survey = origin.survey(source if is_wasm(source) else b"")
    try:
        found = look()
    except InvalidFunction as error:
        found = _refused(survey, error.message, len(source))
    host = origin.host(survey)
    kind = (
        "text" if is_text
        else origin.kind_of_file(source)[0] if not is_wasm(source)
        else "component" if survey.is_component
        else "module"
    )  # fmt: skip
    return found._replace(kind=kind, made_by=survey.made_by, made_for=None if host is None else host.name)


def _refused(survey: origin.Survey, problem: str, module_bytes: int) -> Inspection:
    """What is known of a file that the engine did not get, or did not take: no types, but names."""
    return Inspection(
        abi=None, reason="", entry=None, is_raw=False, problem=problem, needs=(),
        uses_wasi=any(module == wasi.MODULE for module, _, _ in survey.imports), has_start=False, functions=0,
        module_bytes=module_bytes, artifact_bytes=0, memory_bytes=(survey.memory_pages or 0) * PAGE,
        memory_maximum_bytes=None,
        imports=tuple((printable(f"{module}.{name}"), kind) for module, name, kind in survey.imports),
        exports=tuple((name, kind) for name, kind in survey.exports),
    )  # fmt: skip


def inspect_module(function: Function, module: Module | Component) -> Inspection:
    """Look at *module* as *function* would use it."""
    if not isinstance(module, Module):
        return _inspect_component(function, module)
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
        memory_bytes=memory.minimum * PAGE if memory else 0,
        memory_maximum_bytes=memory.maximum * PAGE if memory and memory.maximum is not None else None,
        imports=tuple((str(item), str(item.type)) for item in module.imports),
        exports=tuple((name, str(type_)) for name, type_ in module.exports.items()),
    )


def _inspect_component(function: Function, component: Component) -> Inspection:
    from wasmrun.machine.components import program  # for the few functions that are components

    abi, reason, entry, problem = None, "", None, None
    try:
        abi, reason = program.detect(function, component)
        program.check(function, component)
        entry = program.make_abi(function, component).entry
    except InvalidFunction as error:
        problem = error.message
    facts = component.facts
    return Inspection(
        abi=abi,
        reason=reason,
        entry=entry,
        is_raw=function.raw,
        problem=problem,
        needs=program.needs(function, component),
        uses_wasi=any(name.startswith("wasi:") for name in component.imports),
        has_start=facts.has_start,
        functions=facts.functions,
        module_bytes=facts.module_bytes,
        artifact_bytes=component.artifact_bytes,
        memory_bytes=facts.memory_pages * PAGE,
        memory_maximum_bytes=None,
        imports=tuple(component.imports.items()),
        exports=tuple(component.exports.items()),
    )


def _is_free(item: Import) -> bool:
    free = item.module == wasi.MODULE or (item.module, item.name) in (("wasmrun", "log"), ("env", "abort"))
    return free or (item.module == "extism:host/env" and item.name != "http_request")
