"""Ctrl-C, with real signals to a real process: it ends what runs on the main thread, is never lost, and breaks nothing."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import kit
import pytest

from wasmrun.watch import InterruptGuard, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

Make = Any
Start = Any

PROMPTLY = 0.5
"""Seconds; the promise is some 20 ms, and machines have other things to do."""


@pytest.fixture(autouse=True)
def python_s_own_handler() -> Iterator[None]:
    """Before and after each test; executors of other suites keep their guard in place meanwhile."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


# What the main thread does when Ctrl-C comes.
MOMENTS = {
    "the first event": """
        executor.invoke(pure("loop_raw", timeout=20), b"")""",
    "an event whose result is asked for": """
        executor.run(pure("loop_raw", timeout=20), b"")""",
    "an event of a function that a worker loaded": """
        function = pure("loop_raw", timeout=20)
        executor.submit(function, b"", timeout=0.02).exception()
        executor.invoke(function, b"")""",
    "a guest that is not metered": """
        executor.invoke(pure("loop_raw", timeout=20, fuel=None), b"")""",
    "a guest that logs in a loop": """
        executor.invoke(pure("chat_raw", timeout=20), b"")""",
    "a guest that sleeps": """
        executor.invoke(wasmrun.Function(SLEEP, entry="sleep_raw", timeout=20, warm=0), b"")""",
    "a guest's start-up": """
        executor.invoke(wasmrun.Function(INIT_LOOPS, entry="echo_raw", init_timeout=20, warm=0), b"")""",
    "prewarming": """
        import logging
        logging.getLogger("wasmrun.pool").disabled = True  # the keeper tries its luck, too, and says so
        executor.prewarm(wasmrun.Function(INIT_LOOPS, entry="echo_raw", init_timeout=1, warm=2))""",
    "the freeing of an answer": """
        executor.invoke(wasmrun.Function(FREE_LOOPS, entry="echo_raw", timeout=20, warm=0, reuse=True), b"x")""",
    "a host function that sleeps": """
        executor.invoke(asking(lambda _: time.sleep(20), timeout=20), b"\\xc0")""",
    "a host function that computes": """
        def compute(_):
            while True:
                pass
        executor.invoke(asking(compute, timeout=20), b"\\xc0")""",
    "host functions in turn": """
        executor.invoke(asking(lambda _: None, "nag_raw", timeout=20), b"")""",
    "a guest that a host function runs": """
        function = pure("loop_raw", timeout=20)
        executor.invoke(asking(lambda _: executor.invoke(function, b""), "nag_raw", timeout=20), b"\\xc0")""",
    "a guest that a host function runs on another executor": """
        function = pure("loop_raw", timeout=20)
        def nest(_):
            with wasmrun.Executor() as other:
                other.invoke(function, b"")
        executor.invoke(asking(nest, "nag_raw", timeout=20), b"\\xc0")""",
    "a host function after a guest that it ran": """
        def nest(_):
            executor.invoke(pure(), b"")
            time.sleep(20)
        executor.invoke(asking(nest, timeout=20), b"\\xc0")""",
    "the wait for a sandbox": """
        gate = Gate()
        held = [executor.submit(asking(gate), b"\\xc0") for _ in range(3)]
        gate.wait_for(3)
        threading.Timer(1, gate.opened.set).start()
        executor.invoke(pure(), b"")""",
    "the program's on_report": """
        executor._on_report = lambda _: time.sleep(20)
        executor.invoke(pure(), b"")""",
    "the loading of a function": """
        from wasmrun.machine.loader import Loader
        load, Loader.load = Loader.load, lambda *_: time.sleep(20)
        try:
            executor.invoke(pure(timeout=19), b"")
        finally:
            Loader.load = load""",
    "the wait for a future": """
        executor.submit(asking(lambda _: time.sleep(0.7)), b"\\xc0").result()""",
    "nothing": """
        time.sleep(20)""",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_ctrl_c_ends(start: Start, moment: str) -> None:
    """At once; nothing is printed by others, the executor works on, and the handler is Python's own in the end."""
    child = start(f"""
import signal, threading
from wasmrun.function import Function
executor = wasmrun.Executor(max_sandboxes=3, wait=20, threads=4)
print("ready", flush=True)
try:
{textwrap.indent(textwrap.dedent(moment), "    ")}
    print("it came to an end")
except KeyboardInterrupt:
    print("interrupted", flush=True)
executor._on_report = None
assert executor.invoke(pure(), b"on") == b"on"
eventually(lambda: executor.stats().pool.in_flight == 0)
executor.shutdown()
assert executor.stats().pool.live == 0
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
print("done")
""")
    assert child.line() == "ready", child.end()
    # Nothing tells from outside when a guest has begun to loop.
    threading.Event().wait(0.25)
    assert child.interrupt("interrupted") < PROMPTLY
    assert child.end() == (0, "done\n", "")


def test_ctrl_c_at_any_time_loses_nothing(start: Start) -> None:
    """Hundreds of them, while short events come one after another: each raises once, and every count is right."""
    child = start("""
import random, signal, threading
executor = wasmrun.Executor(max_sandboxes=20, wait=5)
told = wasmrun.Executor(max_sandboxes=20, wait=5, on_report=lambda report: report.status)
functions = [pure(warm=4), pure("count_raw", reuse=True), pure(name="cold"), asking(lambda _: None),
             asking(lambda _: executor.invoke(functions[0], b"x"), name="nesting")]
for function in functions:
    executor.invoke(function, b"\\xc0")
    told.invoke(function, b"\\xc0")
sent, caught, events = 0, 0, 0
said = threading.Semaphore(0)
def shoot():
    global sent
    dice = random.Random(1)
    for _ in range(300):
        time.sleep(dice.random() * 0.004)
        sent += 1
        os.kill(os.getpid(), signal.SIGINT)
        assert said.acquire(timeout=20)
shooter = threading.Thread(target=shoot)
begun = False
while not begun or shooter.is_alive():
    try:
        if not begun:
            begun = True
            shooter.start()
        while shooter.is_alive():
            for function in functions:
                executor.invoke(function, b"\\xc0")
                told.invoke(function, b"\\xc0")
                events += 1
    except KeyboardInterrupt:
        caught += 1
        said.release()
assert sent == caught == 300, (sent, caught)
assert events > 300
for one in (executor, told):
    eventually(lambda: is_idle(one))
    pool = one.stats().pool
    assert pool.live == pool.ready, pool
    one.shutdown()
    assert one.stats().pool.live == 0
print("done")
""")
    assert child.end() == (0, "done\n", "")


def test_ctrl_c_that_nobody_catches_ends_the_program(start: Start) -> None:
    """By the signal, as Python programs end, and without a hang in `with`."""
    child = start("""
with wasmrun.Executor() as executor:
    print("ready", flush=True)
    executor.invoke(pure("loop_raw", timeout=20), b"")
""")
    assert child.line() == "ready", child.end()
    threading.Event().wait(0.25)
    child.process.send_signal(signal.SIGINT)
    status, out, err = child.end()
    assert (status, out) == (-signal.SIGINT, "")
    assert err.endswith("KeyboardInterrupt\n")
    assert "ignored" not in err


def test_ctrl_c_ends_the_wait_of_shutdown(start: Start) -> None:
    """What still runs is stopped by the interpreter's exit; a second call of shutdown would wait for it."""
    child = start("""
import signal
executor = wasmrun.Executor()
future = executor.submit(pure("loop_raw", timeout=20), b"")
eventually(lambda: future.watch.current)
print("ready", flush=True)
try:
    executor.shutdown()
except KeyboardInterrupt:
    print("interrupted", flush=True)
future.cancel()
executor.shutdown()
assert executor.stats().pool.live == 0
executor = wasmrun.Executor()
executor.submit(pure("loop_raw", timeout=20), b"")
eventually(lambda: executor.stats().pool.in_flight)
signal.setitimer(signal.ITIMER_REAL, 0.1)
signal.signal(signal.SIGALRM, signal.default_int_handler)
executor.shutdown()
""")
    assert child.line() == "ready", child.end()
    threading.Event().wait(0.2)
    assert child.interrupt("interrupted") < PROMPTLY
    started = time.monotonic()
    status, out, err = child.end()
    assert (status, out) == (-signal.SIGINT, "")
    assert err.endswith("KeyboardInterrupt\n")
    assert "ignored" not in err
    assert time.monotonic() - started < 5


def test_ctrl_c_reaches_the_main_thread_while_others_run_guests(start: Start) -> None:
    """Their guests run on: it is not theirs."""
    child = start("""
import threading
executor = wasmrun.Executor()
executor.invoke(pure(), b"")
answers = []
answered = threading.Event()
def go():
    answers.append(executor.run(pure("loop_raw", timeout=1), b"").report.status)
    answered.set()
thread = threading.Thread(target=go)
thread.start()
try:
    print("ready", flush=True)
    answered.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
answered.wait()
print(answers[0])
executor.shutdown()
""")
    assert child.line() == "ready", child.end()
    assert child.interrupt("interrupted") < PROMPTLY
    assert child.end() == (0, "TimedOut\n", "")


def test_program_s_own_handler_is_left_alone(start: Start) -> None:
    """It is called, and what it decides is done."""
    child = start("""
import signal
calls = []
def handler(number, frame):
    calls.append(number)
signal.signal(signal.SIGINT, handler)
with wasmrun.Executor() as executor:
    assert executor.invoke(pure(), b"x") == b"x"
    assert signal.getsignal(signal.SIGINT) is handler
    print("ready", flush=True)
    print(executor.run(pure("loop_raw", timeout=1), b"").report.status, flush=True)
assert signal.getsignal(signal.SIGINT) is handler
assert calls == [signal.SIGINT]
""")
    assert child.line() == "ready", child.end()
    threading.Event().wait(0.25)
    assert child.interrupt("TimedOut") < 2
    assert child.end() == (0, "", "")


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_choice_of_the_system_s_handlers_is_left_alone(own: Any, handler: signal.Handlers) -> None:
    """A program under nohup stays deaf."""
    signal.signal(signal.SIGINT, handler)
    own.invoke(kit.pure(), b"")
    assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_handler_stays_until_the_last_executor_ends(make: Make) -> None:
    """They share one; whichever ends first."""
    first, second = make(), make()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    first.invoke(kit.pure(), b"")
    guard = signal.getsignal(signal.SIGINT)
    assert isinstance(guard, InterruptGuard)
    second.invoke(kit.pure(), b"")
    assert signal.getsignal(signal.SIGINT) is guard
    first.shutdown()
    first.shutdown()
    assert signal.getsignal(signal.SIGINT) is guard
    second.shutdown()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_of_the_program_that_came_later_stays(make: Make) -> None:
    """The executor's end does not take it away."""
    executor = make()
    executor.invoke(kit.pure(), b"")
    signal.signal(signal.SIGINT, print)
    executor.shutdown()
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is print


def test_handler_is_not_touched_by_other_threads(own: Any) -> None:
    """Python would not let them, and Ctrl-C is the main thread's."""
    assert own.submit(kit.pure(), b"x").result(20) == b"x"
    thread = threading.Thread(target=own.invoke, args=(kit.pure(), b"x"))
    thread.start()
    thread.join(20)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_is_restored_by_async_with(make: Make) -> None:
    """Although the shutdown runs on another thread."""

    async def main(executor: Any) -> None:
        async with executor:
            await executor.ainvoke(kit.pure(), b"")

    executor = make()
    executor.invoke(kit.pure(), b"")
    assert isinstance(signal.getsignal(signal.SIGINT), InterruptGuard)
    asyncio.run(main(executor))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_of_asyncio_comes_first(make: Make) -> None:
    """While its runner handles Ctrl-C, the executor does not; afterwards it does."""

    async def main() -> None:
        assert executor.invoke(kit.pure(), b"x") == b"x"
        assert not isinstance(signal.getsignal(signal.SIGINT), InterruptGuard)

    executor = make()
    asyncio.run(main())
    executor.invoke(kit.ordinary(), b"")
    assert isinstance(signal.getsignal(signal.SIGINT), InterruptGuard)
    executor.shutdown()


def test_handler_is_restored_when_an_executor_was_forgotten(cache_dir: Any) -> None:
    """Whoever collects it."""
    import gc

    import wasmrun

    executor = wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=5)
    executor.invoke(kit.pure(), b"")
    with pytest.warns(ResourceWarning, match="was not shut down"):
        del executor
        gc.collect()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_cannot_be_restored_from_another_thread(make: Make) -> None:
    """Then the guard stays, and does what Python's own does."""
    executor = make()
    executor.invoke(kit.pure(), b"")
    thread = threading.Thread(target=executor.shutdown)
    thread.start()
    thread.join(20)
    guard = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert isinstance(guard, InterruptGuard)
    with pytest.raises(KeyboardInterrupt):
        guard(signal.SIGINT, None)


def test_watch_that_was_stopped_marks_what_it_sees() -> None:
    """Whichever comes first: the reason or the sandbox."""

    class Sandbox:
        stop: str | None = None

    watch, sandbox = Watch(), Sandbox()
    watch.see(sandbox)  # type: ignore[arg-type]
    assert sandbox.stop is None
    watch.stop("cancelled")
    assert sandbox.stop == "cancelled"
    assert not watch.lose()
    later = Sandbox()
    watch.see(later)  # type: ignore[arg-type]
    assert later.stop == "cancelled"
    fresh = Watch()
    assert fresh.lose()
