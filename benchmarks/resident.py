"""Resident: what this process holds at the moment, as the kernel counts it (Linux)."""

import dataclasses
import gc
from pathlib import Path

_PROC = Path("/proc/self")


@dataclasses.dataclass(frozen=True)
class Resident:
    """Memory in KiB; page tables are the kernel's and not part of the resident size."""

    memory_kib: int
    page_tables_kib: int
    maps: int
    descriptors: int


def resident() -> Resident:
    """Count, after a collection of garbage."""
    gc.collect()
    with (_PROC / "maps").open() as maps:
        map_count = sum(1 for _ in maps)
    fields = dict(line.split(":", 1) for line in (_PROC / "status").read_text().splitlines())
    return Resident(
        memory_kib=int(fields["VmRSS"].split()[0]),
        page_tables_kib=int(fields["VmPTE"].split()[0]),
        maps=map_count,
        # The listing itself holds one descriptor open.
        descriptors=sum(1 for _ in (_PROC / "fd").iterdir()) - 1,
    )
