"""The executor as a `concurrent.futures.Executor`, from asyncio, and with each option of a call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import gc
import logging
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import kit
import msgpack
import pytest
from kit import Gate, eventually

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Make = Any
Run = Any


def raw(number: int) -> bytes:
    return number.to_bytes(4, "little")


# One call


def test_invoke_gives_the_value(own: wasmrun.Executor) -> None:
    """On the calling thread."""
    asked: list[threading.Thread] = []
    function = kit.asking(lambda _: asked.append(threading.current_thread()))
    assert own.invoke(kit.pure(), b"abc") == b"abc"
    own.invoke(function, b"\xc0")
    assert asked == [threading.current_thread()]


def test_invoke_without_an_event_gives_an_empty_one(own: wasmrun.Executor) -> None:
    """`{}`, as at the command line."""
    event, _ = own.invoke(kit.pure("context"))
    assert event == {}


def test_invoke_raises_what_the_function_did_wrong(own: wasmrun.Executor) -> None:
    """With report and logs filled in."""
    with pytest.raises(wasmrun.GuestTrap) as caught:
        own.invoke(kit.pure("trap_raw"), b"")
    assert caught.value.kind == "unreachable"
    assert caught.value.report is not None
    assert caught.value.report.status == "GuestTrap"
    assert own.stats().failures == {"GuestTrap": 1}


def test_run_gives_a_function_error_as_part_of_its_result(own: wasmrun.Executor) -> None:
    """Never raised; value and error exclude each other."""
    bad, good = own.run(kit.pure("trap_raw"), b""), own.run(kit.pure("log_raw"), b"")
    assert not bad.is_ok
    assert bad.value is None
    assert isinstance(bad.error, wasmrun.GuestTrap)
    assert bad.report is bad.error.report
    assert good.is_ok
    assert good.error is None
    assert [log.message for log in good.logs] == ["hello"]


@pytest.mark.parametrize(
    ("entry", "event", "error"),
    [
        ("trap_raw", b"", wasmrun.GuestTrap),
        ("loop_raw", b"", wasmrun.TimedOut),
        ("log_raw", b"x" * 200_000, wasmrun.InvalidAnswer),
        ("echo_raw", b"x" * 20, wasmrun.ResultTooLarge),
    ],
)
def test_run_raises_no_function_error(
    own: wasmrun.Executor, entry: str, event: bytes, error: type[wasmrun.FunctionError]
) -> None:
    """Of whatever kind; each has its report."""
    result = own.run(kit.pure(entry, timeout=0.05, result_bytes=10), event)
    assert type(result.error) is error
    assert result.report.status == error.__name__


def test_run_result_holds_no_traceback(own: wasmrun.Executor) -> None:
    """Whoever keeps results would keep the events with them, and the sandboxes."""
    result = own.run(kit.pure("trap_raw"), b"")
    assert result.error is not None
    assert result.error.__traceback__ is None


def test_run_raises_what_is_no_function_error(own: wasmrun.Executor) -> None:
    """An event that cannot be given has no result."""
    with pytest.raises(wasmrun.InvalidEvent):
        own.run(kit.pure(), 1.5)
    with pytest.raises(wasmrun.InvalidFunction):
        own.run(kit.pure("missing_raw"), b"")
    assert own.stats().failures == {"InvalidEvent": 1, "InvalidFunction": 1}


def test_failed_event_leaves_no_garbage(own: wasmrun.Executor) -> None:
    """An error that is dropped goes at once, and takes the event with it: no cycle holds them."""
    function = kit.pure("trap_raw")
    own.run(function, b"")
    gc.collect()
    gc.disable()
    try:
        # What other tests raised may be held by whoever reports on them.
        known = {id(one) for one in gc.get_objects() if isinstance(one, wasmrun.GuestTrap)}
        for _ in range(20):
            with contextlib.suppress(wasmrun.GuestTrap):
                own.invoke(function, b"")
            own.run(function, b"")
            with contextlib.suppress(wasmrun.GuestTrap):
                own.submit(function, b"").result(20)
        # The worker lets the last one go a moment after it has settled the future.
        eventually(
            lambda: not [one for one in gc.get_objects() if isinstance(one, wasmrun.GuestTrap) and id(one) not in known]
        )
    finally:
        gc.enable()


def test_what_is_no_function_is_refused(own: wasmrun.Executor) -> None:
    """At once, with the remedy in the text."""
    for call in (own.invoke, own.run, own.submit, own.prewarm, own.load, own.inspect, own.compile, own.is_compiled):
        with pytest.raises(TypeError, match=r"write Function\("):
            call("echo.wasm")  # type: ignore[operator]


def test_function_is_equal_by_value(own: wasmrun.Executor) -> None:
    """Two equal functions are one: loaded once."""
    own.invoke(kit.pure(), b"")
    own.invoke(kit.pure(), b"")
    assert len(own.stats().pool.functions) == 1


def test_host_function_that_fails_is_the_host_s_error(own: wasmrun.Executor) -> None:
    """Where the guest gives up because of it; a guest that copes is asked no more."""

    def fail(_: object) -> None:
        raise OSError("no such table")

    answer = own.invoke(kit.asking(fail), b"\xc0")
    assert msgpack.unpackb(answer) == [1, {"type": "OSError", "message": "no such table"}]
    function = wasmrun.Function(
        kit.HOST.replace("(call $call (local.get 0) (local.get 1)))", "(drop (call $call (local.get 0) (local.get 1))) unreachable)", 1),
        entry="ask_raw", imports={"call": fail}, warm=0,
    )  # fmt: skip
    with pytest.raises(wasmrun.HostError, match="no such table") as caught:
        own.invoke(function, b"\xc0")
    assert isinstance(caught.value.__cause__, OSError)
    assert own.stats().failures == {"HostError": 1}


def test_host_function_may_end_the_thread(own: wasmrun.Executor) -> None:
    """What is no Exception ends the guest and reaches the caller: a program may exit from anywhere."""

    def leave(_: object) -> None:
        raise SystemExit(3)

    for call in (
        lambda f: own.invoke(f, b"\xc0"),
        lambda f: own.run(f, b"\xc0"),
        lambda f: own.submit(f, b"\xc0").result(20),
    ):
        with pytest.raises(SystemExit):
            call(kit.asking(leave, "nag_raw"))
    assert own.stats().pool.in_flight == 0


# Options of a call


def test_timeout_of_a_call_is_the_shorter_one(own: wasmrun.Executor) -> None:
    """It may not give a function more than it has."""
    function = kit.pure("loop_raw", timeout=0.1)
    for timeout in (0.05, "50ms", timedelta(milliseconds=50)):
        with pytest.raises(wasmrun.TimedOut, match="its time of 50"):
            own.invoke(function, b"", timeout=timeout)
    with pytest.raises(wasmrun.TimedOut, match="its time of 100"):
        own.invoke(function, b"", timeout=20)


def test_timeout_that_is_none_is_refused(own: wasmrun.Executor) -> None:
    """And takes no sandbox with it."""
    with pytest.raises(ValueError, match="not a duration"):
        own.invoke(kit.pure(), b"", timeout="soon")
    assert own.stats().pool.in_flight == 0


def test_options_of_a_call_reach_the_guest(own: wasmrun.Executor) -> None:
    """In its context, and the request id in the report."""
    options = {"request_id": "r-1", "tenant": "t-1", "client_context": {"app": 1}, "trace_id": "Root=1"}
    before = time.time()
    result = own.run(kit.pure("context", version="7", name="f"), "event", **options)
    event, context = result.value
    assert event == "event"
    assert before * 1000 <= context.pop("deadline_ms") - 3000 <= time.time() * 1000 + 1
    assert context == {
        "function": "f", "version": "7", "memory_limit_bytes": 128 * 2**20, "fuel_limit": 21_000_000_000,
        "request_id": "r-1", "tenant_id": "t-1", "client_context": {"app": 1}, "trace_id": "Root=1",
    }  # fmt: skip
    assert result.report.request_id == "r-1"
    assert own.invoke(kit.pure("context"), 1, **options)[1]["tenant_id"] == "t-1"
    assert own.submit(kit.pure("context"), 1, **options).result(20)[1]["trace_id"] == "Root=1"


def test_request_ids_are_all_different(own: wasmrun.Executor, make: Make) -> None:
    """Of one executor and of another, and they look like Lambda's."""
    import uuid

    ids = [one.run(kit.pure(), b"").report.request_id for one in (own, make()) for _ in range(100)]
    assert len(set(ids)) == 200
    assert all(str(uuid.UUID(one)) == one for one in ids)


