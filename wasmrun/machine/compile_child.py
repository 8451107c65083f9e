"""The child in which modules are compiled: a program of its own, bounded by the kernel.

Run as ``python -I -S compile_child.py JOB`` with the module on standard input. Standard output gets
one line of JSON, ``{"facts": …}`` and then the artifact, or ``{"error": …}``.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wasmrun.machine.facts import Facts

_MOST_VALUES = 50_000
"""Parameters and results of all that is imported and exported: each is read anew whenever the module is loaded."""

_MOST_REASON = 300
"""Characters of the engine's reason where there is more to say: it may have names of the module in it."""


def bound(job: dict[str, Any]) -> None:
    """Bound this process. Before anything else: the module is hostile until proven otherwise."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for what, number in (
        (resource.RLIMIT_CPU, math.ceil(job["cpu_seconds"])),
        (resource.RLIMIT_AS, job["address_space"]),
        (resource.RLIMIT_FSIZE, job["address_space"]),
    ):
        _, hard = resource.getrlimit(what)
        most = number
        if hard != resource.RLIM_INFINITY:
            most = min(number, hard)
        resource.setrlimit(what, (most, most))
    # The limit knows whole seconds only, the timer of processor time any part of one. What the parent
    # ignores, a child would ignore, too.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, job["cpu_seconds"])


def read(job: dict[str, Any], source: bytes) -> bytes:
    """The binary form of the module in *source*. Raises `ValueError`."""
    from wasmrun.machine import capi
    from wasmrun.machine.facts import is_wasm

    if not is_wasm(source) and job["is_text"]:
        vec = capi.ByteVec()
        error = capi.wat2wasm(source, len(source), capi.addressof(vec))
        if error:
            raise ValueError(f"not valid WAT: {capi.take_error(error)}")
        source = capi.string_at(vec.data, vec.size)
        capi.byte_vec_delete(capi.addressof(vec))
        if len(source) > job["module_bytes"]:
            raise ValueError(f"it has {len(source)} bytes as a binary; at most {job['module_bytes']} are allowed")
    return source


def _compile(job: dict[str, Any], source: bytes) -> tuple[dict[str, object], bytes]:
    from wasmrun.machine.facts import is_component, is_wasm
    from wasmrun.machine.wasmfile import scan

    source = read(job, source)
    if not is_wasm(source):
        from wasmrun.machine.origin import kind_of_file

        what, advice = kind_of_file(source)
        raise ValueError(f"not WebAssembly, but {what}; {advice}")
    if job.get("has_components"):
        from wasmrun.machine.components.compiling import compile_component

        return compile_component(source, job["stack"], is_metered=bool(job["is_metered"]))
    if is_component(source):
        raise ValueError("its text says late that it is a component; name its ABI (--abi component)")
    try:
        return _compile_binary(job, source, scan(source))
    except ValueError as error:
        raise ValueError(_explained(str(error), source)) from None


def _explained(reason: str, source: bytes) -> str:
    """*reason*, and what to do about it where that can be seen in the module."""
    from wasmrun.machine.origin import advice

    more = advice(source, reason)
    return f"{reason[:_MOST_REASON].rstrip()}; {more}" if more else reason


def _compile_binary(job: dict[str, Any], source: bytes, facts: Facts) -> tuple[dict[str, object], bytes]:
    from wasmrun.machine import capi
    from wasmrun.machine.config import EngineSettings, new_config

    engine = capi.engine_new(new_config(EngineSettings(job["stack"], bool(job["is_metered"]))))
    pointer = ctypes.c_void_p()
    error = capi.module_new(engine, source, len(source), capi.addressof(pointer))
    if error:
        raise ValueError(f"not a valid module: {capi.take_error(error)}")
    _check_signatures(pointer.value or 0)
    vec = capi.ByteVec()
    error = capi.module_serialize(pointer.value, capi.addressof(vec))
    if error:
        raise ValueError(f"cannot be stored: {capi.take_error(error)}")
    return facts._asdict(), capi.string_at(vec.data, vec.size)


def _check_signatures(module: int) -> None:
    """Bound what reading the imports and exports costs whoever loads the module. Raises `ValueError`."""
    from wasmrun.machine import capi

    values = 0
    for read, type_of in (
        (capi.module_imports, capi.importtype_type),
        (capi.module_exports, capi.exporttype_type),
    ):
        vec = capi.ByteVec()
        read(module, capi.addressof(vec))
        for item in (ctypes.c_void_p * vec.size).from_address(vec.data) if vec.size else ():
            function = capi.externtype_functype(type_of(item))
            if function:
                for side in (capi.functype_params, capi.functype_results):
                    values += capi.ByteVec.from_address(side(function)).size
    if values > _MOST_VALUES:
        raise ValueError(
            f"its imports and exports have {values} parameters and results together; at most {_MOST_VALUES} are allowed"
        )


def main() -> None:
    """Do the one job that the command line describes."""
    job = json.loads(sys.argv[1])
    bound(job)
    sys.path[:0] = job["paths"]
    source = sys.stdin.buffer.read()
    answer: dict[str, object]
    artifact = b""
    try:
        facts, artifact = _compile(job, source)
        answer = {"facts": facts}
    except (ValueError, MemoryError) as error:
        answer = {"error": str(error) or type(error).__name__}
    with os.fdopen(1, "wb", closefd=False) as out:
        out.write(json.dumps(answer).encode() + b"\n")
        out.write(artifact)
    # Tearing the engine down would only take time.
    os._exit(0)


if __name__ == "__main__":
    main()
