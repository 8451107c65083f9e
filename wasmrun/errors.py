"""The error tree, and the one table that gives each error its exit status, Lambda name and HTTP status.

WasmrunError
├─ InvalidFunction     the module or its settings can't work      fix the function
├─ InvalidEvent        the event can't be given to this function  fix the event; also ValueError
├─ FunctionNotFound    no such function, version or alias         also KeyError
├─ PayloadTooLarge     the event is over its limit
├─ Throttled           no sandbox in time                         try again later; also TimeoutError
├─ FunctionError       the function ran, and failed
│  ├─ GuestError       it reported an error
│  ├─ GuestExit        it exited with a status other than 0
│  ├─ GuestTrap        it did what WebAssembly forbids
│  ├─ TimedOut         it ran past its deadline                   also TimeoutError
│  ├─ OutOfMemory      it could not get memory
│  ├─ OutOfFuel        it used up its fuel
│  ├─ InvalidAnswer    its answer can't be read
│  └─ ResultTooLarge   its answer is over its limit
└─ HostError           our own side failed
"""

from __future__ import annotations

from collections.abc import Iterable

from wasmrun.hints import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wasmrun.invocation import Log, Report

_SHOWN = 300


def printable(text: str, limit: int = _SHOWN) -> str:
    """*text* on one line, control characters escaped, the whole cut to *limit* characters.

    Names and messages that a guest chose go through here before they reach a terminal or a log.
    """
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class WasmrunError(Exception):
    """An invocation could not be done."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])

    @property
    def message(self) -> str:
        """What happened, whose fault it is, and what to do."""
        return str(self.args[0])

    def __str__(self) -> str:
        # KeyError's own __str__ would show the repr of the message.
        return self.message


class InvalidFunction(WasmrunError):
    """The module or its settings cannot work; nothing of it ran. Fix the function."""


class InvalidEvent(WasmrunError, ValueError):
    """The event cannot be given to this function; nothing of it ran. Fix the event."""


class FunctionNotFound(WasmrunError, KeyError):
    """There is no function, version or alias of that name."""


class PayloadTooLarge(WasmrunError):
    """The event is larger than the function's event limit. Send less, or raise the limit."""


class Throttled(WasmrunError, TimeoutError):
    """No sandbox became free in time. Try again later, or allow more at once."""


class FunctionError(WasmrunError):
    """The function ran, and failed.

    ``type`` and ``stack`` are the guest's words where it reported the error, else ours. ``report``
    and ``logs`` are filled in when the invocation has ended.
    """

    def __init__(self, message: str = "", *, type: str | None = None, stack: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.type = type or self.__class__.__name__
        self.stack: tuple[str, ...] = tuple(stack)
        self.report: Report | None = None
        self.logs: tuple[Log, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments need this to cross a process boundary.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class GuestError(FunctionError):
    """The function reported an error."""


class GuestExit(FunctionError):
    """The program ended with an exit status other than 0.

    ``output`` is what it wrote to its standard output before: there are programs that answer with both.
    """

    def __init__(self, message: str = "", *, status: int = 1, output: bytes = b"") -> None:
        super().__init__(message or f"the program exited with status {status}")
        self.status = status
        self.output = output


class GuestTrap(FunctionError):
    """The function did something that WebAssembly forbids, and was stopped."""

    def __init__(self, message: str = "", *, kind: str = "unknown", frames: Iterable[str] = ()) -> None:
        self.frames: tuple[str, ...] = tuple(frames)
        super().__init__(message or f"the function trapped: {kind}", stack=self.frames)
        self.kind = kind


class TimedOut(FunctionError, TimeoutError):
    """The function ran past its deadline, and was stopped. Make it faster, or raise `timeout`."""


class OutOfMemory(FunctionError):
    """The function could not get the memory it needs. Use less, or raise `memory`."""


class OutOfFuel(FunctionError):
    """The function used up its fuel, and was stopped. Do less, or raise `fuel`."""


class InvalidAnswer(FunctionError):
    """The function's answer cannot be read."""


class ResultTooLarge(FunctionError):
    """The function's answer is over its limit. Answer less, or raise `result_bytes`."""


class HostError(WasmrunError):
    """The host failed, not the function.

    ``report`` and ``logs`` are filled in where it failed while the function ran, as for a `FunctionError`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.report: Report | None = None
        self.logs: tuple[Log, ...] = ()


def _rebuild(cls: type[FunctionError], args: tuple[object, ...], state: dict[str, object]) -> FunctionError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Outcome(NamedTuple):
    """How one class of error shows outside: at a shell, to a Lambda client, over HTTP."""

    exit_status: int
    lambda_type: str
    http_status: int


OUTCOMES: dict[type[WasmrunError], Outcome] = {
    InvalidEvent: Outcome(2, "InvalidRequestContentException", 400),
    InvalidFunction: Outcome(3, "Runtime.InvalidEntrypoint", 502),
    FunctionNotFound: Outcome(4, "ResourceNotFoundException", 404),
    PayloadTooLarge: Outcome(5, "RequestTooLargeException", 413),
    Throttled: Outcome(6, "TooManyRequestsException", 429),
    GuestError: Outcome(10, "Unhandled", 200),
    GuestExit: Outcome(11, "Runtime.ExitError", 200),
    GuestTrap: Outcome(12, "Runtime.ExitError", 200),
    TimedOut: Outcome(13, "Sandbox.Timedout", 200),
    OutOfMemory: Outcome(14, "Runtime.OutOfMemory", 200),
    OutOfFuel: Outcome(15, "Function.FuelExhausted", 200),
    InvalidAnswer: Outcome(16, "Runtime.InvalidAnswer", 200),
    ResultTooLarge: Outcome(17, "Function.ResponseSizeTooLarge", 200),
    HostError: Outcome(70, "ServiceException", 500),
}
"""One row per class. A function's own failure is HTTP 200, as Lambda has it: the invocation worked."""


def outcome(error: WasmrunError | type[WasmrunError]) -> Outcome:
    """The row of `OUTCOMES` for *error*, by its nearest class."""
    cls = error if isinstance(error, type) else type(error)
    for base in cls.__mro__:
        if base in OUTCOMES:
            return OUTCOMES[base]
    return OUTCOMES[HostError]
