"""Does the pool keep up, and how large must it be: how many events find a warm sandbox at a steady rate?"""

import itertools
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import wasmrun
from wasmrun.bench.loads import closed_loop, open_loop

from .effort import Effort
from .figures import Figure, figure
from .guests import PAYLOAD, echo
from .subject import executor, function

CAVEATS = (
    "A core's limit is what one thread does in a closed loop of events in fresh sandboxes, measured in each turn.",
    "An open loop then sends a share of that, one event after the other from one thread, each when its time has come.",
    "What refills pauses for a millisecond between its rounds: a pool has to hold what comes meanwhile.",
    "Refilling runs beside it on a thread of its own, and shares the interpreter's lock with it.",
    "Latency counts from the moment at which an event was due; what was sent late waited that long.",
    "A share of warm sandboxes means something where nearly all that was due was done: else it is of fewer events.",
)
_SIZES = (8, 64, 256, 900)
_SHARES = (0.5, 0.8)


def measure(effort: Effort) -> Iterator[Figure]:
    """All sizes and rates in turn."""
    seconds = effort.pick(1, 2, 5) / 2
    shares: dict[str, list[float]] = {}
    done: dict[str, list[float]] = {}
    medians: dict[str, list[float]] = {}
    limits: list[float] = []
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache, executor(Path(cache)) as ours:
        fresh = partial(ours.invoke, function(echo()), PAYLOAD)
        for _ in range(effort.pick(3, 7, 15)):
            limits.append(closed_loop(fresh, concurrency=1, duration=seconds).load.rate)
            for size, share in itertools.product(_SIZES, _SHARES):
                name = f"pool of {size} at {share:.0%}"
                found = _load(ours, size, limits[-1] * share, seconds)
                for samples, value in zip((shares, done, medians), found, strict=True):
                    samples.setdefault(name, []).append(value)
    yield figure("a core's limit, fresh", "events/s", limits)
    for name, samples in shares.items():
        yield figure(f"{name}: handed out warm", "%", samples, "≥ 99" if name == _JUDGED else "")
    for name, samples in done.items():
        yield figure(f"{name}: done of what was due", "%", samples, "≥ 99" if name == _JUDGED else "")
    for name, samples in medians.items():
        yield figure(f"{name}: median latency", "µs", samples)


_JUDGED = f"pool of {_SIZES[-1]} at {_SHARES[-1]:.0%}"


def _load(ours: wasmrun.Executor, size: int, rate: float, seconds: float) -> tuple[float, float, float]:
    """The events that were handed out warm, of a hundred; those that were done in their time; the median latency in microseconds."""
    warm = function(echo(), warm=size)
    ours.prewarm(warm)
    before = ours.stats().pool
    part = open_loop(partial(ours.invoke, warm, PAYLOAD), rate=rate, concurrency=1, duration=seconds)
    after = ours.stats().pool
    ours.unload(warm)
    found, made = after.warm_starts - before.warm_starts, after.cold_starts - before.cold_starts
    return 100 * found / (found + made), 100 * part.load.rate / rate, statistics.median(part.latencies) / 1000
