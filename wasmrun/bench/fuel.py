"""Fuel: what the events of a corpus need of it, what limit follows, and whether they need more than they did.

The fuel of an event that was answered is the same on every machine, each time. So a build can be held to it without
any tolerance. Where it is not so, the function does something else each time, and is told apart.
"""

from __future__ import annotations

import time
from _blake2 import blake2b
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from wasmrun.bench.corpus import Entry
from wasmrun.bench.environment import versions
from wasmrun.bench.fit import Line, fit
from wasmrun.bench.percentiles import percentile
from wasmrun.bench.record import VERSION, Unreadable, read_object
from wasmrun.bench.steps import REQUEST_ID
from wasmrun.errors import InvalidEvent, PayloadTooLarge, WasmrunError, outcome, printable
from wasmrun.executor import Executor
from wasmrun.function import Function

FORMAT = "wasmrun fuel"

HEADROOM = 2
"""The limit that is proposed is as many times the most that an event needed."""

EXPLAINED = 0.5
"""A line that accounts for less of the differences is none to go by."""

_READY = 4
_MOST_FUEL = 2**63
_MOST_TEXT = 1_000


class Need(NamedTuple):
    """What one event needed. ``fuel`` is None where it was not answered: then ``error`` says why, and ``status`` how.

    ``other`` is what it needed when it was run again, where that was not the same.
    """

    name: str
    digest: str
    event_bytes: int
    fuel: int | None
    other: int | None = None
    error: str = ""
    status: int = 0

    @property
    def is_steady(self) -> bool:
        """Whether it needs the same each time."""
        return self.fuel is not None and self.other is None

    def as_dict(self) -> dict[str, Any]:
        """The need as a JSON object."""
        return self._asdict()


class Needs(NamedTuple):
    """What the events of a corpus needed."""

    label: str
    events: tuple[Need, ...]

    @property
    def answered(self) -> list[Need]:
        """Those that were answered: all figures are of these."""
        return [one for one in self.events if one.fuel is not None]

    @property
    def failed(self) -> list[Need]:
        """Those that were not."""
        return [one for one in self.events if one.fuel is None]

    @property
    def ordered(self) -> list[int]:
        """The fuel of all that were answered, in order."""
        return sorted(one.fuel for one in self.events if one.fuel is not None)

    @property
    def line(self) -> Line | None:
        """Fuel by the size of the encoded event; None where size says little of it."""
        found = fit([one.event_bytes for one in self.answered], [one.fuel or 0 for one in self.answered])
        return found if found is not None and found.explained >= EXPLAINED and found.slope > 0 else None

    @property
    def proposed(self) -> int | None:
        """A limit with headroom, of two digits; None where nothing was answered."""
        return round_up(max(self.ordered) * HEADROOM) if self.ordered else None

    def as_dict(self) -> dict[str, Any]:
        """The needs as a JSON object."""
        ordered = self.ordered
        figures = {f"p{percent}": percentile(ordered, percent) for percent in (50, 90, 99)} if ordered else {}
        return {
            "function": self.label,
            "count": len(ordered),
            "failed": len(self.failed),
            "fuel": {"min": ordered[0], **figures, "max": ordered[-1]} if ordered else None,
            "line": None if self.line is None else self.line._asdict(),
            "proposed": self.proposed,
            "events": [one.as_dict() for one in self.events],
        }


class Change(NamedTuple):
    """An event that does not need what it needed: ``before`` and ``now``, which is None where it is not answered now."""

    name: str
    before: int
    now: int | None

    @property
    def is_worse(self) -> bool:
        """Whether it needs more, or fails."""
        return self.now is None or self.now > self.before


class Baseline(NamedTuple):
    """What was saved before: fuel by the digest of the event, the events' names, and with which versions."""

    fuel: dict[str, int]
    names: dict[str, str]
    versions: dict[str, str]


