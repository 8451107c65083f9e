"""Records: benchmarks in files, with every sample, and what is needed to judge them. Files come from anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wasmrun.bench.environment import machine, versions
from wasmrun.bench.samples import LOADS, PHASES, PLACES, STARTS, Load, Measured, Samples
from wasmrun.errors import printable
from wasmrun.jsontext import from_json

FORMAT = "wasmrun benchmark"
VERSION = 1

MOST_BYTES = 64 * 2**20
"""Of a file that is read: some six million samples."""

_MOST_NS = 10**15
_MOST_FUNCTIONS = 1_000
_MOST_TEXT = 300
_MOST_NAMES = 100
_NAME, _VALUE = 40, 80
_OF_THE_MEASURING = ("load", "cold", "warm", "duration", "concurrency", "rates", "places")


class Unreadable(ValueError):
    """A file is no record; the text says why."""


class Record(NamedTuple):
    """What was measured, and with what: versions, machine and settings by name."""

    found: list[Measured]
    made_with: dict[str, str]

    def unlike(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """What is not the same here and now, with *settings*: "engine 49.0, now 50.0.1"."""
        now = _made_with({"versions": versions(), "machine": machine(), "settings": settings})
        names = [*now, *(name for name in self.made_with if name not in now)]
        return tuple(
            f"{name} {self.made_with.get(name, 'not given')}, now {now.get(name, 'not given')}"
            for name in names
            if self.made_with.get(name) != now.get(name)
        )


def record(found: Sequence[Measured], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be kept of *found*, measured with *settings*, as a JSON object."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        "machine": machine(),
        "settings": dict(settings),
        "functions": [_packed(measured) for measured in found],
    }


def _packed(measured: Measured) -> dict[str, Any]:
    return {
        "function": measured.label,
        "abi": measured.abi,
        "was_cached": measured.was_cached,
        "notes": list(measured.notes),
        "samples": [_samples(key, one) for key, one in (*measured.phases.items(), *measured.samples.items())],
    }


def _samples(key: str, samples: Samples) -> dict[str, Any]:
    return {
        "key": key,
        "name": samples.name,
        "place": samples.place,
        "load": None if samples.load is None else samples.load._asdict(),
        "nanoseconds": list(samples.nanoseconds),
    }


def write_whole(path: str, data: bytes) -> None:
    """Put *data* at *path*, all of it or nothing. Raises `OSError`."""
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """*value* as the text of a file, a line for each function."""
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def read_object(path: str, what: str) -> dict[str, Any]:
    """The JSON object in a file that wasmrun wrote: its *what*, and a version that is known. Raises `Unreadable`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise Unreadable(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MOST_BYTES:
        raise Unreadable(f"it has more than {MOST_BYTES // 2**20} MiB")
    try:
        found = from_json(data)
    except ValueError as error:
        raise Unreadable(f"it is not JSON: {printable(str(error))}") from None
    if not isinstance(found, dict) or found.get("format") != what:
        raise Unreadable(f"it is no {what}")
    if found.get("version") != VERSION:
        raise Unreadable(
            f"it has version {printable(repr(found.get('version')), 40)} of the format, and this program reads {VERSION}"
        )
    return found


def read_record(path: str) -> Record:
    """What was measured, from a file that was saved. Raises `Unreadable`."""
    found = read_object(path, FORMAT)
    functions = _list(found.get("functions"), "functions")
    if not 1 <= len(functions) <= _MOST_FUNCTIONS:
        raise Unreadable(f"it has {len(functions)} functions, and should have 1 to {_MOST_FUNCTIONS}")
    return Record([_unpacked(_object(one, "a function")) for one in functions], _made_with(found))


def _made_with(record: Mapping[str, Any]) -> dict[str, str]:
    """What figures depend on, as texts. How much was measured, and how busy the machine was, is not part of it."""
    found = [
        (printable(name, _NAME), printable(value if isinstance(value, str) else json.dumps(value), _VALUE))
        for part in ("versions", "machine", "settings")
        for name, value in _object(record.get(part), part).items()
        if name not in _OF_THE_MEASURING and value is not None
    ]
    if len(found) > _MOST_NAMES:
        raise Unreadable(f"it has {len(found)} versions and settings, and should have {_MOST_NAMES} at most")
    return dict(found)


def _unpacked(packed: dict[str, Any]) -> Measured:
    phases: dict[str, Samples] = {}
    samples: dict[str, Samples] = {}
    for item in _list(packed.get("samples"), "samples"):
        one = _object(item, "samples")
        key = _text(one.get("key"), "key")
        name = one.get("name")
        place = one.get("place")
        if name not in (*PHASES, *STARTS, *LOADS) or place not in PLACES:
            raise Unreadable(f"{printable(key)}: there are no such samples")
        load = None if name not in LOADS else _load(one.get("load"), key)
        into = phases if name in PHASES else samples
        if key in into:
            raise Unreadable(f"{printable(key)}: it is there twice")
        into[key] = Samples(name, _nanoseconds(one.get("nanoseconds"), key), place, load)
    notes = tuple(_text(note, "a note") for note in _list(packed.get("notes"), "notes"))
    label, abi = _text(packed.get("function"), "function"), _text(packed.get("abi"), "abi")
    return Measured(label, abi, packed.get("was_cached") is True, phases, samples, notes)


def _nanoseconds(value: Any, key: str) -> tuple[int, ...]:
    numbers = _list(value, key)
    # Not isinstance: True is no duration.
    if not numbers or any(type(number) is not int or not 0 <= number <= _MOST_NS for number in numbers):
        raise Unreadable(f"{printable(key)}: its nanoseconds are not whole numbers, or there are none")
    return tuple(numbers)


def _load(value: Any, key: str) -> Load:
    packed = _object(value, key)
    try:
        load = Load(**packed)
    except TypeError:
        raise Unreadable(f"{printable(key)}: its load has other fields than {', '.join(Load._fields)}") from None
    if not isinstance(load.asked, str) or len(load.asked) > _MOST_TEXT:
        raise Unreadable(f"{printable(key)}: asked is no text")
    for name, number in packed.items():
        if name == "asked" or (number is None and name in ("offered", "warm_share")):
            continue
        wanted = (int,) if name in ("concurrency", "unsent", "lateness") else (int, float)
        if number is None or type(number) not in wanted or not 0 <= number <= _MOST_NS:
            raise Unreadable(f"{printable(key)}: {name} is no number that it can be")
    return load


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{printable(name)}: it is not an object")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unreadable(f"{printable(name)}: it is not a list")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_TEXT:
        raise Unreadable(f"{name}: it is not text of 1 to {_MOST_TEXT} characters")
    return value
