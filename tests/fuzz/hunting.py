"""Hunting: what the command line runs of the targets that are values, with seed after seed."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import hosts
import targets

import wasmrun

TARGETS: dict[str, tuple[Callable[[targets.AnyExecutor], targets.Target], ...]] = {
    "events": (targets.Events, hosts.HttpEvents),
    "answers": (targets.Answers, targets.Places, targets.Outputs, targets.Requests, hosts.Responses),
    "frames": (),
    "plugins": (hosts.Plugins,),
    "components": (hosts.Lifted, hosts.Proxies),
}
"""By their names on the command line, what is made for each executor. Frames need none."""


def hunt_for(name: str, numbers: Iterable[int]) -> Counter[str]:
    """Check the targets of *name* with seed after seed, on both executors; how the cases ended."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="wasmrun-fuzz-") as directory, contextlib.ExitStack() as stack:
        cache_dir = Path(directory) / "cache"
        executors: list[targets.AnyExecutor] = [
            stack.enter_context(wasmrun.Executor(cache_dir=cache_dir)),
            stack.enter_context(wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir)),
        ]
        for number in numbers:
            for target in targets_of(name, executors):
                counts += targets.hunt(target, 100, seed=number)
    return counts


def targets_of(name: str, executors: Iterable[targets.AnyExecutor]) -> Iterator[targets.Target]:
    """The targets that have the name *name* on the command line."""
    if name == "frames":
        yield from (targets.Frames(), targets.Records())
    for executor in executors:
        for kind in TARGETS[name]:
            yield kind(executor)
