"""The rank test of Mann and Whitney: whether values of one kind tend to be below those of another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class RankTest(NamedTuple):
    """``below``: the chance that a value of the first kind is below one of the second, ties counting half.

    ``p``: how likely a ``below`` this far from one half is where both kinds are the same, by the normal
    approximation with corrections for ties and for continuity.
    """

    below: float
    p: float


def rank_test(first: Sequence[float], second: Sequence[float]) -> RankTest:
    """Compare two samples, neither of them empty, by the ranks of their values alone. Two-sided."""
    counts = len(first), len(second)
    total = sum(counts)
    ordered = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks_of_first = 0.0
    ties = 0.0
    at = 0
    while at < total:
        end = at
        while end < total and ordered[end][0] == ordered[at][0]:
            end += 1
        size = end - at
        # Equal values share the mean of the ranks that they take up.
        ranks_of_first += (at + 1 + end) / 2 * sum(1 for _, kind in ordered[at:end] if not kind)
        ties += size**3 - size
        at = end
    pairs = counts[0] * counts[1]
    above = ranks_of_first - counts[0] * (counts[0] + 1) / 2
    below = 1 - above / pairs
    variance = pairs / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    distance = abs(above - pairs / 2) - 0.5
    if variance <= 0 or distance <= 0:
        return RankTest(below, 1.0)
    return RankTest(below, math.erfc(distance / math.sqrt(2 * variance)))
