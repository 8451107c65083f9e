"""JSON at the doors: what a value looks like where only text passes."""

from __future__ import annotations

import json

from wasmrun.hints import Any


def to_json(value: Any, *, indent: int | None = None) -> str:
    """*value* as JSON text: bytes as base64, integers exact.

    Raises `ValueError` for what JSON has no form for: NaN and infinities, keys that are not strings,
    nesting too deep, and objects of other types.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_other, indent=indent)
    except TypeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check_keys(value)
    return text


def _check_keys(value: Any) -> None:
    """Raise `ValueError` for a key that is no string: the standard library writes 1 and None as "1" and "null"."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    raise ValueError(f"the key {key!r} is not a string")
            pending += item.values()
        elif isinstance(item, (list, tuple)):
            pending += item


def _other(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        import base64  # few answers have bytes in them

        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def from_json(text: str | bytes) -> Any:
    """The value of JSON text. Raises `ValueError` that says where the text goes wrong."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
