"""Warm-up: found where it is, and nowhere else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.bench.samples import Load, Samples
from wasmrun.bench.warmup import warm_up


def noise(count: int, seed: int = 1) -> list[float]:
    """Latencies as they are: most alike, some far off."""
    draw = random.Random(seed)
    return [100 * draw.lognormvariate(0, 0.05) * (30 if draw.random() < 0.01 else 1) for _ in range(count)]


@pytest.mark.parametrize("length", [20, 100, 300])
def test_warm_up_is_found(length: int) -> None:
    """To the batch, though there are outliers before and after it."""
    values = [value * (3 if at < length else 1) for at, value in enumerate(noise(1_000))]
    cut, is_steady = warm_up(values)
    assert is_steady
    assert length <= cut <= length + 60


def test_warm_up_that_decays_is_found() -> None:
    """As caches and processors warm up."""
    values = [value * (1 + 4 * 0.98**at) for at, value in enumerate(noise(1_000))]
    cut, _ = warm_up(values)
    assert 60 <= cut <= 400


@pytest.mark.parametrize("seed", range(30))
def test_warm_up_is_not_found_in_noise(seed: int) -> None:
    """Nor is a slow end one, or a few slow samples at the beginning."""
    assert warm_up(noise(1_000, seed)) == (0, True)
    assert warm_up([value * (3 if at > 700 else 1) for at, value in enumerate(noise(1_000, seed))])[0] == 0
    assert warm_up([5_000.0] * 3 + noise(1_000, seed)) == (0, True)


def test_warm_up_that_goes_on_is_said_to() -> None:
    """What gets faster and faster until the end has not ended."""
    values = [value * (5 - 4 * at / 1_000) for at, value in enumerate(noise(1_000))]
    cut, is_steady = warm_up(values)
    assert cut > 0
    assert not is_steady


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=400))
def test_warm_up_is_at_most_half(values: list[int]) -> None:
    """Whatever it is given; and of few samples nothing is said."""
    cut, _ = warm_up(values)
    assert 0 <= cut <= len(values) // 2
    assert cut == 0 or len(values) >= 100


def test_warm_up_is_kept_and_does_not_count() -> None:
    """Under load it does count: who waited at the beginning did wait."""
    values = tuple(int(value * (3 if at < 200 else 1)) for at, value in enumerate(noise(1_000)))
    samples = Samples("warm", values)
    assert samples.nanoseconds == values
    assert len(samples.steady) == 1_000 - samples.warm_up.cut < 850
    assert len(Samples("closed", values, load=Load(1, 1.0)).steady) == 1_000
