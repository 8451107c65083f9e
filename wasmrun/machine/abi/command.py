"""The command ABI: a WASI preview 1 program, JSON on its standard input and its standard output."""

from __future__ import annotations

from wasmrun.errors import (
    GuestExit,
    GuestTrap,
    InvalidAnswer,
    InvalidEvent,
    InvalidFunction,
    ResultTooLarge,
    printable,
)
from wasmrun.hints import TYPE_CHECKING, Any, ClassVar, NamedTuple
from wasmrun.jsontext import from_json, to_json
from wasmrun.machine import wasi
from wasmrun.machine.abi.base import Given
from wasmrun.machine.record import ENTRY
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.instance import Instance
    from wasmrun.machine.module import Module


class CommandCodec:
    """JSON on standard input and standard output, or bytes as they stand."""

    name: ClassVar[str] = "command"
    noun: ClassVar[str] = "command"
    """What such a function is called in messages."""
    needs_context = False

    def __init__(self, entry: str, *, is_raw: bool) -> None:
        self.entry = entry
        self.is_raw = is_raw

    def encode(self, event: Any, given: Given | None) -> bytes:
        """The event as JSON; bytes as they stand."""
        if isinstance(event, bytes):
            return event
        if self.is_raw and event == {}:
            return b""
        if self.is_raw:
            raise InvalidEvent(f"a raw {self.noun} takes bytes, not {type(event).__name__}")
        try:
            return to_json(event).encode()
        except ValueError as error:
            raise InvalidEvent(f"the event cannot be written as JSON: {error}") from None

    def decode(self, answer: bytes) -> Any:
        """The JSON that the program wrote, else its text; None where it wrote nothing."""
        if self.is_raw:
            return answer
        try:
            text = answer.decode()
        except UnicodeDecodeError as error:
            raise InvalidAnswer(
                f"the program's output is not UTF-8: {error}; take it as bytes with raw=True (--raw)"
            ) from None
        if not text.strip():
            return None
        try:
            return from_json(text)
        except ValueError:
            return text


class Inputs(NamedTuple):
    """What a program finds at its start: arguments, of which the first is its name, variables, and standard input."""

    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    stdin: bytes


class Once:
    """A program that runs once: it is prepared but for its WASI, which its event gives it."""

    wasi_at_event = True
    can_reuse = False
    start_up: tuple[bytes, ...] = ()
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __init__(self, function: Function, module: Module) -> None:
        self.entry = function.entry or "_start"
        found = module.exports.get(self.entry)
        if found is None or (found.kind, found.params, found.results) != ("function", (), ()):
            what = "is missing" if found is None else f"must be () -> (), not {found}"
            raise InvalidFunction(f"the export {printable(self.entry)!r} {what}")
        self._function = function
        self._entry_name = self.entry.encode()
        self._has_memory = getattr(module.exports.get("memory"), "kind", None) == "memory"

    def prepare(self, instance: Instance) -> None:
        """Find the memory and the entry; the program itself starts with its event."""
        if self._has_memory:
            instance.find_memory()
        instance.find(self._entry_name, ENTRY)

    def inputs(self, payload: bytes) -> Inputs:
        """What the program gets of the event *payload*."""
        raise NotImplementedError

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Run the program on *payload*; what it wrote to standard output."""
        function = self._function
        output = instance.output = wasi.Output(function.result_bytes)
        args, env, stdin = self.inputs(payload)
        wasi.configure(instance, instance.program.streams, args=args, env=env, dirs=function.dirs, stdin=stdin)
        try:
            instance.call(ENTRY, 0)
        except GuestExit as error:
            # A program whose output is refused often gives up: then that is the reason, not how it ended.
            if error.status and not output.is_over:
                error.output = bytes(output.data)
                raise
        except GuestTrap:
            if not output.is_over:
                raise
        if output.is_over:
            raise ResultTooLarge(
                f"the program wrote more than its limit of {format_size(output.limit)}; "
                "write less, or raise `result_bytes`"
            )
        return bytes(output.data)

    def release(self, instance: Instance) -> None:
        """A program that has ended does not start again."""


class Command(Once, CommandCodec):
    """The command ABI for one function. Raises `InvalidFunction` for a module that cannot serve it."""

    def __init__(self, function: Function, module: Module) -> None:
        Once.__init__(self, function, module)
        CommandCodec.__init__(self, self.entry, is_raw=function.raw)
        self._args = (function.label, *function.args)

    def inputs(self, payload: bytes) -> Inputs:
        """The function's own arguments and variables; the event is the standard input."""
        return Inputs(self._args, self._function.env, payload)
