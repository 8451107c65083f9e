"""Processes: forked, daemonic, ending in the middle of things. Each ends as it should, and says what went wrong."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

import kit
import pytest

import wasmrun
from wasmrun.machine import capi

if TYPE_CHECKING:
    from pathlib import Path

Run = Any

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


# fork


@pytest.mark.parametrize("first", ["executor.invoke(function, b'')", "executor.submit(function, b'').result()"])
def test_fork_after_use_is_a_clear_error(run: Run, first: str) -> None:
    """In the child, for whatever is asked for, and never a hang; shutting down is harmless, the parent goes on."""
    out, err, _ = run(f"""{FORK}
executor, function = wasmrun.Executor(), pure(warm=1)
{first}
def child():
    for call in (executor.invoke, executor.run, executor.submit, executor.prewarm, executor.load, executor.unload,
                 executor.inspect, executor.compile, executor.is_compiled):
        refuses(lambda: call(function))
        refuses(lambda: call(pure("trap_raw")))
    refuses(executor.stats)
    executor.shutdown()
    executor.shutdown(wait=False)
    # A new one works.
    with wasmrun.Executor() as other:
        assert other.invoke(function, b"x") == b"x"
        assert other.submit(function, b"x").result(5) == b"x"
in_child(child)
assert executor.invoke(function, b"x") == b"x"
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_fork_while_another_thread_submits_is_no_hang(run: Run) -> None:
    """Locks that it held stayed locked in the child."""
    out, err, _ = run(f"""{FORK}
import threading
executor, function = wasmrun.Executor(), pure()
executor.invoke(function, b"")
executor._lock.acquire()
executor._runner.core.pool.lock.acquire()
def child():
    refuses(lambda: executor.submit(function, b""))
    refuses(lambda: executor.invoke(function, b""))
    refuses(executor.stats)
    executor.shutdown()
in_child(child)
executor._lock.release()
executor._runner.core.pool.lock.release()
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_executor_that_was_not_used_works_in_a_forked_child(run: Run) -> None:
    """And in the parent: each makes its own of everything."""
    out, err, _ = run(f"""{FORK}
executor, function = wasmrun.Executor(), pure(warm=1)
def child():
    with executor:
        assert executor.invoke(function, b"x") == b"x"
        assert executor.submit(function, b"y").result(5) == b"y"
        assert executor.run(pure("loop_raw"), b"", timeout=0.05).report.status == "TimedOut"
in_child(child)
assert executor.invoke(function, b"x") == b"x"
in_child(lambda: refuses(lambda: executor.invoke(function, b"x")))
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_forked_child_may_forget_its_parent_s_executor(run: Run) -> None:
    """It holds nothing there: no warning, nothing freed; its ordinary exit is clean, too."""
    out, err, _ = run("""
import gc, os, sys
executor, function = wasmrun.Executor(), pure(warm=1)
executor.invoke(function, b"")
sys.stdout.flush()
pid = os.fork()
if not pid:
    del executor
    gc.collect()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
executor.shutdown()
print("done")
""")
    assert (out, err) == ("done\n", "")


def _use(cache_dir: str, answers: Any) -> None:
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=10) as executor:
        loop = executor.run(kit.pure("loop_raw"), b"", timeout=0.05).report.status
        answers.put((executor.invoke(kit.pure(warm=1), b"x"), executor.submit(kit.pure(), b"y").result(20), loop))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_daemonic_process_runs_functions(method: str, cache_dir: Path) -> None:
    """As Celery's workers are: they may have no children by multiprocessing, and need none."""
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    process = context.Process(target=_use, args=(str(cache_dir), answers), daemon=True)
    process.start()
    assert answers.get() == (b"x", b"y", "TimedOut")
    process.join(20)
    assert process.exitcode == 0


def test_daemonic_process_compiles(run: Run, tmp_path: Path) -> None:
    """In a child interpreter, which is not one of multiprocessing's. Here after a fork, with an unused executor."""
    out, err, _ = run(f"""
import multiprocessing
executor = wasmrun.Executor(cache_dir={str(tmp_path / "empty")!r})
def work():
    with executor:
        assert not executor.is_compiled(pure())
        assert executor.invoke(pure(), b"x") == b"x"
process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
process.start()
process.join(20)
print(process.exitcode)
""")
    assert (out, err) == ("0\n", "")


# exit

