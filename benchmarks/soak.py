"""Does it hold for long: good, slow, crashing and hostile functions, and tenants that spy on each other, all at once?"""

import argparse
import itertools
import logging
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import wasmrun

from .figures import Figure, figure
from .report import Lines, Table
from .resident import Resident, resident
from .spy import MARKS, Spy

CAVEATS = (
    "Good neighbours pause for 2 ms between events; they run alone for a fifth of the time, then beside all others.",
    "All share the machine's processors: what bad neighbours use there, good ones wait for.",
    "A worker is killed every second, whoever has it; its event ends in a HostError, and may be a good neighbour's.",
    "Growth is that of the parent, from its first sample with all at work to the end, when all of it has settled.",
    "A spy counts each byte of the other tenant that it finds in memory, globals, tables, variables, files, logs, errors.",
)
_Executor = wasmrun.Executor | wasmrun.ProcessExecutor
_SETTLE_SECONDS = 5.0
_THREADS = 16

_GUEST = """(module
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  (import "wasmrun" "call" (func $call (param i32 i32) (result i64)))
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func $pack (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))
  (func $down (call $down) (call $down))
  (func (export "good_raw") (param i32 i32) (result i64) (call $pack (local.get 0) (local.get 1)))
  (func (export "slow_raw") (param i32 i32) (result i64) (loop $again (br $again)) (unreachable))
  (func (export "trap_raw") (param i32 i32) (result i64) (unreachable))
  (func (export "deep_raw") (param i32 i32) (result i64) (call $down) (i64.const 0))
  (func (export "flood_raw") (param i32 i32) (result i64)
    (loop $again (call $log (i32.const 2) (i32.const 0) (i32.const 60000)) (br $again)) (unreachable))
  (func (export "grow_raw") (param i32 i32) (result i64)
    (loop $again (drop (table.grow $table (ref.null func) (i32.const 10000)))
      (memory.fill (i32.const 0) (i32.const 7) (i32.mul (memory.size) (i32.const 65536)))
      (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (unreachable))
  (func (export "lie_raw") (param i32 i32) (result i64) (i64.const -1))
  (func (export "ask") (param i32 i32) (result i64) (call $call (local.get 0) (local.get 1))))"""


class _Raised(Exception):
    """What the host function raises; it carries the event."""


def _raise(request: list[int]) -> None:
    raise _Raised(request[0])


def _guest(entry: str, tenant: str, **settings: object) -> wasmrun.Function:
    more = {"timeout": "50ms", "memory": "16MiB", "warm": 1, **settings}
    return wasmrun.Function(
        _GUEST, entry=entry, name=f"{tenant}-{entry}", tenant=tenant, imports={"call": _raise}, **more
    )


class _Tally:
    """What the events of one executor became, by who sent them; what spies found; how long good neighbours took."""

    def __init__(self, executor: _Executor) -> None:
        self.executor = executor
        self.name = type(executor).__name__
        self.ends: Counter[str] = Counter()
        self.foreign = 0
        self.wrong = 0
        self.alone: list[float] = []
        self.beside: list[float] = []
        self._lock = threading.Lock()

    def add(self, ends: Counter[str], foreign: int = 0, wrong: int = 0) -> None:
        """Add what one thread has counted."""
        with self._lock:
            self.ends += ends
            self.foreign += foreign
            self.wrong += wrong


def _end(executor: _Executor, function: wasmrun.Function, event: object) -> str:
    try:
        result = executor.run(function, event)
    except wasmrun.WasmrunError as error:
        return type(error).__name__
    return "answer" if result.error is None else type(result.error).__name__


def _neighbour(tally: _Tally, stop: threading.Event, crowd: threading.Event) -> None:
    function, ends, wrong = _guest("good_raw", "good", timeout="1s", warm=4), Counter[str](), 0
    for number in itertools.count():
        if stop.is_set():
            break
        event = b"%064d" % number
        began = time.perf_counter()
        try:
            wrong += tally.executor.invoke(function, event) != event
        except wasmrun.WasmrunError as error:
            ends[type(error).__name__] += 1
        else:
            ends["answer"] += 1
            (tally.beside if crowd.is_set() else tally.alone).append(time.perf_counter() - began)
        time.sleep(0.002)
    tally.add(ends, wrong=wrong)


