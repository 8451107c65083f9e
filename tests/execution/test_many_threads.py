"""Threads: many of them on one function, those with little stack, and guests within guests on one stack."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import kit
import msgpack
import pytest
from kit import eventually

import wasmrun
from wasmrun.machine import threads as machine_threads
from wasmrun.machine.threads import GUEST_STACK, guest_stack, stack_bytes

Make = Any
Run = Any

HAMMER_SECONDS = 2.0
SMALL = 256 * 1024


def on_thread(work: Any, *, stack: int | None = None) -> Any:
    """What *work* gives, or raises, on a thread of its own."""
    outcome: list[Any] = []

    def do() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    before = threading.stack_size(stack or 0)
    try:
        thread = threading.Thread(target=do)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join(20)
    return outcome[0]


def on_thread_now(work: Any) -> Any:
    """What *work* gives on a thread with the stack that threads get now."""
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(work()))
    thread.start()
    thread.join(20)
    return outcome[0]


def test_hammer_gets_every_answer_right(make: Make) -> None:
    """Threads that invoke, run, submit and cancel, functions that fail, few sandboxes for all: no answer is another's."""
    executor = make(threads=4, max_sandboxes=12, wait=20)
    functions = [
        kit.pure(warm=3),
        kit.pure("echo_raw", reuse=True, name="reused"),
        kit.pure(name="cold", concurrency=2),
    ]
    trap, loop, host = kit.pure("trap_raw"), kit.pure("loop_raw"), kit.asking(lambda event: [event, event])
    until = time.monotonic() + HAMMER_SECONDS
    wrong: list[BaseException] = []
    done = [0]

    def work(seed: int) -> None:
        dice = random.Random(seed)
        try:
            while time.monotonic() < until:
                event = dice.randbytes(dice.choice((1, 8, 64, 4000)))
                function = dice.choice(functions)
                match dice.randrange(8):
                    case 0 | 1 | 2:
                        assert executor.invoke(function, event) == event
                    case 3:
                        result = executor.run(function, event, tenant=str(seed))
                        assert (result.value, result.report.event_bytes) == (event, len(event))
                    case 4:
                        assert executor.submit(function, event).result(20) == event
                    case 5:
                        with pytest.raises(wasmrun.GuestTrap):
                            executor.invoke(trap, event)
                    case 6:
                        packed = msgpack.packb(event)
                        assert msgpack.unpackb(executor.invoke(host, packed)) == [0, [event, event]]
                    case 7:
                        future = executor.submit(loop, b"", timeout=0.5)
                        time.sleep(dice.random() / 200)
                        if not future.cancel():
                            assert isinstance(future.exception(20), wasmrun.TimedOut)
                done[0] += 1
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not wrong
    assert done[0] > 100
    eventually(lambda: kit.is_idle(executor))
    pool = executor.stats().pool
    assert pool.live == pool.ready <= 12
    executor.shutdown()
    assert executor.stats().pool.live == 0


def test_two_executors_do_not_know_each_other(make: Make) -> None:
    """Threads use both at once; closing one leaves the other alone."""
    first, second = make(), make()
    function = kit.pure(warm=2)
    until = time.monotonic() + 0.3
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            while time.monotonic() < until:
                assert first.invoke(function, b"1") == b"1"
                assert second.invoke(function, b"2") == b"2"
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert not wrong
    first.shutdown()
    assert second.invoke(function, b"2") == b"2"


@pytest.mark.parametrize("call", ["invoke", "run", "prewarm"])
def test_thread_with_a_small_stack_is_told_so(own: wasmrun.Executor, call: str) -> None:
    """A guest would outgrow it and kill the process. The text has the numbers and the remedies."""
    function = kit.pure(warm=1)
    error = on_thread(lambda: getattr(own, call)(function), stack=SMALL)
    assert isinstance(error, wasmrun.HostError)
    for part in ("256 KiB", "needs 768 KiB", "submit", "threading.stack_size"):
        assert part in str(error)
    eventually(lambda: own.stats().pool.in_flight == 0)


def test_thread_with_a_small_stack_may_submit(own: wasmrun.Executor) -> None:
    """The executor's threads have room, whatever threads of the program have."""
    assert on_thread(lambda: own.submit(kit.pure(), b"x").result(20), stack=SMALL) == b"x"


def test_thread_runs_guests_that_need_little(own: wasmrun.Executor) -> None:
    """A guest with a small stack fits a smaller one."""
    function = kit.pure(stack="128KiB")
    assert on_thread(lambda: own.invoke(function, b"x"), stack=512 * 1024) == b"x"


