"""Rounds: contestants measured in turn (A B C A B C ...), so that a noisy moment meets all of them alike."""

import time
from collections.abc import Callable, Iterator, Mapping

from .figures import Figure, figure

Round = Callable[[], float]
"""Runs one round of a contestant and answers its cost, in the unit that the question names."""


BURST = 48
"""Events in a row from one pool; small enough to stay below every pool that is measured."""


class Rounds:
    """The costs of all contestants, one list a contestant, the same number of rounds in each.

    Where the unit is one a second, a cost is a rate, and the best is the highest.
    """

    def __init__(self, unit: str, costs: Mapping[str, list[float]]) -> None:
        self._unit = unit
        self._costs = costs
        self._best = max if unit.endswith("/s") else min

    def samples(self, name: str) -> list[float]:
        """The costs of a contestant, round by round."""
        return self._costs[name]

    def cost(self, name: str, target: str = "") -> Figure:
        """What a contestant's rounds cost."""
        return figure(name, self._unit, self._costs[name], target)

    def ratio(self, over: str, under: str, target: str = "") -> Figure:
        """`over` ÷ `under`, divided round by round: both have met the same noise."""
        ratios = [a / b for a, b in zip(self._costs[over], self._costs[under], strict=True)]
        return figure(f"{over} ÷ {under}", "×", ratios, target)

    def difference(self, over: str, under: str, target: str = "") -> Figure:
        """`over` less `under`, round by round."""
        differences = [a - b for a, b in zip(self._costs[over], self._costs[under], strict=True)]
        return figure(f"{over} − {under}", self._unit, differences, target)

    def best_ratio(self, over: str, under: str, target: str = "") -> Figure:
        """The best round of `over` ÷ the best of `under`: both as on a machine that does nothing else."""
        best = self._best(self._costs[over]) / self._best(self._costs[under])
        return figure(f"{over} ÷ {under}, best rounds", "×", [best], target)

    def best_difference(self, over: str, under: str, target: str = "") -> Figure:
        """The best round of `over` less the best of `under`."""
        best = self._best(self._costs[over]) - self._best(self._costs[under])
        return figure(f"{over} − {under}, best rounds", self._unit, [best], target)

    def both_ratios(self, over: str, under: str, target: str = "") -> Iterator[Figure]:
        """The ratio of each round, and of the best ones."""
        yield self.ratio(over, under, target)
        yield self.best_ratio(over, under, target)


def interleave(contestants: Mapping[str, Round], rounds: int, unit: str = "µs") -> Rounds:
    """Run every contestant twice in each round; the first time, which wakes the processor, is not counted."""
    costs: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()
            costs[name].append(run())
    return Rounds(unit, costs)


def time_each(call: Callable[[], object], events: int) -> float:
    """Microseconds per call, over `events` calls in a row."""
    began = time.perf_counter_ns()
    for _ in range(events):
        call()
    return (time.perf_counter_ns() - began) / events / 1000


def time_bursts(call: Callable[[], object], refill: Callable[[], object], burst: int, bursts: int) -> float:
    """Microseconds per call, over `bursts` rows of `burst` calls, with `refill` before each row and not timed."""
    spent = 0.0
    for _ in range(bursts):
        refill()
        spent += time_each(call, burst)
    # What a background would still refill must not run into the next contestant's round.
    refill()
    return spent / bursts
