"""Placement: which worker gets the next event, as a function from state to decision.

Tenants never share a worker, and a worker serves one set of directory grants. When all seats are taken, one
that idles is replaced; a tenant with more than its fair share of them gives way to one that has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wasmrun.function import Directory

HOLD_SECONDS = 1.0
"""For how long a tenant keeps a worker that idles, when another one that has workers wants more."""

SLICE_SECONDS = 0.25
"""For how long a worker serves its tenant at least, where events of it keep coming and tenants without one wait.

Starting another one takes about as long: with less, workers would do little else when tenants outnumber them.
"""
GAP_SECONDS = 0.02
"""A pause after which events do not keep coming."""


class Place(NamedTuple):
    """Whom a worker serves: one tenant (None: who named none), with one set of directory grants."""

    tenant: str | None
    dirs: tuple[Directory, ...] = ()


class Seat(NamedTuple):
    """What placement needs to know of one worker. ``place`` is None while it may still serve anybody.

    ``is_awaited`` where it was started for an event that still waits. ``placed_seconds`` is for how long it has
    had its place.
    """

    number: int
    place: Place | None
    is_ready: bool
    free_lanes: int
    in_flight: int
    idle_seconds: float
    is_awaited: bool = False
    placed_seconds: float = SLICE_SECONDS


class Decision(NamedTuple):
    """What to do for an event: "use" or "replace" worker *number*, "start" one, "expect" one that starts, or "wait".

    "drain" is a wait for worker *number*, which is to get no other event until then.
    """

    action: str
    number: int = -1


WAIT = Decision("wait")
EXPECT = Decision("expect")


def decide(seats: Iterable[Seat], place: Place, *, processes: int, tenants: int, coming: int = 0) -> Decision:
    """Where an event of *place* goes. Pure.

    *tenants* have events now, this one included; *coming* events wait for workers that are starting already.
    """
    seats = tuple(seats)
    own = [seat for seat in seats if seat.place == place and seat.is_ready and seat.free_lanes]
    if own:
        # The busiest has the warmest caches, the idlest the least to share a processor's time with.
        return Decision("use", min(own, key=lambda seat: (seat.in_flight, seat.number)).number)
    held = sum(seat.place is not None and seat.place.tenant == place.tenant for seat in seats)
    # Not counting on one that starts for it, an event would be told that all workers are in use.
    if sum(seat.place == place and not seat.is_ready for seat in seats) > coming:
        return EXPECT
    share = max(1, processes // max(1, tenants))
    # What does not divide evenly goes to who asks; tenants with fewer are asked first.
    may_have_more = held < -(-processes // max(1, tenants))
    blank = [seat for seat in seats if seat.place is None]
    if may_have_more:
        ready = [seat for seat in blank if seat.is_ready]
        if ready and not place.dirs:
            return Decision("use", ready[0].number)
        starting = sum(not seat.is_ready and seat.place in (None, place) for seat in seats)
        if starting > coming:
            return EXPECT
        if len(seats) < processes:
            return Decision("start")
        if ready:
            return Decision("replace", ready[0].number)
    victims = [
        seat
        for seat in seats
        if seat.place not in (None, place)
        and seat.is_ready
        and not seat.in_flight
        # Two that each replace what was started for the other would go on so for ever.
        and not seat.is_awaited
        and _gives_way(seat, seats, place, held=held, share=share)
    ]
    if victims:
        return Decision("replace", max(victims, key=lambda seat: seat.idle_seconds).number)
    if not held:
        # A worker with several lanes may never idle: one of them is to, for who has none.
        busy = [seat for seat in seats if seat.is_ready and seat.in_flight and seat.free_lanes]
        if busy:
            return Decision("drain", min(busy, key=lambda seat: (seat.in_flight, seat.number)).number)
    return WAIT


def _gives_way(seat: Seat, seats: tuple[Seat, ...], place: Place, *, held: int, share: int) -> bool:
    owner = seat.place.tenant if seat.place is not None else None
    if owner == place.tenant:
        return True  # another set of directories of its own
    others = sum(other.place is not None and other.place.tenant == owner for other in seats)
    if held >= share:
        return False
    if others > share:
        return True
    if held:
        return seat.idle_seconds >= HOLD_SECONDS
    return seat.placed_seconds >= SLICE_SECONDS or seat.idle_seconds >= GAP_SECONDS
