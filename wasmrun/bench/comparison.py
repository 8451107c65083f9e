"""Comparison: which of two functions is faster, and whether that can be told at all."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from wasmrun.bench.percentiles import Interval, ratio_of_medians
from wasmrun.bench.ranks import rank_test
from wasmrun.bench.samples import Measured, Samples

_BLOCKS = 20
"""Samples that follow each other are alike, which the test must not take for evidence: it sees the medians of blocks."""

_LEAST = 8
"""Samples below which nothing is said: the test is an approximation."""

_CHANCE = 0.001
"""A difference is one that chance would show less often than this. There are a dozen of them in a table."""

_NEGLIGIBLE = 0.02
"""Less is not called a difference: where the loader happens to put things in memory moves times as much."""

_NEGLIGIBLE_SINCE = 0.1
"""The same for what was measured at another time: the machine was in another state, which no test can see."""

NO_DIFFERENCE = "no difference"
UNSURE = "too uneven to tell"
TOO_FEW = "too few to tell"


class Difference(NamedTuple):
    """How one kind of samples of the first function stands to that of the second.

    ``ratio`` is the median of the first over that of the second, ``interval`` its bootstrap interval, ``p`` the rank test's.
    """

    key: str
    first: float
    second: float
    ratio: float
    interval: Interval
    p: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """The difference as a JSON object; durations in seconds."""
        return self._asdict() | {"interval": list(self.interval)}


class Comparison(NamedTuple):
    """The differences of two functions, by what was measured of both. ``origin`` is the file that the second is from.

    ``unlike`` says what was not the same when that was made: versions, machine, settings.
    """

    first: str
    second: str
    differences: tuple[Difference, ...]
    origin: str | None = None
    unlike: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        return self._asdict() | {"differences": [one.as_dict() for one in self.differences]}


def compare(first: Measured, second: Measured, origin: str | None = None, unlike: tuple[str, ...] = ()) -> Comparison:
    """Compare all that was measured of both, by *first*'s order."""
    others = {_kind(one): one for one in (*second.phases.values(), *second.samples.values())}
    least = _NEGLIGIBLE if origin is None else _NEGLIGIBLE_SINCE
    found = [
        _difference(key, one, others[_kind(one)], least)
        for key, one in (*first.phases.items(), *first.samples.items())
        if _kind(one) in others
    ]
    return Comparison(first.label, second.label, tuple(found), origin, unlike)


def _kind(samples: Samples) -> tuple[object, ...]:
    """What samples have in common that can be compared: of loads, the rate that was asked for, too."""
    load = samples.load
    return samples.name, samples.place, None if load is None else (load.concurrency, load.asked)


def _difference(key: str, first: Samples, second: Samples, least: float) -> Difference:
    ratio, interval = ratio_of_medians(_positive(first.steady), _positive(second.steady))
    enough = min(len(first.steady), len(second.steady)) >= _LEAST
    test = rank_test(_blocks(first), _blocks(second))
    verdict = _verdict(ratio, interval, test.p, least) if enough else TOO_FEW
    return Difference(key, first.seconds(50), second.seconds(50), ratio, interval, test.p, verdict)


def _positive(values: Sequence[int]) -> list[int]:
    # A clock may show the same time twice.
    return [max(value, 1) for value in values]


def _blocks(samples: Samples) -> list[float]:
    """What the rank test sees: medians of blocks, or the samples where they are few."""
    values = samples.nanoseconds[samples.warm_up.cut :]
    if len(values) < 2 * _BLOCKS:
        return list(map(float, values))
    ends = [at * len(values) // _BLOCKS for at in range(_BLOCKS + 1)]
    return [float(median(values[ends[at] : ends[at + 1]])) for at in range(_BLOCKS)]


def _verdict(ratio: float, interval: Interval, p: float, least: float) -> str:
    if interval.low <= 1 <= interval.high or abs(ratio - 1) < least:
        return NO_DIFFERENCE
    if p >= _CHANCE:
        # The machine's moods could have made it: of a ratio far from 1, nobody should read that there is none.
        return UNSURE if abs(ratio - 1) >= _NEGLIGIBLE_SINCE else NO_DIFFERENCE
    return f"{1 / ratio:.2f} × as fast" if ratio < 1 else f"{ratio:.2f} × as slow"
