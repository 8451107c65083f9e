"""For `pytest benchmarks/`: each part is measured in turns with the floor, so that ratios can be compared, and not times."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wasmrun.machine.hotpath import check_kind, choose

from .guests import SMALL
from .native import floor_rounds
from .rounds import Round

ROUNDS = 60


@pytest.fixture(scope="session")
def floor() -> Iterator[Round | None]:
    """The C program's fresh sandboxes; None where there is no C compiler."""
    with floor_rounds((SMALL,)) as rounds:
        yield rounds.get("floor, fresh")


@pytest.fixture
def measure(benchmark: Any, floor: Round | None) -> Callable[..., None]:
    """Measures a call, which is `events` events, with the floor before each round and `setup`, which gives its arguments, after that.

    Beside the part are noted: the floor's costs in microseconds, and the hot path that was taken.
    """

    def run(
        call: Callable[..., object], *, events: int = 1, setup: Callable[[], tuple[Any, ...] | None] = lambda: None
    ) -> None:
        beside: list[float] = []
        benchmark.extra_info.update(events=events, hotpath=choose(check_kind(os.environ)), floor_us=beside)

        def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
            if floor is not None:
                beside.append(floor())
            return setup() or (), {}

        benchmark.pedantic(call, setup=prepare, rounds=ROUNDS, warmup_rounds=2)

    return run
