"""Starts: one event after the other through an executor, by how the event finds its sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter_ns
from typing import Any

from wasmrun.executor import Executor
from wasmrun.function import Function
from wasmrun.processes.executor import ProcessExecutor

AnyExecutor = Executor | ProcessExecutor

READY = 32
"""Sandboxes that are made ready for one burst of warm starts."""


def cold(function: Function) -> Function:
    """*function*, so that each event makes its sandbox."""
    return replace(function, warm=0, reuse=False)


def warm(function: Function, ready: int = READY) -> Function:
    """*function*, so that *ready* events find their sandbox made."""
    return replace(function, warm=ready, reuse=False)


def reused(function: Function) -> Function:
    """*function*, so that an event gets the sandbox of the one before."""
    return replace(function, warm=1, reuse=True)


def one_by_one(executor: AnyExecutor, function: Function, event: Any) -> Iterator[int]:
    """What one event after the other takes, in nanoseconds."""
    while True:
        yield timed(executor, function, event)


def in_bursts(executor: AnyExecutor, function: Function, event: Any) -> Iterator[int]:
    """The same, each with a sandbox that is ready: refilling is no part of a warm start, and not measured."""
    while True:
        for _ in range(max(1, executor.prewarm(function))):
            yield timed(executor, function, event)


def timed(executor: AnyExecutor, function: Function, event: Any) -> int:
    """What one event takes, in nanoseconds."""
    started = perf_counter_ns()
    executor.invoke(function, event)
    return perf_counter_ns() - started


def why_not_reused(executor: AnyExecutor, function: Function, event: Any) -> str | None:
    """Why an event does not get the sandbox of the one before; None where it does."""
    executor.invoke(function, event)
    result = executor.run(function, event)
    if result.report.start != "reused":
        return "its instances take one event"
    if result.error is not None:
        return f"an instance that had an event fails at the next one: {type(result.error).__name__}"
    return None
