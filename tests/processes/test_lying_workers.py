"""A worker that lies: whatever it says, or leaves unsaid, the executor answers with a typed error, in time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun.processes import process

PRELUDE = (Path(__file__).parent / "lying_worker.py").read_text()
SEVEN = wasmrun.Function('(module (func (export "f") (result i32) (i32.const 7)))', timeout="300ms", fuel=None)
HOSTED = wasmrun.Function(
    '(module (import "wasmrun" "twice" (func (param i32 i32) (result i64))) (func (export "f") (result i32) (i32.const 7)))',
    timeout="300ms", imports={"twice": lambda value: value}, fuel=None, abi="plain",
)  # fmt: skip
BOUND = 0.35 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
"""Seconds over its own time after which an event must be over; more where many programs want each processor."""

Lying = Callable[..., wasmrun.ProcessExecutor]


@pytest.fixture
def lying(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    """An executor whose one worker does as it is told; at its end nothing of it is left."""
    with contextlib.ExitStack() as stack:

        def make(act: str, **settings: Any) -> wasmrun.ProcessExecutor:
            program = tmp_path / "program.py"
            program.write_text(f"{PRELUDE}\n\ndef act():\n    {act}\n\nmain(act)\n")
            monkeypatch.setattr(process, "_CHILD", str(program))
            settings = {"processes": 1, "cache_dir": cache_dir, "wait": 5.0, "hardening": "off", **settings}
            return stack.enter_context(wasmrun.ProcessExecutor(**settings))

        before, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
        yield make
        stack.close()
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= len(before))
        wait_until(lambda: threading.active_count() <= threads)


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Until *condition* holds; a bounded wait, because what is waited for is another process's."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.005)


def outcome(executor: wasmrun.ProcessExecutor, function: wasmrun.Function = SEVEN, *, keep: bool = True) -> Any:
    """What became of one event: a value or an error, within the bound, counted from where its worker was ready."""
    started = time.monotonic()
    wait_until(executor.walls)
    started = time.monotonic()
    try:
        result = executor.run(function) if keep else executor.invoke(function)
        found = result if not keep else result.error or result.value
    except wasmrun.WasmrunError as error:
        found = error
    took = time.monotonic() - started
    assert took < function.timeout + BOUND, f"it took {took:.3f} s"
    return found


BROKEN = {
    "a stream that ends in a frame": r"write(b'\0\0\0\x20\0\0\0\0half'); os._exit(0)",
    "a message that is too long": r"write(b'\xff\xff\xff\xff\0\0\0\0')",
    "a payload that is too long": r"write(b'\0\0\0\x01\xff\xff\xff\xff')",
    "a message that is no MessagePack": r"write(b'\0\0\0\x01\0\0\0\0\xc1')",
    "a message that is no list": r"write(b'\0\0\0\x01\0\0\0\0\x07')",
    "a message without a word": r"lane.send([7])",
    "an empty message": r"lane.send([])",
    "noise": r"write(os.urandom(100_000))",
    "an unknown word": r"lane.send(['x' * 100_000 + '\x1b[31m\n'])",
    "another's answer": r"lane.send(['loaded', SHAPE])",
    "begun where nothing starts": r"lane.send(['begun'])",
    "stopped without being told": r"lane.send(['stopped'])",
    "ready on a lane": r"lane.send(['ready', 0.1, []])",
    "a call of nothing": r"lane.send(['call', 'f'])",
    "a call of a number": r"lane.send(['call', 7])",
    "a call with too much": r"lane.send(['call', 'f', 'f'])",
    "done with too little": r"lane.send(['done'])",
    "done with too much": r"lane.send(['done', None, None, None])",
    "a report that is none": r"lane.send(['done', 7, []], SEVEN)",
    "a report of nothing": r"lane.send(['done', [], []], SEVEN)",
    "a report with a long time": r"lane.send(['done', report(duration=1e300), []], SEVEN)",
    "a report with no time": r"lane.send(['done', report(duration=float('nan')), []], SEVEN)",
    "a report with a time that is none": r"lane.send(['done', report(init_duration=[]), []], SEVEN)",
    "a report with fuel that is none": r"lane.send(['done', report(fuel_used=''), []], SEVEN)",
    "a report with negative memory": r"lane.send(['done', report(memory_bytes=-1), []], SEVEN)",
    "a report with a status that is none": r"lane.send(['done', report(status=[]), []], SEVEN)",
    "a report with a status of its own": r"lane.send(['done', report(status='fine\n'), []], SEVEN)",
    "a report with a start of its own": r"lane.send(['done', report(start={}), []], SEVEN)",
    "a report with an ABI of its own": r"lane.send(['done', report(abi='x\ny'), []], SEVEN)",
    "logs that are none": r"lane.send(['done', REPORT, 7], SEVEN)",
    "a log that is none": r"lane.send(['done', REPORT, [7]], SEVEN)",
    "a log of no level": r"lane.send(['done', REPORT, [[99, '']]], SEVEN)",
    "a failure that is none": r"lane.send(['failed', 7, None, []])",
    "a failure with too little": r"lane.send(['failed'])",
    "a failure of no class": r"lane.send(['failed', ['SystemExit', 'x', {}], REPORT, []])",
    "a failure with frames that are none": r"lane.send(['failed', ['GuestTrap', '', {'kind': 7, 'frames': 7}], REPORT, []])",
    "a failure without a report": r"lane.send(['failed', FAILED, None, []])",
    "a lane that is closed": r"lane.socket.shutdown(socket.SHUT_RDWR)",
}  # fmt: skip
"""What a worker may say to an event, and what is wrong with it."""


@pytest.mark.parametrize("lie", BROKEN.values(), ids=BROKEN)
def test_event_of_a_worker_that_breaks_the_protocol_is_a_host_error(lie: str, lying: Lying) -> None:
    """At once, with words that can be printed; and the worker is killed."""
    executor = lying(f"serve(lambda message: ({lie.replace('; ', ', ')}))")
    wait_until(executor.walls)
    (first,) = executor.walls()
    error = outcome(executor)
    assert type(error).__mro__[1] is wasmrun.HostError or type(error) is wasmrun.HostError
    assert error.message.isprintable()
    assert len(error.message) < 1000
    assert "may have run in part" in error.message
    wait_until(lambda: first not in executor.walls())
    wait_until(lambda: not os.path.exists(f"/proc/{first}"))


LATE = {
    "nothing": "wait()",
    "half a head": r"write(b'\0\0'); wait()",
    "half a message": r"write(b'\0\0\0\x20\0\0\0\0half'); wait()",
    "half a payload": r"write(b'\0\0\0\x05\0\0\x20\0\x93\xa1x\xc0\xc0half'); wait()",
    "a byte now and then": r"write(b'\0\0\0\x09\0\x20\0\0\x93\xa4done\xc0\xc0\0'); for_ever(lambda: (write(b'x'), time.sleep(0.005)))",
}
"""What a worker may leave unsaid."""


@pytest.mark.parametrize("lie", LATE.values(), ids=LATE)
@pytest.mark.parametrize("keep", [True, False], ids=["run", "invoke"])
def test_event_of_a_worker_that_says_too_little_times_out(lie: str, keep: bool, lying: Lying) -> None:
    """At its own time, however the silence is filled."""
    executor = lying(f"serve(lambda message: ({lie.replace('; ', ', ')}))")
    error = outcome(executor, keep=keep)
    assert type(error) is wasmrun.TimedOut
    assert error.report.status == "TimedOut"


@pytest.mark.parametrize(
    ("lie", "shape"),
    [
        ("lane.send(['call', 'twice'], b'\\xc0')", "SHAPE"),
        ("(lane.send(['call', 'twice'], b'\\xc0'), lane.receive())", "SHAPE"),
        ("lane.send(['begun'])", "[*SHAPE[:-1], True]"),
    ],
    ids=["calls", "calls that wait", "begun"],
)
def test_event_of_a_worker_that_never_stops_talking_is_ended(lie: str, shape: str, lying: Lying) -> None:
    """Calls of a host function that was granted are served until the event's time is over, and no longer."""
    executor = lying(f"serve(lambda message: for_ever(lambda: {lie}), {shape})")
    assert isinstance(outcome(executor, HOSTED), (wasmrun.TimedOut, wasmrun.HostError))


