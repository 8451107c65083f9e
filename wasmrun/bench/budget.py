"""Budgets: what figures may be at most, or must be at least, for a build to pass."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wasmrun.bench.samples import LOADS, PHASES, PLACES, STARTS, Measured, Samples, is_figure
from wasmrun.errors import printable
from wasmrun.units import format_duration, parse_duration

EXIT_STATUS = 20
"""How a benchmark ends that kept no budget, or used more fuel than before."""

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_EXPRESSION = re.compile(
    r"\s*([a-z_.]{1,40})(?:@([0-9]{1,6}))?\.([a-z0-9]+(?:\.[0-9]+)?)\s*(<=|>=|<|>)\s*(\S{1,40})\s*", re.ASCII
)
_NUMBERS = ("count", "rate")


class Budget(NamedTuple):
    """One budget: of what, in which place, at which concurrency, which figure, how it is to stand to *bound*.

    Durations in seconds. With ``concurrency`` None it is for every one.
    """

    text: str
    place: str
    name: str
    concurrency: int | None
    figure: str
    relation: str
    bound: float


class Verdict(NamedTuple):
    """Whether one function kept one budget. ``value`` is None where there is no such figure: that keeps no budget."""

    budget: Budget
    label: str
    key: str
    value: float | None
    is_kept: bool

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.budget.text}: broken by {printable(self.label)}: it was not measured"
        return f"{self.budget.text}: {'kept' if self.is_kept else 'broken'} by {printable(self.label)}: {_shown(self)}"

    def as_dict(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        return {
            "budget": self.budget.text,
            "function": self.label,
            "key": self.key,
            "value": self.value,
            "is_kept": self.is_kept,
        }


def _shown(verdict: Verdict) -> str:
    assert verdict.value is not None  # noqa: S101  # for the type checker
    figure = verdict.budget.figure
    value = f"{verdict.value:,.0f}" if figure in _NUMBERS else format_duration(verdict.value)
    return f"{verdict.key}.{figure} is {value}"


def parse_budget(text: str) -> Budget:
    """A budget from text such as "warm.p99<200us". Raises `ValueError` that says what there is to choose from."""
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise ValueError(f"{printable(text, 60)!r} is no budget; write for instance 'warm.p99<200us'")
    path, concurrency, figure, relation, bound = found.groups()
    place, _, name = path.rpartition(".")
    if name not in (*PHASES, *STARTS, *LOADS) or place not in ("", *PLACES):
        names = ", ".join((*PHASES, *STARTS, *LOADS))
        raise ValueError(
            f"{printable(text, 60)!r}: there is no {path!r}; there are {names}, and each after 'processes.'"
        )
    if not is_figure(figure):
        raise ValueError(
            f"{printable(text, 60)!r}: there is no figure {figure!r}; there are min, max, mean, count, rate, p50, p99.9"
        )
    if (concurrency is not None or figure == "rate") and name not in LOADS:
        raise ValueError(f"{printable(text, 60)!r}: only {' and '.join(LOADS)} have a concurrency and a rate")
    if place == "processes" and name in PHASES:
        raise ValueError(f"{printable(text, 60)!r}: the steps of a start are measured in this process only")
    try:
        limit = float(bound) if figure in _NUMBERS else parse_duration(bound)
    except ValueError:
        what = "a number" if figure in _NUMBERS else "a duration such as 200us"
        raise ValueError(f"{printable(text, 60)!r}: {printable(bound)!r} is not {what}") from None
    number = None if concurrency is None else int(concurrency)
    return Budget(text.strip(), place or PLACES[0], name, number, figure, relation, limit)


def check(budgets: Sequence[Budget], found: Sequence[Measured]) -> list[Verdict]:
    """How each function stands to each budget."""
    return [verdict for budget in budgets for measured in found for verdict in _check(budget, measured)]


def _check(budget: Budget, measured: Measured) -> list[Verdict]:
    meant = [
        (key, samples)
        for key, samples in (*measured.phases.items(), *measured.samples.items())
        if samples.name == budget.name and samples.place == budget.place and _is_meant(budget, samples)
    ]
    values = [(key, samples.figure(budget.figure)) for key, samples in meant]
    if not values:
        return [Verdict(budget, measured.label, budget.name, None, False)]
    keeps = _RELATIONS[budget.relation]
    return [
        Verdict(budget, measured.label, key, value, value is not None and keeps(value, budget.bound))
        for key, value in values
    ]


def _is_meant(budget: Budget, samples: Samples) -> bool:
    return budget.concurrency is None or (samples.load is not None and samples.load.concurrency == budget.concurrency)
