"""What does an event cost by its size, in this process and through a worker?"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .effort import Effort
from .figures import Figure, figure
from .guests import LARGE_ECHO
from .rounds import Round, interleave, time_each
from .subject import Executor, executor, function, process_executor

CAVEATS = (
    "The guest answers with its event without looking at it: what is measured is copying, in and back.",
    "Each event has a fresh sandbox with a memory of 6.25 MiB; the pages that an event touches are the kernel's to give.",
    "Gigabytes a second count the payload twice, on its way in and back.",
    "The worker is hardened with every wall that the machine has.",
)
_LARGEST = 6_000_000
_EVENTS = {64: 200, 1024: 200, 16 * 1024: 100, 256 * 1024: 20, _LARGEST: 3}
"""By size in bytes, how many events a round has."""


def measure(effort: Effort) -> Iterator[Figure]:
    """All sizes in both places, in turn."""
    echo = function(LARGE_ECHO, memory="8MiB")
    with (
        tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache,
        executor(Path(cache)) as here,
        process_executor(Path(cache)) as there,
    ):
        contestants: dict[str, Round] = {}
        for size, events in _EVENTS.items():
            places: dict[str, Executor] = {"in this process": here, "in a worker": there}
            for place, where in places.items():
                payload = b"x" * size
                if where.invoke(echo, payload) != payload:
                    raise RuntimeError(f"{size} bytes did not come back {place}")
                contestants[f"{_name(size)}, {place}"] = partial(
                    time_each, partial(where.invoke, echo, payload), events
                )
        costs = interleave(contestants, effort.pick(9, 31, 101))
    yield from (costs.cost(name) for name in contestants)
    for size in _EVENTS:
        yield costs.difference(f"{_name(size)}, in a worker", f"{_name(size)}, in this process")
    for place in places:
        samples = [2 * _LARGEST / cost / 1000 for cost in costs.samples(f"{_name(_LARGEST)}, {place}")]
        yield figure(f"{_name(_LARGEST)} there and back, {place}", "GB/s", samples, "≥ 1")


def _name(size: int) -> str:
    return f"{size // 1_000_000} MB" if size >= 1_000_000 else f"{size // 1024} KiB" if size >= 1024 else f"{size} B"
