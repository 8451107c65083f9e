"""What does isolation cost: limits in the guest's code, a sandbox for each event, a process around it, and its walls?"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmtime

from .effort import Effort
from .figures import Figure
from .guests import PAYLOAD, echo
from .rounds import Round, interleave, time_each
from .subject import Executor, caller, executor, function, process_executor

CAVEATS = (
    "The first figures are the engine's own: a loop of a million turns, called by wasmtime-py, in code made for each limit.",
    "wasmrun's own engine always has deadlines (epochs), and fuel unless a function says fuel=None.",
    "'Arithmetic' stays in registers, 'stores' writes a word in each turn, 'calls' calls a function in each turn.",
    "The others are events of 64 bytes through wasmrun, one after the other; reused sandboxes keep what is left in them.",
    "Round trips follow one another closely: both ends wait for the next frame awake, as they do for any such stream.",
)
_TURNS = 1_000_000
_LOOPS = """(module
  (memory 1)
  (func $mix (param i32 i32) (result i32)
    (i32.add (i32.mul (local.get 0) (i32.const 1664525)) (local.get 1)))
  (func (export "arithmetic") (param $left i32) (result i32) (local $seed i32)
    (loop $again
      (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (local.get $left)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $seed))
  (func (export "stores") (param $left i32) (result i32)
    (loop $again
      (i32.store (i32.and (local.get $left) (i32.const 0xfffc)) (local.get $left))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.load (i32.const 0)))
  (func (export "calls") (param $left i32) (result i32) (local $seed i32)
    (loop $again
      (local.set $seed (call $mix (local.get $seed) (local.get $left)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $seed)))"""
_GUESTS = ("arithmetic", "stores", "calls")
_LIMITS = {"no limits": (False, False), "fuel": (True, False), "epochs": (False, True), "fuel and epochs": (True, True)}
"""By name, whether there is fuel and whether there are epochs."""


def measure(effort: Effort) -> Iterator[Figure]:
    """In the guest, then around it."""
    yield from _inside(effort)
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache:
        yield from _around(Path(cache), effort)


def _inside(effort: Effort) -> Iterator[Figure]:
    contestants: dict[str, Round] = {}
    for guest in _GUESTS:
        for name, (has_fuel, has_epochs) in _LIMITS.items():
            contestants[f"{guest}, {name}"] = partial(time_each, _loop(guest, has_fuel, has_epochs), 2)
    costs = interleave(contestants, effort.pick(9, 31, 101))
    yield from (costs.cost(name) for name in contestants)
    for guest in _GUESTS:
        for name in list(_LIMITS)[1:]:
            yield costs.ratio(f"{guest}, {name}", f"{guest}, no limits")


def _loop(guest: str, has_fuel: bool, has_epochs: bool) -> Callable[[], object]:
    config = wasmtime.Config()
    config.consume_fuel = has_fuel
    config.epoch_interruption = has_epochs
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    if has_epochs:
        store.set_epoch_deadline(1)
    loop = wasmtime.Instance(store, wasmtime.Module(engine, _LOOPS), []).exports(store)[guest]
    assert isinstance(loop, wasmtime.Func)

    def call() -> None:
        if has_fuel:
            store.set_fuel(_TURNS * 100)
        loop(store, _TURNS)

    return call


def _around(cache: Path, effort: Effort) -> Iterator[Figure]:
    with (
        executor(cache) as here,
        process_executor(cache, hardening="off") as bare,
        process_executor(cache) as hardened,
    ):

        def call(where: Executor, warm: int) -> Round:
            return partial(time_each, caller(where, function(echo(), warm=warm)), 300)

        reused = function(echo(), warm=1, reuse=True)
        contestants = {
            "here, reused": partial(time_each, partial(here.invoke, reused, PAYLOAD), 300),
            "here, fresh": call(here, 0),
            "worker without walls, fresh": call(bare, 0),
            "worker with walls, fresh": call(hardened, 0),
            "worker without walls, 4 warm": call(bare, 4),
            "worker with walls, 4 warm": call(hardened, 4),
        }
        costs = interleave(contestants, effort.pick(9, 31, 101))
    yield from (costs.cost(name) for name in contestants)
    yield costs.ratio("here, fresh", "here, reused")
    yield costs.difference("worker with walls, fresh", "here, fresh", "≤ 60")
    yield costs.best_difference("worker with walls, fresh", "here, fresh", "≤ 60")
    yield from costs.both_ratios("worker with walls, fresh", "worker without walls, fresh")
