"""Carriers: values of the component model between Python and the engine's structs, one carrier for each WIT type.

The engine hands over what a component's own imports declare, which need not be what the interface says: every carrier
looks at the kind of what it reads. What is written is checked by the engine. It comes into memory in which anything may
stand but for the kind, and is freed by its kind, also where writing it fails: so the kind is what is written last.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

from wasmrun.errors import GuestTrap
from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.components.binding import (
    BOOL,
    LIST,
    OPTION,
    RECORD,
    RESOURCE,
    RESULT,
    STRING,
    TUPLE,
    U8,
    U16,
    U32,
    U64,
    VARIANT,
    Value,
    addressof,
)

SIZE = 4
"""Words of a value."""

MOST_ITEMS = 32 * 1024
"""Items of a list that is no list of bytes: as many fields as there may be, and each takes longer than its fuel says."""


class Holder(Protocol):
    """What carriers need of the sandbox: whose resources these are, and who pays for what is copied."""

    context: int

    def pay(self, size: int) -> None:
        """Charge for *size* bytes."""
        ...

    def number_of(self, resource: Any) -> int:
        """The number under which the guest will know *resource*."""
        ...

    def resource(self, number: int, *, is_given: bool) -> Any:
        """The resource of that number; the guest has it no more if it *is_given*."""
        ...


Words = Any
"""An array of 64-bit words over values."""


def words_at(address: int, values: int) -> Words:
    """The words of so many *values* at *address*."""
    return (ctypes.c_uint64 * (SIZE * values)).from_address(address)


def _want(words: Words, at: int, kind: int) -> None:
    if words[at] & 0xFF != kind:
        raise GuestTrap("the component declares an import of WASI with other types than it has", kind="host call")


class Carrier:
    """A type of WIT: how its values are read at a place, and written there."""

    kind: int

    def read(self, holder: Holder, words: Words, at: int) -> Any:
        """The value at *at*, which stays the engine's."""
        raise NotImplementedError

    def write(self, holder: Holder, words: Words, at: int, value: Any) -> None:
        """Put *value* at *at*; the engine will free it."""
        raise NotImplementedError


class Number(Carrier):
    """An unsigned number, or a boolean."""

    def __init__(self, kind: int, bits: int) -> None:
        self.kind, self._mask = kind, (1 << bits) - 1

    def read(self, holder: Holder, words: Words, at: int) -> int:
        _want(words, at, self.kind)
        return int(words[at + 1]) & self._mask

    def write(self, holder: Holder, words: Words, at: int, value: int) -> None:
        words[at + 1] = value
        words[at] = self.kind


class Text(Carrier):
    """A string."""

    kind = STRING

    def read(self, holder: Holder, words: Words, at: int) -> str:
        _want(words, at, STRING)
        holder.pay(words[at + 1])
        return capi.string_at(words[at + 2], words[at + 1]).decode()

    def write(self, holder: Holder, words: Words, at: int, value: str) -> None:
        holder.pay(len(value))
        _put_name(words, at + 1, value)
        words[at] = STRING


def _put_name(words: Words, at: int, text: str) -> None:
    data = text.encode()
    capi.byte_vec_new(addressof(words) + at * 8, len(data), data)


def _name(words: Words, at: int) -> str:
    return capi.string_at(words[at + 1], min(words[at], 200)).decode("utf-8", "replace")


class Bytes(Carrier):
    """A ``list<u8>``. The engine has a value of 32 bytes for each: they are gathered and strewn by strides."""

    kind = LIST

    def read(self, holder: Holder, words: Words, at: int) -> bytes:
        _want(words, at, LIST)
        count, address = words[at + 1], words[at + 2]
        if not count:
            return b""
        holder.pay(count)
        raw = capi.string_at(address, count * SIZE * 8)
        if raw[0] != U8:
            _want((U8 + 1,), 0, U8)
        return raw[8 :: SIZE * 8]

    def write(self, holder: Holder, words: Words, at: int, value: bytes) -> None:
        holder.pay(len(value))
        binding.list_new(addressof(words) + (at + 1) * 8, len(value))
        words[at] = LIST
        if value:
            raw = bytearray(len(value) * SIZE * 8)
            raw[:: SIZE * 8] = bytes((U8,)) * len(value)
            raw[8 :: SIZE * 8] = value
            capi.memmove(words[at + 2], (ctypes.c_char * len(raw)).from_buffer(raw), len(raw))


