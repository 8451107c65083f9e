"""Handlers of signals that raise while a guest runs on the main thread: what they raise comes out, and nothing breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wasmrun.machine.hotpath import choose

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(
    choose(None) != "compiled", reason="without the compiled hot path ctypes gives no result then"
)

BEGINNING = """
import signal, sys, time
class Late(BaseException): pass
def raise_late(*_): raise Late
signal.signal(signal.SIGALRM, raise_late)
executor = wasmrun.Executor()
"""


@pytest.mark.parametrize(
    "guest",
    [
        "pure('loop_raw', timeout=20, fuel=None), b''",
        "ordinary('loop_raw', timeout=20, fuel=None), b''",
        "asking(lambda _: None, 'nag_raw', timeout=20, fuel=None), b'\\xc0'",
        "pure('chat_raw', timeout=20, fuel=None, log_bytes='1GiB'), b''",
        "wasmrun.Function(INIT_LOOPS, entry='echo_raw', warm=0, init_timeout=20, fuel=None), b''",
    ],
)
def test_what_a_handler_raises_comes_out(run: Callable[..., Any], guest: str) -> None:
    """A limit in time of the program's own ends a guest that looks only, one that calls the host, and a start-up."""
    out, err, _ = run(f"""{BEGINNING}
function, event = {guest}
executor.load(function)
for _ in range(5):
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        executor.invoke(function, event)
    except Late:
        assert time.monotonic() - started < 5
    else:
        raise AssertionError("it ended")
assert executor.invoke(pure(), b"x") == b"x"
print("done")
""")
    assert (out, err) == ("done\n", "")


def test_program_can_leave(run: Callable[..., Any]) -> None:
    """By a handler of SIGTERM, with its own status."""
    out, err, seconds = run(f"""{BEGINNING}
import os, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
executor.invoke(pure("loop_raw", timeout=20, fuel=None), b"")
""", status=7)  # fmt: skip
    assert (out, err) == ("", "")
    assert seconds < 15


def test_handlers_at_any_moment_break_nothing(run: Callable[..., Any]) -> None:
    """Guests that call the host all the time are interrupted all the time."""
    out, err, _ = run(f"""{BEGINNING}
functions = [(asking(lambda _: None, "nag_raw", timeout=20, fuel=None), b"\\xc0"),
             (pure("chat_raw", timeout=20, fuel=None, log_bytes="1GiB", concurrency=9), b"")]
ends = []
for turn in range(60):
    function, event = functions[turn % 2]
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03 + turn / 10_000)
        executor.invoke(function, event)
    except Late:
        ends.append(turn)
print(len(ends))
""")
    assert (out, err) == ("60\n", "")
