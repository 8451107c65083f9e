"""The link of a component: its imports resolved, and where its exports are found."""

from __future__ import annotations

from wasmrun.errors import InvalidFunction, printable
from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine.components import binding, failing, hostcalls
from wasmrun.machine.components import wasi as preview2
from wasmrun.machine.components.linker import Body, Linker
from wasmrun.machine.record import ENTRY, INSTANCE

if TYPE_CHECKING:
    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.engine import Engine
    from wasmrun.machine.instance import Instance

Offered = dict[str, Body]
"""What a component may import besides WASI: by name, what it does."""


class Link:
    """A component with its imports resolved, and where its exports are found."""

    def __init__(self, engine: Engine, component: Component, offered: Offered, *, has_wasi: bool) -> None:
        self._linker = Linker(engine)
        self.component = component.pointer
        self._indexes: dict[str, int] = {}
        if has_wasi:
            preview2.define(self._linker)
        for name, body in offered.items():
            place, _, call = name.rpartition(".")
            is_log = body is hostcalls.log
            takes = (binding.ENUM, binding.STRING) if is_log else (binding.STRING,)
            self._linker.define(place, call, body, takes, gives=not is_log)

    @property
    def pointer(self) -> int:
        """The engine's linker."""
        return self._linker.pointer

    def instantiate(self, instance: Instance) -> int:
        """Put the component into *instance*'s store; start functions run. Raises what the guest's failure is."""
        instance.pollables = preview2.Pollables()
        error = binding.instantiate(
            self._linker.pointer, instance.context, self.component, instance.address + INSTANCE * 8
        )
        if error:
            raise failing.failure(instance, error, preparing=True)
        instance.memory_bytes = instance.program.memory_bytes
        return 0

    def find(self, instance: Instance, name: str, *, inside: str | None = None) -> None:
        """Make the exported function *name* the entry of *instance*; *inside* an exported instance, if it is one's.

        Raises `InvalidFunction` where there is none: the engine would take whatever stands there for one.
        """
        index, address = self._index(name, inside), instance.address
        if not binding.instance_function(address + INSTANCE * 8, instance.context, index, address + ENTRY * 8):
            raise InvalidFunction(f"the export {printable(name)!r} of the component is no function")

    def _index(self, name: str, inside: str | None = None) -> int:
        key = f"{inside}.{name}" if inside else name
        found = self._indexes.get(key)
        if found is None:
            text, outer = name.encode(), self._index(inside) if inside else None
            found = binding.export_index(self.component, outer, text, len(text))
            if not found:
                raise InvalidFunction(f"the component exports no {printable(key)!r}")
            self._indexes[key] = found
        return found

    def close(self) -> None:
        """Free what was made. Harmless when repeated."""
        indexes, self._indexes = self._indexes, {}
        for index in indexes.values():
            binding.export_index_delete(index)
        self._linker.close()
