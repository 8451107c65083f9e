"""The rank test against values from the literature and against all arrangements."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.bench.ranks import rank_test

lists = st.lists(st.integers(0, 20), min_size=1, max_size=30)


def test_rank_test_has_the_values_of_an_example() -> None:
    """Ages at the diagnosis of diabetes, of men and of women: U is 17 of 20; the p of the approximation is 0.1113."""
    test = rank_test([19, 22, 16, 29, 24], [20, 11, 17, 12])
    assert test.below == pytest.approx(1 - 17 / 20)
    assert test.p == pytest.approx(0.11134688653314041)


def test_rank_test_corrects_for_ties() -> None:
    """By hand: of 4 and 4 values U is 12, one value is there four times, and the variance 12 - 16·60/(12·8·7)·... ."""
    first, second = [1, 2, 2, 2], [2, 3, 4, 5]
    # U of the second: pairs where it is above, half for equal ones: 4·4 − 3·½ = 14.5.
    test = rank_test(first, second)
    assert test.below == pytest.approx(14.5 / 16)
    variance = 16 / 12 * (9 - (4**3 - 4) / (8 * 7))
    assert test.p == pytest.approx(2 * (1 - _normal((6.5 - 0.5) / variance**0.5)))


def _normal(z: float) -> float:
    from statistics import NormalDist

    return NormalDist().cdf(z)


@given(lists, lists)
def test_rank_test_counts_pairs(first: list[int], second: list[int]) -> None:
    """By definition, and the same from both sides."""
    pairs = list(itertools.product(first, second))
    wanted = sum((one < other) + (one == other) / 2 for one, other in pairs) / len(pairs)
    test, mirrored = rank_test(first, second), rank_test(second, first)
    assert test.below == pytest.approx(wanted)
    assert mirrored.below == pytest.approx(1 - wanted)
    assert mirrored.p == pytest.approx(test.p)
    assert 0 <= test.p <= 1


@given(lists)
def test_rank_test_finds_nothing_where_nothing_is(values: list[int]) -> None:
    """A sample and itself."""
    assert rank_test(values, values) == (0.5, 1.0)


def test_rank_test_is_near_what_all_arrangements_say() -> None:
    """The exact p of 6 against 6, over all 924 ways to tell twelve values into two halves."""
    everything = range(12)
    for first in ((0, 1, 2, 3, 5, 8), (0, 2, 4, 6, 8, 10), (0, 1, 2, 3, 4, 5)):
        here = abs(rank_test(first, [one for one in everything if one not in first]).below - 0.5)
        extreme = sum(
            abs(rank_test(other, [one for one in everything if one not in other]).below - 0.5) >= here - 1e-9
            for other in itertools.combinations(everything, 6)
        )
        exact = extreme / 924
        assert rank_test(first, [one for one in everything if one not in first]).p == pytest.approx(exact, abs=0.02)


def test_rank_test_errs_as_often_as_its_p_says() -> None:
    """Of 1,000 pairs of samples of the same kind, one in twenty has a p below 0.05."""
    draw = random.Random(11)
    errors = sum(
        rank_test([draw.expovariate(1) for _ in range(20)], [draw.expovariate(1) for _ in range(20)]).p < 0.05
        for _ in range(1_000)
    )
    assert 30 <= errors <= 70
