"""What does an event of a component cost, beside one of the native ABI, and beside wasmtime-py's classes for components?"""

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import component

import wasmrun

from .effort import Effort
from .figures import Figure
from .guests import EVENT, echo
from .rounds import BURST, Round, interleave, time_bursts, time_each
from .subject import ENVELOPE, executor, refiller

CAVEATS = (
    "Both guests answer their event, a map of 64 bytes as MessagePack, and get a context beside it.",
    "A component's texts are JSON, written and read by the host; the native ABI's envelope is MessagePack.",
    "Both have fuel, deadline and memory limits on. 'With preview 2': it imports two of its interfaces.",
    "Warm: a fresh sandbox for each event, taken from a pool of 64; bursts of 48, refilled off the clock.",
    "wasmtime-py: a store with fuel and limits, instantiated and called by the public classes; no context, no report.",
)
POOL = 64
_COMPONENT = Path(__file__).with_name("echo_component.wat")
_WASI = """(component
  (import "wasi:cli/environment@0.2.0" (instance (export "initial-cwd" (func (result (option string))))))
  (import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64)))))"""


def measure(effort: Effort) -> Iterator[Figure]:
    """All contestants in one run, then the ratios between them."""
    text = _COMPONENT.read_text()
    with_wasi = text[text.index("(component") :].replace("(component", _WASI, 1)
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache, executor(Path(cache)) as ours:
        contestants: dict[str, Round] = {}
        for name, code in (("component", text), ("native", echo()), ("with preview 2", with_wasi)):
            contestants[f"{name}, fresh"] = partial(time_each, _ours(ours, code), 300)
            contestants[f"{name}, warm"] = _warm(ours, code)
            contestants[f"{name}, reused"] = partial(time_each, _ours(ours, code, reuse=True, tenant="one"), 300)
        contestants.update(_rivals(text))
        costs = interleave(contestants, effort.pick(15, 61, 151))
    yield from (costs.cost(name) for name in contestants)
    for start in ("fresh", "warm", "reused"):
        yield costs.ratio(f"component, {start}", f"native, {start}")
    for start in ("fresh", "reused"):
        yield costs.ratio(f"wasmtime-py, {start}", f"component, {start}")


def _ours(executor: wasmrun.Executor, code: str, **settings: object) -> Callable[[], Any]:
    return _checked(partial(executor.invoke, _function(code, **settings), EVENT))


def _warm(executor: wasmrun.Executor, code: str) -> Round:
    call = _ours(executor, code, warm=POOL)
    return partial(time_bursts, call, refiller(executor, _function(code, warm=POOL)), BURST, 6)


def _function(code: str, **settings: object) -> wasmrun.Function:
    entry = None if "(component" in code else ENVELOPE
    given = {"entry": entry, "memory": "2MiB", "timeout": "2s", "warm": 0, **settings}
    return wasmrun.Function(code, **given)  # type: ignore[arg-type]  # settings of several types


def _rivals(text: str) -> dict[str, Round]:
    config = wasmtime.Config()
    config.consume_fuel = config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    made = component.Component(engine, text)
    linker = component.Linker(engine)

    def start() -> tuple[wasmtime.Store, component.Func]:
        store = wasmtime.Store(engine)
        store.set_limits(memory_size=2 << 20, instances=10, memories=1, tables=1)
        store.set_fuel(10**9)
        store.set_epoch_deadline(1000)
        handle = linker.instantiate(store, made).get_func(store, "handle")
        assert handle is not None  # it is in the text
        return store, handle

    def call(store: wasmtime.Store, handle: component.Func) -> Any:
        answer = handle(store, json.dumps(EVENT), "{}")
        handle.post_return(store)
        return json.loads(answer.payload if hasattr(answer, "payload") else answer)

    kept = start()

    def again() -> Any:
        kept[0].set_fuel(10**9)
        return call(*kept)

    return {
        "wasmtime-py, fresh": partial(time_each, _checked(lambda: call(*start())), 100),
        "wasmtime-py, reused": partial(time_each, _checked(again), 300),
    }


def _checked(call: Callable[[], Any]) -> Callable[[], Any]:
    if call() != EVENT:
        raise RuntimeError("the guest did not answer with its event")
    return call
