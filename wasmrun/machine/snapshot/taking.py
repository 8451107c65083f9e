"""The taking of a snapshot, in a child process: a function's code becomes the code of one that has started already."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from typing import Any, NamedTuple

from wasmrun.function import Function
from wasmrun.invocation import Log
from wasmrun.machine.compiler import CompileLimits, run_child

_log = logging.getLogger("wasmrun.snapshot")

_ELSEWHERE = frozenset(
    ("module", "name", "tenant", "version", "http", "http_networks", "http_secrets", "imports", "config")
)


_SEEN = (
    "name", "args", "env", "dirs", "memory", "table_elements", "stack", "fuel", "init_timeout", "abi", "entry", "raw",
    "imports", "http",
)  # fmt: skip
"""What a start-up can see of a function, how far it gets, and what is called."""


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
    _log.debug("the start-up of %s ran behind: %s", function.label, ", ".join(answer["walls"]))
    return Taken(module, tuple(Log(*log) for log in answer["logs"]), tuple(answer["depends_on"]))


def settings_of(function: Function) -> dict[str, Any]:
    """What a start-up may depend on: all of *function* but its code, and what serves it."""
    settings = {
        item.name: getattr(function, item.name) for item in dataclasses.fields(function) if item.name not in _ELSEWHERE
    }
    return {
        **settings,
        "name": function.label,
        "imports": [name for name, _ in function.imports],
        "http": ["*"] if function.http else [],
        "fuel": function.fuel_limit or None,
    }


def describe(function: Function) -> str:
    """All that a snapshot of *function* depends on beside its code, as one line: part of an artifact's key."""
    settings = settings_of(function)
    return f"snapshot={_VERSION} {json.dumps({name: settings[name] for name in _SEEN})}"


_VERSION = 1
"""Of what is made of a start-up: another one is another artifact."""
