"""The taking of a snapshot, in a child process: a function's code becomes the code of one that has started already."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from typing import Any, NamedTuple

from wasmrun.errors import HostError, printable
from wasmrun.function import Function
from wasmrun.invocation import LEVELS, Log
from wasmrun.machine.compiler import CompileLimits, run_child

_log = logging.getLogger("wasmrun.snapshot")

DEPENDENCIES = frozenset(("a clock", "random bytes"))
"""What start-ups are told that is not the same each time."""
_NONSENSE = "the process that takes snapshots gave an answer that is none; was it taken over?"

_SEEN = (
    "args", "env", "dirs", "memory", "table_elements", "stack", "fuel", "init_timeout", "abi", "entry", "raw",
)  # fmt: skip
"""What a start-up can see of a function, how far it gets, and what is called."""
_ENDS = ("module_bytes", "log_bytes")
"""What ends a capture, or what is told of it, and changes nothing in what is captured."""


class Taken(NamedTuple):
    """A snapshot: the module, what its start-up logged, and on what it depends that differs from time to time."""

    module: bytes
    logs: tuple[Log, ...]
    depends_on: tuple[str, ...]


def take(function: Function, source: bytes, *, is_text: bool, limits: CompileLimits) -> Taken:
    """The snapshot of the code of *function*, which is in *source* (with *is_text*, as WAT).

    Raises `InvalidFunction` where its start-up fails, takes too much, or cannot be captured; `HostError` where no
    child could be started.
    """
    # The start-up has its own limits inside; these are for whatever holds on nevertheless.
    limits = dataclasses.replace(
        limits, cpu=limits.cpu + function.init_timeout, wall=limits.wall + function.init_timeout
    )
    job = {"is_text": is_text, "module_bytes": function.module_bytes, "function": settings_of(function)}
    child = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
    answer, module = run_child(child, job, source, limits, "logs", "to compile and to start")
    logs, depends_on = _checked(answer)
    _log.debug("the start-up of %s ran behind: %s", function.label, printable(str(answer.get("walls"))))
    return Taken(module, logs, depends_on)


def _checked(answer: dict[str, Any]) -> tuple[tuple[Log, ...], tuple[str, ...]]:
    """What a child told beside the module. It has run code that nobody trusts: nothing is believed."""
    logs, depends_on = answer["logs"], answer.get("depends_on")
    if not isinstance(logs, list) or not isinstance(depends_on, list) or not set(map(str, depends_on)) <= DEPENDENCIES:
        raise HostError(_NONSENSE)
    for log in logs:
        if not isinstance(log, list) or len(log) != 2 or log[0] not in LEVELS or not isinstance(log[1], str):
            raise HostError(_NONSENSE)
    return tuple(Log(*log) for log in logs), tuple(map(str, depends_on))


def settings_of(function: Function) -> dict[str, Any]:
    """Of *function*, what its start-up may depend on."""
    return {
        **{name: getattr(function, name) for name in (*_SEEN, *_ENDS)},
        "name": function.label,
        "imports": [name for name, _ in function.imports],
        "http": ["*"] if function.http else [],
        "fuel": function.fuel_limit or None,
    }


def describe(function: Function) -> str:
    """All that a snapshot of *function* depends on beside its code, as one line: part of an artifact's key."""
    settings = settings_of(function)
    for name in _ENDS:
        del settings[name]
    return f"snapshot={_VERSION} {json.dumps(settings)}"


_VERSION = 1
"""Of what is made of a start-up: another one is another artifact."""
