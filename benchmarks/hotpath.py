"""What does the compiled hot path win over the ctypes one, and how far is each from the engine's own speed?"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import wasmrun

from .effort import Effort
from .figures import Answer, Note
from .guests import SMALL, echo
from .kinds import KINDS
from .native import floor_rounds
from .rounds import BURST, Round, Rounds, interleave, time_bursts, time_each
from .subject import ENVELOPE, RAW, caller, event_for, executor_by, function, refiller

CAVEATS = (
    "Both kinds run in one process, each in an executor of its own; the guest echoes 64 bytes and has 1 page.",
    "The envelope's event is a dict of 64 bytes, encoded and decoded by the host; the guest answers [0, event].",
    "'With its report' is `executor.run`: a result with the report, kept by the caller. The others are `invoke`.",
    "A warm figure is the hand-out: bursts of 48 from a pool of 64, refilled between them, off the clock.",
    "The floor has no report, no counters, no tick timer; its warm figure is the calls into the guest alone.",
)
POOL = 64
_FRESH_TARGETS = {"compiled": "≤ 1.5", "ctypes": "≤ 3"}


def measure(effort: Effort) -> Iterator[Answer]:
    """The floor and both kinds in turn."""
    contestants: dict[str, Round] = {}
    kinds: list[str] = []
    with ExitStack() as running:
        cache = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-")))
        contestants.update(running.enter_context(floor_rounds((SMALL,))))
        has_floor = bool(contestants)
        for kind in KINDS:
            executor = running.enter_context(executor_by(kind, cache))
            try:
                rounds = _rounds(executor)
            except wasmrun.HostError as error:
                yield Note(f"{kind} is left out: {error}")
                continue
            kinds.append(kind)
            contestants.update((f"{kind}, {name}", run) for name, run in rounds.items())
        costs = interleave(contestants, effort.pick(15, 61, 151))
    for name in contestants:
        yield costs.cost(name, "≤ 6" if name == "compiled, envelope, warm, with its report" else "")
    for kind in kinds:
        yield from _against(costs, kind, has_floor)
    if len(kinds) == len(KINDS):
        for name in ("raw, fresh", "raw, warm", "envelope, warm"):
            yield costs.ratio(f"ctypes, {name}", f"compiled, {name}")


def _rounds(executor: wasmrun.Executor) -> dict[str, Round]:
    def fresh(entry: str) -> Round:
        return partial(time_each, caller(executor, function(echo(), entry)), 300)

    def warm(entry: str, call: Callable[[], object] | None = None) -> Round:
        ready = function(echo(), entry, warm=POOL)
        return partial(time_bursts, call or caller(executor, ready), refiller(executor, ready), BURST, 6)

    enveloped = function(echo(), ENVELOPE, warm=POOL)
    return {
        "raw, fresh": fresh(RAW),
        "raw, warm": warm(RAW),
        "envelope, fresh": fresh(ENVELOPE),
        "envelope, warm": warm(ENVELOPE),
        "envelope, warm, with its report": warm(ENVELOPE, partial(executor.run, enveloped, event_for(enveloped))),
    }


def _against(costs: Rounds, kind: str, has_floor: bool) -> Iterator[Answer]:
    if has_floor:
        yield from costs.both_ratios(f"{kind}, raw, fresh", "floor, fresh", _FRESH_TARGETS[kind])
        target = "≤ 1.5" if kind == "compiled" else ""
        yield costs.difference(f"{kind}, raw, warm", "floor, warm", target)
        yield costs.best_difference(f"{kind}, raw, warm", "floor, warm", target)
    for when in ("fresh", "warm"):
        yield from costs.both_ratios(f"{kind}, envelope, {when}", f"{kind}, raw, {when}", "≤ 1.5")
