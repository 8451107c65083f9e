"""Warm-up: how many samples at the beginning belong to a machine that is not yet in its stride."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from wasmrun.bench.percentiles import percentile

_BATCHES = 50
_LEAST_SAMPLES = 100
"""Fewer tell nothing about a beginning."""

_SLOWER = 1.05
_NEARLY_ALL = 90.0
_AS_GOOD = 1.5


class WarmUp(NamedTuple):
    """``cut`` samples at the beginning are warm-up; ``is_steady`` unless it may still go on at the end."""

    cut: int
    is_steady: bool


def warm_up(samples: Sequence[float]) -> WarmUp:
    """Find the warm-up in *samples*, which stand in the order in which they were measured.

    The marginal standard error rule (MSER, White 1997): cut where what is left has the least standard error
    of its mean; here of the medians of batches, so that single outliers decide nothing. A cut is believed
    only where what it cuts off was clearly slower than what is left.
    """
    if len(samples) < _LEAST_SAMPLES:
        return WarmUp(0, True)
    ends = [at * len(samples) // _BATCHES for at in range(_BATCHES + 1)]
    batches = [median(samples[ends[at] : ends[at + 1]]) for at in range(_BATCHES)]
    cut = _least_error(batches)
    rest = batches[cut:]
    if not cut or not _is_slower(batches[:cut], rest):
        return WarmUp(0, True)
    half = len(rest) // 2
    return WarmUp(ends[cut], not _is_slower(rest[:half], rest[half:]))


def _is_slower(first: Sequence[float], rest: Sequence[float]) -> bool:
    """Whether the middle of *first* is clearly above that of *rest*, and above nearly all of it."""
    return median(first) >= max(median(rest) * _SLOWER, percentile(sorted(rest), _NEARLY_ALL))


def _least_error(batches: Sequence[float]) -> int:
    """Where to cut: the first place that is about as good as the best one; at most in the middle, where too little is left."""
    errors: list[float] = []
    total = squares = 0.0
    # From the end, adding one batch at a time to the sums.
    for at in range(len(batches) - 1, -1, -1):
        total += batches[at]
        squares += batches[at] ** 2
        left = len(batches) - at
        errors.append(max(squares - total**2 / left, 0.0) / left**2)
    errors = errors[::-1][: len(batches) // 2 + 1]
    enough = min(errors) * _AS_GOOD
    return next(at for at, error in enumerate(errors) if error <= enough)
