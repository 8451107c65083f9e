"""A component: native code that the engine has loaded, and what its file says that it imports and exports."""

from __future__ import annotations

import ctypes

from wasmrun.errors import InvalidFunction, printable
from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import Facts
from wasmrun.machine.module import Code
from wasmrun.machine.shortage import shortage_in


class Component(Code):
    """A compiled component in one engine.

    ``imports`` and ``exports`` are types as WIT has them, by name; a function of an imported instance has both
    names, with a dot between them.
    """

    def __init__(self, engine: Engine, pointer: int, facts: Facts, artifact_bytes: int) -> None:
        super().__init__(engine, pointer, facts, artifact_bytes, binding.component_delete)
        self.imports = {name: type_ for what, name, type_ in facts.surface if what == "import"}
        self.exports = {name: type_ for what, name, type_ in facts.surface if what == "export"}


def load_component(
    engine: Engine, facts: Facts, *, artifact: bytes = b"", path: str = "", artifact_bytes: int = 0
) -> Component:
    """A component from an *artifact*, or from the file at *path* that holds one, and is authenticated."""
    out = ctypes.c_void_p()
    if path:
        error = binding.component_deserialize_file(engine.pointer, path.encode(), capi.addressof(out))
    else:
        error = binding.component_deserialize(engine.pointer, artifact, len(artifact), capi.addressof(out))
    if error:
        text = capi.take_error(error)
        raise shortage_in("to load a component", text) or InvalidFunction(
            f"the component does not fit this engine: {printable(text)}"
        )
    return Component(engine, out.value or 0, facts, artifact_bytes or len(artifact))
