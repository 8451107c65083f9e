"""Sizes and durations as people write them: "64MiB", "128MB", "2s", "500ms"."""

from __future__ import annotations

import re

from wasmrun.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

_NUMBER = r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([A-Za-zµ]*)\s*"
"""A number and a unit. Not compiled yet: most numbers come without a text."""

_SIZES = {
    "": 1, "b": 1,
    "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}  # fmt: skip
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_size(value: int | str) -> int:
    """Bytes, from a number of bytes or a text such as "64MiB", "128MB" or "512".

    Raises `ValueError` that shows the text and an example.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a size; write bytes, or a text such as '64MiB'")
    size = value if isinstance(value, int) else int(_scaled(value, _SIZES, "size", "'64MiB' or '128MB'"))
    if size < 0:
        raise ValueError(f"a size cannot be negative: {value!r}")
    return size


def parse_duration(value: float | str | timedelta) -> float:
    """Seconds, from a number of seconds, a `timedelta`, or a text such as "2s" or "500ms".

    Raises `ValueError` that shows the text and an example.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a duration; write seconds, or a text such as '500ms'")
    if isinstance(value, (int, float)):
        seconds: float = value
    elif isinstance(value, str):
        seconds = _scaled(value, _SECONDS, "duration", "'2s' or '500ms'")
    else:
        seconds = _seconds(value)
    if not 0 <= seconds < 1e9:
        raise ValueError(f"a duration must be at least 0 and finite: {value!r}")
    return float(seconds)


def _seconds(value: timedelta) -> float:
    from datetime import timedelta  # loaded already by whoever has one

    if isinstance(value, timedelta):
        return value.total_seconds()
    raise ValueError(f"{value!r} is not a duration; write for instance '2s' or '500ms'")


def _scaled(text: str, units: dict[str, int] | dict[str, float], what: str, example: str) -> float:
    found = re.fullmatch(_NUMBER, text, re.ASCII) if isinstance(text, str) else None
    scale = units.get(found[2].lower()) if found else None
    if found is None or scale is None:
        raise ValueError(f"{text!r} is not a {what}; write for instance {example}")
    number = found[1]
    return int(number) * scale if number.isdigit() else float(number) * scale


def format_size(size: int) -> str:
    """*size* bytes for people, in binary units: "512 B", "64 MiB", "1.5 KiB"."""
    for unit, scale in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= scale:
            number = size / scale
            return f"{number:.0f} {unit}" if number == int(number) else f"{number:.1f} {unit}"
    return f"{size} B"


def format_duration(seconds: float) -> str:
    """*seconds* for people, with three digits: "4.21 µs", "12.0 ms", "3.00 s"."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{_three_digits(seconds / scale)} {unit}"
    return f"{_three_digits(seconds * 1e6)} µs"


def _three_digits(number: float) -> str:
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
