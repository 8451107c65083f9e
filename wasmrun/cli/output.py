"""What is printed: answers to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import re
import sys

from wasmrun.errors import FunctionError, WasmrunError, printable
from wasmrun.hints import Any

_CONTROLS = r"[\x7f-\x9f]"
"""Control characters that JSON leaves as they are. A pattern that is rarely needed, and so not compiled yet."""


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print_text(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_text(text: str) -> None:
    """JSON text on standard output, as UTF-8 wherever that goes; what a terminal would obey is escaped."""
    if not text.isprintable():
        text = re.sub(_CONTROLS, lambda found: f"\\u{ord(found[0]):04x}", text)
    print_bytes(text.encode("utf-8", "backslashreplace") + b"\n")  # a lone surrogate: its escape is the same in JSON


def print_bytes(data: bytes) -> None:
    """*data* on standard output, at once. Raises `OSError`."""
    if sys.stdout is not None:  # closed, as with `>&-`
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def tell(line: str) -> None:
    """Print *line* to standard error. Where nobody reads that any more, the exit status still tells."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def say(error: WasmrunError) -> None:
    """Print *error* to standard error: its kind, its message, and where in the guest it happened."""
    kind = type(error).__name__
    if isinstance(error, FunctionError) and error.type != kind:
        kind = f"{kind}: {printable(error.type, 100)}"
    tell(f"wasmrun: {kind}: {printable(error.message, 2000)}")
    if isinstance(error, FunctionError):
        for line in error.stack:
            tell(f"  at {printable(line)}")
