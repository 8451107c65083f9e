"""What does the engine itself cost: from C, and from wasmtime-py's public classes?"""

from collections.abc import Iterator

from .effort import Effort
from .figures import Figure
from .guests import SMALL, USUAL
from .native import floor_rounds
from .rival import rival_rounds
from .rounds import interleave

CAVEATS = (
    "The floor is a C program that takes wasmrun's steps on the same shared library, with the same settings.",
    "It loads the same kind of artifact, and sets a callback at the epoch deadline, or no guest could be cancelled.",
    "It has no Python, no report, no request id, no pool that counts, and no tick timer.",
    "Guests start with 1 page of memory but where 17 are named: a pool clears what a sandbox had, and 17 cost more.",
    "wasmtime-py's public classes cannot reach the pooling allocator; '+ pooling' is helped by its private module.",
    "A warm figure is the hand-out alone: sandboxes are prepared before a burst and deleted after it, off the clock.",
    "Bursts of 48 are what the other benchmarks use; in bursts of 500 each hand-out finds colder memory.",
)


def measure(effort: Effort) -> Iterator[Figure]:
    """Fresh and warm, each from C and from Python."""
    with floor_rounds((SMALL, USUAL)) as floor:
        contestants = {**floor, **rival_rounds(pooled=False), **rival_rounds(pooled=True)}
        costs = interleave(contestants, effort.pick(15, 61, 151))
    for name in contestants:
        yield costs.cost(name)
    if floor:
        yield costs.ratio("wasmtime-py, fresh", "floor, fresh")
        yield costs.ratio("wasmtime-py, warm", "floor, warm")