def test_on_report_is_called_for_every_event_that_ran(make: Make) -> None:
    """However it was called and however it ended; not for one that could not be given."""
    reports: list[wasmrun.Report] = []
    executor = make(on_report=reports.append)
    executor.invoke(kit.pure(), b"1")
    executor.run(kit.pure("trap_raw"), b"")
    executor.submit(kit.pure(), b"22").result(20)
    with pytest.raises(wasmrun.TimedOut):
        executor.invoke(kit.pure("loop_raw"), b"", timeout=0.02)
    with pytest.raises(wasmrun.InvalidEvent):
        executor.invoke(kit.pure(), 1.5)
    assert [report.status for report in reports] == ["success", "GuestTrap", "success", "TimedOut"]
    assert [report.result_bytes for report in reports] == [1, 0, 2, 0]


def test_on_report_that_fails_is_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is not its business."""

    def fail(_: wasmrun.Report) -> None:
        raise OSError("the disk of the metrics is full")

    executor = make(on_report=fail)
    with caplog.at_level(logging.ERROR, "wasmrun"):
        assert executor.invoke(kit.pure(), b"x", request_id="r-9") == b"x"
        assert executor.submit(kit.pure(), b"x").result(20) == b"x"
    assert "on_report failed for request r-9" in caplog.text
    assert "the disk of the metrics is full" in caplog.text


def test_one_shot_invoke_opens_and_closes_an_executor(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are those of Function, or it is given a Function; nothing stays behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_dir.parent))
    threads = threading.active_count()
    assert wasmrun.invoke(kit.PURE, b"x", entry="echo_raw", timeout="1s") == b"x"
    assert wasmrun.invoke(kit.pure(), b"x") == b"x"
    with pytest.raises(wasmrun.GuestTrap):
        wasmrun.invoke(kit.pure("trap_raw"), b"")
    assert threading.active_count() == threads


def test_settings_of_an_executor_are_checked() -> None:
    """Before anything is made of them."""
    for settings in ({"threads": 0}, {"max_sandboxes": 0}, {"max_sandboxes": 20_001}, {"wait": "soon"}, {"idle": -1}):
        with pytest.raises(ValueError):  # each has a text of its own
            wasmrun.Executor(**settings)


# The standard library's protocol


def test_executor_is_one_of_the_standard_library_s(own: wasmrun.Executor) -> None:
    """As are its futures."""
    assert isinstance(own, concurrent.futures.Executor)
    assert isinstance(own.submit(kit.pure(), b""), concurrent.futures.Future)


def test_submit_runs_on_the_executor_s_threads(make: Make) -> None:
    """As many as it was told to have."""
    names: set[str] = set()
    executor = make(threads=2)
    function = kit.asking(lambda _: names.add(threading.current_thread().name))
    for future in [executor.submit(function, b"\xc0") for _ in range(20)]:
        future.result(20)
    assert 1 <= len(names) <= 2
    assert all(name.startswith("wasmrun") for name in names)


def test_submit_raises_in_result(own: wasmrun.Executor) -> None:
    """As any future does."""
    future = own.submit(kit.pure("trap_raw"), b"")
    assert isinstance(future.exception(20), wasmrun.GuestTrap)
    with pytest.raises(wasmrun.GuestTrap):
        future.result(20)
    assert isinstance(own.submit(kit.pure("missing_raw"), b"").exception(20), wasmrun.InvalidFunction)


def test_submit_of_many_threads_loses_nothing(own: wasmrun.Executor) -> None:
    """Every thread gets its own answers."""
    function = kit.pure(warm=4)
    wrong: list[Any] = []

    def submit(thread: int) -> None:
        events = [raw(thread * 1000 + number) for number in range(100)]
        futures = [own.submit(function, event) for event in events]
        answers = [future.result(20) for future in futures]
        if answers != events:
            wrong.append(answers)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    pool = own.stats().pool
    assert pool.warm_starts + pool.cold_starts == 800


def test_map_keeps_the_order_of_its_events(own: wasmrun.Executor) -> None:
    """Whichever ends first."""
    events = [raw(turns) for turns in (2_000_000, 1, 1_000_000, 1)]
    ended: list[bytes] = []
    function = kit.asking(ended.append, "ask_raw")
    answers = list(own.map(function, [msgpack.packb(event) for event in events]))
    assert len(answers) == len(ended) == 4
    assert list(own.map(kit.pure(), events)) == events
    assert list(own.map(kit.pure(), [])) == []


def test_as_completed_and_wait_see_every_future(own: wasmrun.Executor, gate: Gate) -> None:
    """Those that failed and were cancelled included."""
    held = own.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    futures = [
        own.submit(kit.pure(), b"x"),
        own.submit(kit.pure("trap_raw"), b""),
        own.submit(kit.pure("loop_raw", timeout=20), b""),
    ]
    eventually(lambda: own.stats().pool.in_flight == 2)
    done, pending = concurrent.futures.wait([held, *futures], timeout=0.01)
    assert held in pending
    assert done == {futures[0], futures[1]}
    cancelling = threading.Timer(0.05, futures[2].cancel)
    cancelling.start()
    assert set(concurrent.futures.as_completed(futures, timeout=20)) == set(futures)
    cancelling.join()
    gate.opened.set()
    assert concurrent.futures.wait([held], timeout=20).done == {held}


# asyncio


def test_ainvoke_leaves_the_event_loop_alone(make: Make) -> None:
    """Guests run beside it; the answers come back to it."""

    async def main() -> tuple[list[Any], int]:
        turns = 0
        async with make(threads=2) as executor:
            function = kit.pure("loop_raw", timeout=0.2)
            tasks = [asyncio.create_task(executor.ainvoke(function, b"")) for _ in range(2)]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0.001)
                turns += 1
            return await asyncio.gather(*tasks, executor.ainvoke(kit.pure(), b"x"), return_exceptions=True), turns

    (first, second, third), turns = asyncio.run(main())
    assert isinstance(first, wasmrun.TimedOut)
    assert isinstance(second, wasmrun.TimedOut)
    assert third == b"x"
    assert turns > 10


def test_ainvoke_passes_options_on(own: wasmrun.Executor) -> None:
    """The same as those of `invoke`."""
    answer = asyncio.run(own.ainvoke(kit.pure("context"), 1, tenant="t", request_id="r"))
    assert (answer[1]["tenant_id"], answer[1]["request_id"]) == ("t", "r")


def test_cancelling_a_task_stops_its_guest(own: wasmrun.Executor) -> None:
    """The sandbox is free again soon after."""

    async def main() -> None:
        task = asyncio.create_task(own.ainvoke(kit.pure("loop_raw", timeout=20), b""))
        while not kit.ticking(own):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while own.stats().pool.in_flight:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_timeout_of_asyncio_stops_the_guest(own: wasmrun.Executor) -> None:
    """`asyncio.timeout` is enough: nothing runs on."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await own.ainvoke(kit.pure("loop_raw", timeout=20), b"")

    asyncio.run(main())
    eventually(lambda: own.stats().pool.in_flight == 0, 5)


