"""The compiler: a module becomes an artifact in a child process that the kernel bounds.

Nothing in the engine bounds the time or the memory that compiling takes: 300,000 nested ``if``s or a
million functions are enough to keep a process busy for minutes. The child is a new interpreter,
started by command line: no fork of the caller's threads and locks, no import of its ``__main__``,
and no objection from daemonic processes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from wasmrun.errors import HostError, InvalidFunction, printable
from wasmrun.limits import MIB
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.facts import Facts
from wasmrun.machine.shortage import shortage
from wasmrun.settings import Frozen, Setting, duration, size
from wasmrun.units import format_duration, format_size

_log = logging.getLogger("wasmrun.compiler")

_MOST_THREADS = 8
"""Threads of the child on a machine with many processors."""


@dataclass(kw_only=True)
class CompileLimits(Frozen):
    """What compiling one module may take: seconds of processor, seconds by the clock, bytes of address space."""

    cpu: Setting[float, float | str | timedelta] = duration(30.0, "Processor time that compiling may take.")
    wall: Setting[float, float | str | timedelta] = duration(40.0, "Time that compiling may take.")
    address_space: Setting[int, int | str] = size(1024 * MIB, "Address space that compiling may take.", least=256 * MIB)


def compile_module(
    source: bytes, *, is_text: bool, module_bytes: int, settings: EngineSettings, limits: CompileLimits
) -> tuple[Facts, bytes]:
    """The facts and the artifact of the module in *source* (with *is_text*, WAT).

    Raises `InvalidFunction` when it is not a module, or took more than *limits*; `HostError` when no
    child could be started.
    """
    job = {
        "is_text": is_text,
        "module_bytes": module_bytes,
        "stack": settings.stack,
        "is_metered": settings.is_metered,
        "has_components": settings.has_components,
    }
    child = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compile_child.py")
    answer, artifact = run_child(child, job, source, limits, "facts", "to compile")
    return Facts(**answer["facts"]), artifact


def run_child(
    child: str, job: dict[str, Any], source: bytes, limits: CompileLimits, key: str, doing: str
) -> tuple[dict[str, Any], bytes]:
    """What the program *child* makes of *source*: its line of JSON, which has a *key*, and the bytes after that.

    *doing* says what may take no more than *limits*. Raises as `compile_module` does.
    """
    if not sys.executable:
        raise HostError("modules are compiled by a child interpreter, but sys.executable is empty here")
    site = os.path.dirname(os.path.dirname(os.path.dirname(capi.LIBRARY_PATH)))
    here = os.path.abspath(__file__)
    job = {
        **job,
        "paths": [os.path.dirname(os.path.dirname(os.path.dirname(here))), site],
        "cpu_seconds": limits.cpu,
        "address_space": limits.address_space,
    }
    # Files, not pipes, for what comes out: the kernel bounds their size, and nobody has to read while
    # the child works.
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                [sys.executable, "-I", "-S", child, json.dumps(job)],
                input=source,
                stdout=out,
                stderr=err,
                env={**os.environ, **_environment()},
                timeout=limits.wall,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            line = _parse(out.readline(1 << 20), key) if done.returncode == 0 else None
            if line is None:
                _raise_end(done.returncode, err.read(4000), limits, doing)
            return line, out.read()
    except subprocess.TimeoutExpired:
        raise InvalidFunction(
            f"the module took more than {format_duration(limits.wall)} {doing}, and was given up; "
            "make it smaller, or allow more with CompileLimits(wall=…)"
        ) from None
    except OSError as error:
        raise shortage("to compile a module", error.errno) or HostError(
            f"no child process to compile in: {error}"
        ) from error


def _environment() -> dict[str, str]:
    """Variables of the child, so that it ends where it reaches the limit on its address space, and not sooner."""
    return {
        # By default there is a thread for each processor, and the C library reserves memory for each
        # thread: with 64 of them nothing could be compiled.
        "RAYON_NUM_THREADS": str(min(_MOST_THREADS, os.cpu_count() or 1)),
        "MALLOC_ARENA_MAX": "2",
        # Where memory is short, a backtrace has none either, and waits for its own lock.
        "RUST_BACKTRACE": "0",
    }


def _raise_end(status: int, stderr: bytes, limits: CompileLimits, doing: str) -> NoReturn:
    """Raise what the end of a child means that gave no answer."""
    _log.debug("compiling ended with status %s: %s", status, stderr.decode("utf-8", "replace"))
    if status in (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL):
        raise InvalidFunction(
            f"the module took more than {format_duration(limits.cpu)} of processor time {doing}, and was given up; "
            "make it smaller, or allow more with CompileLimits(cpu=…)"
        )
    if status in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGXFSZ) or b"MemoryError" in stderr:
        raise InvalidFunction(
            f"the module took more than {format_size(limits.address_space)} of address space {doing}, and was "
            "given up; make it smaller, or allow more with CompileLimits(address_space=…)"
        )
    raise HostError(
        f"the compiler's process ended with status {status}: {printable(stderr.decode('utf-8', 'replace')[-600:], 600)}"
    )


def _parse(line: bytes, key: str) -> dict[str, Any] | None:
    """The child's line; None where it is none of ours: sys.executable may be a program that embeds Python.

    Raises what the child says was wrong.
    """
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    if "error" in answer:
        reason = printable(" ".join(answer["error"].split()), 600)
        raise HostError(reason) if answer.get("is_host") else InvalidFunction(f"the module cannot be used: {reason}")
    return answer if key in answer else None
