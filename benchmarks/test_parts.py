"""The parts of an invocation, for `pytest benchmarks/ --benchmark-only`."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .guests import echo
from .subject import ENVELOPE, RAW, caller, executor, function, refiller

pytest.importorskip("pytest_benchmark")

POOL = 64
BURST = 48
ROUNDS = 40


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
def test_fresh_invocation(benchmark: Any, ours: Any, entry: str) -> None:
    """An event in a sandbox made for it, the sandbox's end included."""
    benchmark(caller(ours, function(echo(), entry)))


@pytest.mark.parametrize("entry", [RAW, ENVELOPE])
def test_burst_of_48_warm_invocations(benchmark: Any, ours: Any, entry: str) -> None:
    """48 events in ready sandboxes."""
    ready = function(echo(), entry, warm=POOL)
    call, refill = caller(ours, ready), refiller(ours, ready)
    benchmark.pedantic(repeat, setup=lambda: (refill(), ((call,), {}))[1], rounds=ROUNDS, warmup_rounds=2)


def test_refill_after_48_events(benchmark: Any, ours: Any) -> None:
    """Preparing what a burst has used, as far as the background has not done it before the clock starts."""
    ready = function(echo(), warm=POOL)
    call, refill = caller(ours, ready), refiller(ours, ready)
    benchmark.pedantic(refill, setup=lambda: repeat(call), rounds=ROUNDS, warmup_rounds=2)


def test_first_invocation_with_cached_artifact(benchmark: Any, tmp_path: Path) -> None:
    """A new executor's engine, a load from the artifact cache, one event, and the end of it all."""

    def whole_life() -> None:
        with executor(tmp_path) as briefly:
            caller(briefly, function(echo()))()

    whole_life()
    benchmark.pedantic(whole_life, rounds=ROUNDS, warmup_rounds=2)


def test_close_with_64_warm_sandboxes(benchmark: Any, tmp_path: Path) -> None:
    """The end of an executor and of the sandboxes that are ready in it."""

    def opened() -> tuple[tuple[contextlib.ExitStack], dict[str, Any]]:
        stack = contextlib.ExitStack()
        refiller(stack.enter_context(executor(tmp_path)), function(echo(), warm=POOL))()
        return (stack,), {}

    benchmark.pedantic(lambda stack: stack.close(), setup=opened, rounds=ROUNDS, warmup_rounds=2)