LOADS = {
    "no shape": "lane.send(['loaded'])",
    "a shape that is none": "lane.send(['loaded', 7])",
    "a shape of another ABI": "lane.send(['loaded', ['cgi', *SHAPE[1:]]])",
    "a shape with lists in it": "lane.send(['loaded', [*SHAPE[:4], [[]], [{}], False]])",
    "two shapes": "lane.send(['loaded', SHAPE, SHAPE])",
    "done": "lane.send(['done', None, None], SEVEN)",
    "a call": "lane.send(['call', 'f'])",
}


@pytest.mark.parametrize("lie", LOADS.values(), ids=LOADS)
def test_function_that_a_worker_says_it_loaded_is_a_host_error(lie: str, lying: Lying) -> None:
    """Nothing of the event was handed over, so another worker is asked, once."""
    executor = lying(f"(ready(), lane.receive(), {lie})")
    with pytest.raises(wasmrun.HostError, match="broke the protocol"):
        executor.run(SEVEN)
    assert executor.stats().workers.started <= 4


@pytest.mark.parametrize(
    "answer", ["'inspected', 7", "'inspected', [[]] * 18", "'inspected', [{}] * 18", "'inspected'"]
)
def test_inspection_by_a_worker_that_lies_is_a_host_error(answer: str, lying: Lying) -> None:
    """What it found is only shown, and shown it must be possible."""
    executor = lying(f"(ready(), lane.receive(), lane.send([{answer}]))")
    with pytest.raises(wasmrun.HostError, match="broke the protocol"):
        executor.inspect(SEVEN)


