"""Programs that use a process executor, in every place where programs run: each ends as it should, and leaves nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import kit
import pytest
from kit import eventually, is_alive

import wasmrun

Run = Any
Start = Any

PROMPTLY = 0.5
"""Seconds in which Ctrl-C is to take effect."""

# Ctrl-C

MOMENTS = {
    "a guest that loops": """
        executor.invoke(pure("loop_raw", timeout=20), b"")""",
    "an event whose result is asked for": """
        executor.run(pure("loop_raw", timeout=20), b"")""",
    "a guest that sleeps": """
        executor.invoke(wasmrun.Function(SLEEP, entry="sleep_raw", timeout=20, warm=0), b"")""",
    "a guest's start-up": """
        executor.invoke(wasmrun.Function(INIT_LOOPS, entry="echo_raw", init_timeout=20, warm=0), b"")""",
    "a host function that sleeps": """
        executor.invoke(asking(lambda _: time.sleep(20), timeout=20), b"\\xc0")""",
    "host functions in turn": """
        executor.invoke(asking(lambda _: None, "nag_raw", timeout=20), b"")""",
    "a guest that a host function runs": """
        function = pure("loop_raw", timeout=20)
        executor.invoke(asking(lambda _: executor.invoke(function, b""), "nag_raw", timeout=20), b"\\xc0")""",
    "the wait for a worker": """
        gate = Gate()
        held = [executor.submit(asking(gate, timeout=20), b"\\xc0") for _ in range(2)]
        gate.wait_for(2)
        threading.Timer(1, gate.opened.set).start()
        executor.invoke(pure(), b"")""",
    "the program's on_report": """
        executor._on_report = lambda _: time.sleep(20)
        executor.invoke(pure(), b"")""",
    "the wait for a future": """
        executor.submit(asking(lambda _: time.sleep(0.7)), b"\\xc0").result()""",
    "nothing": """
        time.sleep(20)""",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("whom", ["the program", "the terminal's group"])
def test_ctrl_c_ends(start: Start, moment: str, whom: str) -> None:
    """At once, and whoever gets it: a terminal signals every process of its group. The workers serve on."""
    child = start(f"""
import signal, threading
executor = wasmrun.ProcessExecutor(processes=2, wait=20)
executor.invoke(pure(), b"")
eventually(lambda: len(workers(executor)) == 2)
before = workers(executor)
print("ready", flush=True)
try:
{textwrap.indent(textwrap.dedent(moment), "    ")}
    print("it came to an end")
except KeyboardInterrupt:
    print("interrupted", flush=True)
executor._on_report = None
assert executor.invoke(pure(), b"on") == b"on"
eventually(lambda: executor.stats().workers.in_flight == 0)
executor.shutdown()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert not any(is_alive(pid) for pid in before)
print("done")
""")
    assert child.line() == "ready", child.end()
    # Nothing tells from outside when a guest has begun to loop.
    threading.Event().wait(0.2)
    started = time.monotonic()
    if whom == "the program":
        child.process.send_signal(signal.SIGINT)
    else:
        os.killpg(child.process.pid, signal.SIGINT)
    assert child.line() == "interrupted", child.end()
    assert time.monotonic() - started < PROMPTLY
    assert child.end() == (0, "done\n", "")


def test_ctrl_c_that_nobody_catches_ends_the_program(start: Start) -> None:
    """By the signal, as Python programs end, without a hang in `with`, and its workers with it."""
    child = start("""
with wasmrun.ProcessExecutor(processes=2) as executor:
    executor.invoke(pure(), b"")
    print(*workers(executor), flush=True)
    executor.invoke(pure("loop_raw", timeout=20), b"")
""")
    pids = [int(pid) for pid in child.line().split()]
    assert pids
    threading.Event().wait(0.2)
    os.killpg(child.process.pid, signal.SIGINT)
    status, out, err = child.end()
    assert (status, out) == (-signal.SIGINT, "")
    assert err.endswith("KeyboardInterrupt\n")
    assert err.count("Traceback") == 1
    eventually(lambda: not any(is_alive(pid) for pid in pids))


def test_ctrl_c_at_any_time_loses_nothing(start: Start) -> None:
    """A hundred of them, while short events come one after another: each raises once, and every answer is right."""
    child = start("""
import random, signal, threading
executor = wasmrun.ProcessExecutor(processes=2, wait=20)
functions = [pure(warm=4), pure("count_raw", reuse=True), asking(lambda _: None),
             asking(lambda _: executor.invoke(functions[0], b"x"), name="nesting")]
for function in functions:
    executor.invoke(function, b"\\xc0")
sent, caught, events = 0, 0, 0
said = threading.Semaphore(0)
def shoot():
    global sent
    dice = random.Random(1)
    for _ in range(100):
        time.sleep(dice.random() * 0.01)
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
                events += 1
    except KeyboardInterrupt:
        caught += 1
        said.release()
assert sent == caught == 100, (sent, caught)
assert [executor.invoke(functions[0], bytes([at])) for at in range(100)] == [bytes([at]) for at in range(100)]
eventually(lambda: executor.stats().workers.in_flight == 0)
executor.shutdown()
print("done")
""")
    assert child.end() == (0, "done\n", "")


# The end of a program

FORGETS = {
    "after an event": """
