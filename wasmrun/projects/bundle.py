"""The program that makes a function of JavaScript sources, run in the project's directory:

    python bundle.py ENGINE MAIN STACK TARGET

where STACK is how many bytes of stack the function will have.

The engine itself, in a sandbox, compiles and evaluates the sources: what is wrong with them is told as it tells it, and
what they import and export is what it found. Nothing else is needed.
"""

from __future__ import annotations

import os
import re
import sys

from wasmrun.errors import FunctionError, GuestError, OutOfMemory, WasmrunError
from wasmrun.executor import Executor
from wasmrun.function import Function
from wasmrun.projects.embedding import CHECK, INIT, Sources, checker, embed
from wasmrun.projects.project import files_of

_ENDINGS = (".js", ".mjs", ".json")
_MOST_BYTES = 64 * 1024 * 1024

SECONDS = 10.0
"""For which modules may be evaluated."""
_PLACE = re.compile(r"(?:.* \()?([^():]+):(\d+):\d+\)?$")
"""A line of a stack that names a file and a line."""


class _Wrong(Exception):
    """What is wrong with the sources, as it is to be shown."""


def main(arguments: list[str]) -> int:
    """Write the module; 1 where the sources are wrong, which standard error says."""
    engine_path, path, stack, target = arguments
    with open(engine_path, "rb") as file:
        engine = file.read()
    try:
        sources = _found(engine, Sources(os.path.normpath(path), _files(), int(stack)))
        module = embed(engine, sources)
    except (_Wrong, ValueError, WasmrunError) as error:
        print(error, file=sys.stderr)
        return 1
    with open(target, "wb") as file:
        file.write(module)
    return 0


def _files() -> dict[str, bytes]:
    """What modules of the project may import."""
    files = {}
    left = _MOST_BYTES
    for path in files_of("."):
        if path.endswith(_ENDINGS) and os.path.getsize(path) <= left:
            with open(path, "rb") as file:
                files[path] = file.read()
            left -= len(files[path])
    return files


def _found(engine: bytes, sources: Sources) -> Sources:
    """What of *sources* is needed, and what it exports and imports, as the engine found it."""
    function = Function(
        checker(engine), name=sources.main, entry=CHECK, stack=sources.stack, timeout=SECONDS, memory="1GiB",
        event_bytes=_MOST_BYTES * 2, result_bytes=_MOST_BYTES,
    )  # fmt: skip
    with Executor(threads=1) as executor:
        result = executor.run(function, sources.as_value())
    for log in result.logs:
        print(log.message, file=sys.stderr)
    if isinstance(result.error, (GuestError, OutOfMemory)):
        raise _Wrong(_shown(result.error, sources))
    if result.error is not None:
        raise _Wrong(f"evaluating {sources.main}: {result.error}")
    files, host_functions, exported = result.value
    handlers = [name for name in exported if name != INIT]
    if not handlers:
        raise _Wrong(f"{sources.main} exports no function; a handler is one that is called handle")
    files = {path: sources.files[path] for path in files}
    return sources._replace(files=files, handlers=handlers, host_functions=host_functions)


def _shown(error: FunctionError, sources: Sources) -> str:
    """An error of the engine as it prints one, with the line of the source that it is at."""
    lines = [f"{error.type}: {error.message}"]
    for frame in error.stack:
        place = _PLACE.search(frame)
        if place is None or place[1] not in sources.files:
            continue
        text = sources.files[place[1]].decode(errors="replace").splitlines()
        if 0 < int(place[2]) <= len(text):
            lines.append(f"    {text[int(place[2]) - 1].strip()}")
        break
    return "\n".join([*lines, *(f"    at {frame}" for frame in error.stack)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
