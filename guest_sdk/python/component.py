"""The component that a function in Python becomes: the exports of its WIT world, around ``handle`` of ``handler.py``.

componentize-py imports this module once, at build time, and what the interpreter is then like goes into the component.
So imports, and ``init()`` of ``handler.py``, are over before there is a sandbox. What must not be the same in every
sandbox is renewed by the export ``init``, which the host calls while it prepares one.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import logging
import os
import pkgutil
import re
import sys
from typing import Any

import wit_world
import wit_world.imports
from componentize_py_types import Err

import wasmrun

for _module in pkgutil.iter_modules(wit_world.imports.__path__):
    importlib.import_module(f"wit_world.imports.{_module.name}")  # later there are no files to import from

FRAMES = 50
"""Of a stack, this many are reported: the innermost."""

DEPTH = 400
"""Levels that an event may nest: on from about 1,000 the JSON module overflows the stack that a sandbox has by default."""

_NO_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[^][{}]')
_ROOT = re.compile(r"^/\d+/")  # the directories of sources are numbered

# A sandbox has one thread and one process, and no name for either.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = logging.logAsyncioTasks = False
logging.root.addHandler(wasmrun.LogHandler())
logging.root.setLevel(logging.INFO)

import handler  # noqa: E402  # it may log while it is imported

if not callable(getattr(handler, "handle", None)):
    raise ImportError("handler.py has no function handle(event, context)")
getattr(handler, "init", lambda: None)()
wasmrun.has_host = True

_random = sys.modules.get("random")
"""Where nothing has imported it by now, nothing will."""

_is_started = False


class WitWorld(wit_world.WitWorld):
    """What the host calls."""

    def init(self) -> None:
        """Make this sandbox differ from every other one."""
        global _is_started  # noqa: PLW0603  # one component is one function
        _is_started = True
        if _random is not None:
            _random.seed()
        os.reload_environ()
        _rehearse()
        getattr(handler, "resume", lambda: None)()

    def handle(self, event: str, context: str) -> str:
        """The answer's JSON text; raises `Err` with that of a reported error."""
        try:
            if not _is_started:
                self.init()
            return wasmrun.encoded(handler.handle(_decoded(event), _context(context)))
        except BaseException as error:
            text = json.dumps(_report(error), ensure_ascii=False)
            raise Err(text.encode(errors="replace").decode()) from None


def _rehearse() -> None:
    """Go the way of an event. Memory that is touched here need not be copied while an event waits."""
    context = _context('{"request_id": "", "deadline_ms": 1, "client_context": {"n": [1.5]}}')
    wasmrun.encoded({"text": context.request_id, "more": context.client_context})


def _context(text: str) -> wasmrun.Context:
    given = _decoded(text)
    return wasmrun.Context(**{name: given.get(name) for name in wasmrun.Context.__slots__})


def _decoded(text: str) -> Any:
    if text.count("[") + text.count("{") > DEPTH and _depth(text) > DEPTH:
        raise wasmrun.Fail("InvalidInput", f"the input nests deeper than {DEPTH} levels")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise wasmrun.Fail("InvalidInput", f"the input is not JSON: {error}") from None


def _depth(text: str) -> int:
    """How deep the JSON *text* nests, or more where it is none."""
    brackets = _NO_BRACKETS.sub("", text)
    return max(itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _report(error: BaseException) -> dict[str, Any]:
    if isinstance(error, wasmrun.Fail):
        stack = _stack(error) if error.stack is None else error.stack
        return {"type": str(error.type), "message": str(error.message), "stack": [str(frame) for frame in stack]}
    if isinstance(error, MemoryError):
        return {"type": "OutOfMemory", "message": "the function ran out of memory", "stack": _stack(error)}
    try:
        message = str(error)
    except Exception:
        message = "(its text could not be made)"
    if isinstance(error, ImportError):
        message += "; a component imports when it is built, so write imports at the top of a file"
    return {"type": type(error).__name__, "message": message, "stack": _stack(error)}


def _stack(error: BaseException) -> list[str]:
    """The frames below this file, innermost first."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__:
            file = _ROOT.sub("", code.co_filename)
            frames.append(f"{code.co_qualname} ({file}:{trace.tb_lineno})")
        trace = trace.tb_next
    return frames[::-1][:FRAMES]


# What is there stays: a collection in a sandbox would only look at all of it, and so take a copy of its memory.
gc.collect()
gc.freeze()
