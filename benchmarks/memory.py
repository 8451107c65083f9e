"""What does an idle warm sandbox hold in memory?"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .effort import Effort
from .figures import Figure, figure
from .guests import USUAL, echo, echo_number, echo_touched
from .resident import Resident, resident
from .served import REPOSITORY
from .subject import caller, executor, function, refiller

CAVEATS = (
    "Each sample is a process of its own that ran one event of another function first: the growth is the sandboxes'.",
    "'Touched' sandboxes wrote into one page of their memory while they were prepared; 'untouched' ones did not.",
    "'Second' sandboxes live where as many others have ended: what the engine clears in place then stays resident.",
    "Page tables belong to the kernel and are outside the resident size.",
    "The count is lowered where the kernel's limit on maps would not allow it; the count is part of each name.",
)
FIRST = {"untouched": echo(), "touched": echo_touched()}
SECOND = {"second": echo(), f"second, {USUAL} pages": echo(USUAL)}
KINDS = FIRST | SECOND
TARGETS = {"untouched": "≤ 10", "touched": "≤ 14"}
# Three maps a sandbox, and a third of the limit left for the rest of the process.
MAPS_PER_SANDBOX = 4.5
MOST = 19_999
"""As many as an executor may have, with one place for the event that runs first."""
MAX_MAPS = Path("/proc/sys/vm/max_map_count")


def measure(effort: Effort) -> Iterator[Figure]:
    """All kinds in turn, each in fresh processes."""
    count = min(effort.pick(1_000, 10_000, MOST), int(int(MAX_MAPS.read_text()) / MAPS_PER_SANDBOX))
    samples: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(effort.pick(1, 3, 5)):
        for kind, grown in samples.items():
            grown.append(_sample(kind, count))
    for kind, grown in samples.items():
        name = f"{count} warm sandboxes, {kind}"
        target = TARGETS.get(kind, "")
        yield figure(f"{name}: resident, each", "KiB", [each["memory_kib"] for each in grown], target)
        yield figure(f"{name}: page tables, each", "KiB", [each["page_tables_kib"] for each in grown])
        yield figure(f"{name}: maps, each", "maps", [each["maps"] for each in grown])


def _sample(kind: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", kind, str(count)]
    answer = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    grown: dict[str, float] = json.loads(answer.stdout)
    return grown


def grow(kind: str, count: int) -> dict[str, float]:
    """What each of `count` warm sandboxes added to this process."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache, executor(Path(cache), count + 1) as ours:
        caller(ours, function(echo_number(0)))
        before = resident()
        warm = function(KINDS[kind], warm=count)
        refill = refiller(ours, warm)
        refill()
        if kind in SECOND:
            call = caller(ours, warm)
            for _ in range(count - 1):
                call()
            refill()
        return per_sandbox(before, resident(), count)


def per_sandbox(before: Resident, after: Resident, count: int) -> dict[str, float]:
    """The growth of each count, divided by the sandboxes."""
    old, new = dataclasses.asdict(before), dataclasses.asdict(after)
    return {name: (new[name] - old[name]) / count for name in old}


if __name__ == "__main__":
    print(json.dumps(grow(sys.argv[1], int(sys.argv[2]))))
