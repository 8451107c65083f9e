"""Invocation: what a guest is told about one event, and what one event did and cost."""

from __future__ import annotations

from wasmrun.errors import FunctionError, InvalidEvent, printable
from wasmrun.hints import Any, NamedTuple
from wasmrun.units import format_size

LEVELS = ("trace", "debug", "info", "warn", "error")
"""Names of the log levels 0 to 4 of the guest ABI."""

_MOST_CHARACTERS = 256


def check_text(name: str, value: str | None) -> None:
    """Raise `InvalidEvent` unless *value*, given as *name* by a caller, is None or short text that can be shown."""
    if value is None or (isinstance(value, str) and len(value) <= _MOST_CHARACTERS and value.isprintable()):
        return
    raise InvalidEvent(
        f"{name} must be text of at most {_MOST_CHARACTERS} printable characters, not {printable(repr(value))}"
    )


class Log(NamedTuple):
    """One line that a guest logged: its level's name, and the text as the guest gave it.

    Escape it with `wasmrun.errors.printable` before it goes to a terminal.
    """

    level: str
    message: str


class Context(NamedTuple):
    """What a guest is told about the event it handles, in the words of Lambda's context object.

    ``deadline_ms`` is a Unix time in milliseconds. The last three are given where the caller gave them.
    """

    request_id: str
    function: str
    version: str
    deadline_ms: int
    memory_limit_bytes: int
    fuel_limit: int
    client_context: Any = None
    tenant_id: str | None = None
    trace_id: str | None = None

    def as_map(self) -> dict[str, Any]:
        """The map that crosses the ABI: without the optional keys that were not given."""
        return {key: value for key, value in self._asdict().items() if value is not None}


class HttpCall(NamedTuple):
    """One HTTP request that the host did, or refused, for a guest: an entry of the report's ledger.

    ``host`` has the port where it is not the scheme's own. ``status`` is None where there was no
    response, ``error`` then the type of the error that the guest got. ``sent`` counts what the guest gave,
    ``received`` all that came; ``seconds`` the time between. Never a path, a query or a secret.
    """

    method: str
    host: str
    status: int | None
    sent: int
    received: int
    seconds: float
    error: str | None


class Report(NamedTuple):
    """The one record of an invocation: logs, metrics, headers and the command line print this.

    Durations in seconds, sizes in bytes. ``start`` is "cold", "warm", "snapshot" or "reused".
    ``status`` is "success" or the name of the error's class. ``duration`` is the time the guest had
    the event; ``init_duration`` what preparing cost on the event's path (None when it did not);
    ``pool_wait`` the wait for a sandbox. ``memory_bytes`` is the peak: linear memory never shrinks.
    ``fuel_used`` is a lower bound where ``fuel_exact`` is False, and None without metering. ``http``
    are the HTTP requests that the host did for the guest, redirects included.
    """

    request_id: str
    function: str
    version: str
    abi: str
    start: str
    status: str
    duration: float
    init_duration: float | None
    pool_wait: float
    fuel_used: int | None
    fuel_exact: bool
    memory_bytes: int
    memory_limit_bytes: int
    memory_near_limit: bool
    event_bytes: int
    result_bytes: int
    log_bytes: int
    http: tuple[HttpCall, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return self._asdict() | {"http": [call._asdict() for call in self.http]}

    def __str__(self) -> str:
        """Lambda's REPORT line, with this record's own fields added to it."""
        ms = self.duration * 1e3
        parts = [
            f"REPORT RequestId: {printable(self.request_id, _MOST_CHARACTERS)}",
            f"Duration: {ms:.3f} ms",
            f"Billed Duration: {max(1, -(-int(ms * 1000) // 1000))} ms",
            f"Memory Size: {self.memory_limit_bytes // 2**20} MB",
            f"Max Memory Used: {-(-self.memory_bytes // 2**20)} MB",
        ]
        if self.init_duration is not None:
            parts.append(f"Init Duration: {self.init_duration * 1e3:.3f} ms")
        parts += [f"Status: {self.status}", f"Start: {self.start}"]
        if self.fuel_used is not None:
            parts.append(f"Fuel: {'' if self.fuel_exact else '>='}{self.fuel_used}")
        parts += [f"Event: {format_size(self.event_bytes)}", f"Result: {format_size(self.result_bytes)}"]
        if self.pool_wait:
            parts.append(f"Wait: {self.pool_wait * 1e3:.3f} ms")
        if self.http:
            parts.append(f"HTTP: {len(self.http)}")
        if self.memory_near_limit:
            parts.append("Memory: near its limit")
        return "\t".join(parts)


class Result(NamedTuple):
    """How one invocation ended: ``value``, or ``error`` with ``value`` None; never both."""

    value: Any
    error: FunctionError | None
    report: Report
    logs: tuple[Log, ...]

    @property
    def is_ok(self) -> bool:
        """Whether the function answered."""
        return self.error is None
