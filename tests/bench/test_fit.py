"""A line through points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.bench.fit import fit


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=50, unique=True), st.integers(-50, 50), st.integers(0, 1000))
def test_fit_finds_a_line_that_is_there(xs: list[int], slope: int, base: int) -> None:
    """Exactly, and it explains all."""
    line = fit(xs, [base + slope * x for x in xs])
    assert line is not None
    assert line.slope == pytest.approx(slope, abs=1e-6)
    assert line.at(2_000) == pytest.approx(base + slope * 2_000, abs=1e-3)
    assert line.explained == pytest.approx(1.0)


def test_fit_says_how_much_it_explains() -> None:
    """Anscombe's first four-and-seven: slope 0.5, base 3, two thirds."""
    xs = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    ys = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    line = fit(xs, ys)
    assert line is not None
    assert (line.base, line.slope, line.explained) == pytest.approx((3.0, 0.5, 0.667), abs=2e-3)


@pytest.mark.parametrize("xs", [[], [1, 2], [3, 3, 3, 3]])
def test_fit_of_what_makes_no_line_is_none(xs: list[int]) -> None:
    """Too few points, or all above each other."""
    assert fit(xs, xs) is None
