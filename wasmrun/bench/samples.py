"""Samples: the durations of one kind that were measured, in order, and the figures that sum them up."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from wasmrun.bench.percentiles import Interval, interval, percentile
from wasmrun.bench.warmup import WarmUp, warm_up

PHASES = ("compile", "load", "store", "instantiate", "init", "encode", "first_call", "steady_call", "tear_down")
"""What a function's life consists of, in its order."""

STARTS = ("cold", "snapshot", "warm", "reused")
"""How an event finds its sandbox."""

LOADS = ("closed", "open")
"""How events follow each other: each after the last one's answer, or whenever their time has come."""

PLACES = ("threads", "processes")
"""Where the guests run: in this process, or in workers."""

SHOWN = (50.0, 90.0, 99.0)
"""The percentiles that are always printed."""

_FIGURE = re.compile(r"min|max|mean|count|rate|p[0-9]{1,2}(?:\.[0-9]{1,3})?", re.ASCII)


def is_figure(name: str) -> bool:
    """Whether `Samples.figure` knows *name*."""
    return _FIGURE.fullmatch(name) is not None


class Load(NamedTuple):
    """How many events came, and how: *concurrency* threads, at *offered* events a second where the rate is fixed.

    ``asked`` is the rate as the measuring was told it, "300" or "50%".

    ``rate`` is what was done of them a second. ``unsent`` of them had found no thread free when the measurement ended,
    and count with the time that they had waited by then. ``lateness`` is by how much, in nanoseconds, the 99th of a
    hundred events was sent late though a thread was free: an error of the measurement. ``warm_share`` is the part
    of the events that found a sandbox ready.
    """

    concurrency: int
    rate: float
    offered: float | None = None
    unsent: int = 0
    lateness: int = 0
    warm_share: float | None = None
    asked: str = ""


class Samples:
    """Durations in nanoseconds, in the order in which they were measured; at least one.

    What warm-up there is at the beginning is kept, and not part of the figures. Nothing else is left out; under load
    not even that, because events that waited at the beginning did wait.
    """

    def __init__(
        self, name: str, nanoseconds: tuple[int, ...], place: str = "threads", load: Load | None = None
    ) -> None:
        self.name = name
        self.nanoseconds = nanoseconds
        self.place = place
        self.load = load

    @property
    def key(self) -> str:
        """What it is called where there are several: "warm", "closed@2", "processes.open@2"."""
        name = self.name if self.load is None else f"{self.name}@{self.load.concurrency}"
        return name if self.place == "threads" else f"{self.place}.{name}"

    @functools.cached_property
    def warm_up(self) -> WarmUp:
        """How much of the beginning is warm-up."""
        return warm_up(self.nanoseconds) if self.load is None else WarmUp(0, True)

    @functools.cached_property
    def steady(self) -> list[int]:
        """The durations without the warm-up, in order of size."""
        return sorted(self.nanoseconds[self.warm_up.cut :])

    def seconds(self, percent: float) -> float:
        """A percentile, in seconds."""
        return percentile(self.steady, percent) / 1e9

    def interval(self, percent: float) -> Interval:
        """The bootstrap interval of a percentile, in seconds."""
        low, high = interval(self.steady, percent)
        return Interval(low / 1e9, high / 1e9)

    def figure(self, name: str) -> float | None:
        """A figure by its name, durations in seconds; None where this has no such figure."""
        match name:
            case "min":
                return self.steady[0] / 1e9
            case "max":
                return self.steady[-1] / 1e9
            case "mean":
                return sum(self.steady) / len(self.steady) / 1e9
            case "count":
                return float(len(self.steady))
            case "rate":
                return None if self.load is None else self.load.rate
        return self.seconds(float(name[1:]))

    def as_dict(self) -> dict[str, Any]:
        """The figures as a JSON object; durations in seconds."""
        found: dict[str, Any] = {
            "count": len(self.steady),
            "warm_up": self.warm_up.cut,
            "is_steady": self.warm_up.is_steady,
            "min": self.figure("min"),
            **{f"p{percent:g}": self.seconds(percent) for percent in SHOWN},
            "max": self.figure("max"),
            "intervals": {f"p{percent:g}": list(self.interval(percent)) for percent in SHOWN},
        }
        if self.load is not None:
            found |= self.load._asdict() | {"lateness": self.load.lateness / 1e9}
        return found


class Measured(NamedTuple):
    """What was measured of one function. ``was_cached`` says whether its module was compiled before.

    ``notes`` say what is missing, and why.
    """

    label: str
    abi: str
    was_cached: bool
    phases: dict[str, Samples]
    samples: dict[str, Samples]
    notes: tuple[str, ...] = ()

    def of(self, key: str) -> Samples | None:
        """Samples by their key, of a phase, a start or a load."""
        return self.samples.get(key) or self.phases.get(key)

    @property
    def fresh(self) -> Samples | None:
        """Those of starts for which a sandbox was made: cold, or from a snapshot."""
        return self.samples.get("cold") or self.samples.get("snapshot")

    def as_dict(self) -> dict[str, Any]:
        """The figures as a JSON object; durations in seconds."""
        return {
            "function": self.label,
            "abi": self.abi,
            "was_cached": self.was_cached,
            "phases": {key: samples.as_dict() for key, samples in self.phases.items()},
            "samples": {key: samples.as_dict() for key, samples in self.samples.items()},
            "notes": list(self.notes),
        }