executor.invoke(pure(warm=3), b"")""",
    "right after its making": """
executor.walls()""",
    "with futures that nobody awaits": """
futures = [executor.submit(pure("loop_raw", timeout=0.3), b"") for _ in range(3)]""",
    "right after a submit": """
executor.submit(pure(), b"")""",
    "while a guest loops on a daemon thread": """
daemon(pure("loop_raw", timeout=20))""",
    "while a host function sleeps on a daemon thread": """
daemon(asking(lambda _: time.sleep(20), timeout=20))""",
    "without waiting for what runs": """
executor.submit(pure("loop_raw", timeout=0.3), b"")
executor.shutdown(wait=False)""",
    "without waiting for a guest that loops on a daemon thread": """
daemon(pure("loop_raw", timeout=20))
executor.shutdown(wait=False)""",
    "while a daemon thread waits for a worker": """
gate = Gate()
for _ in range(2):
    daemon(asking(gate, timeout=20))
gate.wait_for(2)
daemon(pure())""",
}
DAEMON = """
import sys, threading
def daemon(function):
    def work():
        try:
            executor.invoke(function, b"\\xc0")
        except BaseException:
            pass
    before = executor.stats().workers
    threading.Thread(target=work, daemon=True).start()
    eventually(lambda: sum(executor.stats().workers[1:3]) > sum(before[1:3]))
executor = wasmrun.ProcessExecutor(processes=2, wait=20)
executor.walls()
eventually(lambda: len(workers(executor)) == 2)
print(*workers(executor))
"""


@pytest.mark.parametrize("what", FORGETS.values(), ids=FORGETS)
def test_program_that_forgets_its_executor_ends(run: Run, what: str) -> None:
    """Soon, with its own exit status, without a word; and no worker is left over."""
    out, err, seconds = run(DAEMON + what + "\nsys.exit(5)", status=5)
    assert err == ""
    assert seconds < 5
    eventually(lambda: not any(is_alive(int(pid)) for pid in out.split()), 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("hardening", ["auto", "off"])
def test_program_that_is_killed_leaves_no_worker(start: Start, number: signal.Signals, hardening: str) -> None:
    """Not even one whose guest loops: within a second."""
    child = start(f"""
executor = wasmrun.ProcessExecutor(processes=2, hardening={hardening!r})
executor.invoke(pure(), b"")
eventually(lambda: len(workers(executor)) == 2)
executor.submit(pure("loop_raw", timeout=20, fuel=None), b"")
eventually(lambda: executor.stats().workers.in_flight)
print(*workers(executor), flush=True)
time.sleep(20)
""")
    pids = [int(pid) for pid in child.line().split()]
    assert len(pids) == 2
    child.process.send_signal(number)
    assert child.end()[0] == -number
    eventually(lambda: not any(is_alive(pid) for pid in pids), 1)


def test_program_may_exit_in_a_host_function(run: Run) -> None:
    """From the middle of a guest, inside `with`."""
    out, err, seconds = run(
        """
import sys
with wasmrun.ProcessExecutor(processes=1) as executor:
    executor.invoke(asking(lambda _: sys.exit(3)), b"\\xc0")
""",
        status=3,
    )
    assert (out, err) == ("", "")
    assert seconds < 5


def test_executor_is_closed_after_handlers_at_exit_that_came_later(run: Run) -> None:
    """They may use it."""
    out, err, _ = run("""
import atexit
executor = wasmrun.ProcessExecutor(processes=1)
executor.invoke(pure(), b"")
atexit.register(lambda: print(executor.invoke(pure(), b"still")))
""")
    assert (out, err) == ("b'still'\n", "")


# fork

FORK = """
import os, signal
def in_child(work):
    pid = os.fork()
    if not pid:
        signal.alarm(10)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
def refuses(call):
    try:
        call()
    except wasmrun.HostError as error:
        assert "before the process forked" in str(error)
        return
    raise AssertionError(call)
"""


def test_fork_after_use_is_a_clear_error(run: Run) -> None:
    """In the child, for whatever is asked for, and never a hang; shutting down is harmless, the parent goes on."""
    out, err, _ = run(f"""{FORK}
executor, function = wasmrun.ProcessExecutor(processes=1), pure(warm=1)
executor.submit(function, b"").result()
def child():
    for call in (executor.invoke, executor.run, executor.submit, executor.prewarm, executor.load, executor.unload,
                 executor.inspect, executor.compile, executor.is_compiled):
        refuses(lambda: call(function))
    refuses(executor.stats)
    refuses(executor.walls)
    executor.shutdown()
    executor.shutdown(wait=False)
    with wasmrun.ProcessExecutor(processes=1) as other:
        assert other.invoke(function, b"x") == b"x"
        assert other.submit(function, b"x").result(5) == b"x"