FORGETS = {
    "after an event": """
executor.invoke(pure(warm=3), b"")""",
    "after a command's output": """
print(executor.invoke(wasmrun.Function(COMMAND, warm=2), {}))""",
    "while nothing runs and the pool is full": """
executor.prewarm(pure(warm=5))""",
    "while the keeper prepares": """
executor.load(wasmrun.Function(INIT_LOOPS, entry="echo_raw", init_timeout=20, warm=2))
eventually(lambda: executor.stats().pool.in_flight)""",
    "with a future that ended": """
executor.submit(pure(), b"").result()""",
    "with futures that nobody awaits": """
futures = [executor.submit(pure("loop_raw", timeout=0.3), b"") for _ in range(3)]""",
    "right after a submit": """
executor.submit(pure(), b"")""",
    "while a guest loops on a daemon thread": """
daemon(pure("loop_raw", timeout=20))""",
    "while a guest logs on a daemon thread": """
daemon(pure("chat_raw", timeout=20))""",
    "while a guest sleeps on a daemon thread": """
daemon(wasmrun.Function(SLEEP, entry="sleep_raw", timeout=20, warm=0))""",
    "while a host function sleeps on a daemon thread": """
daemon(asking(lambda _: time.sleep(20), timeout=20))""",
    "while a host function polls on a daemon thread": """
def poll(_):
    while True:
        time.sleep(0.0002)
daemon(asking(poll, timeout=20))""",
    "while a command floods on a daemon thread": """
flood = COMMAND.replace("(drop (call $write", "(loop $again (drop (call $write").replace("(i32.const 32)))))", "(i32.const 32))) (br $again))))")
daemon(wasmrun.Function(flood, timeout=20, warm=0, result_bytes="1GiB"))""",
    "without waiting for what runs": """
executor.submit(pure("loop_raw", timeout=0.3), b"")
executor.shutdown(wait=False)""",
    "without waiting for a guest that loops on a daemon thread": """
daemon(pure("loop_raw", timeout=20))
executor.shutdown(wait=False)
eventually(executor._runner.core._freeing.locked)""",
    "while a daemon thread waits for a sandbox": """
gate = Gate()
daemon(asking(gate))
gate.wait_for(1)
daemon(pure())
gate.opened.set()""",
}
DAEMON = """
import sys, threading
def daemon(function):
    def work():
        try:
            executor.invoke(function, b"\\xc0")
        except BaseException:
            pass
    threading.Thread(target=work, daemon=True).start()
    eventually(lambda: executor.stats().pool.in_flight)
executor = wasmrun.Executor(max_sandboxes=8, wait=20)
"""


@pytest.mark.parametrize("leave", ["", "sys.exit(5)"], ids=["at its end", "by exit"])
@pytest.mark.parametrize("what", FORGETS.values(), ids=FORGETS)
def test_program_that_forgets_its_executor_ends(run: Run, what: str, leave: str) -> None:
    """Soon, with its own exit status, and without a word."""
    _, err, seconds = run(DAEMON + what + "\n" + leave, status=5 if leave else 0)
    assert err == ""
    assert seconds < 4


def test_program_may_exit_in_a_host_function(run: Run) -> None:
    """From the middle of a guest, inside `with`."""
    out, err, _ = run(
        """
import sys
with wasmrun.Executor() as executor:
    executor.invoke(asking(lambda _: sys.exit(3)), b"\\xc0")
""",
        status=3,
    )
    assert (out, err) == ("", "")


def test_program_that_fails_inside_with_says_why(run: Run) -> None:
    """The executor's end hides nothing."""
    _, err, _ = run(
        """
with wasmrun.Executor() as executor:
    executor.invoke(pure("trap_raw"), b"")
""",
        status=1,
    )
    assert "GuestTrap: the function trapped: unreachable" in err


def test_program_that_is_killed_leaves_nothing_running(start: Any) -> None:
    """SIGTERM ends it as it ends any Python program."""
    child = start(DAEMON + 'daemon(pure("loop_raw", timeout=20))\nprint("ready", flush=True)\ntime.sleep(20)')
    assert child.line() == "ready", child.end()
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == (-signal.SIGTERM, "", "")


def test_handlers_at_exit_still_use_what_they_registered_first(run: Run) -> None:
    """An executor that is used before a handler is registered outlives that handler."""
    out, err, _ = run("""
import atexit
executor = wasmrun.Executor()
executor.invoke(pure(), b"")
atexit.register(lambda: print(executor.invoke(pure(), b"still")))
""")
    assert (out, err) == ("b'still'\n", "")


def test_late_tick_does_no_harm(own: wasmrun.Executor) -> None:
    """A tick is a thread that a busy machine may start long after the engine has gone: it counts elsewhere then."""
    own.invoke(kit.pure(), b"")
    [(engine, _)] = own._runner.core._engines.values()
    target = ctypes.c_uint64.from_address(engine.ticker.target)
    before = target.value
    own.shutdown()
    assert target.value not in (before, 0)
    counted = (ctypes.c_uint64 * 512).from_address(target.value)
    sum_before = sum(counted)
    for _ in range(1000):
        capi.increment_epoch(engine.ticker.target)
    assert sum(counted) == sum_before + 1000


def test_engines_that_come_and_go_under_load_do_no_harm(run: Run) -> None:
    """Each goes while it ticks, and the machine is busy with something else."""
    out, err, _ = run("""
import subprocess, sys
busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
try:
    for _ in range(30):
        with wasmrun.Executor(max_sandboxes=5) as executor:
            executor.invoke(pure(), b"")
finally:
    for process in busy:
        process.kill()
        process.wait()
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_core_is_closed_by_its_own_process_only(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the interpreter's exit calls in a forked child does nothing."""
    own.invoke(kit.pure(), b"")
    pid = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        own._runner.core.close(at_exit=True)
    assert own.invoke(kit.pure(), b"x") == b"x"