@pytest.mark.parametrize("answer", ["'prewarmed', 'x'", "'prewarmed', -1", "'prewarmed'", "'prewarmed', []"])
def test_prewarming_by_a_worker_that_lies_is_a_host_error(answer: str, lying: Lying) -> None:
    """A number is a number."""
    executor = lying(f"(ready(), lane.receive(), lane.send(['loaded', SHAPE]), lane.receive(), lane.send([{answer}]))")
    with pytest.raises(wasmrun.HostError, match="broke the protocol"):
        executor.prewarm(SEVEN)


TALK = {
    "ready twice": "[ready() for _ in range(2)]",
    "ready with walls that are none": "control.send(['ready', 0.1, [{}]])",
    "ready with nothing": "control.send(['ready'])",
    "unfit after ready": "(ready(), control.send(['unfit', ['HostError', '', {}]]))",
    "unfit with nothing": "control.send(['unfit'])",
    "a frame that is too long": r"control.socket.sendall(b'\xff' * 8)",
    "a word that there is not": "(ready(), control.send(['x' * 1000]))",
    "counters that are none": "(ready(), control.send(['counted', 7]))",
    "logs without end": "(ready(), for_ever(lambda: control.send(['log', 'wasmrun', 30, 'x'])))",
    "half a message": r"control.socket.sendall(b'\0\0\0\x20\0\0\0\0half'); os._exit(3)",
    "host calls of nothing": "(ready(), service.send(['serve', 1, 'f']))",
    "a host call that is none": "(ready(), service.send(['x']))",
    "an end": "os._exit(3)",
    "an end by a signal": "os.kill(os.getpid(), 11)",
}
"""What a worker may tell the supervisor."""


@pytest.mark.parametrize("lie", TALK.values(), ids=TALK)
def test_worker_that_lies_to_the_supervisor_is_replaced(
    lie: str, lying: Lying, caplog: pytest.LogCaptureFixture
) -> None:
    """Later each time where it was never ready; an event gets a typed error, and the log has one printable line."""
    executor = lying(f"({lie.replace('; ', ', ')})", wait=0.5)
    started = time.monotonic()
    with pytest.raises((wasmrun.HostError, wasmrun.Throttled, wasmrun.TimedOut)):
        executor.invoke(SEVEN, timeout=0.3)
    assert time.monotonic() - started < 2.5
    wait_until(lambda: executor.stats().workers.workers == 0 or executor.stats().workers.started > 1)
    assert executor.stats().workers.started < 20
    assert all(line.isprintable() for record in caplog.records for line in record.getMessage().splitlines())


