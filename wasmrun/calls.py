"""What a caller says: a function, and besides the event what may be said about it."""

from __future__ import annotations

from wasmrun.function import Function
from wasmrun.hints import Any, NamedTuple
from wasmrun.invocation import check_text

NO_EVENT: dict[str, Any] = {}
"""The event of a call that names none."""


class CallOptions(NamedTuple):
    """What a caller may say about one event. ``timeout`` may be shorter than the function's own."""

    timeout: float | str | None = None
    tenant: str | None = None
    request_id: str | None = None
    client_context: Any = None
    trace_id: str | None = None


DEFAULTS = CallOptions()
"""Nothing said."""


def check_options(options: CallOptions) -> CallOptions:
    """*options*, once its texts are known to be short and printable. Raises `InvalidEvent`."""
    check_text("request_id", options.request_id)
    check_text("tenant", options.tenant)
    check_text("trace_id", options.trace_id)
    return options


def check_function(function: object) -> None:
    """Raise `TypeError` where *function* is none."""
    if not isinstance(function, Function):
        raise TypeError(f"a wasmrun.Function is needed, not {type(function).__name__}; write Function({function!r})")
