"""What does the engine itself cost: from C, and from wasmtime-py's public classes?"""

from collections.abc import Iterator
from functools import partial

from .effort import Effort
from .figures import Figure
from .native import native
from .rival import rival_rounds
from .rounds import Round, interleave

CAVEATS = (
    "The floor is a C program on the same shared library with the same limits: no Python, no report, no tick timer.",
    "wasmtime-py's public classes cannot reach the pooling allocator; '+ pooling' is helped by its private module.",
    "A warm figure is the hand-out alone: sandboxes are prepared before a burst and deleted after it, off the clock.",
    "Bursts of 48 are what the other benchmarks use; in bursts of 500 each hand-out finds colder memory.",
)


def measure(effort: Effort) -> Iterator[Figure]:
    """Fresh and warm, each from C and from Python."""
    rounds = effort.pick(5, 15, 31)
    with native() as floor:
        contestants: dict[str, Round] = {}
        if floor:
            contestants.update(floor.rounds())
            contestants["floor, warm, bursts of 500"] = partial(floor.warm, 500, 8)
        contestants.update(rival_rounds(pooled=False))
        contestants.update(rival_rounds(pooled=True))
        costs = interleave(contestants, rounds)
    for name in contestants:
        yield costs.cost(name)
    if floor:
        yield costs.ratio("wasmtime-py, fresh", "floor, fresh")
        yield costs.ratio("wasmtime-py, warm", "floor, warm")
