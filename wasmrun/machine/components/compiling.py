"""Compiling a component, in the compiler's child."""

from __future__ import annotations

import ctypes

from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.components.file import scan_component
from wasmrun.machine.components.surface import read_surface
from wasmrun.machine.config import EngineSettings, new_config


def compile_component(source: bytes, stack: int, *, is_metered: bool) -> tuple[dict[str, object], bytes]:
    """Facts and artifact of the component in *source*. Raises `ValueError`."""
    facts = scan_component(source)
    engine = capi.engine_new(new_config(EngineSettings(stack, is_metered, has_components=True)))
    pointer = ctypes.c_void_p()
    error = binding.component_new(engine, source, len(source), capi.addressof(pointer))
    if error:
        raise ValueError(f"not a valid component: {capi.take_error(error)}")
    surface = read_surface(pointer.value or 0, engine)
    vec = capi.ByteVec()
    error = binding.component_serialize(pointer.value, capi.addressof(vec))
    if error:
        raise ValueError(f"cannot be stored: {capi.take_error(error)}")
    return facts._replace(surface=surface)._asdict(), capi.string_at(vec.data, vec.size)
