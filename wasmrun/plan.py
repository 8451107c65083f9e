"""The pool's policy: what to prepare, trim and destroy, as a function from state to actions."""

from __future__ import annotations

from wasmrun.hints import NamedTuple


class ShelfState(NamedTuple):
    """What the plan needs to know of one function."""

    name: int
    warm: int
    ready: int
    idle_seconds: float
    may_prepare: bool


class PoolState(NamedTuple):
    """What the plan needs to know of the pool: room for more sandboxes, and whether events are coming."""

    shelves: tuple[ShelfState, ...]
    room: int
    spent: int
    is_quiet: bool
    is_short_of_memory: bool
    idle_limit: float


class Actions(NamedTuple):
    """What to do now: prepare and trim so many of which function, and destroy so many that are spent."""

    prepare: tuple[tuple[int, int], ...]
    trim: tuple[tuple[int, int], ...]
    destroy: int


def plan(state: PoolState) -> Actions:
    """Decide one round. Pure: the same state gives the same actions.

    Without memory to spare nothing is prepared, and what is ready goes, least recently used first.
    """
    trim: list[tuple[int, int]] = []
    prepare: list[tuple[int, int]] = []
    destroy = state.spent if state.is_quiet or state.is_short_of_memory else 0
    if state.is_short_of_memory:
        oldest = sorted((shelf for shelf in state.shelves if shelf.ready), key=lambda shelf: -shelf.idle_seconds)
        excess = -(-sum(shelf.ready for shelf in oldest) // 2)
        for shelf in oldest:
            going = min(shelf.ready, excess)
            excess -= going
            if going:
                trim.append((shelf.name, going))
        return Actions((), tuple(trim), destroy)
    room = state.room + destroy
    for shelf in state.shelves:
        surplus = shelf.ready - shelf.warm
        if surplus > 0 and shelf.idle_seconds >= state.idle_limit:
            trim.append((shelf.name, surplus))
        if surplus >= 0 or not shelf.may_prepare or room <= 0:
            continue
        # While events come, only a function that runs dry is worth disturbing them for.
        wanted = -surplus if state.is_quiet else max(0, -(-shelf.warm // 2) - shelf.ready)
        if not state.is_quiet and shelf.ready * 4 >= shelf.warm:
            wanted = 0
        wanted = min(wanted, room)
        if wanted:
            prepare.append((shelf.name, wanted))
            room -= wanted
    return Actions(tuple(prepare), tuple(trim), destroy)