def test_futures_and_callables_of_asyncio_work(own: wasmrun.Executor) -> None:
    """`wrap_future`, and `run_in_executor`, which calls submit with one event."""

    async def main() -> tuple[Any, Any]:
        loop = asyncio.get_running_loop()
        wrapped = await asyncio.wrap_future(own.submit(kit.pure(), b"1"))
        return wrapped, await loop.run_in_executor(own, kit.pure(), b"2")  # type: ignore[arg-type]

    assert asyncio.run(main()) == (b"1", b"2")


# Shutdown


def test_shutdown_waits_for_what_was_submitted(make: Make) -> None:
    """All of it: what runs and what has not begun."""
    executor = make(threads=1)
    futures = [executor.submit(kit.pure("spin_raw"), raw(5_000_000)) for _ in range(5)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == [b""] * 5


def test_shutdown_waits_for_what_other_threads_run(own: wasmrun.Executor, gate: Gate) -> None:
    """An `invoke` of another thread gets its answer."""
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(own.invoke(kit.asking(gate), b"\xc0")))
    thread.start()
    gate.wait_for(1)
    closing = threading.Thread(target=own.shutdown)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    gate.opened.set()
    closing.join(20)
    thread.join(20)
    assert answers == [b"\x92\x00\xc0"]


def test_shutdown_without_wait_comes_back_at_once(make: Make, gate: Gate) -> None:
    """What was submitted still runs, what is free is freed when it has ended."""
    executor = make(threads=1)
    futures = [executor.submit(kit.asking(gate), b"\xc0") for _ in range(3)]
    gate.wait_for(1)
    executor.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    gate.opened.set()
    assert [future.result(20) for future in futures] == [b"\x92\x00\xc0"] * 3
    eventually(lambda: not any(engine.pointer for engine, _ in executor._runner.core._engines.values()))


