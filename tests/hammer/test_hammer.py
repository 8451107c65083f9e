"""Hammer: many threads, mixed functions, little room; every outcome is the right one, and the counts agree at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import kit
from kit import eventually

import wasmrun

THREADS = 16
SECONDS = 2.0
RACING = 2_500

ASKING = f"""(module
  (import "wasmrun" "call" (func $call (param i32 i32) (result i64)))
  {kit.NATIVE}
  ;; Asks the host with [event, context], and answers with its reply: a value, or its error as its own.
  (func (export "ask") (param i32 i32) (result i64) (call $call (local.get 0) (local.get 1))))"""


class Odd(Exception):
    """What the host function raises; it carries the event."""


def even(request: list[Any]) -> int:
    """The host function: gives an even number back, and raises an odd one."""
    number: int = request[0]
    if number % 2:
        raise Odd(number)
    return number


def carried(error: wasmrun.HostError) -> int:
    """The number that the error of `even` carries."""
    assert isinstance(error.__cause__, Odd), error
    (number,) = error.__cause__.args
    return int(number)


def asking(**settings: Any) -> wasmrun.Function:
    """The function that asks `even`."""
    return wasmrun.Function(ASKING, entry="ask", imports={"call": even}, **settings)


def on_threads(work: Callable[[int], None]) -> None:
    """Do *work* on many threads at once; what one of them raises is raised here."""
    wrong: list[BaseException] = []

    def do(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=do, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if wrong:
        raise wrong[0]


def test_hammer_loses_and_invents_nothing(crowded: Any, reports: Counter[str], scale: float) -> None:
    """Good, trapping, endless, cancelled, limited and asking functions: each event ends as its function does, or is
    throttled; failures, reports and what is in use are as many as the events say."""
    good = [kit.pure(warm=2), kit.pure(name="reused", reuse=True)]
    trap, asks = kit.pure("trap_raw"), asking(warm=1)
    endless, limited = kit.pure("loop_raw", timeout="20ms"), kit.pure(name="limited", concurrency=1)
    long = kit.pure("loop_raw", timeout=20, name="long")
    for function in (*good, trap, limited, endless, long):
        eventually(lambda function=function: is_loaded(crowded, function))
    eventually(lambda: is_loaded(crowded, asks))
    reports.clear()
    failed_before = Counter(crowded.stats().failures)
    ends: Counter[str] = Counter()
    lock = threading.Lock()
    until = time.monotonic() + SECONDS * scale

    def work(seed: int) -> None:
        dice = random.Random(seed)
        own: Counter[str] = Counter()
        while time.monotonic() < until:
            own[one(dice)] += 1
        with lock:
            ends.update(own)

    def one(dice: random.Random) -> str:
        event = dice.randbytes(dice.choice((1, 8, 64, 4_000)))
        kind = dice.randrange(12)
        try:
            if kind < 4:
                assert crowded.invoke(dice.choice(good), event) == event
            elif kind < 6:
                assert crowded.submit(dice.choice(good), event).result(20) == event
            elif kind < 7:
                return type(crowded.run(trap, event).error).__name__
            elif kind < 8:
                assert crowded.invoke(limited, event) == event
            elif kind < 9:
                return type(crowded.run(endless, event).error).__name__
            elif kind < 10:
                future = crowded.submit(long, event)
                time.sleep(dice.random() / 50)
                return "cancelled" if future.cancel() else type(future.exception(20)).__name__
            else:
                number = dice.randrange(1 << 30)
                assert crowded.invoke(asks, number) == number
        except wasmrun.HostError as error:
            return "HostError" if carried(error) == number else "the error of another event"
        except wasmrun.Throttled:
            return "Throttled"
        return "success"

    on_threads(work)
    eventually(lambda: crowded.stats().pool.in_flight == 0)
    assert set(ends) <= {"success", "GuestTrap", "TimedOut", "HostError", "Throttled", "cancelled"}
    # On a machine with much else to do, a kind of event may never have found a worker.
    assert ends["success"]
    assert len(ends) >= 3, ends
    failures = Counter(crowded.stats().failures) - failed_before
    # One that is cancelled may have been throttled a moment before.
    assert 0 <= failures["Throttled"] - ends["Throttled"] <= ends["cancelled"]
    assert {name: failures[name] for name in ("GuestTrap", "TimedOut", "HostError")} == {
        name: ends[name] for name in ("GuestTrap", "TimedOut", "HostError")
    }
    assert reports == Counter({name: ends[name] for name in ("success", "GuestTrap", "TimedOut", "HostError")})
    pool = crowded.stats().pool
    assert (pool.in_flight, pool.throttled >= ends["Throttled"]) == (0, True)


def is_loaded(executor: Any, function: wasmrun.Function) -> bool:
    """Load *function* where there is a worker for it already."""
    try:
        executor.load(function)
    except wasmrun.Throttled:
        return False
    return True


def test_errors_of_the_host_are_each_its_own_events(patient: Any, scale: float) -> None:
    """Racing host functions that raise: the error of the event *i* carries *i*, and no answer is another's."""
    function = asking(warm=4)
    patient.load(function)
    numbers = iter(range(int(RACING * scale)))
    lock = threading.Lock()
    counts: Counter[str] = Counter()

    def work(_: int) -> None:
        own: Counter[str] = Counter()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            # Mostly odd ones: what raises is what is looked at.
            number = number * 2 + (number % 8 != 0)
            try:
                assert patient.invoke(function, number) == number
                own["answer"] += 1
            except wasmrun.HostError as error:
                own["error" if carried(error) == number else "the error of another event"] += 1
        with lock:
            counts.update(own)

    on_threads(work)
    assert set(counts) == {"answer", "error"}
    assert counts.total() == int(RACING * scale)
    assert counts["error"] == patient.stats().failures["HostError"]
    assert patient.stats().pool.in_flight == 0


def test_executor_that_is_shut_down_answers_or_refuses(patient: Any) -> None:
    """While threads invoke and submit: each event is answered or refused, and everything ends."""
    function = kit.pure(warm=2)
    patient.load(function)
    begun = threading.Barrier(THREADS + 1)
    refused: list[str] = []

    def work(seed: int) -> None:
        begun.wait(20)
        event = b"%d" % seed
        while len(refused) < THREADS:
            try:
                if seed % 2:
                    assert patient.submit(function, event).result(20) == event
                else:
                    assert patient.invoke(function, event) == event
            except RuntimeError as error:
                refused.append(str(error))
                return

    def close() -> None:
        begun.wait(20)
        time.sleep(0.1)
        patient.shutdown()

    closer = threading.Thread(target=close)
    closer.start()
    on_threads(work)
    closer.join(20)
    assert not closer.is_alive()
    assert refused == ["the executor was shut down"] * THREADS