@pytest.mark.parametrize(
    "setting",
    [
        "threading.stack_size(256 * 1024)",
        "import resource; resource.setrlimit(resource.RLIMIT_STACK, (400 * 1024, -1))",
    ],
)
def test_small_stacks_of_the_whole_program_do_no_harm(run: Run, setting: str) -> None:
    """Neither to events on the executor's threads nor to start-ups on the keeper's: a deep guest traps, the process lives."""
    out, err, _ = run(f"""
import sys, threading, subprocess
if "resource" in {setting!r} and len(sys.argv) == 1:
    # glibc looks at the limit when a process starts.
    {setting if "resource" in setting else "pass"}
    sys.exit(subprocess.run([sys.executable, "-c", sys.orig_argv[-1], "again"]).returncode)
import logging
logging.disable()
{setting if "resource" not in setting else ""}
executor = wasmrun.Executor()
deep = wasmrun.Function(INIT_DEEP, entry="echo_raw", warm=2)
executor.load(deep)  # here, so that the keeper is started by a thread which has set nothing for threads
print(type(executor.submit(deep, b"").exception()).__name__)
eventually(lambda: executor.stats().pool.refill_failures)
executor.shutdown()
print(threading.stack_size())
""")
    assert out.split() == ["GuestTrap", "262144" if "resource" not in setting else "0"]
    assert err == ""


def test_guests_nest_as_far_as_the_stack_reaches(make: Make) -> None:
    """Then a clear error, which the guests pass on; each may use up its own stack. On workers and on callers."""
    depths: list[int] = []

    def nest(depth: int) -> Any:
        depths.append(depth)
        return executor.invoke(function, msgpack.packb(depth + 1))

    executor = make()
    function = kit.asking(nest, "deep_raw")
    for call in (lambda: executor.invoke(function, b"\x00"), lambda: executor.submit(function, b"\x00").result(20)):
        depths.clear()
        answer = msgpack.unpackb(call())
        while answer[0] == 0:
            answer = msgpack.unpackb(answer[1])
        assert "nested too deep" in answer[1]["message"]
        assert 2 <= len(depths) <= 64
        assert depths == list(range(len(depths)))
    assert executor.invoke(kit.pure(), b"x") == b"x"
    assert executor.stats().pool.in_flight == 0


def test_guest_that_a_host_function_runs_has_its_own_everything(make: Make) -> None:
    """Deadline, request id, sandbox: the outer one goes on as if nothing had been."""
    reports: list[wasmrun.Report] = []
    executor = make(on_report=reports.append)

    def nest(event: Any) -> Any:
        with pytest.raises(wasmrun.TimedOut):
            executor.invoke(kit.pure("loop_raw", name="inner"), b"", timeout=0.05)
        return event

    assert executor.invoke(kit.asking(nest, name="outer"), b"\x07") == b"\x92\x00\x07"
    assert [(report.function, report.status) for report in reports] == [("inner", "TimedOut"), ("outer", "success")]
    assert reports[0].request_id != reports[1].request_id


def stack_size_now() -> int:
    """What threads get now; asking alone would set it to 0."""
    now = threading.stack_size()
    threading.stack_size(now)
    return now


@pytest.mark.parametrize(("chosen", "inside"), [(0, None), (SMALL, GUEST_STACK), (4 * GUEST_STACK, 4 * GUEST_STACK)])
def test_guest_stack_restores_what_the_program_chose(chosen: int, inside: int | None) -> None:
    """Also where that is the system's own choice, and where it is plenty."""
    before = threading.stack_size(chosen)
    try:
        with guest_stack():
            assert stack_size_now() == inside or (inside is None and on_thread_now(stack_bytes) >= GUEST_STACK)
        assert stack_size_now() == chosen
    finally:
        threading.stack_size(before)


def test_guest_stack_of_two_threads_takes_turns() -> None:
    """One that restored what the other had set would leave the program with another size than it chose."""
    before = threading.stack_size(SMALL)
    sizes: list[int] = []

    def work() -> None:
        for _ in range(200):
            with guest_stack():
                sizes.append(stack_size_now())

    try:
        with guest_stack():
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join(20)
        assert stack_size_now() == SMALL
    finally:
        threading.stack_size(before)
    assert set(sizes) == {GUEST_STACK}


def test_guest_stack_leaves_what_the_program_chooses_meanwhile() -> None:
    """A program that sets a size for one thread and restores the old one is not undone."""
    before = threading.stack_size(SMALL)
    try:
        with guest_stack():
            threading.stack_size(2 * SMALL)
        assert stack_size_now() == 2 * SMALL
    finally:
        threading.stack_size(before)


def test_guest_stack_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a thread that stayed with the parent when the process was forked."""
    monkeypatch.setattr(machine_threads, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(machine_threads, "_stack_size_lock", threading.Lock())
    assert machine_threads._stack_size_lock.acquire()
    with guest_stack():
        pass
    assert machine_threads._stack_size_lock.locked()


def test_stack_of_a_thread_is_known() -> None:
    """To the byte that was asked for."""
    assert on_thread(stack_bytes, stack=1024 * 1024) == 1024 * 1024
