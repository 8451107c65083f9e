"""What does an event of an Extism plug-in cost, beside Extism's own runtime for Python?"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmtime

import wasmrun

from .effort import Effort
from .figures import Answer, Note
from .rounds import BURST, Round, interleave, time_bursts, time_each
from .subject import executor, refiller

CAVEATS = (
    "The plug-in answers its 64 bytes: as they stand, and 'copied' word by word, as development kits do.",
    "Ours has fuel, deadline and memory limits on; the extism package has a deadline, no fuel, and its own defaults.",
    "Extism, new: a Plugin from a CompiledPlugin for each event. Reused: one Plugin for all, which keeps its memory.",
    "Ours, warm: a fresh sandbox for each event, taken from a pool of 64; bursts of 48, refilled off the clock.",
)
POOL = 64
_PLUGIN = Path(__file__).parent / "echo_plugin.wat"
_EVENT = b"0123456789abcdef" * 4
_LARGE = b"0123456789abcdef" * 4096


def measure(effort: Effort) -> Iterator[Answer]:
    """All contestants in one run, then the ratios between them."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache, executor(Path(cache)) as ours:
        contestants: dict[str, Round] = {
            "fresh": partial(time_each, _ours(ours, "echo"), 300),
            "reused": partial(time_each, _ours(ours, "echo", reuse=True, tenant="one"), 300),
            "warm": _warm(ours),
            "64 KiB copied, fresh": partial(time_each, _ours(ours, "copy", _LARGE), 30),
        }
        rivals = _rivals()
        if isinstance(rivals, str):
            yield Note(f"extism is left out: {rivals}; pip install extism")
            rivals = {}
        contestants.update(rivals)
        costs = interleave(contestants, effort.pick(15, 61, 151))
    yield from (costs.cost(name) for name in contestants)
    if rivals:
        yield from costs.both_ratios("extism, new", "fresh", "≥ 5")
        yield from costs.both_ratios("extism, reused", "warm", "≥ 1.5")
        yield costs.ratio("extism, reused", "reused")
        yield costs.ratio("64 KiB copied, extism, new", "64 KiB copied, fresh")


def _ours(executor: wasmrun.Executor, entry: str, event: bytes = _EVENT, **settings: object) -> Callable[[], bytes]:
    invoke = partial(executor.invoke, _function(entry, **settings), event)
    return _checked(invoke, event)


def _warm(executor: wasmrun.Executor) -> Round:
    return partial(
        time_bursts,
        _ours(executor, "echo", warm=POOL),
        refiller(executor, _function("echo", warm=POOL)),
        BURST,
        6,
    )


def _function(entry: str, **settings: object) -> wasmrun.Function:
    given = {"entry": entry, "raw": True, "memory": "2MiB", "timeout": "2s", "warm": 0, **settings}
    return wasmrun.Function(_PLUGIN, **given)  # type: ignore[arg-type]  # settings of several types


def _rivals() -> dict[str, Round] | str:
    """The rounds of the extism package; where it is not installed, why not."""
    try:
        import extism
        from extism.extism import CompiledPlugin
    except ImportError as error:
        return str(error)
    module = bytes(wasmtime.wat2wasm(_PLUGIN.read_text()))
    compiled = CompiledPlugin(module, False, [])
    kept = extism.Plugin(module)

    def new(entry: str, event: bytes) -> Callable[[], bytes]:
        return _checked(lambda: bytes(extism.Plugin(compiled).call(entry, event)), event)

    return {
        "extism, new": partial(time_each, new("echo", _EVENT), 30),
        "extism, reused": partial(time_each, _checked(lambda: bytes(kept.call("echo", _EVENT)), _EVENT), 300),
        "64 KiB copied, extism, new": partial(time_each, new("copy", _LARGE), 30),
    }


def _checked(call: Callable[[], bytes], event: bytes) -> Callable[[], bytes]:
    if call() != event:
        raise RuntimeError("the plug-in did not answer with its event")
    return call