def test_shutdown_without_wait_right_after_submit_still_runs_it(make: Make) -> None:
    """Although the executor had nothing loaded yet."""
    executor = make()
    future = executor.submit(kit.pure(), b"x")
    executor.shutdown(wait=False)
    assert future.result(20) == b"x"


def test_shutdown_cancels_what_has_not_begun_if_told_to(make: Make, gate: Gate) -> None:
    """Whoever waits for such a future is woken; what runs, runs on."""
    executor = make(threads=1)
    running = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    pending = [executor.submit(kit.pure(), b"") for _ in range(3)]
    called: list[concurrent.futures.Future[Any]] = []
    for future in pending:
        future.add_done_callback(called.append)
    executor.shutdown(wait=False, cancel_futures=True)
    assert concurrent.futures.wait(pending, timeout=20).not_done == set()
    assert all(future.cancelled() for future in pending)
    assert sorted(map(id, called)) == sorted(map(id, pending))
    assert not running.done()
    gate.opened.set()
    assert running.result(20) == b"\x92\x00\xc0"


def test_shutdown_with_wait_may_cancel_too(make: Make, gate: Gate) -> None:
    """It comes back when the running one has ended."""
    executor = make(threads=1)
    running = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    pending = executor.submit(kit.pure(), b"")
    opening = threading.Timer(0.05, gate.opened.set)
    opening.start()
    executor.shutdown(cancel_futures=True)
    opening.join()
    assert running.done()
    assert pending.cancelled()


