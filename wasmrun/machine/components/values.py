"""Values of the component model, between the engine's structs and Python."""

from __future__ import annotations

import ctypes

from wasmrun.errors import GuestTrap, printable
from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.components.binding import Value, addressof

SIZE = 32
_word = ctypes.c_uint64.from_address
_byte = ctypes.c_uint8.from_address


def kinds(address: int, count: int) -> tuple[int, ...]:
    """The kinds of *count* values at *address*."""
    return tuple(_byte(place).value for place in range(address, address + SIZE * count, SIZE))


def text_at(address: int) -> tuple[int, int]:
    """Address and length of the text, or of the name of an enumeration's case, in the value at *address*."""
    return _word(address + 16).value, _word(address + 8).value


def put_text(address: int, text: bytes) -> None:
    """Make the value at *address* the text *text*, which must be UTF-8."""
    capi.byte_vec_new(address + 8, len(text), text)
    Value.from_address(address).kind = binding.STRING


def put_result(address: int, inner: Value, *, is_ok: bool) -> None:
    """Make the value at *address* a result with *inner* in it, which is the engine's from then on."""
    value = Value.from_address(address)
    value.first = is_ok
    value.second = binding.value_new(addressof(inner))
    value.kind = binding.RESULT


def put_text_result(address: int, text: bytes, *, is_ok: bool) -> None:
    """Make the value at *address* a result with a text in it."""
    inner = Value()
    put_text(addressof(inner), text)
    put_result(address, inner, is_ok=is_ok)


def put_error_case(address: int, case: bytes) -> None:
    """Make the value at *address* a result with an error in it, which is the *case* of an enumeration."""
    inner = Value(kind=binding.ENUM)
    capi.byte_vec_new(addressof(inner) + 8, len(case), case)
    put_result(address, inner, is_ok=False)


def put_numbers(address: int, numbers: list[int]) -> None:
    """Make the value at *address* a list of u32."""
    value = Value.from_address(address)
    binding.list_new(address + 8, len(numbers))
    for at, number in enumerate(numbers):
        item = Value.from_address(value.second + SIZE * at)
        item.kind, item.first = binding.U32, number
    value.kind = binding.LIST


def items_of(address: int) -> range:
    """The addresses of the values in the list at *address*."""
    first, count = _word(address + 16).value, _word(address + 8).value
    return range(first, first + SIZE * count, SIZE)


def put_resource(context: int, address: int, number: int, type_: int) -> None:
    """Make the value at *address* a resource of the host's own, which has a *number*, and is the guest's now."""
    host = binding.resource_new(True, number, type_)
    handle = ctypes.c_void_p()
    error = binding.resource_to_any(context, host, addressof(handle))
    binding.resource_delete(host)
    if error:
        raise ValueError(capi.take_error(error))
    value = Value.from_address(address)
    value.first = handle.value or 0
    value.kind = binding.RESOURCE


def resource_at(context: int, address: int) -> int:
    """The number of the host's resource in the value at *address*. Raises `GuestTrap` where that is none."""
    if _byte(address).value != binding.RESOURCE:
        raise GuestTrap("the component gave a value that is no resource", kind="host call")
    host = ctypes.c_void_p()
    error = binding.resource_from_any(context, Value.from_address(address).first, addressof(host))
    if error:
        raise GuestTrap(f"the component gave another resource: {printable(capi.take_error(error))}", kind="host call")
    number: int = binding.resource_number(host.value)
    binding.resource_delete(host.value)
    return number


def drop_borrowed(context: int, address: int) -> None:
    """Let go of the engine's resource in the value at *address*, which was lent: a call that keeps one is a trap."""
    error = binding.resource_drop(context, Value.from_address(address).first)
    if error:
        raise ValueError(capi.take_error(error))
