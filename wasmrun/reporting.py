"""Reports: the one record of an invocation, made from the sandbox that it ran in, and told to whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable

from wasmrun.errors import FunctionError, GuestError, GuestExit, GuestTrap, HostError, TimedOut, printable
from wasmrun.invocation import Report
from wasmrun.logger import Logger
from wasmrun.sandbox import Sandbox
from wasmrun.threadstate import ThreadState
from wasmrun.units import format_size

_log = Logger("wasmrun")

NEAR = 0.9
"""Share of its limit from which a memory is said to be near it."""


def make_report(sandbox: Sandbox, error: FunctionError | HostError | None, log_bytes: int) -> Report:
    """What the event in *sandbox* did and cost, as far as it came; *error* is how it failed."""
    program = sandbox.program
    function = program.function
    memory = sandbox.current_memory_bytes() + sandbox.kernel_bytes
    return Report(
        request_id=sandbox.request_id or "",
        function=function.label,
        version=str(function.version),
        abi=program.abi.name,
        start=sandbox.start,
        status="success" if error is None else type(error).__name__,
        duration=sandbox.run_ns / 1e9,
        init_duration=sandbox.prepare_ns / 1e9 if sandbox.start in ("cold", "snapshot") else None,
        pool_wait=sandbox.waited_ns / 1e9,
        fuel_used=sandbox.fuel_used() if function.is_metered else None,
        fuel_exact=error is None or (sandbox.stop is None and _fuel_is_exact(error)),
        memory_bytes=memory,
        memory_limit_bytes=function.memory,
        memory_near_limit=memory >= function.memory * NEAR,
        event_bytes=sandbox.event_bytes,
        result_bytes=sandbox.result_bytes,
        log_bytes=log_bytes,
        http=() if sandbox.ledger is None else tuple(sandbox.ledger.calls),
    )


def complete_error(error: FunctionError | HostError, report: Report) -> None:
    """Give *error* its report, and its message a word about memory where that ran short."""
    error.report = report
    # A refused memory.grow is not told to anybody: that it may be the cause is all that can be said.
    if report.memory_near_limit and isinstance(error, (GuestError, GuestTrap, GuestExit)):
        limit = format_size(report.memory_limit_bytes)
        error.args = (f"{error.message} (its memory is near its limit of {limit})",)


def _fuel_is_exact(error: FunctionError | HostError) -> bool:
    """Whether the engine had written the fuel down: it keeps it in a register while a guest computes."""
    if isinstance(error, GuestTrap):
        return error.kind in ("unreachable", "abort", "host call")
    return not isinstance(error, (TimedOut, HostError))


def tell(on_report: Callable[[Report], object], report: Report, state: ThreadState) -> None:
    """Call the program's own function, which Ctrl-C may end as it would anywhere in the program."""
    watch = state.watch
    state.depth += 1
    if watch is not None:
        watch.is_busy = False
    try:
        on_report(report)
    except Exception:
        _log.exception("on_report failed for request %s", printable(report.request_id))
    finally:
        if watch is not None:
            watch.is_busy = True
        state.depth -= 1