def test_shutdown_leaves_a_pending_future_that_was_cancelled(make: Make, gate: Gate) -> None:
    """Its waiters are told once."""
    executor = make(threads=1)
    running = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    pending = executor.submit(kit.pure(), b"")
    assert pending.cancel()
    executor.shutdown(wait=False, cancel_futures=True)
    assert concurrent.futures.wait([pending], timeout=20).done == {pending}
    gate.opened.set()
    running.result(20)


def test_shutdown_may_be_repeated(make: Make, gate: Gate) -> None:
    """And the second call waits, too."""
    executor = make(threads=1)
    future = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    executor.shutdown(wait=False)
    opening = threading.Timer(0.05, gate.opened.set)
    opening.start()
    executor.shutdown()
    opening.join()
    assert future.done()
    assert not any(engine.pointer for engine, _ in executor._runner.core._engines.values())
    executor.shutdown()


def test_shutdown_of_an_unused_executor_does_nothing(make: Make) -> None:
    """It made nothing."""
    executor = make()
    executor.shutdown()
    assert executor._runner is None


def test_shutdown_in_its_own_invocation_is_an_error(make: Make) -> None:
    """It would wait for itself: in a host function, in on_report, on any thread."""
    seen: list[str] = []

    def close(_: object) -> None:
        try:
            executor.shutdown()
        except RuntimeError as error:
            seen.append(str(error))

    executor = make(on_report=close)
    executor.invoke(kit.asking(close), b"\xc0")
    executor.submit(kit.asking(close), b"\xc0").result(20)
    assert len(seen) == 4
    assert all("cannot wait for its own end" in text for text in seen)
    assert executor.invoke(kit.pure(), b"x") == b"x"


