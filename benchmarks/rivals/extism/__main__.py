"""Extism: a plug-in for each event, the first call on one that is ready, and one for all events, which keeps its memory."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.guests import PAYLOAD
from benchmarks.rivals.program import Way, checked, serve
from benchmarks.rounds import BURST, time_bursts, time_each


def make() -> Mapping[str, Way]:
    import extism  # here, so that a failure is an answer
    from extism.extism import CompiledPlugin

    # A deadline and a limit on memory; there is no fuel in its interface for Python.
    guest = {"wasm": [{"data": Path(sys.argv[1]).read_bytes()}], "memory": {"max_pages": 32}, "timeout_ms": 2000}
    compiled = CompiledPlugin(guest, False, [])
    ready: list[extism.Plugin] = []
    spent: list[extism.Plugin] = []

    def call(plugin: extism.Plugin) -> bytes:
        return bytes(plugin.call("echo", PAYLOAD))

    def refill() -> None:
        spent.clear()
        ready[:] = [extism.Plugin(compiled) for _ in range(BURST)]

    def first() -> bytes:
        spent.append(ready.pop())
        return call(spent[-1])

    kept = extism.Plugin(compiled)
    return {
        "new": Way(partial(time_each, checked(lambda: call(extism.Plugin(compiled)), PAYLOAD)), 30, "fresh"),
        "first call": Way(lambda events: time_bursts(first, refill, BURST, events // BURST), BURST, "warm"),
        "reused": Way(partial(time_each, checked(partial(call, kept), PAYLOAD)), 300, "warm"),
    }


if __name__ == "__main__":
    serve(make)
