"""What does a worker process cost: a round trip, a large payload, a second worker, a noisy neighbour?"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import wasmrun

from .effort import Effort
from .figures import Figure, figure
from .guests import echo
from .rounds import Rounds, interleave, time_each
from .subject import RAW, function

CAVEATS = (
    "Round trips follow one another closely: both ends wait for the next frame awake, as they do for any such stream.",
    "The parent's own work takes its share of the processors: on two of them, two workers and a parent are three.",
    "Workers are hardened with every wall that the machine has.",
    "Gigabytes a second count the payload once, on its way in and back.",
)
_Executor = wasmrun.Executor | wasmrun.ProcessExecutor
_SPIN = """(module
  (memory (export "memory") 1)
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "spin_raw") (param i32 i32) (result i64)
    (local $left i32)
    (local.set $left (i32.load (local.get 0)))
    (loop $again
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))
    (i64.const 0)))"""
"""Counts down from the number in its event."""

_LARGE_ECHO = """(module
  (memory (export "memory") 100)
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))"""

_MILLISECOND = 1e-3
_LARGE = 6_000_000


def measure(effort: Effort) -> Iterator[Figure]:
    """Round trips side by side with the executor in this process, then throughput, then a neighbour's flood."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as cache:
        directory = Path(cache)
        yield from _round_trips(directory, effort)
        yield from _scaling(directory, effort)
        yield from _neighbours(directory, effort)


def _round_trips(cache: Path, effort: Effort) -> Iterator[Figure]:
    small, large = b"x" * 64, b"x" * _LARGE
    big = wasmrun.Function(_LARGE_ECHO, entry=RAW, warm=1)
    ready = function(echo(), RAW, warm=4)
    with (
        wasmrun.Executor(cache_dir=cache) as here,
        wasmrun.ProcessExecutor(processes=1, cache_dir=cache) as there,
    ):

        def call(executor: _Executor, what: wasmrun.Function, event: bytes) -> Callable[[], object]:
            executor.prewarm(what)
            return partial(executor.invoke, what, event)

        contestants = {
            "in this process, 64 bytes": partial(time_each, call(here, ready, small), 300),
            "in a worker, 64 bytes": partial(time_each, call(there, ready, small), 300),
            "in this process, 6 MB": partial(time_each, call(here, big, large), 3),
            "in a worker, 6 MB": partial(time_each, call(there, big, large), 3),
        }
        costs = interleave(contestants, effort.pick(9, 31, 101))
    for name in contestants:
        yield costs.cost(name)
    yield _difference(costs, "in a worker, 64 bytes", "in this process, 64 bytes", "≤ 60")
    samples = [2 * _LARGE / cost / 1000 for cost in costs.samples("in a worker, 6 MB")]
    yield figure("6 MB there and back through a worker", "GB/s", samples, "≥ 1")


def _difference(costs: Rounds, over: str, under: str, target: str) -> Figure:
    samples = [a - b for a, b in zip(costs.samples(over), costs.samples(under), strict=True)]
    return figure(f"{over} − {under}", "µs", samples, target)


def _scaling(cache: Path, effort: Effort) -> Iterator[Figure]:
    """Events a second with one worker and with two, in turn."""
    spin = wasmrun.Function(_SPIN, entry="spin_raw", warm=2)
    steps = _steps(cache, spin)
    works = {
        "1 ms": (spin, steps.to_bytes(4, "little"), 200),
        "small": (function(echo(), RAW, warm=4), b"x" * 64, 2000),
    }
    with (
        wasmrun.ProcessExecutor(processes=1, cache_dir=cache) as one,
        wasmrun.ProcessExecutor(processes=2, cache_dir=cache) as two,
    ):
        for name, (what, event, events) in works.items():
            contestants = {
                f"{name}, one worker": partial(_rate, one, what, event, events, 2),
                f"{name}, two workers": partial(_rate, two, what, event, events, 3),
            }
            rates = interleave(contestants, effort.pick(5, 15, 41), "events/s")
            for contestant in contestants:
                yield rates.cost(contestant)
            target = "≥ 1.9" if name == "1 ms" else ""
            yield rates.ratio(f"{name}, two workers", f"{name}, one worker", target)


def _steps(cache: Path, spin: wasmrun.Function) -> int:
    """How far a guest counts in a millisecond, here and now."""
    with wasmrun.Executor(cache_dir=cache) as executor:
        steps = 1_000_000
        for _ in range(3):
            result = executor.run(spin, steps.to_bytes(4, "little"))
            steps = max(1000, int(steps * _MILLISECOND / result.report.duration))
        return steps


def _rate(executor: wasmrun.ProcessExecutor, what: wasmrun.Function, event: bytes, events: int, callers: int) -> float:
    """Events a second, from as many threads as keep the workers busy."""

    def work() -> None:
        for _ in range(events // callers):
            executor.invoke(what, event)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return events // callers * callers / (time.perf_counter() - began)


def _neighbours(cache: Path, effort: Effort) -> Iterator[Figure]:
    """A tenant's median latency alone, and beside the flood of another."""
    spin = wasmrun.Function(_SPIN, entry="spin_raw", warm=1)
    event = _steps(cache, spin).to_bytes(4, "little")
    with wasmrun.ProcessExecutor(processes=2, cache_dir=cache, wait=60) as executor:
        quiet = partial(executor.invoke, spin, event, tenant="quiet")
        ratios, alone, beside = [], [], []
        for _ in range(effort.pick(3, 7, 21)):
            alone.append(_median(quiet, 100))
            stop = threading.Event()

            def flood(stop: threading.Event = stop) -> None:
                while not stop.is_set():
                    executor.invoke(spin, event, tenant="loud")

            threads = [threading.Thread(target=flood) for _ in range(8)]
            for thread in threads:
                thread.start()
            quiet()  # its worker, where it had lost that
            beside.append(_median(quiet, 100))
            stop.set()
            for thread in threads:
                thread.join()
            ratios.append(beside[-1] / alone[-1])
    yield figure("one tenant alone, 1 ms", "µs", alone)
    yield figure("beside another tenant's flood", "µs", beside)
    yield figure("beside ÷ alone", "×", ratios, "≤ 1.2")


def _median(call: Callable[[], object], events: int) -> float:
    samples = []
    for _ in range(events):
        began = time.perf_counter()
        call()
        samples.append((time.perf_counter() - began) * 1e6)
    return statistics.median(samples)
