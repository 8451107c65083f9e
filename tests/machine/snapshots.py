"""What the tests of snapshots share: modules, their snapshots, and machines that show all that a module hides."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING, Any

import wasmtime

import wasmrun
from wasmrun.errors import FunctionError, InvalidFunction
from wasmrun.limits import KIB
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.instance import Instance
from wasmrun.machine.record import ENTRY, RECORD_WORDS, TRAP
from wasmrun.machine.snapshot import contents
from wasmrun.machine.snapshot.capture import Captured, capture, load_copy
from wasmrun.machine.snapshot.copy import make_copy
from wasmrun.machine.snapshot.startup import StartUp
from wasmrun.machine.snapshot.state import State, read_state
from wasmrun.machine.wasmfile import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 1 << 24
_VALUE_BYTES = 16


def binary(module: str | bytes) -> bytes:
    """A module's binary form."""
    return module if isinstance(module, bytes) else bytes(wasmtime.wat2wasm(module))


def snapshot(module: str | bytes, **settings: Any) -> Captured:
    """The snapshot of a module, taken in this process."""
    return capture(wasmrun.Function(b"\0asm", name="guest", **settings), binary(module))


def refusal(module: str | bytes, **settings: Any) -> str:
    """Why there is no snapshot of a module."""
    try:
        snapshot(module, **settings)
    except (InvalidFunction, ValueError) as error:
        return str(error)
    raise AssertionError("it was not refused")


class Machine:
    """A module after its start-up, of which everything can be seen."""

    def __init__(self, engine: Engine, module: bytes, function: wasmrun.Function) -> None:
        self._found = contents.read(module)
        self._copy = make_copy(self._found)
        self._program = StartUp(function, engine, load_copy(engine, self._copy, scan(module)))
        self.exports = self._program.module.exports
        self._instance = Instance(self._program)
        self._program.run(self._instance)

    def call(self, name: str, *numbers: bytes) -> bytes | str:
        """The results of an export, 16 bytes each, or the kind of error that it ends with."""
        instance = self._instance
        type_ = self.exports[name]
        count = max(len(type_.params), len(type_.results), 1)
        values = ctypes.create_string_buffer(b"".join(numbers), count * _VALUE_BYTES)
        instance.arm(self._program.fuel, self._program.timeout_ns)
        instance.find(name.encode(), ENTRY)
        address = instance.address
        error = capi.call(instance.context, address + ENTRY * 8, ctypes.addressof(values), count, address + TRAP * 8)
        if error or instance.words[instance.record + TRAP]:
            from wasmrun.machine.failures import failure

            failed = failure(instance, error or 0)
            assert isinstance(failed, FunctionError), failed
            return f"{type(failed).__name__} {getattr(failed, 'kind', '')}"
        return _significant(values.raw, type_.results)

    def state(self) -> State:
        """All of its state."""
        return read_state(self._instance, self._found, self._copy, MOST)

    def close(self) -> None:
        """Free it."""
        self._instance.delete()
        self._program.close()


def _significant(raw: bytes, results: tuple[str, ...]) -> bytes:
    """Of each value, the bytes that its type has."""
    sizes = {"i32": 4, "f32": 4, "i64": 8, "f64": 8, "v128": 16}
    return b"".join(raw[at * _VALUE_BYTES : at * _VALUE_BYTES + sizes.get(kind, 0)] for at, kind in enumerate(results))


@contextlib.contextmanager
def machines(module: bytes, taken: bytes, **settings: Any) -> Iterator[tuple[Machine, Machine]]:
    """One that has run its start-up, and one made from the snapshot."""
    function = wasmrun.Function(b"\0asm", name="guest", **settings)
    with contextlib.ExitStack() as stack:
        both = []
        for code in (module, taken):
            # One each: an engine has room for the references of one instance.
            engine = Engine(EngineSettings(512 * KIB, True), 1, RECORD_WORDS)
            engine.ticker.start()
            stack.callback(engine.close)
            machine = Machine(engine, code, function)
            stack.callback(machine.close)
            both.append(machine)
        yield both[0], both[1]
