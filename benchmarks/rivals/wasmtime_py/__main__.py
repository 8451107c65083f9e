"""wasmtime-py: its public classes, naively and well used, and with the allocator that only a private module reaches."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.guests import PAYLOAD
from benchmarks.rivals.program import Way, checked, serve
from benchmarks.rounds import BURST, time_bursts, time_each

if TYPE_CHECKING:
    from benchmarks.rival import Rival


def make() -> Mapping[str, Way]:
    from benchmarks.rival import Rival  # here, so that a failure is an answer

    public, pooling = Rival(pooled=False), Rival(pooled=True)
    return {
        "naive": _each(public.naive),
        "fresh": _each(public.fresh),
        "warm": _bursts(public),
        "pooling, fresh": _each(pooling.fresh),
        "pooling, warm": _bursts(pooling),
    }


def _each(call: Callable[[], bytes]) -> Way:
    return Way(partial(time_each, checked(call, PAYLOAD)), 50, "fresh")


def _bursts(rival: "Rival") -> Way:
    def run(events: int) -> float:
        return time_bursts(rival.warm, partial(rival.refill, BURST), BURST, events // BURST)

    return Way(run, BURST * 2, "warm")


if __name__ == "__main__":
    serve(make)