in_child(child)
assert executor.invoke(function, b"x") == b"x"
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_fork_while_locks_are_held_is_no_hang(run: Run) -> None:
    """Locks that another thread held stay locked in the child."""
    out, err, _ = run(f"""{FORK}
executor, function = wasmrun.ProcessExecutor(processes=1), pure()
executor.invoke(function, b"")
executor._lock.acquire()
def child():
    refuses(lambda: executor.submit(function, b""))
    refuses(lambda: executor.invoke(function, b""))
    refuses(executor.stats)
    executor.shutdown()
in_child(child)
executor._lock.release()
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_forked_child_that_exits_leaves_its_parent_s_workers_alone(run: Run) -> None:
    """By an ordinary exit, with the executor forgotten or not."""
    out, err, _ = run("""
import gc, os, sys
executor, function = wasmrun.ProcessExecutor(processes=1), pure(warm=1)
executor.invoke(function, b"")
[before] = workers(executor)
for forgets in (False, True):
    pid = os.fork()
    if not pid:
        if forgets:
            del executor
            gc.collect()
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert executor.invoke(function, b"x") == b"x"
assert workers(executor) == [before]
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_executor_made_before_a_fork_works_in_each_child(run: Run) -> None:
    """As an application server has it, which loads the program first and then forks."""
    out, err, _ = run(f"""{FORK}
executor, function = wasmrun.ProcessExecutor(processes=1), pure(warm=1)
def child():
    with executor:
        assert executor.invoke(function, b"x") == b"x"
        assert executor.submit(function, b"y").result(5) == b"y"
in_child(child)
in_child(child)
assert executor.invoke(function, b"x") == b"x"
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_workers_end_although_a_forked_child_lives_on(start: Start) -> None:
    """It has inherited their sockets, which stay open in it."""
    child = start("""
executor = wasmrun.ProcessExecutor(processes=1)
executor.invoke(pure(), b"")
pid = os.fork()
if not pid:
    os.close(1)
    os.close(2)
    time.sleep(3)
    os._exit(0)
print(*workers(executor), flush=True)
time.sleep(20)
""")
    pids = [int(pid) for pid in child.line().split()]
    child.process.kill()
    eventually(lambda: not any(is_alive(pid) for pid in pids), 1)


# Where programs run


def test_script_needs_no_main_guard(run: Run, tmp_path: Path) -> None:
    """Workers do not import it."""
    script = tmp_path / "script.py"
    script.write_text("""
from kit import *
print("once")
executor = wasmrun.ProcessExecutor(processes=1)
print(executor.invoke(pure(), b"x"))
executor.shutdown()
""")
    out, err, _ = run("", sys.executable, "-W", "error", str(script))
    assert (out, err) == ("once\nb'x'\n", "")


def test_interactive_session_works(start: Start) -> None:
    """Line by line, from standard input."""
    child = start("", "sh", "-c", f"""{sys.executable} -i -q 2>&1 <<'END'
from kit import *
executor = wasmrun.ProcessExecutor(processes=1)
executor.invoke(pure(), b"x")
executor.run(pure("trap_raw"), b"").error.kind
END""")  # fmt: skip
    status, out, _ = child.end()
    assert status == 0
    assert "b'x'" in out
    assert "'unreachable'" in out
    assert "Traceback" not in out


def test_pytest_run_works(run: Run, tmp_path: Path) -> None:
    """With output captured, an executor of the session, and one that a test forgets."""
    (tmp_path / "test_it.py").write_text("""
import pytest
from kit import *

@pytest.fixture(scope="session")
def executor():
    with wasmrun.ProcessExecutor(processes=1) as executor:
        yield executor

@pytest.mark.parametrize("at", range(3))
def test_it(executor, at):
    print("said")
    assert executor.invoke(pure(), bytes([at])) == bytes([at])
""")
    out, _, _ = run("", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    assert "3 passed" in out


def _use(cache_dir: str, answers: Any) -> None:
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1) as executor:
        loop = executor.run(kit.pure("loop_raw"), b"", timeout=0.05).report.status
        answers.send((executor.invoke(kit.pure(warm=1), b"x"), executor.submit(kit.pure(), b"y").result(20), loop))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_daemonic_process_has_workers(method: str, cache_dir: Path) -> None:
    """They may have no children by multiprocessing, and need none."""
    context = multiprocessing.get_context(method)
    answers, there = context.Pipe(duplex=False)
    process = context.Process(target=_use, args=(str(cache_dir), there), daemon=True)
    process.start()
    there.close()
    assert answers.poll(60)  # the end of a process that says nothing counts, too
    assert answers.recv() == (b"x", b"y", "TimedOut")
    process.join(20)
    assert process.exitcode == 0


def test_program_on_another_thread_than_the_main_one_works(run: Run) -> None:
    """Whichever thread has the first event, and however it ends: workers do not end with it."""
    out, err, _ = run("""
import threading
executor = wasmrun.ProcessExecutor(processes=1)
answers = []
def use():
    answers.append(executor.invoke(pure(), b"x"))
for _ in range(3):
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    pids = workers(executor)
assert executor.stats().workers.started == 1, executor.stats()
executor.shutdown()
print(answers)
""")
    assert (out, err) == ("[b'x', b'x', b'x']\n", "")
