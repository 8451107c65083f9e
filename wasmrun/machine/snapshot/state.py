"""The state of an instance after its start-up: memory, globals, tables, and which segments are gone."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

from wasmrun.errors import GuestTrap
from wasmrun.machine import capi
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import PAGE
from wasmrun.machine.record import ENTRY, INSTANCE
from wasmrun.machine.snapshot.contents import Contents
from wasmrun.machine.snapshot.copy import Copy
from wasmrun.machine.snapshot.image import segments
from wasmrun.machine.snapshot.writing import END, signed, unsigned

_FUNC, _EXTERN = 5, 6
_REF_NULL, _REF_FUNC = b"\xd0", b"\xd2"


class State(NamedTuple):
    """What a start-up has left behind. A table has a function's index, or None, for each of its elements."""

    pages: int
    memory: list[tuple[int, bytes]]
    globals: dict[int, bytes]
    tables: list[list[int | None]]
    dropped_data: frozenset[int]
    dropped_elements: frozenset[int]


class _Value(ctypes.Structure):
    """``wasmtime_val_t``: a kind, and 8 bytes in, up to 24 bytes of value."""

    _fields_ = (("kind", ctypes.c_uint8), ("of", ctypes.c_uint64 * 3))


def read_state(instance: Instance, found: Contents, copy: Copy, most_bytes: int) -> State:
    """The state of *instance*, of a *copy* of what has the contents *found*. Raises `ValueError`."""
    return _Look(instance, copy.prefix).all(found, copy, most_bytes)


class _Look:
    """Looks at one instance through the exports of a copy whose names begin with *prefix*."""

    def __init__(self, instance: Instance, prefix: str) -> None:
        capi.check_layout(((_Value, 32),))
        self._instance = instance
        self._context = instance.context
        self._prefix = prefix
        self._extern = capi.Extern()
        self._handle = capi.addressof(self._extern) + 8
        self._value = _Value()
        self._functions: dict[int, int] = {}

    def all(self, found: Contents, copy: Copy, most_bytes: int) -> State:
        """Everything. The memory last: looking at segments runs code, although none that changes anything."""
        program = self._instance.program
        # The start-up may have left too little of its own.
        self._instance.arm(program.fuel, program.init_timeout_ns)
        dropped_data = frozenset(index for index in copy.data if self._is_dropped(f"d{index}"))
        dropped_elements = frozenset(index for index in copy.elements if self._is_dropped(f"e{index}"))
        for index in sorted(found.referable):
            if self._find(f"f{index}"):
                self._functions[capi.func_to_raw(self._context, self._handle)] = index
        globals_ = {
            index: self._global(index, item.type) for index, item in enumerate(found.globals) if item.is_mutable
        }
        tables = [list(self._table(index)) for index in range(len(found.tables))]
        pages, memory = 0, []
        if found.memories:
            self._find("m0")
            size = capi.memory_size(self._context, self._handle)
            base = capi.memory_data(self._context, self._handle)
            pages = size // PAGE
            if size:
                memory = segments(memoryview((ctypes.c_char * size).from_address(base)).cast("B"), most_bytes)
        return State(pages, memory, globals_, tables, dropped_data, dropped_elements)

    def _find(self, name: str) -> bool:
        encoded = f"{self._prefix}{name}".encode()
        instance = self._instance
        return capi.export_find(  # type: ignore[no-any-return]  # a c_bool
            self._context, instance.address + INSTANCE * 8, encoded, len(encoded), capi.addressof(self._extern)
        )

    def _is_dropped(self, name: str) -> bool:
        """Whether a probe traps."""
        self._instance.find(f"{self._prefix}{name}".encode(), ENTRY)
        try:
            self._instance.call(ENTRY, 0)
        except GuestTrap:
            return True
        return False

    def _global(self, index: int, type_: bytes) -> bytes:
        """The expression of a global's value now, to the bit."""
        self._find(f"g{index}")
        capi.global_get(self._context, self._handle, capi.addressof(self._value))
        raw = bytes(self._value.of)
        match type_:
            case b"\x7f":
                return b"\x41" + signed(int.from_bytes(raw[:4], "little", signed=True)) + END
            case b"\x7e":
                return b"\x42" + signed(int.from_bytes(raw[:8], "little", signed=True)) + END
            case b"\x7d":
                return b"\x43" + raw[:4] + END
            case b"\x7c":
                return b"\x44" + raw[:8] + END
            case b"\x7b":
                return b"\xfd\x0c" + raw[:16] + END
        function = self._function()
        return (_REF_NULL + type_ if function is None else _REF_FUNC + unsigned(function)) + END

    def _table(self, index: int) -> Iterator[int | None]:
        self._find(f"t{index}")
        for at in range(capi.table_size(self._context, self._handle)):
            capi.table_get(self._context, self._handle, at, capi.addressof(self._value))
            yield self._function()

    def _function(self) -> int | None:
        """The function that the value at hand refers to. Raises `ValueError` where it is none of the module's own."""
        kind, store = self._value.kind, self._value.of[0]
        if not store:
            return None
        if kind == _FUNC:
            raw = capi.func_to_raw(self._context, capi.addressof(self._value) + 8)
            if raw in self._functions:
                return self._functions[raw]
        raise ValueError("its start-up left a reference behind that cannot be written into a module")
