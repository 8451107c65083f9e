"""What every guest ABI does: a codec for events and answers, and the calls into an instance."""

from __future__ import annotations

from wasmrun.hints import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from wasmrun.machine.instance import Instance


HANDLER = (("i32", "i32"), ("i64",))
"""Parameters and results of a handler of the native ABI."""


class Given(NamedTuple):
    """What a caller said about one event besides the event itself."""

    request_id: str
    deadline_ms: int
    client_context: Any = None
    tenant: str | None = None
    trace_id: str | None = None


class Shape(NamedTuple):
    """How a function is called, as far as it takes to encode events for it and to decode its answers.

    ``reason`` says what was seen in the module. ``params`` and ``results`` are the entry's types where
    these are numbers. ``runs_at_start`` says whether preparing a sandbox runs code of the guest.
    """

    abi: str
    reason: str
    entry: str
    is_raw: bool
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    runs_at_start: bool = False


class Codec(Protocol):
    """Events into bytes and answers out of them, for one function. Needs no engine and no module."""

    @property
    def name(self) -> str:
        """The ABI's name."""
        ...

    entry: str
    """The export that takes the event."""
    is_raw: bool
    """Whether event and answer are bytes as they stand."""
    needs_context: bool
    """Whether `encode` reads what is given about an event."""

    def encode(self, event: Any, given: Given | None) -> bytes:
        """The event as bytes. Raises `InvalidEvent`."""
        ...

    def decode(self, answer: bytes) -> Any:
        """The value in an answer. Raises `InvalidAnswer`, or the error that the guest reported."""
        ...


class Abi(Codec, Protocol):
    """One function's way of being called. Made when the function is loaded, shared by its sandboxes."""

    wasi_at_event: bool
    """Whether WASI is set up for each event, rather than when the sandbox is prepared."""
    start_up: tuple[bytes, ...]
    """Exports that are run while a sandbox is prepared."""
    can_reuse: bool
    """Whether an instance can take another event after an answer."""

    params: tuple[str, ...]
    """The entry's parameters where these are numbers."""
    results: tuple[str, ...]

    def prepare(self, instance: Instance) -> None:
        """Find the exports and run the guest's own start-up."""
        ...

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Hand the event over and read the answer. Raises a `FunctionError`."""
        ...

    def release(self, instance: Instance) -> None:
        """Give the answer's memory back, before the instance takes another event."""
        ...
