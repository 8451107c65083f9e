"""A straight line through points, by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """``y = base + slope · x``; ``explained`` is the share of the variance of y that it accounts for (R²)."""

    base: float
    slope: float
    explained: float

    def at(self, x: float) -> float:
        """The line's y at *x*."""
        return self.base + self.slope * x


def fit(xs: Sequence[float], ys: Sequence[float]) -> Line | None:
    """The line through the points; None where they are fewer than three, or all at the same x."""
    count = len(xs)
    if count < 3:
        return None
    mean_x, mean_y = sum(xs) / count, sum(ys) / count
    spread_x = sum((x - mean_x) ** 2 for x in xs)
    if not spread_x:
        return None
    spread_y = sum((y - mean_y) ** 2 for y in ys)
    common = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope = common / spread_x
    explained = common**2 / (spread_x * spread_y) if spread_y else 1.0
    return Line(mean_y - slope * mean_x, slope, min(explained, 1.0))