def test_worker_that_never_gets_ready_is_no_worker(lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that wait for it are told what is wrong, however short their wait for a busy one would be."""
    monkeypatch.setattr("wasmrun.processes.crew._START_SECONDS", 0.3)
    executor = lying("wait()", wait=0)
    with pytest.raises(wasmrun.HostError, match="worker process was killed: it did not become ready"):
        executor.invoke(SEVEN)


def test_worker_that_is_unfit_says_why(lying: Lying) -> None:
    """In the error of every event that waits."""
    executor = lying("control.send(['unfit', ['HostError', 'no ticks', {}]])")
    with pytest.raises(wasmrun.HostError, match="not fit to serve: no ticks"):
        executor.invoke(SEVEN)


def test_log_of_a_worker_cannot_write_lines_or_make_loggers(lying: Lying, caplog: pytest.LogCaptureFixture) -> None:
    """Its words are printable and short, and loggers are those that there are: none is ever freed."""
    text = json.dumps("line\nERROR root: \x1b[2Jforged" + "x" * 100_000)
    executor = lying(
        f"(ready(), [control.send(['log', name, level, {text}]) for name in ('wasmrun', 'wasmrun.new', 'root', '') "
        "for level in (30, 10**9, -1)])"
    )
    known = set(logging.root.manager.loggerDict)
    wait_until(executor.walls)
    wait_until(lambda: len(caplog.records) >= 8)
    assert {"wasmrun.new", ""} & (set(logging.root.manager.loggerDict) - known) == set()
    for record in caplog.records:
        assert record.name.startswith("wasmrun")
        assert record.levelno <= logging.WARNING
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 3_000


def test_descriptors_that_a_worker_sends_are_not_kept(lying: Lying) -> None:
    """A Unix socket can carry them; nobody takes them out."""
    executor = lying(
        "serve(lambda message: ([socket.send_fds(channel.socket, [b''.join((b'\\0\\0\\0\\x06\\0\\0\\0\\0', b'\\x95\\xa1x\\xc0\\xc0\\xc0'))],"
        " [0] * 200) for channel in (lane, control)]))"
    )
    wait_until(executor.walls)
    before = len(os.listdir("/proc/self/fd"))
    assert isinstance(outcome(executor), wasmrun.HostError)
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_report_of_a_worker_is_about_the_event_that_it_had(lying: Lying) -> None:
    """Names, limits and the ledger are the executor's own, whatever a worker says."""
    executor = lying("serve(lambda message: lane.send(['done', REPORT, [[2, 'hello']]], SEVEN))")
    result = executor.run(SEVEN, request_id="mine")
    assert result.value == 7
    assert (result.report.request_id, result.report.function, result.report.version) == ("mine", "function", "$LATEST")
    assert (result.report.memory_limit_bytes, result.report.fuel_used, result.report.http) == (SEVEN.memory, None, ())


def test_answer_of_a_worker_that_is_too_short_is_invalid(lying: Lying) -> None:
    """Fewer bytes than the function's numbers take."""
    executor = lying("serve(lambda message: lane.send(['done', None, None], b'x'))")
    assert type(outcome(executor, keep=False)) is wasmrun.InvalidAnswer


def test_host_calls_of_a_start_up_come_one_at_a_time(lying: Lying) -> None:
    """Else a worker could have the executor start threads without end."""
    executor = lying(
        "(serve(lambda message: [service.send(['serve', message[1], 'twice'], b'\\xc0') for _ in range(1000)]))"
    )
    hold = threading.Event()
    function = wasmrun.Function(
        HOSTED.module, imports={"twice": lambda value: hold.wait(5)}, timeout="300ms", abi="plain", fuel=None
    )
    before = threading.active_count()
    assert isinstance(outcome(executor, function), wasmrun.HostError)
    assert threading.active_count() < before + 4
    hold.set()


def test_a_worker_that_hangs_up_and_lives_on_is_ended(lying: Lying) -> None:
    """Its event does not wait for an end that does not come."""
    executor = lying("serve(lambda message: (lane.socket.shutdown(2), time.sleep(60)))")
    wait_until(executor.walls)
    (first,) = executor.walls()
    assert "hung up" in outcome(executor).message
    wait_until(lambda: first not in executor.walls())
