"""The relayed ABI: another process encodes the events and decodes the answers; bytes go in and out here."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from wasmrun.hints import TYPE_CHECKING, Any
from wasmrun.machine.abi.base import Abi, Given

if TYPE_CHECKING:
    from wasmrun.machine.instance import Instance


_VALUE = b"\x92\x00"
"""How every encoder writes the beginning of ``[0, value]``; another one is read more closely."""


class Relayed:
    """*inner*, called with encoded events and giving encoded answers.

    *begin* is told when the guest gets its event, *reply* gets the answer: before the sandbox is given back, so
    that nobody waits for that. Where it may take another event (*is_checked*), cleaning it up runs the guest, as
    a part of this event, and there is no early reply.
    """

    needs_context = False
    is_raw = True

    def __init__(
        self, inner: Abi, begin: Callable[[], None] | None, reply: Callable[[bytes], None], *, is_checked: bool
    ) -> None:
        self._inner = inner
        self._begin = begin
        self._reply = reply
        self._is_checked = is_checked
        self._has_envelope = inner.name == "native" and not inner.is_raw
        # Whether it only copies an event, and so takes one that lies in a bay as well.
        self._copies = inner.name in ("native", "extism")
        self.name = inner.name
        self.entry = inner.entry
        self.params = inner.params
        self.results = inner.results
        self.wasi_at_event = inner.wasi_at_event
        self.start_up = inner.start_up
        self.can_reuse = inner.can_reuse
        self.prepare = inner.prepare
        self.release = inner.release

    def encode(self, event: Any, given: Given | None) -> bytes:
        """The event, which is encoded."""
        # A start-up may come first, and what it asks the host is written over an event that lies in a bay.
        return event if self._begin is None else bytes(event)

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Hand the event over and read the answer. Raises a `FunctionError`."""
        if self._begin is not None:
            self._begin()
        if isinstance(payload, memoryview):
            payload = (ctypes.c_char * len(payload)).from_buffer(payload) if self._copies else bytes(payload)
        return self._inner.call(instance, payload)

    def decode(self, answer: bytes) -> Any:
        """The answer as it is, unless it is an error, which is this invocation's.

        Where the instance may take another event it is read to the end first: one that answered what cannot be
        read takes none.
        """
        if self._is_checked or (self._has_envelope and answer[:2] != _VALUE):
            self._inner.decode(answer)
        if not self._is_checked:
            self._reply(answer)
        return answer
