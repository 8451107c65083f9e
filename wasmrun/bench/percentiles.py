"""Percentiles: by nearest rank, each with the interval that a bootstrap gives it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.95
"""Share of bootstrap resamples whose percentile lies in the interval."""

_NEGLIGIBLE = 1e-12
_DRAWS = 2_000


class Interval(NamedTuple):
    """Where a figure may well lie, given how much the samples differ."""

    low: float
    high: float


def rank(count: int, percent: float) -> int:
    """The rank, from 1, of the smallest of *count* ordered values that *percent* of them do not exceed."""
    # 99.9 % of 1,000 is 999, though not in binary.
    return min(count, max(1, math.ceil(count * percent / 100 - 1e-9)))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the *ordered* values that *percent* of them do not exceed. One of them, never between two."""
    return ordered[rank(len(ordered), percent) - 1]


def interval(ordered: Sequence[float], percent: float, level: float = LEVEL) -> Interval:
    """The percentile bootstrap's interval of a percentile, without drawing a resample.

    The value at rank *k* of a resample of *n* values is at most the *j*-th of the original ones when at least
    *k* of its *n* draws are: that is a binomial tail, so what resampling for ever would converge to is
    computed instead.
    """
    count = len(ordered)
    wanted = rank(count, percent)
    ends = [_first(count, wanted, share) for share in ((1 - level) / 2, (1 + level) / 2)]
    return Interval(ordered[ends[0] - 1], ordered[ends[1] - 1])


def _first(count: int, wanted: int, share: float) -> int:
    """The first rank that the resampled one does not exceed with a probability of *share*."""
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        if binomial_tail(count, wanted, middle / count) >= share:
            high = middle
        else:
            low = middle + 1
    return low


def binomial_tail(count: int, least: int, chance: float) -> float:
    """The probability that *least* or more of *count* draws succeed, each with *chance*."""
    if chance <= 0.0 or chance >= 1.0:
        return float(least <= 0 or chance >= 1.0)
    if least > count * chance:
        return _sum(count, least, chance, 1)
    return 1.0 - _sum(count, least - 1, chance, -1)


def _sum(count: int, start: int, chance: float, step: int) -> float:
    """The probabilities from *start* on, away from the most likely number, as long as they matter."""
    if not 0 <= start <= count:
        return 0.0
    term = math.exp(
        math.lgamma(count + 1) - math.lgamma(start + 1) - math.lgamma(count - start + 1)
        + start * math.log(chance) + (count - start) * math.log1p(-chance)
    )  # fmt: skip
    odds = chance / (1 - chance)
    total, at = 0.0, start
    while 0 <= at <= count and term > _NEGLIGIBLE * total:
        total += term
        term *= (count - at) / (at + 1) * odds if step > 0 else at / (count - at + 1) / odds
        at += step
    return min(total, 1.0)


def ratio_of_medians(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> tuple[float, Interval]:
    """The median of *first* over that of *second*, both ordered and above 0, and its bootstrap interval.

    Each resample's median is drawn by its rank: the *k*-th of *n* uniform draws has a beta distribution. The same
    *seed* gives the same interval.
    """
    draw = random.Random(seed)  # noqa: S311  # resampling is no secret
    ratios = sorted(_drawn(first, draw) / _drawn(second, draw) for _ in range(_DRAWS))
    ends = Interval(percentile(ratios, 50 * (1 - LEVEL)), percentile(ratios, 50 * (1 + LEVEL)))
    return percentile(first, 50) / percentile(second, 50), ends


def _drawn(ordered: Sequence[float], draw: random.Random) -> float:
    count = len(ordered)
    wanted = rank(count, 50)
    return ordered[max(1, math.ceil(count * draw.betavariate(wanted, count - wanted + 1))) - 1]
