"""A sandbox: one live instance, from being prepared to being destroyed.

    prepare → ready, in the pool → handed to one event → spent → destroyed after the reply

Only a function with ``reuse=True`` gets a sandbox that was handed out before, and never one whose
last event did not end in an answer.
"""

from __future__ import annotations

import time

from wasmrun.errors import FunctionError
from wasmrun.hints import Any
from wasmrun.invocation import Log
from wasmrun.machine import wasi
from wasmrun.machine.failures import Stopped
from wasmrun.machine.instance import Instance
from wasmrun.machine.ledger import Ledger
from wasmrun.machine.program import BaseProgram


class Sandbox(Instance):
    """A live instance of a program, and the story of its event.

    ``start`` is how the event found it: "cold", "snapshot", "warm" or "reused". ``is_handed`` while the pool counts
    it as an event's. Times in nanoseconds.
    """

    __slots__ = (
        "event_bytes",
        "has_failed",
        "is_handed",
        "is_ready",
        "prepare_ns",
        "request_id",
        "result_bytes",
        "run_ns",
        "start",
        "tenant",
        "waited_ns",
    )

    def __init__(self, program: BaseProgram, held: tuple[int, int, int, int] | None = None) -> None:
        """With *held*, one that is ready, as `let_go` left it."""
        Instance.__init__(self, program, held)
        self.is_ready = held is not None
        self.start = "warm" if self.is_ready else "snapshot" if program.function.snapshot else "cold"
        self.is_handed = False
        self.has_failed = False
        self.request_id: str | None = None
        self.tenant: str | None = None
        self.event_bytes = self.result_bytes = 0
        self.prepare_ns = self.run_ns = self.waited_ns = 0

    @property
    def is_used(self) -> bool:
        """Whether an event was here."""
        return self.start == "reused"

    def prepare(self) -> None:
        """Instantiate, and run the guest's own start-up, within an allowance of its own.

        Raises what the start-up did wrong, as for an event; the sandbox is of no use then.
        """
        started = time.monotonic_ns()
        program = self.program
        abi = program.abi
        if program.runs_at_start:
            self.timeout_name = "init_timeout"
            self.arm(program.fuel, program.init_timeout_ns)
        try:
            # A start function may call WASI, and in a store that has none that ends the process.
            if program.uses_wasi and (program.has_start or not abi.wasi_at_event):
                function = program.function
                wasi.configure(
                    self, program.streams, args=(function.label, *function.args), env=function.env, dirs=function.dirs
                )
            if program.is_prepared_at_once:
                self.prepare_at_once()
            else:
                self.instantiate()
                abi.prepare(self)
            self.is_ready = True
        finally:
            self.prepare_ns = time.monotonic_ns() - started

    def run(self, payload: bytes, timeout_ns: int) -> Any:
        """Hand the event over and give the function's value. Raises a `FunctionError`."""
        program = self.program
        self.has_failed = True  # until it has not
        self.timeout_name = "timeout"
        self.arm(program.fuel, timeout_ns)
        abi = program.abi
        if program.has_http:
            self.ledger = Ledger()
        try:
            answer = abi.call(self, payload)
        finally:
            self.run_ns = time.monotonic_ns() - self.deadline_ns + timeout_ns
            if self.ledger is not None:
                self.ledger.is_open = False
        self.result_bytes = len(answer)
        value = abi.decode(answer)
        self.has_failed = False
        return value

    def clean_up(self) -> bool:
        """Give the answer's memory back to the guest, within what is left of the event's budget.

        False where that fails: the answer stands, the sandbox must go.
        """
        try:
            self.program.abi.release(self)
        except (FunctionError, Stopped):
            return False
        # The next event must neither report what was this one's, nor have this answer freed again.
        self.start = "reused"
        self.logbook = self.ledger = None
        self.event_bytes = self.result_bytes = self.run_ns = 0
        return self.stop is None

    def take_logs(self) -> tuple[tuple[Log, ...], int]:
        """What the guest logged, and how many bytes of text that is; the log starts anew."""
        book, self.logbook = self.logbook, None
        if book is None:
            return (), 0
        book.flush()
        return tuple(book.entries), book.size
