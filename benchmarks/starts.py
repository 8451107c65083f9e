"""What does an event cost, in a fresh sandbox and in a warm one, beside the floor and wasmtime-py?"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .effort import Effort
from .figures import Figure
from .guests import SMALL, USUAL, echo, label
from .native import floor_rounds
from .rival import rival_rounds
from .rounds import BURST, Round, Rounds, interleave, time_bursts, time_each
from .subject import ENVELOPE, RAW, caller, executor, function, refiller

CAVEATS = (
    "The guest echoes 64 bytes: everything measured is the way in and out.",
    "A fresh figure holds all that an event costs, the sandbox's end included.",
    "A warm figure is the hand-out: bursts of 48 from a pool of 64, refilled between them, off the clock.",
    "What wasmrun refills and deletes in the background during a burst takes time from that burst; the rivals do none.",
    "Guests start with 1 page of memory but where 17 are named: a pool clears what a sandbox had, and 17 cost more.",
    "The envelope's event is a map of 64 bytes, encoded and decoded by the host; the guest answers [0, event].",
    "The floor and wasmtime-py take the raw entry's steps with the same limits: no report, no counters, no tick timer.",
    "The floor sets a callback at the epoch deadline, as wasmrun does; wasmtime-py's public classes cannot.",
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

        def fresh(entry: str, pages: int = SMALL) -> Round:
            return partial(time_each, caller(ours, function(echo(pages), entry)), 300)

        def warm(entry: str, pages: int = SMALL) -> Round:
            ready = function(echo(pages), entry, warm=POOL)
            return partial(time_bursts, caller(ours, ready), refiller(ours, ready), BURST, 6)

        # What is divided by one another runs one after another.
        contestants: dict[str, Round] = {}
        for pages in sizes:
            contestants.update({name: floor[name] for name in _floor(pages) if floor})
            contestants[label("raw, fresh", pages)] = fresh(RAW, pages)
            contestants[label("raw, warm", pages)] = warm(RAW, pages)
        contestants["envelope, warm"] = warm(ENVELOPE)
        contestants["envelope, fresh"] = fresh(ENVELOPE)
        contestants.update(rival_rounds(pooled=False))
        contestants.update(rival_rounds(pooled=True))
        costs = interleave(contestants, effort.pick(15, 61, 151))
    yield from (costs.cost(name) for name in contestants)
    for pages in sizes:
        yield from _ratios(costs, pages, has_floor=bool(floor))
    yield from _both(costs, "envelope, fresh", "raw, fresh", "≤ 1.5")
    yield from _both(costs, "envelope, warm", "raw, warm", "≤ 1.5")
    yield from _both(costs, "wasmtime-py, fresh", "raw, fresh", "≥ 5")
    yield from _both(costs, "wasmtime-py, warm", "raw, warm", "≥ 5")
    yield costs.ratio("wasmtime-py + pooling, fresh", "raw, fresh")
    yield costs.ratio("wasmtime-py + pooling, warm", "raw, warm")


def _floor(pages: int) -> tuple[str, str]:
    return label("floor, fresh", pages), label("floor, warm", pages)


def _ratios(costs: Rounds, pages: int, *, has_floor: bool) -> Iterator[Figure]:
    fresh, warm = label("raw, fresh", pages), label("raw, warm", pages)
    if has_floor:
        for ours, floor, target in zip((fresh, warm), _floor(pages), ("≤ 4", ""), strict=True):
            yield from _both(costs, ours, floor, target)
    yield from _both(costs, warm, fresh, "≤ 0.5")


def _both(costs: Rounds, over: str, under: str, target: str) -> Iterator[Figure]:
    yield costs.ratio(over, under, target)
    yield costs.best_ratio(over, under, target)
