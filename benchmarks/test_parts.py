"""The parts of an invocation, for `pytest benchmarks/ --benchmark-only`; `python -m benchmarks ratios` compares them.

What waits for other threads or processes to wake up is not here: that is the kernel's time, and has no ratio to the floor.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .guests import PAYLOAD, echo
from .subject import ENVELOPE, RAW, caller, event_for, executor, function, refiller

pytest.importorskip("pytest_benchmark")

Measure = Callable[..., None]
POOL = 64
BURST = 48
MANY = 1000


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Any]:
    """An executor with a cache of its own."""
    with executor(tmp_path) as open_executor:
        yield open_executor


def repeat(call: Callable[[], Any]) -> None:
    """One burst: shorter than the pool, so that no event waits for a refill."""
    for _ in range(BURST):
        call()


@pytest.mark.parametrize("entry", [RAW, ENVELOPE])
def test_fresh_invocation(measure: Measure, ours: Any, entry: str) -> None:
    """An event in a sandbox made for it, the sandbox's end included."""
    measure(partial(repeat, caller(ours, function(echo(), entry))), events=BURST)


@pytest.mark.parametrize("entry", [RAW, ENVELOPE])
def test_fresh_invocation_with_its_report(measure: Measure, ours: Any, entry: str) -> None:
    """`run` instead of `invoke`: a result with its report."""
    what = function(echo(), entry)
    measure(partial(repeat, partial(ours.run, what, event_for(what))), events=BURST)


@pytest.mark.parametrize("entry", [RAW, ENVELOPE])
def test_warm_invocation(measure: Measure, ours: Any, entry: str) -> None:
    """48 events in ready sandboxes."""
    ready = function(echo(), entry, warm=POOL)
    refill = refiller(ours, ready)
    measure(partial(repeat, caller(ours, ready)), events=BURST, setup=lambda: (refill(), ())[1])


@pytest.mark.parametrize("entry", [RAW, ENVELOPE])
def test_reused_invocation(measure: Measure, ours: Any, entry: str) -> None:
    """An event in the sandbox that the one before had: neither pool nor preparation nor end."""
    measure(partial(repeat, caller(ours, function(echo(), entry, warm=1, reuse=True))), events=BURST)


def test_map(measure: Measure, ours: Any) -> None:
    """1,000 events in fresh sandboxes, on one other thread."""
    what = function(echo())
    measure(lambda: list(ours.map(what, [PAYLOAD] * MANY)), events=MANY)


def test_prewarm_64_sandboxes(measure: Measure, ours: Any) -> None:
    """A function that was unloaded is loaded from the cache, and its pool filled."""
    ready = function(echo(), warm=POOL)
    refill = refiller(ours, ready)
    refill()

    def unloaded() -> None:
        if not ours.unload(ready):
            raise RuntimeError("the function was not unloaded")

    measure(refill, events=POOL, setup=unloaded)


def test_first_invocation_with_cached_artifact(measure: Measure, tmp_path: Path) -> None:
    """A new executor's engine, a load from the artifact cache, one event, and the end of it all."""

    def whole_life() -> None:
        with executor(tmp_path) as briefly:
            caller(briefly, function(echo()))()

    whole_life()
    measure(whole_life)


def test_close_with_64_warm_sandboxes(measure: Measure, tmp_path: Path) -> None:
    """The end of an executor and of the sandboxes that are ready in it."""

    def opened() -> tuple[contextlib.ExitStack]:
        stack = contextlib.ExitStack()
        refiller(stack.enter_context(executor(tmp_path)), function(echo(), warm=POOL))()
        return (stack,)

    measure(contextlib.ExitStack.close, setup=opened)
