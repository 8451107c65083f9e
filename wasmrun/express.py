"""The express: events of the usual kind, carried from their bytes to their answers' in one crossing.

Beside the runner's way, which every event can go and which some must: what is not carried (`NotImplemented`) goes
there. Only for functions that import nothing but their log; see machine/hotpath/express.c for what follows from that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wasmrun.errors import FunctionError
from wasmrun.invocation import Report, Result
from wasmrun.machine import messages
from wasmrun.machine.logbook import read_notebook
from wasmrun.reporting import NEAR

if TYPE_CHECKING:
    from wasmrun.machine.program import BaseProgram

_new = tuple.__new__
"""Makes a named tuple of a tuple, in a third of the time that its own class takes."""


class Express:
    """The express of one function, whose program is *program*; *way* is the compiled one.

    `carry` and `carry_and_tell` take an event and how many bytes of stack the calling thread has for guests.
    """

    def __init__(self, program: BaseProgram, way: Any) -> None:
        self.way = way
        self._decode: Callable[[bytes], Any] = program.abi.decode
        self._is_raw = program.is_raw
        self.carry: Callable[[Any, int], Any] = way.carry if program.is_raw else self._carry_value
        self._carry_bytes = way.carry
        self._carry_and_tell = way.carry_and_tell
        function = program.function
        self._names = (function.label, str(function.version), program.abi.name)
        self._fresh = "snapshot" if function.snapshot else "cold"
        self._fuel = program.fuel if function.is_metered else None
        self._memory = function.memory
        self._near = function.memory * NEAR

    def _carry_value(self, event: Any, room: int) -> Any:
        """The function's value for *event*, which goes as MessagePack."""
        try:
            answer = self._carry_bytes(messages.encode(event), room)
            return answer if answer is NotImplemented else self._decode(answer)
        except FunctionError:
            self.way.give_up()
        except (TypeError, ValueError, OverflowError, RecursionError):
            pass  # the runner meets it as well, and says what it is
        return NotImplemented

    def carry_and_tell(self, event: Any, room: int) -> Result | Any:
        """The `Result` of *event*, with its report."""
        try:
            told = self._carry_and_tell(event if self._is_raw else messages.encode(event), room)
            if told is NotImplemented:
                return told
            answer, request_id, is_warm, prepare_ns, run_ns, fuel_left, memory, event_bytes, log_bytes, logged = told
            value = self._decode(answer)
        except FunctionError:
            self.way.give_up()
            return NotImplemented
        except (TypeError, ValueError, OverflowError, RecursionError):
            return NotImplemented
        report = _new(Report, (
            request_id, *self._names, "warm" if is_warm else self._fresh, "success", run_ns / 1e9,
            None if is_warm else prepare_ns / 1e9, 0.0, None if self._fuel is None else self._fuel - fuel_left, True,
            memory, self._memory, memory >= self._near, event_bytes, len(answer), log_bytes, (),
        ))  # fmt: skip
        return _new(Result, (value, None, report, read_notebook(logged) if logged else ()))