class Regression(NamedTuple):
    """How a corpus stands to its baseline: events that are in both, in the corpus alone, and in the baseline alone.

    ``compared`` is the number of the first, ``added`` and ``gone`` are the names of the others.
    """

    compared: int
    changes: tuple[Change, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]
    versions: dict[str, str]

    @property
    def is_broken(self) -> bool:
        """Whether any event needs more than it did, or fails where it did not; or there is none to tell by."""
        return not self.compared or any(change.is_worse for change in self.changes)

    def as_dict(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        changes = [change._asdict() | {"is_worse": change.is_worse} for change in self.changes]
        return self._asdict() | {"changes": changes, "is_broken": self.is_broken}


def round_up(number: int) -> int:
    """The least number of two digits, and zeros, that is not below *number*."""
    scale: int = 10 ** max(0, len(str(number)) - 2)
    digits: int = -(-number // scale)
    return digits * scale


def find_needs(
    executor: Executor,
    function: Function,
    entries: Iterable[Entry],
    make_event: Callable[[bytes], Any],
    advance: Callable[[], object] = lambda: None,
) -> Needs:
    """Run each event twice. Raises what says that the *function* cannot be run; what events do wrong is in the result."""
    ready = replace(function, warm=_READY, reuse=False)
    executor.load(ready)
    found = []
    for entry in entries:
        found.append(_need(executor, ready, entry, make_event))
        advance()
    return Needs(function.label, tuple(found))


def _need(executor: Executor, function: Function, entry: Entry, make_event: Callable[[bytes], Any]) -> Need:
    data = entry.data
    if data is None:
        return Need(entry.name, "", 0, None, error=entry.problem, status=outcome(InvalidEvent).exit_status)
    digest = blake2b(data, digest_size=16).hexdigest()
    try:
        event = make_event(data)
        first = executor.run(function, event, request_id=REQUEST_ID)
        second = executor.run(function, event, request_id=REQUEST_ID)
    except (InvalidEvent, PayloadTooLarge) as error:
        return Need(entry.name, digest, len(data), None, error=_shown(error), status=outcome(error).exit_status)
    size = first.report.event_bytes
    wrong = first.error or second.error
    if wrong is not None:
        return Need(entry.name, digest, size, None, error=_shown(wrong), status=outcome(wrong).exit_status)
    one, other = first.report.fuel_used or 0, second.report.fuel_used or 0
    return Need(entry.name, digest, size, max(one, other), None if one == other else min(one, other))


def _shown(error: WasmrunError) -> str:
    return printable(f"{type(error).__name__}: {error.message}")


# Baselines


def pack(needs: Needs) -> dict[str, Any]:
    """What is to be kept of *needs* as a baseline: events that need the same each time."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        "function": needs.label,
        "events": [
            {"name": one.name, "digest": one.digest, "event_bytes": one.event_bytes, "fuel": one.fuel}
            for one in needs.events
            if one.is_steady
        ],
    }


def read_baseline(path: str) -> Baseline:
    """A baseline from a file that was saved. Raises `Unreadable`."""
    found = read_object(path, FORMAT)
    events, made_with = found.get("events"), found.get("versions")
    if not isinstance(events, list) or not isinstance(made_with, dict):
        raise Unreadable("it has no events, or no versions")
    baseline = Baseline({}, {}, {printable(name, 40): printable(str(text), 40) for name, text in made_with.items()})
    for number, event in enumerate(events, 1):
        fields = (event.get("name"), event.get("digest"), event.get("fuel")) if isinstance(event, dict) else (None,) * 3
        name, digest, fuel = fields
        is_text = all(isinstance(text, str) and 0 < len(text) <= _MOST_TEXT for text in (name, digest))
        if not is_text or type(fuel) is not int or not 0 <= fuel < _MOST_FUEL:
            raise Unreadable(f"event {number}: it needs a name, a digest and its fuel")
        baseline.fuel[str(digest)] = fuel
        baseline.names[str(digest)] = printable(str(name))
    return baseline


def regression(needs: Needs, baseline: Baseline) -> Regression:
    """How *needs* stands to *baseline*. Events are known by what they are, not by where they stand."""
    changes: list[Change] = []
    added: list[str] = []
    seen: set[str] = set()
    for one in needs.events:
        before = baseline.fuel.get(one.digest)
        if one.digest in seen:
            continue
        seen.add(one.digest)
        if before is None:
            added += [one.name] if one.fuel is not None else []
        elif one.fuel != before:
            changes.append(Change(one.name, before, one.fuel))
    gone = tuple(name for digest, name in baseline.names.items() if digest not in seen)
    compared = len(baseline.fuel) - len(gone)
    return Regression(compared, tuple(changes), tuple(added), gone, baseline.versions)


def most(needs: Needs, count: int) -> Sequence[Need]:
    """The *count* events that needed the most."""
    return sorted(needs.answered, key=lambda one: -(one.fuel or 0))[:count]
