"""The surface: what a component imports and exports, as text in WIT's words. Read once, in the compiler's child.

Types may be large, and there may be many of them; whoever loads the component later reads lines of bounded length.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator

from wasmrun.hints import Any
from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.components.binding import Item, ValueType, addressof

MOST_LINES = 1_000
_MOST_TEXT = 500
_MOST_DEPTH = 6

WASI = re.compile(r"wasi:[a-z][a-z0-9-]*/.*")
"""Imported instances of which no function is told: there are many, and the engine knows their types."""

Line = tuple[str, str, str]
"""An import or an export: which of these, its name, its type."""


def read_surface(component: int, engine: int) -> list[Line]:
    """The lines of the *component*. Raises `ValueError` where there are too many, or one is too long."""
    lines = []
    for line in _read(component, engine):
        lines.append(line)
        if len(lines) > MOST_LINES or len(line[1]) > _MOST_TEXT:
            raise ValueError(
                f"it imports and exports more than {MOST_LINES} things, or one with a name of more than {_MOST_TEXT} "
                "characters"
            )
    return lines


def _read(component: int, engine: int) -> Iterator[Line]:
    type_ = binding.component_type(component)
    for what, count, nth in (
        ("import", binding.component_imports, binding.component_import),
        ("export", binding.component_exports, binding.component_export),
    ):
        for name, item in _items(type_, engine, count, nth):
            kind = binding.ITEM_KINDS[item.kind]
            if kind == "instance" and not (what == "import" and WASI.fullmatch(name)):
                yield from _instance(what, name, item, engine)
            else:
                yield what, name, _signature(item.of) if kind == "function" else kind
            binding.item_delete(addressof(item))
    binding.component_type_delete(type_)


def _instance(what: str, name: str, item: Item, engine: int) -> Iterator[Line]:
    yield what, name, "instance"
    for inner, part in _items(item.of, engine, binding.instance_exports, binding.instance_export):
        kind = binding.ITEM_KINDS[part.kind]
        # A type that is no resource is a name for something else.
        if kind != "type":
            yield what, f"{name}.{inner}", _signature(part.of) if kind == "function" else kind
        binding.item_delete(addressof(part))


def _items(type_: int, engine: int, count: Callable[..., Any], nth: Callable[..., Any]) -> Iterator[tuple[str, Item]]:
    for at in range(min(count(type_, engine), MOST_LINES + 1)):
        text, length, extern, item = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_void_p(), Item()
        nth(type_, engine, at, addressof(text), addressof(length), addressof(extern))
        binding.extern_type(extern.value, addressof(item))
        name = capi.string_at(text.value or 0, min(length.value, 4 * _MOST_TEXT)).decode("utf-8", "replace")
        binding.extern_delete(extern.value)
        yield name, item


def _signature(function: int) -> str:
    """A function's type; what is too long ends in "…", and is nobody's."""
    params = []
    for at in range(min(binding.function_params(function), 20)):
        text, length, type_ = ctypes.c_void_p(), ctypes.c_size_t(), ValueType()
        binding.function_param(function, at, addressof(text), addressof(length), addressof(type_))
        name = capi.string_at(text.value or 0, min(length.value, _MOST_TEXT)).decode("utf-8", "replace")
        params.append(f"{name}: {_named(type_)}")
    if binding.function_params(function) > 20:
        params.append("…")
    type_ = ValueType()
    result = f" -> {_named(type_)}" if binding.function_result(function, addressof(type_)) else ""
    text_ = f"{'async ' if binding.function_is_async(function) else ''}func({', '.join(params)}){result}"
    return text_ if len(text_) <= _MOST_TEXT else text_[: _MOST_TEXT - 1] + "…"


def _named(type_: ValueType, depth: int = 0) -> str:
    """The type's name in WIT; those of records, variants and the like are not in the file. Frees it."""
    try:
        name = binding.TYPE_NAMES[type_.kind] if type_.kind < len(binding.TYPE_NAMES) else "unknown"
        if depth > _MOST_DEPTH:
            return "…"
        if name in ("list", "option"):
            inner = ValueType()
            (binding.list_element if name == "list" else binding.option_value)(type_.of, addressof(inner))
            return f"{name}<{_named(inner, depth + 1)}>"
        if name == "result":
            return _result(type_, depth)
        return name
    finally:
        binding.value_type_delete(addressof(type_))


def _result(type_: ValueType, depth: int) -> str:
    ok, error = ValueType(), ValueType()
    parts = [
        _named(part, depth + 1) if has(type_.of, addressof(part)) else ""
        for has, part in ((binding.result_ok, ok), (binding.result_error, error))
    ]
    if parts[1]:
        return f"result<{parts[0] or '_'}, {parts[1]}>"
    return f"result<{parts[0]}>" if parts[0] else "result"
