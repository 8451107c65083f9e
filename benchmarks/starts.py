"""What does an event cost, in a fresh sandbox and in a warm one, with little memory and with the usual?"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .effort import Effort
from .figures import Figure
from .guests import SMALL, USUAL, echo, label
from .native import floor_rounds
from .rounds import BURST, Round, Rounds, interleave, time_bursts, time_each
from .subject import RAW, caller, executor, function, refiller

CAVEATS = (
    "The guest echoes 64 bytes: everything measured is the way in and out.",
    "A fresh figure holds all that an event costs, the sandbox's end included.",
    "A warm figure is the hand-out: bursts of 48 from a pool of 64, refilled between them, off the clock.",
    "What wasmrun refills and deletes in the background during a burst takes time from that burst; the floor does none.",
    "Guests start with 1 page of memory but where 17 are named: a pool clears what a sandbox had, and 17 cost more.",
    "The floor takes the same steps with the same limits: no report, no counters, no tick timer.",
    "The hot path is the compiled one where there is one, else ctypes.",
    "The garbage collector stays on, as it is in programs.",
)
POOL = 64


def measure(effort: Effort) -> Iterator[Figure]:
    """All contestants in one run, then the ratios between them."""
    sizes = (USUAL, SMALL)
    with (
        tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache,
        floor_rounds(sizes) as floor,
        executor(Path(cache)) as ours,
    ):

        def fresh(pages: int) -> Round:
            return partial(time_each, caller(ours, function(echo(pages), RAW)), 300)

        def warm(pages: int) -> Round:
            ready = function(echo(pages), RAW, warm=POOL)
            return partial(time_bursts, caller(ours, ready), refiller(ours, ready), BURST, 6)

        # What is divided by one another runs one after another.
        contestants: dict[str, Round] = {}
        for pages in sizes:
            contestants.update({name: floor[name] for name in _floor(pages) if floor})
            contestants[label("raw, fresh", pages)] = fresh(pages)
            contestants[label("raw, warm", pages)] = warm(pages)
        costs = interleave(contestants, effort.pick(15, 61, 151))
    yield from (costs.cost(name) for name in contestants)
    for pages in sizes:
        yield from _ratios(costs, pages, has_floor=bool(floor))


def _floor(pages: int) -> tuple[str, str]:
    return label("floor, fresh", pages), label("floor, warm", pages)


def _ratios(costs: Rounds, pages: int, *, has_floor: bool) -> Iterator[Figure]:
    fresh, warm = label("raw, fresh", pages), label("raw, warm", pages)
    if has_floor:
        for ours, floor, target in zip((fresh, warm), _floor(pages), ("≤ 1.5", ""), strict=True):
            yield from costs.both_ratios(ours, floor, target)
    yield from costs.both_ratios(warm, fresh, "≤ 0.5")
