"""What does an event cost, in a fresh sandbox and in a warm one, beside the floor and wasmtime-py?"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .effort import Effort
from .figures import Figure
from .guests import echo
from .native import native
from .rival import rival_rounds
from .rounds import BURST, Round, Rounds, interleave, time_bursts, time_each
from .subject import ENVELOPE, RAW, caller, executor, function, refiller

CAVEATS = (
    "The guest echoes 64 bytes: everything measured is the way in and out.",
    "A fresh figure holds all that an event costs, the sandbox's end included.",
    "A warm figure is the hand-out: bursts of 48 from a pool of 64, refilled between them, off the clock.",
    "What wasmrun refills and deletes in the background during a burst takes time from that burst; the rivals do none.",
    "The envelope's event is a map of 64 bytes, encoded and decoded by the host; the guest answers [0, event].",
    "wasmtime-py and the floor do the raw entry's steps with the same limits: no report, no statistics, no tick timer.",
    "The garbage collector stays on, as it is in programs.",
)
POOL = 64


def measure(effort: Effort) -> Iterator[Figure]:
    """All contestants in one run, then the ratios between them."""
    rounds = effort.pick(5, 15, 31)
    with (
        tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache,
        native() as floor,
        executor(Path(cache)) as ours,
    ):

        def fresh(entry: str) -> Round:
            return partial(time_each, caller(ours, function(echo(), entry)), 1000)

        def warm(entry: str) -> Round:
            ready = function(echo(), entry, warm=POOL)
            return partial(time_bursts, caller(ours, ready), refiller(ours, ready), BURST, 20)

        contestants: dict[str, Round] = {
            "raw, fresh": fresh(RAW),
            "raw, warm": warm(RAW),
            "envelope, fresh": fresh(ENVELOPE),
            "envelope, warm": warm(ENVELOPE),
            **rival_rounds(pooled=False),
            **rival_rounds(pooled=True),
        }
        if floor:
            contestants.update(floor.rounds())
        costs = interleave(contestants, rounds)
    yield from (costs.cost(name) for name in contestants)
    yield from _ratios(costs, has_floor=floor is not None)


def _ratios(costs: Rounds, *, has_floor: bool) -> Iterator[Figure]:
    if has_floor:
        yield costs.ratio("raw, fresh", "floor, fresh", "≤ 4")
        yield costs.ratio("raw, warm", "floor, warm")
    yield costs.ratio("raw, warm", "raw, fresh", "≤ 0.5")
    yield costs.ratio("wasmtime-py, fresh", "raw, fresh", "≥ 5")
    yield costs.ratio("wasmtime-py, warm", "raw, warm", "≥ 5")
    yield costs.ratio("wasmtime-py + pooling, fresh", "raw, fresh")
    yield costs.ratio("wasmtime-py + pooling, warm", "raw, warm")
    yield costs.ratio("envelope, fresh", "raw, fresh", "≤ 1.5")
    yield costs.ratio("envelope, warm", "raw, warm", "≤ 1.5")