def test_shutdown_of_another_executor_works_in_an_invocation(make: Make, own: wasmrun.Executor) -> None:
    """As `wasmrun.invoke` does it in a host function."""

    def nest(event: Any) -> Any:
        with make() as other:
            return other.invoke(kit.pure(), event)

    assert own.invoke(kit.asking(nest), b"\xc4\x01x") == b"\x92\x00\xc4\x01x"


def test_use_after_shutdown_is_an_error(own: wasmrun.Executor) -> None:
    """A RuntimeError, whatever is asked for, and whether the executor was used before."""
    function = kit.pure()
    own.invoke(function, b"")
    for executor in (own, wasmrun.Executor()):
        executor.shutdown()
        for call in (
            executor.invoke, executor.run, executor.submit, executor.prewarm, executor.load, executor.inspect,
            executor.unload, executor.compile, executor.is_compiled,
        ):  # fmt: skip
            for one in (function, kit.pure("trap_raw")):
                with pytest.raises(RuntimeError, match="the executor was shut down"):
                    call(one)
        with pytest.raises(RuntimeError, match="shut down"):
            executor.map(function, [b""])
        with pytest.raises(RuntimeError, match="shut down"):
            asyncio.run(executor.ainvoke(function, b""))
        assert executor.stats().pool.live == 0


def test_shutdown_stops_what_is_being_prepared(make: Make) -> None:
    """A start-up that loops ahead of its event is nobody's: the executor does not wait for its allowance."""
    executor = make()
    executor.load(wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", init_timeout=20, warm=2))
    eventually(lambda: executor.stats().pool.in_flight == 1)
    started = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - started < 5
    assert executor.stats().pool.live == 0


def test_waiting_for_a_sandbox_ends_with_the_executor(make: Make, gate: Gate) -> None:
    """With a RuntimeError: no sandbox will come."""
    executor = make(max_sandboxes=1, wait=60, threads=1)
    running = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            executor.invoke(kit.pure(), b"")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: executor.stats().pool.waits == 1)
    closing = threading.Timer(0.05, gate.opened.set)
    executor._runner.core.pool.refuse()
    thread.join(20)
    closing.start()
    executor.shutdown()
    closing.join()
    assert running.done()
    assert [str(error) for error in errors] == ["the executor was shut down"]


