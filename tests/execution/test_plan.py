"""The plan of the pool: a pure decision, shown by examples and by what holds for every state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.plan import Actions, PoolState, ShelfState, plan


def shelf(name: int = 0, *, warm: int = 4, ready: int = 0, idle: float = 0.0, may: bool = True) -> ShelfState:
    return ShelfState(name, warm, ready, idle, may)


def pool(
    *shelves: ShelfState, room: int = 100, spent: int = 0, quiet: bool = True, short: bool = False, limit: float = 300.0
) -> PoolState:
    return PoolState(shelves, room, spent, quiet, short, limit)


EXAMPLES = {
    "nothing to do": (pool(), Actions((), (), 0)),
    "what is missing is prepared when no event came": (pool(shelf(ready=1)), Actions(((0, 3),), (), 0)),
    "what is full stays as it is": (pool(shelf(ready=4)), Actions((), (), 0)),
    "what is spent is destroyed when no event came": (pool(spent=7), Actions((), (), 7)),
    "what is spent waits while events come": (pool(spent=7, quiet=False), Actions((), (), 0)),
    "a function that ran dry is filled to half while events come": (
        pool(shelf(), quiet=False),
        Actions(((0, 2),), (), 0),
    ),
    "half is rounded up": (pool(shelf(warm=1), quiet=False), Actions(((0, 1),), (), 0)),
    "a quarter is enough while events come": (pool(shelf(ready=1), quiet=False), Actions((), (), 0)),
    "less than a quarter is not": (pool(shelf(warm=8, ready=1), quiet=False), Actions(((0, 3),), (), 0)),
    "what failed is left alone until its time": (pool(shelf(may=False)), Actions((), (), 0)),
    "no more than there is room": (pool(shelf(), room=3), Actions(((0, 3),), (), 0)),
    "nothing without room": (pool(shelf(), room=0), Actions((), (), 0)),
    "room that destroying makes counts": (pool(shelf(), room=0, spent=2), Actions(((0, 2),), (), 2)),
    "the first functions get the room": (pool(shelf(0), shelf(1), room=6), Actions(((0, 4), (1, 2)), (), 0)),
    "a function that wants none gets none": (pool(shelf(warm=0)), Actions((), (), 0)),
    "surplus stays while its function is used": (pool(shelf(ready=9, idle=299.0)), Actions((), (), 0)),
    "surplus goes when its function was idle": (pool(shelf(ready=9, idle=300.0)), Actions((), ((0, 5),), 0)),
    "what is wanted stays however idle": (pool(shelf(ready=4, idle=1e9)), Actions((), (), 0)),
    "short of memory, half of what is ready goes": (pool(shelf(ready=4), short=True), Actions((), ((0, 2),), 0)),
    "half is rounded up, so that the last one goes": (pool(shelf(ready=1), short=True), Actions((), ((0, 1),), 0)),
    "the longest idle goes first": (
        pool(shelf(0, ready=3, idle=1.0), shelf(1, ready=3, idle=9.0), short=True),
        Actions((), ((1, 3),), 0),
    ),
    "and then the next": (
        pool(shelf(0, ready=4, idle=1.0), shelf(1, ready=2, idle=9.0), short=True),
        Actions((), ((1, 2), (0, 1)), 0),
    ),
    "short of memory, what is spent goes at once": (pool(spent=7, quiet=False, short=True), Actions((), (), 7)),
    "short of memory, nothing is prepared": (pool(shelf(), shelf(1), short=True), Actions((), (), 0)),
}


@pytest.mark.parametrize(("state", "actions"), EXAMPLES.values(), ids=EXAMPLES)
def test_plan_decides(state: PoolState, actions: Actions) -> None:
    """Each example is one sentence of the plan."""
    assert plan(state) == actions


@st.composite
def states(draw: st.DrawFn) -> PoolState:
    count = draw(st.integers(0, 6))
    few = st.integers(0, 12)
    return PoolState(
        tuple(
            ShelfState(number, draw(few), draw(few), draw(st.floats(0, 100)), draw(st.booleans()))
            for number in range(count)
        ),
        room=draw(st.integers(-3, 30)),
        spent=draw(few),
        is_quiet=draw(st.booleans()),
        is_short_of_memory=draw(st.booleans()),
        idle_limit=draw(st.floats(0, 100)),
    )


@given(states())
def test_plan_never_prepares_beyond_the_room(state: PoolState) -> None:
    """Room is what there is, and what destroying makes."""
    actions = plan(state)
    assert sum(count for _, count in actions.prepare) <= max(0, state.room + actions.destroy)


@given(states())
def test_plan_never_fills_a_shelf_beyond_its_warm(state: PoolState) -> None:
    """Nor one whose function failed lately, and never by nothing."""
    shelves = {one.name: one for one in state.shelves}
    for name, count in plan(state).prepare:
        assert 0 < count <= shelves[name].warm - shelves[name].ready
        assert shelves[name].may_prepare


@given(states())
def test_plan_trims_below_warm_only_for_memory(state: PoolState) -> None:
    """And never more than there is; for idleness only what was idle for long enough."""
    shelves = {one.name: one for one in state.shelves}
    for name, count in plan(state).trim:
        assert 0 < count <= shelves[name].ready
        if not state.is_short_of_memory:
            assert shelves[name].ready - count == shelves[name].warm
            assert shelves[name].idle_seconds >= state.idle_limit


@given(states())
def test_plan_prepares_nothing_short_of_memory(state: PoolState) -> None:
    """And frees at least half of what is ready, and all that is spent."""
    actions = plan(state._replace(is_short_of_memory=True))
    ready = sum(one.ready for one in state.shelves)
    assert actions.prepare == ()
    assert sum(count for _, count in actions.trim) * 2 >= ready
    assert actions.destroy == state.spent


@given(states())
def test_plan_destroys_no_more_than_is_spent(state: PoolState) -> None:
    """All of it or nothing: nothing while events come, unless memory is short."""
    assert plan(state).destroy == (state.spent if state.is_quiet or state.is_short_of_memory else 0)


@given(states())
def test_plan_names_each_function_once(state: PoolState) -> None:
    """And never prepares what it trims."""
    actions = plan(state)
    prepared, trimmed = [name for name, _ in actions.prepare], [name for name, _ in actions.trim]
    names = prepared + trimmed
    assert len(set(names)) == len(names)


@given(states())
def test_plan_is_a_function_of_its_state(state: PoolState) -> None:
    """The same state gives the same actions, and stays as it is."""
    copy = PoolState(*state)
    assert plan(state) == plan(copy)
    assert state == copy


@given(states())
def test_plan_comes_to_rest(state: PoolState) -> None:
    """Carried out again and again without events, it soon has nothing left to do."""
    state = state._replace(is_quiet=True, is_short_of_memory=False)
    for _ in range(4):
        actions = plan(state)
        changes = dict(actions.prepare)
        trims = dict(actions.trim)
        state = state._replace(
            shelves=tuple(
                one._replace(ready=one.ready + changes.get(one.name, 0) - trims.get(one.name, 0))
                for one in state.shelves
            ),
            room=state.room + actions.destroy - sum(changes.values()) + sum(trims.values()),
            spent=state.spent - actions.destroy,
        )
    assert plan(state) == Actions((), (), 0)