def _bad(tally: _Tally, stop: threading.Event, seed: int) -> None:
    entries = ("slow_raw", "trap_raw", "deep_raw", "flood_raw", "grow_raw", "lie_raw", "ask")
    functions = [_guest(entry, "bad") for entry in entries]
    dice, ends = random.Random(seed), Counter[str]()
    while not stop.is_set():
        function = dice.choice(functions)
        ends[_end(tally.executor, function, 1 if function.entry == "ask" else b"x")] += 1
    tally.add(ends)


def _spying(tally: _Tally, spies: Sequence[Spy], more: Callable[[], bool]) -> None:
    """Let the spies look in turn for as long as there is *more*; every seventh traps."""
    foreign = 0
    for number, spy in enumerate(itertools.cycle(spies)):
        if not more():
            break
        foreign += spy.look(tally.executor, traps=number % 7 == 0)
    ends: Counter[str] = Counter()
    for spy in spies:
        ends.update(spy.ends)
    tally.add(ends, foreign)


def _spies(scratch: Path, *, is_shared: bool) -> list[Spy]:
    return [Spy(tenant, None if is_shared else scratch / tenant) for tenant in MARKS]


def _killer(executor: wasmrun.ProcessExecutor, stop: threading.Event) -> None:
    dice = random.Random(0)
    while not stop.wait(1.0):
        workers = sorted(executor.walls())
        if workers:
            try:
                os.kill(dice.choice(workers), signal.SIGKILL)
            except ProcessLookupError:
                continue


def mix(seconds: float, cache: Path) -> Iterator[Figure]:
    """Everything at once, on both executors."""
    with (
        wasmrun.Executor(cache_dir=cache, max_sandboxes=50, wait="2s") as inside,
        wasmrun.ProcessExecutor(cache_dir=cache, processes=6, max_sandboxes=20, wait="2s") as walled,
    ):
        tallies = [_Tally(inside), _Tally(walled)]
        stop, crowd = threading.Event(), threading.Event()
        good = [threading.Thread(target=_neighbour, args=(tally, stop, crowd)) for tally in tallies]
        others = [threading.Thread(target=_killer, args=(walled, stop))]
        for tally in tallies:
            scratch = cache.parent / tally.name
            scratch.mkdir()
            others.append(threading.Thread(target=_bad, args=(tally, stop, 1)))
            for is_shared in (False, True):
                spies = _spies(scratch, is_shared=is_shared)
                others.append(threading.Thread(target=_spying, args=(tally, spies, lambda: not stop.is_set())))
        first = Resident(0, 0, 0, 0)
        for threads, share in ((good, 0.2), (others, 0.2), ((), 0.6)):
            if threads is others:
                crowd.set()
            for thread in threads:
                thread.start()
            time.sleep(seconds * share)
            if threads is others:
                first = resident()
        stop.set()
        for thread in (*good, *others):
            thread.join()
        _settle(inside, walled)
        last = resident()
        for tally in tallies:
            yield from _told(tally)
            for when, times in (("alone", tally.alone), ("beside bad ones", tally.beside)):
                yield figure(f"{tally.name}: good neighbours {when}", "µs", [second * 1e6 for second in times])
            moved = statistics.median(tally.beside) / statistics.median(tally.alone)
            yield figure(f"{tally.name}: good neighbours beside bad ones, to alone", "×", [moved])
        workers = walled.stats().workers
        for name in ("started", "replaced", "died", "killed"):
            yield figure(f"workers {name}", "workers", [getattr(workers, name)])
        yield from _growth(first, last)


def _told(tally: _Tally) -> Iterator[Figure]:
    yield figure(f"{tally.name}: events", "events", [tally.ends.total()])
    for end, count in tally.ends.most_common():
        yield figure(f"{tally.name}: ended in {end}", "events", [count])
    yield figure(f"{tally.name}: foreign bytes", "bytes", [tally.foreign], "0")
    yield figure(f"{tally.name}: answers that were another's", "events", [tally.wrong], "0")


