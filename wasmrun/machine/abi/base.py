"""What every guest ABI does, and the one detail about an event that several need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

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


class Abi(Protocol):
    """One function's way of being called. Made when the function is loaded, shared by its sandboxes."""

    name: ClassVar[str]
    entry: str
    """The export that takes the event."""
    is_raw: bool
    """Whether event and answer are bytes as they stand."""
    needs_context: bool
    """Whether `encode` reads what is given about an event."""
    wasi_at_event: bool
    """Whether WASI is set up for each event, rather than when the sandbox is prepared."""
    start_up: tuple[bytes, ...]
    """Exports that are run while a sandbox is prepared."""
    can_reuse: bool
    """Whether an instance can take another event after an answer."""

    def encode(self, event: Any, given: Given | None) -> bytes:
        """The event as bytes. Raises `InvalidEvent`."""
        ...

    def prepare(self, instance: Instance) -> None:
        """Find the exports and run the guest's own start-up."""
        ...

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Hand the event over and read the answer. Raises a `FunctionError`."""
        ...

    def decode(self, answer: bytes) -> Any:
        """The value in an answer. Raises `InvalidAnswer`, or the error that the guest reported."""
        ...

    def release(self, instance: Instance) -> None:
        """Give the answer's memory back, before the instance takes another event."""
        ...
