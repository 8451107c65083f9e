"""Facts: what is known of a module whose file was read once, and the kind of a file that was not read yet."""

from __future__ import annotations

from collections.abc import Sequence

from wasmrun.hints import NamedTuple

MAGIC = b"\0asm"
_COMPONENT_LAYER = b"\x01\0"


class Facts(NamedTuple):
    """What the file of a module says. Memory and table are those it starts with, 0 where it has none.

    Of a component, its modules' numbers together. ``surface`` is what it imports and exports, each as "import" or
    "export", name and type; a module can be asked for that itself.
    """

    has_start: bool
    functions: int
    imports: int
    exports: int
    module_bytes: int
    memory_pages: int
    table_elements: int
    memories: int = 0
    tables: int = 0
    is_component: bool = False
    surface: Sequence[Sequence[str]] = ()


def is_wasm(data: bytes) -> bool:
    """Whether *data* starts as a WebAssembly binary does."""
    return data[:4] == MAGIC


def is_component(data: bytes) -> bool:
    """Whether *data* starts as a component's binary does."""
    return is_wasm(data) and data[6:8] == _COMPONENT_LAYER
