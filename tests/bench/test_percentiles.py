"""Percentiles by nearest rank, and their bootstrap intervals."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.bench.percentiles import binomial_tail, interval, percentile, rank, ratio_of_medians

values = st.lists(st.integers(0, 10**9), min_size=1, max_size=60).map(sorted)
percents = st.sampled_from([0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0])


@given(values, percents)
def test_percentile_is_a_value_that_was_measured(ordered: list[int], percent: float) -> None:
    """The smallest that so many do not exceed."""
    value = percentile(ordered, percent)
    count = len(ordered)
    assert value in ordered
    assert sum(one <= value for one in ordered) / count >= percent / 100 - 1e-9
    assert sum(one < value for one in ordered) / count < percent / 100


@pytest.mark.parametrize(
    ("count", "percent", "wanted"), [(1000, 99.9, 999), (10, 50, 5), (11, 50, 6), (1, 99, 1), (7, 0.1, 1)]
)
def test_rank_is_exact_where_binary_fractions_are_not(count: int, percent: float, wanted: int) -> None:
    """99.9 % of 1,000 is 999, and not one more."""
    assert rank(count, percent) == wanted


@given(st.integers(1, 40), st.integers(0, 41), st.floats(0, 1))
def test_binomial_tail_is_the_sum_of_its_terms(count: int, least: int, chance: float) -> None:
    """As the definition has it."""
    terms = [math.comb(count, at) * chance**at * (1 - chance) ** (count - at) for at in range(least, count + 1)]
    assert binomial_tail(count, least, chance) == pytest.approx(sum(terms), abs=1e-9)


@pytest.mark.parametrize(
    ("count", "least", "chance", "wanted"), [(100_000, 50_000, 0.5, 0.50126), (10**6, 10**6 - 5, 0.999, 0.0)]
)
def test_binomial_tail_holds_for_many(count: int, least: int, chance: float, wanted: float) -> None:
    """No overflow, and no sum over all of them."""
    assert binomial_tail(count, least, chance) == pytest.approx(wanted, abs=1e-4)


@given(values, percents)
def test_interval_holds_its_percentile(ordered: list[int], percent: float) -> None:
    """Both ends were measured, too."""
    low, high = interval(ordered, percent)
    assert low in ordered
    assert high in ordered
    assert low <= percentile(ordered, percent) <= high


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_interval_is_what_resampling_finds(percent: float) -> None:
    """The same ends, to one rank, as those of 4,000 resamples."""
    draw = random.Random(7)
    ordered = sorted(draw.random() for _ in range(200))
    found = sorted(percentile(sorted(draw.choices(ordered, k=200)), percent) for _ in range(4_000))
    low, high = interval(ordered, percent)
    for exact, drawn in ((low, found[100]), (high, found[3_899])):
        assert abs(ordered.index(exact) - ordered.index(drawn)) <= 1


def test_interval_covers_as_often_as_it_says() -> None:
    """The median of the whole is in 95 of 100 intervals, give or take what chance does to 400 of them."""
    draw = random.Random(3)
    hits = 0
    for _ in range(400):
        low, high = interval(sorted(draw.expovariate(1) for _ in range(101)), 50)
        hits += low <= math.log(2) <= high
    assert 0.92 <= hits / 400 <= 0.985


def test_interval_of_one_value_is_that_value() -> None:
    """Nothing is known of its spread."""
    assert interval([5], 99) == (5, 5)


def test_ratio_of_medians_depends_on_its_seed_alone() -> None:
    """The same seed, the same interval."""
    first, second = (
        sorted(random.Random(1).choices(range(100, 200), k=80)),
        sorted(random.Random(2).choices(range(50, 100), k=80)),
    )
    assert ratio_of_medians(first, second, seed=4) == ratio_of_medians(first, second, seed=4)
    assert ratio_of_medians(first, second, seed=4)[1] != ratio_of_medians(first, second, seed=5)[1]
    ratio, (low, high) = ratio_of_medians(first, second)
    assert ratio == percentile(first, 50) / percentile(second, 50)
    assert low < ratio < high


@given(values.map(lambda ordered: [value + 1 for value in ordered]))
def test_ratio_of_something_to_itself_is_one(ordered: list[int]) -> None:
    """And one is in its interval."""
    ratio, (low, high) = ratio_of_medians(ordered, ordered)
    assert ratio == 1
    assert low <= 1 <= high
