"""Does a process stay the size it was, over a million invocations?"""

import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .effort import Effort
from .figures import Figure, figure
from .guests import echo, echo_number
from .resident import Resident, resident
from .served import REPOSITORY
from .subject import ENVELOPE, RAW, caller, executor, function, settle, use_all_places

CAVEATS = (
    "A process of its own; events go in turn to a raw entry in fresh sandboxes, to one with 8 warm, to the envelope.",
    "All events are answered: errors are not part of it.",
    "A sample is taken when the background has done its work: what is ready and spent at a moment is no growth.",
    "All 128 places for sandboxes are used once before: the engine keeps two maps of each for as long as it lives.",
    "Some maps more are no leak: the C library keeps a few stacks of threads that its timer has ticked on.",
    "Growth is counted from a first sample after a tenth as many events, when caches have found their size.",
    "A count's median is over the first sample and 20 more, spread evenly; its growth is the last less the first.",
)
SAMPLES = 20
PLACES = 128


def measure(effort: Effort) -> Iterator[Figure]:
    """Memory, maps and descriptors."""
    events = effort.pick(100_000, 1_000_000, 1_000_000)
    command = [sys.executable, "-m", "benchmarks.million", str(events)]
    answer = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    samples = [Resident(**line) for line in map(json.loads, answer.stdout.splitlines())]
    memory = [sample.memory_kib / 1024 for sample in samples]
    maps = [sample.maps for sample in samples]
    descriptors = [sample.descriptors for sample in samples]
    over = f"over {events:,} events"
    yield figure("resident memory", "MiB", memory)
    yield figure(f"growth of memory {over}", "MiB", [memory[-1] - memory[0]], "≤ 5")
    yield figure("page tables", "KiB", [sample.page_tables_kib for sample in samples])
    yield figure("maps", "maps", maps)
    yield figure(f"growth of maps {over}", "maps", [maps[-1] - maps[0]], "0")
    yield figure("descriptors", "descriptors", descriptors)
    yield figure(f"growth of descriptors {over}", "descriptors", [descriptors[-1] - descriptors[0]], "0")


def soak(events: int) -> Iterator[Resident]:
    """Run a warm-up and then `events`, sampling at the start and after each of `SAMPLES` equal parts."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache, executor(Path(cache), PLACES) as ours:
        use_all_places(ours, echo_number(0), PLACES)
        kinds = [function(echo(), RAW), function(echo(), RAW, warm=8), function(echo(), ENVELOPE, warm=8)]
        turns = itertools.cycle([caller(ours, kind) for kind in kinds])
        for part in (events // 10, *[events // SAMPLES] * SAMPLES):
            _run(turns, part)
            settle(ours, kinds)
            yield resident()


def _run(turns: Iterator[Callable[[], object]], events: int) -> None:
    for call in itertools.islice(turns, events):
        call()


if __name__ == "__main__":
    for sample in soak(int(sys.argv[1])):
        print(json.dumps(dataclasses.asdict(sample)), flush=True)
