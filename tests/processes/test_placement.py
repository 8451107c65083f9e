"""Placement: what is decided for an event, as a table, and what holds for every decision."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.function import Directory
from wasmrun.processes.placement import (
    EXPECT,
    GAP_SECONDS,
    HOLD_SECONDS,
    SLICE_SECONDS,
    WAIT,
    Decision,
    Place,
    Seat,
    decide,
)

A, B, NOBODY = Place("a"), Place("b"), Place(None)
A_DATA = Place("a", (Directory("/data", "/data", False),))
LONG = HOLD_SECONDS + 1


def seat(number: int, place: Place | None, **more: Any) -> Seat:
    free = more.pop("free", 1)
    return Seat(
        number,
        place,
        more.pop("is_ready", True),
        free,
        more.pop("in_flight", 1 - free),
        more.pop("idle", 0.0),
        placed_seconds=more.pop("placed", SLICE_SECONDS),
    )


TABLE: dict[str, tuple[list[Seat], Place, dict[str, int], Decision]] = {
    "its own free worker first": ([seat(0, None), seat(1, A)], A, {}, Decision("use", 1)),
    "the idlest of its own": (
        [seat(0, A, free=1, in_flight=1), seat(1, A, free=2, in_flight=0)], A, {}, Decision("use", 1)),
    "a blank one where it has none": ([seat(0, B), seat(1, None)], A, {"tenants": 2}, Decision("use", 1)),
    "never another tenant's": ([seat(0, B, in_flight=1, free=1)], A, {"processes": 1, "tenants": 2}, Decision("drain", 0)),
    "nor that of who named none": ([seat(0, NOBODY, in_flight=1)], A, {"processes": 1, "tenants": 2}, Decision("drain", 0)),
    "another one's that idles is replaced": ([seat(0, B)], A, {"processes": 1}, Decision("replace", 0)),
    "the one that idles longest": (
        [seat(0, B, idle=1.0), seat(1, B, idle=2.0)], A, {"tenants": 2}, Decision("replace", 1)),
    "a new one where there is room": ([seat(0, A, free=0)], A, {}, Decision("start")),
    "no second one for what is coming": (
        [seat(0, A, free=0), seat(1, None, is_ready=False)], A, {}, EXPECT),
    "another one for the next event": (
        [seat(0, A, free=0), seat(1, None, is_ready=False)], A, {"processes": 3, "coming": 1}, Decision("start")),
    "a wait where all are busy": ([seat(0, A, free=0), seat(1, A, free=0)], A, {}, WAIT),
    "not more than its share beside others": (
        [seat(0, A, free=0), seat(1, B)], A, {"tenants": 2}, WAIT),
    "what others do not use for long, if that is its share": (
        [seat(0, A, free=0), seat(1, B, idle=LONG), seat(2, B), seat(3, B)], A, {"processes": 4, "tenants": 2},
        Decision("replace", 1)),
    "what its tenant has just got, not yet": (
        [seat(0, B, placed=SLICE_SECONDS / 2)], A, {"processes": 1, "tenants": 2}, WAIT),
    "but for a pause in its events": (
        [seat(0, B, placed=SLICE_SECONDS / 2, idle=GAP_SECONDS)], A, {"processes": 1, "tenants": 2}, Decision("replace", 0)),
    "and what is more than its share at once": (
        [seat(0, B, placed=0.0), seat(1, B, free=0, placed=0.0)], A, {"tenants": 2}, Decision("replace", 0)),
    "what does not divide evenly": (
        [seat(0, A, free=0), seat(1, B, free=0), seat(2, None)], A, {"processes": 3, "tenants": 2}, Decision("use", 2)),
    "a blank worker cannot serve directories": ([seat(0, None)], A_DATA, {"processes": 1}, Decision("replace", 0)),
    "directories are a place of their own": ([seat(0, A)], A_DATA, {"processes": 1}, Decision("replace", 0)),
    "and back again": ([seat(0, A_DATA)], A, {"processes": 1}, Decision("replace", 0)),
}  # fmt: skip


@pytest.mark.parametrize(("seats", "place", "more", "decision"), TABLE.values(), ids=TABLE)
def test_event_gets(seats: list[Seat], place: Place, more: dict[str, int], decision: Decision) -> None:
    """Row by row."""
    assert decide(seats, place, **{"processes": 2, "tenants": 1, **more}) == decision


places = st.builds(
    Place, st.sampled_from([None, "a", "b", "c"]), st.sampled_from([(), (Directory("/data", "/data", False),)])
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Seat], Place, dict[str, int]]:
    processes = draw(st.integers(1, 5))
    lanes = draw(st.integers(1, 3))
    seats = []
    for number in range(draw(st.integers(0, processes))):
        is_ready = draw(st.booleans())
        in_flight = draw(st.integers(0, lanes)) if is_ready else 0
        place = draw(places) if in_flight else draw(st.none() | places)
        seats.append(Seat(number, place, is_ready, lanes - in_flight, in_flight, draw(st.floats(0, 3))))
    tenants = {one.place.tenant for one in seats if one.place is not None and one.in_flight}
    place = draw(places)
    more = {"processes": processes, "tenants": len(tenants | {place.tenant}), "coming": draw(st.integers(0, 3))}
    return seats, place, more


@given(situations())
def test_decision_keeps_tenants_apart(situation: tuple[list[Seat], Place, dict[str, int]]) -> None:
    """A worker that has served one place serves no other, and what has events is never replaced."""
    seats, place, more = situation
    decision = decide(seats, place, **more)
    by_number = {one.number: one for one in seats}
    if decision.action == "use":
        chosen = by_number[decision.number]
        assert chosen.is_ready
        assert chosen.free_lanes
        assert chosen.place == place or (chosen.place is None and not place.dirs)
    elif decision.action == "replace":
        chosen = by_number[decision.number]
        assert chosen.is_ready
        assert chosen.in_flight == 0
        assert chosen.place != place
    elif decision.action == "start":
        assert len(seats) < more["processes"]
    elif decision.action == "drain":
        assert not any(one.place is not None and one.place.tenant == place.tenant for one in seats)
        assert by_number[decision.number].in_flight
    elif decision == EXPECT:
        assert any(not one.is_ready for one in seats)
    else:
        assert decision == WAIT


@given(situations())
def test_decision_serves_who_has_nothing(situation: tuple[list[Seat], Place, dict[str, int]]) -> None:
    """Where any worker idles, or there is room, a tenant without one does not just wait."""
    seats, place, more = situation
    has_none = not any(one.place is not None and one.place.tenant == place.tenant for one in seats)
    is_coming = any(not one.is_ready for one in seats)
    idles = any(one.is_ready and not one.in_flight for one in seats)
    if has_none and not is_coming and (idles or len(seats) < more["processes"]):
        assert decide(seats, place, **more) != WAIT


@given(situations())
def test_decision_uses_what_is_free(situation: tuple[list[Seat], Place, dict[str, int]]) -> None:
    """An event never waits beside a free worker of its own place."""
    seats, place, more = situation
    if any(one.is_ready and one.free_lanes and one.place == place for one in seats):
        assert decide(seats, place, **more).action == "use"


@pytest.mark.parametrize("others", [(), (Seat(-1, None, False, 0, 0, 0.0),)])
def test_event_expects_the_worker_that_is_started_for_it(others: tuple[Seat, ...]) -> None:
    """Also where that is all that its tenant may have; the next event does not count on the same one."""
    place = Place("a")
    seats = (Seat(-1, place, False, 0, 0, 0.0), *others)
    assert decide(seats, place, processes=1, tenants=1) == EXPECT
    assert decide(seats, place, processes=1, tenants=1, coming=1) == WAIT