def _growth(first: Resident, last: Resident) -> Iterator[Figure]:
    yield figure("growth of the parent's memory", "MiB", [(last.memory_kib - first.memory_kib) / 1024])
    yield figure("growth of the parent's maps", "maps", [last.maps - first.maps])
    yield figure("growth of the parent's descriptors", "descriptors", [last.descriptors - first.descriptors])


def _settle(*executors: _Executor) -> None:
    until = time.monotonic() + _SETTLE_SECONDS
    while any(executor.stats().pool.in_flight for executor in executors) and time.monotonic() < until:
        time.sleep(0.01)


def spying(events: int, cache: Path) -> Iterator[Figure]:
    """So many events of two tenants in turn, each looking for the other's traces, half of them on each executor."""
    for executor in (
        wasmrun.Executor(cache_dir=cache, max_sandboxes=50),
        wasmrun.ProcessExecutor(cache_dir=cache, processes=2, max_sandboxes=20),
    ):
        with executor:
            tally, share = _Tally(executor), events // 4
            scratch = cache.parent / f"spying-{tally.name}"
            scratch.mkdir()
            for is_shared in (False, True):
                left = iter(range(share))
                more = lambda left=left: next(left, None) is not None  # noqa: E731  # a name would say no more
                _spying(tally, _spies(scratch, is_shared=is_shared), more)
            yield from _told(tally)
            control = Spy("north", None, reuse=True)
            found = sum(control.look(executor) for _ in range(3))
            yield figure(f"{tally.name}: control, traces of its own in a reused sandbox", "bytes", [found], "> 0")


def errors(count: int, cache: Path) -> Iterator[Figure]:
    """So many racing errors of a host function, half of them on each executor; each belongs to its own event."""
    for executor in (
        wasmrun.Executor(cache_dir=cache, max_sandboxes=50, wait="60s"),
        wasmrun.ProcessExecutor(cache_dir=cache, processes=2, max_sandboxes=20, wait="60s"),
    ):
        with executor:
            tally, function = _Tally(executor), _guest("ask", "racing", timeout="10s", warm=8)
            threads = [
                threading.Thread(target=_racing, args=(tally, function, range(at, count // 2, _THREADS)))
                for at in range(_THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            yield figure(f"{tally.name}: racing errors of the host", "events", [tally.ends["HostError"]])
            yield figure(f"{tally.name}: errors that were another event's", "events", [tally.wrong], "0")


def _racing(tally: _Tally, function: wasmrun.Function, numbers: range) -> None:
    ends, wrong = Counter[str](), 0
    for number in numbers:
        try:
            tally.executor.invoke(function, number)
        except wasmrun.WasmrunError as error:
            ends[type(error).__name__] += 1
            cause = error.__cause__
            wrong += not (isinstance(cause, _Raised) and cause.args == (number,))
        else:
            wrong += 1
    tally.add(ends, wrong=wrong)


def main(arguments: Sequence[str]) -> None:
    """Do what the command line asks for; without anything, one minute of everything at once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, help="everything at once for so long (default: 1, where nothing else is)"
    )
    parser.add_argument("--events", type=int, help="so many events of two tenants that spy on each other")
    parser.add_argument("--errors", type=int, help="so many racing errors of host functions")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of tables")
    options = parser.parse_args(arguments)
    if options.minutes is options.events is options.errors is None:
        options.minutes = 1.0
    # A worker that is killed is logged, and a host function's error may be: here they are the purpose.
    logging.getLogger("wasmrun").setLevel(logging.CRITICAL)
    report = Lines() if options.json else Table()
    report.begin()
    with tempfile.TemporaryDirectory(prefix="wasmrun-soak-") as directory:
        cache = Path(directory) / "cache"
        figures = itertools.chain(
            mix(options.minutes * 60, cache) if options.minutes is not None else (),
            spying(options.events, cache) if options.events is not None else (),
            errors(options.errors, cache) if options.errors is not None else (),
        )
        report.answer("soak", __doc__ or "", CAVEATS, figures)
