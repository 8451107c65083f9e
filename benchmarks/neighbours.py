"""What does an event wait beside another tenant's flood of them?"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmrun

from .effort import Effort
from .figures import Figure, figure
from .guests import SPIN
from .subject import function, spin_event

CAVEATS = (
    "Two worker processes, hardened with every wall that the machine has; every event counts for a millisecond.",
    "The quiet tenant sends one event after the other; the loud one has eight on their way at any moment.",
    "Samples are medians of 100 events, alone and beside the flood in turn.",
    "The parent's own work takes its share of the processors: on two of them, two workers and a parent are three.",
)


def measure(effort: Effort) -> Iterator[Figure]:
    """A tenant's median latency alone, and beside the flood of another."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as directory:
        cache = Path(directory)
        spin = function(SPIN, warm=1)
        event = spin_event(cache, spin)
        with wasmrun.ProcessExecutor(processes=2, cache_dir=cache, wait=60) as executor:
            quiet = partial(executor.invoke, spin, event, tenant="quiet")
            alone, beside = [], []
            for _ in range(effort.pick(3, 7, 21)):
                alone.append(_median(quiet, 100))
                beside.append(_beside(partial(executor.invoke, spin, event, tenant="loud"), quiet))
    yield figure("one tenant alone, 1 ms", "µs", alone)
    yield figure("beside another tenant's flood", "µs", beside)
    yield figure("beside ÷ alone", "×", [b / a for a, b in zip(alone, beside, strict=True)], "≤ 1.2")


def _beside(loud: Callable[[], object], quiet: Callable[[], object]) -> float:
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            loud()

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for thread in threads:
        thread.start()
    quiet()  # its worker, where it had lost that
    latency = _median(quiet, 100)
    stop.set()
    for thread in threads:
        thread.join()
    return latency


def _median(call: Callable[[], object], events: int) -> float:
    samples = []
    for _ in range(events):
        began = time.perf_counter()
        call()
        samples.append((time.perf_counter() - began) * 1e6)
    return statistics.median(samples)