def test_shutdown_races_with_loading(make: Make, cache_dir: Path) -> None:
    """Functions that are being loaded never meet an engine that is gone: an answer, or a RuntimeError."""

    def load(executor: wasmrun.Executor, number: int) -> None:
        for index in range(20):
            function = kit.pure(name=f"f{number}-{index}", memory=(2 + index) * 65536)
            try:
                executor.invoke(function, b"x")
                executor.inspect(function)
            except RuntimeError:
                return
            except BaseException as error:
                wrong.append(error)
                return

    wrong: list[BaseException] = []
    make().load(kit.pure())
    for number in range(30):
        executor = wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=20)
        threads = [threading.Thread(target=load, args=(executor, index)) for index in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(number % 10 / 2000)
        executor.shutdown()
        for thread in threads:
            thread.join(20)
    assert not wrong


def test_loading_one_function_keeps_no_other_waiting(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling may take half a minute; those that want the same function get the same one."""
    loading, go_on = threading.Event(), threading.Event()
    own.load(kit.pure())
    load = own._runner.core.loader.load
    loads: list[str] = []

    def load_slowly(engine: Any, function: wasmrun.Function) -> Any:
        loads.append(function.label)
        if function.label == "slow":
            loading.set()
            assert go_on.wait(20)
        return load(engine, function)

    monkeypatch.setattr(own._runner.core.loader, "load", load_slowly)
    futures = [own.submit(kit.pure(name="slow"), b"1") for _ in range(3)]
    assert loading.wait(20)
    assert own.invoke(kit.pure(name="quick"), b"2") == b"2"
    go_on.set()
    assert [future.result(20) for future in futures] == [b"1"] * 3
    assert sorted(loads) == ["quick", "slow"]


# Looking and compiling


def test_load_tells_how_a_function_is_called(own: wasmrun.Executor) -> None:
    """Its ABI and what says so, its entry, and whether it takes bytes."""
    loaded = own.load(kit.pure())
    assert loaded == ("native", "it exports wasmrun_alloc", "echo_raw", True)


def test_inspect_and_compile_need_no_event(own: wasmrun.Executor) -> None:
    """They load nothing."""
    assert own.inspect(kit.pure()).abi == "native"
    assert own.compile(kit.pure()).key != ""
    assert own.is_compiled(kit.pure())
    assert own.stats().pool.functions == {}


def test_program_that_cannot_be_linked_frees_its_module(own: wasmrun.Executor) -> None:
    """A refused function leaves nothing loaded, however often it is asked for."""
    function = wasmrun.Function(kit.HOST, entry="ask_raw")
    for _ in range(3):
        with pytest.raises(wasmrun.InvalidFunction, match=r"not granted: wasmrun\.call"):
            own.invoke(function, b"")
    assert own.stats().pool.functions == {}


# Forgotten executors


def test_forgotten_executor_warns_and_is_closed(cache_dir: Path) -> None:
    """When it is collected, like a forgotten file; its threads and its engine go."""
    others = set(threading.enumerate())
    executor = wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=10)
    executor.invoke(kit.pure(warm=1), b"")
    core = executor._runner.core
    with pytest.warns(ResourceWarning, match="was not shut down"):
        del executor
        gc.collect()
    eventually(lambda: core._is_free)
    assert not any(engine.pointer for engine, _ in core._engines.values())
    eventually(lambda: not any("keeper" in thread.name for thread in {*threading.enumerate()} - others))


def test_executor_that_was_not_used_may_be_forgotten() -> None:
    """It holds nothing. Warnings are errors here."""
    executor = wasmrun.Executor()
    del executor
    gc.collect()


def test_executor_is_kept_by_what_it_runs(make: Callable[..., wasmrun.Executor], cache_dir: Path) -> None:
    """Nobody else has to hold it while a future is awaited."""
    others = set(threading.enumerate())
    future = wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=10).submit(kit.pure("spin_raw"), raw(50_000_000))
    with pytest.warns(ResourceWarning, match="was not shut down") as warned:
        assert future.result(20) == b""
        eventually(lambda: gc.collect() >= 0 and len(warned))  # noqa: F821  # deleted below
    del warned  # it holds the executor
    eventually(lambda: all(not one.name.startswith("wasmrun") for one in {*threading.enumerate()} - others))


@pytest.mark.parametrize("warm", [0, 2])
def test_invocations_near_the_recursion_limit_are_counted_right(own: wasmrun.Executor, warm: int) -> None:
    """Wherever the interpreter runs out of depth, the sandbox comes back, and `shutdown` does not wait for ever."""
    function = kit.ordinary(warm=warm)
    own.invoke(function, b"")
    outcomes = set()

    def descend(depth: int) -> None:
        if depth:
            return descend(depth - 1)
        try:
            outcomes.add(own.invoke(function, b"x"))
        except (RecursionError, ctypes.ArgumentError) as error:  # which is how ctypes passes it on
            outcomes.add("too deep" if "Recursion" in repr(error) else repr(error))

    for depth in range(sys.getrecursionlimit()):
        try:
            descend(depth)
        except RecursionError:
            break
    assert outcomes == {b"x", "too deep"}
    eventually(lambda: kit.is_idle(own))
    pool = own.stats().pool
    assert (pool.in_flight, pool.live) == (0, pool.ready)
    own.shutdown()
    assert own.stats().pool.live == 0