class List(Carrier):
    """A list of anything else."""

    kind = LIST

    def __init__(self, item: Carrier) -> None:
        self._item = item

    def read(self, holder: Holder, words: Words, at: int) -> list[Any]:
        _want(words, at, LIST)
        count = words[at + 1]
        if count > MOST_ITEMS:
            raise GuestTrap(f"the component gave a list of {count}; at most {MOST_ITEMS} are taken", kind="host call")
        holder.pay(count)
        inner = words_at(words[at + 2], count)
        return [self._item.read(holder, inner, place * SIZE) for place in range(count)]

    def write(self, holder: Holder, words: Words, at: int, value: list[Any]) -> None:
        # What is in new lists, tuples and records may be freed as it is.
        binding.list_new(addressof(words) + (at + 1) * 8, len(value))
        words[at] = LIST
        inner = words_at(words[at + 2], len(value))
        for place, item in enumerate(value):
            self._item.write(holder, inner, place * SIZE, item)


class Tuple(Carrier):
    """A tuple."""

    kind = TUPLE

    def __init__(self, *items: Carrier) -> None:
        self._items = items

    def read(self, holder: Holder, words: Words, at: int) -> tuple[Any, ...]:
        _want(words, at, TUPLE)
        if words[at + 1] != len(self._items):
            _want((TUPLE + 1,), 0, TUPLE)
        inner = words_at(words[at + 2], len(self._items))
        return tuple(item.read(holder, inner, place * SIZE) for place, item in enumerate(self._items))

    def write(self, holder: Holder, words: Words, at: int, value: tuple[Any, ...]) -> None:
        binding.tuple_new(addressof(words) + (at + 1) * 8, len(self._items))
        words[at] = TUPLE
        inner = words_at(words[at + 2], len(self._items))
        for place, item in enumerate(self._items):
            item.write(holder, inner, place * SIZE, value[place])


class Record(Carrier):
    """A record that the host gives, from a tuple."""

    kind = RECORD

    def __init__(self, **fields: Carrier) -> None:
        self._fields = fields

    def write(self, holder: Holder, words: Words, at: int, value: tuple[Any, ...]) -> None:
        binding.record_new(addressof(words) + (at + 1) * 8, len(self._fields))
        words[at] = RECORD
        entry = 2 + SIZE
        inner = (ctypes.c_uint64 * (entry * len(self._fields))).from_address(words[at + 2])
        for place, (name, carrier) in enumerate(self._fields.items()):
            _put_name(inner, place * entry, name)
            carrier.write(holder, inner, place * entry + 2, value[place])


class Variant(Carrier):
    """A variant: a pair of its case's name and the payload, which is None for cases without one.

    Payloads of cases that are not told are not read.
    """

    kind = VARIANT

    def __init__(self, **payloads: Carrier) -> None:
        self._payloads = payloads

    def read(self, holder: Holder, words: Words, at: int) -> tuple[str, Any]:
        _want(words, at, VARIANT)
        case = _name(words, at + 1)
        carrier = self._payloads.get(case.replace("-", "_"))
        if carrier is None or not words[at + 3]:
            return case, None
        return case, carrier.read(holder, words_at(words[at + 3], 1), 0)

    def write(self, holder: Holder, words: Words, at: int, value: tuple[str, Any]) -> None:
        case, payload = value
        carrier = self._payloads.get(case.replace("-", "_"))
        words[at + 3] = 0 if carrier is None else _boxed(holder, carrier, payload)
        _put_name(words, at + 1, case)
        words[at] = VARIANT


class Option(Carrier):
    """A value or None."""

    kind = OPTION

    def __init__(self, item: Carrier) -> None:
        self._item = item

    def read(self, holder: Holder, words: Words, at: int) -> Any:
        _want(words, at, OPTION)
        return self._item.read(holder, words_at(words[at + 1], 1), 0) if words[at + 1] else None

    def write(self, holder: Holder, words: Words, at: int, value: Any) -> None:
        words[at + 1] = (
            0 if value is None else _boxed(holder, self._item, value.value if type(value) is Some else value)
        )
        words[at] = OPTION


class Ok(Carrier):
    """A result: what is right, or `Wrong`."""

    kind = RESULT

    def __init__(self, ok: Carrier | None = None, error: Carrier | None = None) -> None:
        self._ok, self._error = ok, error

    def read(self, holder: Holder, words: Words, at: int) -> Any:
        _want(words, at, RESULT)
        is_ok = words[at + 1] & 1
        carrier = self._ok if is_ok else self._error
        value = None
        if carrier is not None and words[at + 2]:
            value = carrier.read(holder, words_at(words[at + 2], 1), 0)
        return value if is_ok else Wrong(value)

    def write(self, holder: Holder, words: Words, at: int, value: Any) -> None:
        is_wrong = type(value) is Wrong
        if type(value) is Some:
            value = value.value
        carrier = self._error if is_wrong else self._ok
        words[at + 2] = 0 if carrier is None else _boxed(holder, carrier, value.reason if is_wrong else value)
        words[at + 1] = int(not is_wrong)
        words[at] = RESULT


class Wrong:
    """The error of a result."""

    def __init__(self, reason: Any = None) -> None:
        self.reason = reason


class Some:
    """A None that is there, or a result that is right and holds another one that is not."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _boxed(holder: Holder, carrier: Carrier, value: Any) -> int:
    box = Value()
    try:
        carrier.write(holder, words_at(addressof(box), 1), 0, value)
    except BaseException:
        binding.value_delete(addressof(box))
        raise
    return int(binding.value_new(addressof(box)))


class Resource(Carrier):
    """A handle of a resource of the host's; *is_given* for ``own``, which the guest has no more."""

    kind = RESOURCE

    def __init__(self, kind: type, *, is_given: bool = False) -> None:
        self._kind, self._is_given = kind, is_given

    def read(self, holder: Holder, words: Words, at: int) -> Any:
        _want(words, at, RESOURCE)
        host = ctypes.c_void_p()
        error = binding.resource_from_any(holder.context, words[at + 1], addressof(host))
        if error:
            capi.error_delete(error)
            _want((RESOURCE + 1,), 0, RESOURCE)
        number = binding.resource_number(host.value)
        binding.resource_delete(host.value)
        resource = holder.resource(number, is_given=self._is_given)
        if not isinstance(resource, self._kind):
            _want((RESOURCE + 1,), 0, RESOURCE)
        return resource

    def write(self, holder: Holder, words: Words, at: int, value: Any) -> None:
        words[at + 1] = handle(holder, value)
        words[at] = RESOURCE


def handle(holder: Holder, resource: Any) -> int:
    """A new handle of *resource*, for the guest to own."""
    host = binding.resource_new(True, holder.number_of(resource), resource.TYPE)
    out = ctypes.c_void_p()
    error = binding.resource_to_any(holder.context, host, addressof(out))
    binding.resource_delete(host)
    if error:
        raise GuestTrap(f"a resource cannot be given: {capi.take_error(error)}", kind="host call")
    return out.value or 0


boolean, u16, u32, u64 = Number(BOOL, 1), Number(U16, 16), Number(U32, 32), Number(U64, 64)
text, octets = Text(), Bytes()
