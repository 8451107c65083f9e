"""What every executor promises, wherever its guests run: each test runs on threads and in worker processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import logging
import math
import os
import pickle
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import guests
import kit
import msgpack
import pytest
from kit import Gate, eventually

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Either

Make = Any
Wat = Any

STOP_SECONDS = 0.05
"""The promise: a guest that runs is stopped within this."""

MIB = 2**20

VALUES = [
    None, True, False, 0, -1, 2**31, -(2**63), 2**64 - 1, 0.0, -0.5, 1e308, math.inf, -math.inf, "", "ü\0\U0001f600",
    b"", b"\0\xff" * 50, [], {}, [[], {}, ""], {"": None}, {"a": [1, {"b": b"c"}]}, ["x"] * 1000, "x" * 70_000,
]  # fmt: skip


def in_flight(executor: Either) -> int:
    """Events that have a sandbox, or a worker."""
    return executor.stats().pool.in_flight


def number(answer: bytes) -> int:
    return int.from_bytes(answer, "little")


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


def submit_running(executor: Either, function: wasmrun.Function, event: Any = b"") -> wasmrun.Future[Any]:
    """A future whose guest may run by now."""
    future = executor.submit(function, event)
    eventually(lambda: future.watch.current is not None)
    return future


@pytest.fixture
def gate() -> Gate:
    """A host function that guests wait in."""
    return Gate()


@pytest.fixture(scope="session")
def large(wat: Wat) -> Callable[..., wasmrun.Function]:
    """Guests that answer with their event, however large it is: bytes as they stand, or a pair of event and context."""

    def make(entry: str = "echo_raw", **settings: Any) -> wasmrun.Function:
        handler = "(call $pack (local.get $ptr) (local.get $len))"
        if not entry.endswith("_raw"):
            handler = """(i32.store16 (i32.sub (local.get $ptr) (i32.const 2)) (i32.const 0x0092))
              (call $pack (i32.sub (local.get $ptr) (i32.const 2)) (i32.add (local.get $len) (i32.const 2)))"""
        return wasmrun.Function(wat(handler, entry=entry), entry=entry, warm=0, **settings)

    return make


class TestContract:
    """Of `Executor` and `ProcessExecutor`."""

    # Values

    def test_values_come_back_as_they_went(self, shared: Either) -> None:
        """Through MessagePack, whatever kind it is; `run` gives the same as `invoke`."""
        function = kit.pure("context")
        for value in VALUES:
            answer = shared.invoke(function, value)[0]
            assert type(answer) is type(value)
            assert answer == value
            assert shared.run(function, value).value[0] == value
        assert math.isnan(shared.invoke(function, math.nan)[0])

    @pytest.mark.parametrize("depth", [1, 100, 250])
    def test_values_may_be_nested(self, shared: Either, depth: int) -> None:
        """As deep as a recursive program may read them."""
        assert shared.invoke(kit.pure("context"), nested(depth))[0] == nested(depth)

    @pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, -(2**63) - 1, nested(2000), "\ud800", {"a": print}])
    def test_values_that_cannot_be_sent_are_refused(self, shared: Either, value: object) -> None:
        """Before anything runs; the executor serves on."""
        with pytest.raises(wasmrun.InvalidEvent):
            shared.invoke(kit.pure("context"), value)
        with pytest.raises(wasmrun.InvalidEvent):
            shared.run(kit.pure("context"), value)
        assert shared.invoke(kit.pure("context"), 1)[0] == 1

    def test_bytes_pass_as_they_stand(self, shared: Either) -> None:
        """In a raw function; whatever holds bytes will do, and nothing else."""
        for event in (b"", b"\0", b"x" * 4095, b"\xc1" * 4096, bytes(range(256)) * 200):
            assert shared.invoke(kit.pure(), event) == event
        assert shared.invoke(kit.pure(), bytearray(b"ab")) == b"ab"
        assert shared.invoke(kit.pure(), memoryview(b"abcd")[1:3]) == b"bc"
        assert shared.invoke(kit.pure()) == b""
        with pytest.raises(wasmrun.InvalidEvent, match="takes bytes"):
            shared.invoke(kit.pure(), "text")

    @pytest.mark.parametrize("size", [65_536 - 8, 65_536, MIB + 1, 6 * MIB - 100])
    def test_large_values_come_back_whole(self, shared: Either, large: Any, size: int) -> None:
        """Up to the limit, raw and encoded."""
        event = os.urandom(1000) * (size // 1000 + 1)
        event = event[:size]
        assert shared.invoke(large(), event) == event
        if size < 6 * MIB - 1000:
            answer = shared.run(large("wasmrun_handle"), {"data": event})
            assert answer.value[0] == {"data": event}
            assert answer.report.event_bytes > size

    def test_no_event_is_an_empty_map(self, shared: Either) -> None:
        """As at the command line."""
        assert shared.invoke(kit.pure("context"))[0] == {}

    def test_programs_read_and_write_json(self, shared: Either) -> None:
        """Of the command ABI; what is no JSON is a text, and stderr is the log."""
        function = wasmrun.Function(guests.CAT, warm=0)
        for value in ({"a": [1, 2.5, None, "ü"]}, [], 2**70, "text", None):
            result = shared.run(function, value)
            assert result.value == value
            assert [log.message for log in result.logs] == ["read"]
        assert shared.invoke(wasmrun.Function(guests.CAT, warm=0, raw=True), b"\xff\0") == b"\xff\0"

    def test_numbers_pass_as_they_are(self, shared: Either) -> None:
        """Of the plain ABI: none, one, or several."""
        function = wasmrun.Function(
            """(module
              (func (export "add") (param i32 i64 f32 f64) (result i64 f64)
                (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1))
                (f64.add (f64.promote_f32 (local.get 2)) (local.get 3)))
              (func (export "none"))
              (func (export "id") (param i64) (result i64) (local.get 0)))""",
            entry="add", warm=0,
        )  # fmt: skip
        assert shared.invoke(function, [-1, 2**40, 0.5, 1e300]) == [2**40 - 1, 1e300]
        other = wasmrun.Function(function.module, entry="id", warm=0)
        assert shared.invoke(other, -(2**63)) == -(2**63)
        assert shared.invoke(wasmrun.Function(function.module, entry="none", warm=0), []) is None
        with pytest.raises(wasmrun.InvalidEvent):
            shared.invoke(other, [1, 2])

    # One call

    def test_run_tells_all_about_one_event(self, shared: Either) -> None:
        """Value, report and logs; value and error exclude each other."""
        good, bad = shared.run(kit.pure("log_raw"), b""), shared.run(kit.pure("trap_raw"), b"abc")
        assert (good.is_ok, good.value, good.error) == (True, b"", None)
        assert [(log.level, log.message) for log in good.logs] == [("info", "hello")]
        assert (good.report.status, good.report.log_bytes, good.report.start) == ("success", 5, "cold")
        assert (bad.is_ok, bad.value, type(bad.error)) == (False, None, wasmrun.GuestTrap)
        assert bad.error is not None
        assert bad.error.report is bad.report
        assert bad.error.logs is bad.logs
        assert bad.error.__traceback__ is None
        assert (bad.report.status, bad.report.event_bytes, bad.report.fuel_exact) == ("GuestTrap", 3, True)

    def test_invoke_raises_what_the_function_did_wrong(self, shared: Either) -> None:
        """With its report and its logs."""
        for call in (
            lambda function: shared.invoke(function, b""),
            lambda function: shared.submit(function, b"").result(20),
            lambda function: list(shared.map(function, [b""])),
            lambda function: asyncio.run(shared.ainvoke(function, b"")),
        ):
            with pytest.raises(wasmrun.GuestTrap) as caught:
                call(kit.pure("trap_raw"))
            assert caught.value.report is not None
            assert caught.value.report.status == "GuestTrap"

    def test_failures_are_counted(self, own: Either) -> None:
        """By their class, however the event was given."""
        own.run(kit.pure("trap_raw"), b"")
        for function, event in ((kit.pure("trap_raw"), b""), (kit.pure(), 1.5), (kit.pure("missing_raw"), b"")):
            with pytest.raises(wasmrun.WasmrunError):
                own.invoke(function, event)
        assert own.stats().failures == {"GuestTrap": 2, "InvalidEvent": 1, "InvalidFunction": 1}

    def test_what_is_no_function_is_refused(self, shared: Either) -> None:
        """At once, with the remedy in the text."""
        for call in (
            shared.invoke, shared.run, shared.submit, shared.prewarm, shared.load, shared.inspect, shared.compile,
            shared.is_compiled,
        ):  # fmt: skip
            with pytest.raises(TypeError, match=r"write Function\("):
                call("echo.wasm")  # type: ignore[operator]

    def test_failed_events_leave_no_garbage(self, own: Either) -> None:
        """An error that is dropped goes at once, and takes the event with it."""
        function = kit.pure("trap_raw")
        own.run(function, b"")
        gc.collect()
        gc.disable()
        try:
            known = {id(one) for one in gc.get_objects() if isinstance(one, wasmrun.GuestTrap)}
            for _ in range(5):
                with pytest.raises(wasmrun.GuestTrap):
                    own.invoke(function, b"")
                own.run(function, b"")
                assert own.submit(function, b"").exception(20) is not None
            eventually(
                lambda: (
                    not [one for one in gc.get_objects() if isinstance(one, wasmrun.GuestTrap) and id(one) not in known]
                )
            )
        finally:
            gc.enable()

    # Options of a call

    def test_timeout_of_a_call_is_the_shorter_one(self, shared: Either) -> None:
        """It may not give a function more than it has."""
        function = kit.pure("loop_raw", timeout=0.1)
        for timeout in (0.05, "50ms"):
            with pytest.raises(wasmrun.TimedOut, match="its time of 50"):
                shared.invoke(function, b"", timeout=timeout)
        with pytest.raises(wasmrun.TimedOut, match="its time of 100") as caught:
            shared.invoke(function, b"", timeout=20)
        assert caught.value.report is not None
        assert 0.08 < caught.value.report.duration < 0.25

    def test_timeout_that_is_none_is_refused(self, shared: Either) -> None:
        """And holds nothing up."""
        with pytest.raises(ValueError, match="not a duration"):
            shared.invoke(kit.pure(), b"", timeout="soon")
        assert shared.invoke(kit.pure(), b"x") == b"x"

    @pytest.mark.parametrize("name", ["tenant", "request_id", "trace_id"])
    def test_texts_of_a_call_are_checked(self, shared: Either, name: str) -> None:
        """They are short and can be shown."""
        for value in ("x" * 300, "a\nb", 5):
            for call in (shared.invoke, shared.run, shared.submit):
                with pytest.raises(wasmrun.InvalidEvent, match=name):
                    call(kit.pure("context"), 1, **{name: value})  # type: ignore[operator]

    def test_options_of_a_call_reach_the_guest(self, shared: Either) -> None:
        """In its context, and the request id in the report."""
        options: dict[str, Any] = {
            "request_id": "r-1", "tenant": "t-1", "client_context": {"app": [1, b"x"]}, "trace_id": "Root=1",
        }  # fmt: skip
        function = kit.pure("context", version="7", name="f")
        before = time.time()
        result = shared.run(function, "event", **options)
        event, context = result.value
        assert event == "event"
        assert int(before * 1000) <= context.pop("deadline_ms") - 3000 <= time.time() * 1000 + 1
        assert context == {
            "function": "f", "version": "7", "memory_limit_bytes": 128 * MIB, "fuel_limit": 21_000_000_000,
            "request_id": "r-1", "tenant_id": "t-1", "client_context": {"app": [1, b"x"]}, "trace_id": "Root=1",
        }  # fmt: skip
        assert (result.report.request_id, result.report.function, result.report.version) == ("r-1", "f", "7")
        assert shared.submit(function, 1, **options).result(20)[1]["trace_id"] == "Root=1"
        assert asyncio.run(shared.ainvoke(function, 1, **options))[1]["tenant_id"] == "t-1"
        assert set(shared.invoke(function, 1)[1]) == {
            "function", "version", "memory_limit_bytes", "fuel_limit", "request_id", "deadline_ms",
        }  # fmt: skip

    def test_tenant_of_a_function_is_that_of_its_events(self, shared: Either) -> None:
        """Unless the caller names another."""
        function = kit.pure("context", tenant="of-function")
        assert shared.invoke(function, 1)[1]["tenant_id"] == "of-function"
        assert shared.invoke(function, 1, tenant="of-call")[1]["tenant_id"] == "of-call"

    def test_request_ids_are_all_different(self, shared: Either, own: Either) -> None:
        """Of one executor and of another, and they look like Lambda's."""
        ids = [one.run(kit.pure(), b"").report.request_id for one in (shared, own) for _ in range(50)]
        assert len(set(ids)) == 100
        assert all(str(uuid.UUID(one)) == one for one in ids)

    def test_client_context_that_cannot_be_sent_is_refused(self, shared: Either) -> None:
        """As an event is."""
        with pytest.raises(wasmrun.InvalidEvent, match="client context"):
            shared.invoke(kit.pure("context"), 1, client_context=object())

    # Reports and logs

    def test_on_report_gets_every_event_that_ran_once(self, make: Make) -> None:
        """However it was given and however it ended: the record that the result has."""
        reports: list[wasmrun.Report] = []
        executor = make(on_report=reports.append)
        executor.invoke(kit.pure(), b"1")
        results = [executor.run(kit.pure("trap_raw"), b""), executor.run(kit.pure("log_raw"), b"")]
        executor.submit(kit.pure(), b"22").result(20)
        with pytest.raises(wasmrun.TimedOut) as caught:
            executor.invoke(kit.pure("loop_raw"), b"", timeout=0.02)
        with pytest.raises(wasmrun.InvalidEvent):
            executor.invoke(kit.pure(), 1.5)
        with pytest.raises(wasmrun.InvalidFunction):
            executor.invoke(kit.pure("missing_raw"), b"")
        assert [report.status for report in reports] == ["success", "GuestTrap", "success", "success", "TimedOut"]
        assert [report.result_bytes for report in reports] == [1, 0, 0, 2, 0]
        assert [result.report for result in results] == reports[1:3]
        assert caught.value.report is reports[4]

    def test_on_report_that_fails_is_logged(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        """The answer is not its business."""

        def fail(_: wasmrun.Report) -> None:
            raise OSError("the disk of the metrics is full")

        executor = make(on_report=fail)
        with caplog.at_level(logging.ERROR, "wasmrun"):
            assert executor.invoke(kit.pure(), b"x", request_id="r-9") == b"x"
            assert executor.submit(kit.pure(), b"x").result(20) == b"x"
        assert "on_report failed for request r-9" in caplog.text
        assert "the disk of the metrics is full" in caplog.text

    def test_logs_are_cut_at_their_limit(self, shared: Either) -> None:
        """And what was logged until a failure is there, too."""
        result = shared.run(kit.pure("chat_raw", log_bytes=0, timeout=0.05), b"")
        assert isinstance(result.error, wasmrun.TimedOut)
        assert result.report.log_bytes == 0
        result = shared.run(kit.pure("log_raw", log_bytes=3), b"")
        assert [log.level for log in result.logs] == ["warn"]
        assert "the log is cut here" in result.logs[0].message

    def test_long_logs_arrive_whole(self, shared: Either, wat: Wat) -> None:
        """Up to a limit of megabytes."""
        function = wasmrun.Function(
            wat(
                "(call $log (i32.const 2) (i32.const 0) (i32.const 3000000)) (call $answer)",
                imports='(import "wasmrun" "log" (func $log (param i32 i32 i32)))', memory="64",
            ),
            log_bytes="4MiB", warm=0,
        )  # fmt: skip
        result = shared.run(function, 1)
        assert result.error is None
        assert sum(len(log.message) for log in result.logs) >= 2_999_000

    def test_results_and_errors_pickle(self, shared: Either) -> None:
        """Whole: they cross processes."""
        for function in (kit.pure("log_raw"), kit.pure("trap_raw"), kit.pure("loop_raw", timeout=0.02)):
            result = shared.run(function, b"")
            again = pickle.loads(pickle.dumps(result))
            assert again.report == result.report
            assert again.logs == result.logs
            assert again.value == result.value
            assert type(again.error) is type(result.error)
            if result.error is not None:
                assert str(again.error) == str(result.error)
                assert again.error.report == result.report

    # submit, map, ainvoke

    def test_submit_gives_a_future_of_the_standard_library(self, shared: Either) -> None:
        """With the value, or with what `invoke` would have raised."""
        assert isinstance(shared, concurrent.futures.Executor)
        future = shared.submit(kit.pure(), b"x")
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(20) == b"x"
        assert isinstance(shared.submit(kit.pure("trap_raw"), b"").exception(20), wasmrun.GuestTrap)
        assert isinstance(shared.submit(kit.pure("missing_raw"), b"").exception(20), wasmrun.InvalidFunction)

    def test_map_keeps_the_order_of_its_events(self, shared: Either) -> None:
        """Whichever ends first; an error comes in its place."""
        events = [turns.to_bytes(4, "little") for turns in (2_000_000, 1, 1_000_000, 1)]
        assert list(shared.map(kit.pure(), events)) == events
        assert list(shared.map(kit.pure("spin_raw"), events)) == [b""] * 4
        assert list(shared.map(kit.pure(), [])) == []
        answers = shared.map(kit.pure(), [b"1", 2.5, b"3"])
        assert next(answers) == b"1"
        with pytest.raises(wasmrun.InvalidEvent):
            next(answers)

    def test_map_bounds_its_wait_and_stops_what_runs(self, shared: Either) -> None:
        """The guests whose answers nobody takes any more are stopped."""
        answers = shared.map(kit.pure("loop_raw", timeout=20), [b"", b""], timeout=0.1)
        with pytest.raises(TimeoutError):
            next(answers)
        eventually(lambda: in_flight(shared) == 0, 5)

    def test_ainvoke_leaves_the_event_loop_alone(self, make: Make) -> None:
        """Guests run beside it; `async with` closes the executor."""

        async def main() -> tuple[list[Any], int]:
            turns = 0
            async with make() as executor:
                function = kit.pure("loop_raw", timeout=0.2)
                tasks = [asyncio.create_task(executor.ainvoke(function, b"")) for _ in range(2)]
                while not all(task.done() for task in tasks):
                    await asyncio.sleep(0.001)
                    turns += 1
                answers = await asyncio.gather(*tasks, executor.ainvoke(kit.pure(), b"x"), return_exceptions=True)
            with pytest.raises(RuntimeError, match="shut down"):
                await executor.ainvoke(kit.pure(), b"x")
            return answers, turns

        (first, second, third), turns = asyncio.run(main())
        assert isinstance(first, wasmrun.TimedOut)
        assert isinstance(second, wasmrun.TimedOut)
        assert third == b"x"
        assert turns > 10

    def test_cancelling_a_task_stops_its_guest(self, shared: Either) -> None:
        """And `asyncio.timeout` is enough: nothing runs on."""

        async def main() -> None:
            task = asyncio.create_task(shared.ainvoke(kit.pure("loop_raw", timeout=20), b""))
            while not in_flight(shared):
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await shared.ainvoke(kit.pure("loop_raw", timeout=20), b"")

        asyncio.run(main())
        eventually(lambda: in_flight(shared) == 0, 5)

    def test_many_threads_get_their_own_answers(self, shared: Either) -> None:
        """16 threads with 200 events each, of functions of each kind."""
        functions = [kit.pure(warm=4), kit.pure("context", reuse=True), kit.pure("context", fuel=None)]
        wrong: list[object] = []

        def work(thread: int) -> None:
            try:
                for at in range(200):
                    mine = f"{thread}/{at}".encode()
                    answer = shared.invoke(functions[at % 3], mine)
                    if (answer if at % 3 == 0 else answer[0]) != mine:
                        wrong.append((mine, answer))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(at,)) for at in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong
        eventually(lambda: in_flight(shared) == 0)

    def test_many_futures_get_their_own_answers(self, shared: Either) -> None:
        """However many are submitted at once."""
        events = [str(at).encode() for at in range(1000)]
        assert list(shared.map(kit.pure(), events)) == events

    # cancel

    @pytest.mark.parametrize(
        "function",
        [
            kit.pure("loop_raw", timeout=20),
            kit.pure("loop_raw", timeout=20, fuel=None),
            kit.pure("chat_raw", timeout=20),
            wasmrun.Function(kit.SLEEP, entry="sleep_raw", timeout=20, warm=0),
            wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", warm=0),
            wasmrun.Function(kit.FREE_LOOPS, entry="echo_raw", warm=0, timeout=20, reuse=True),
            kit.asking(lambda _: None, "nag_raw", timeout=20),
        ],
        ids=["loop", "unmetered", "log", "sleep", "start-up", "free", "host calls"],
    )
    def test_cancel_stops_a_guest_that_runs(self, shared: Either, function: wasmrun.Function) -> None:
        """Within 50 ms, which a busy machine may spoil, but not five times."""
        seconds = []
        for _ in range(5):
            future = submit_running(shared, function, b"\xc0")
            started = time.monotonic()
            if not future.cancel():
                continue  # only the freeing of an answer, which is there by then, keeps the guest
            eventually(lambda: in_flight(shared) == 0)
            seconds.append(time.monotonic() - started)
            assert future.cancelled()
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(20)
            assert future.cancel()
        if seconds:
            assert min(seconds) < STOP_SECONDS
            assert max(seconds) < 2
        assert shared.invoke(kit.pure(), b"on") == b"on"

    def test_cancel_of_what_waits_keeps_it_from_running(self, make: Make, gate: Gate) -> None:
        """Whether it waits for a thread or for a worker; its place is free at once."""
        executor = make(1, wait=60, threads=1)
        running = executor.submit(kit.asking(gate), b"\xc0")
        gate.wait_for(1)
        asked: list[object] = []
        waiting = executor.submit(kit.asking(asked.append), b"\xc0")
        assert waiting.cancel()
        assert waiting.cancelled()
        gate.opened.set()
        assert running.result(20) == b"\x92\x00\xc0"
        assert executor.invoke(kit.pure(), b"x") == b"x"
        executor.shutdown()
        assert asked == []
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(0)

    def test_cancel_of_what_has_ended_comes_too_late(self, shared: Either) -> None:
        """Its answer stands, its error too."""
        answered, failed = shared.submit(kit.pure(), b"x"), shared.submit(kit.pure("trap_raw"), b"")
        assert answered.result(20) == b"x"
        assert isinstance(failed.exception(20), wasmrun.GuestTrap)
        assert not answered.cancel()
        assert not failed.cancel()

    def test_cancel_stops_what_a_host_function_runs(self, own: Either) -> None:
        """And the guest that called it: the one future is for both."""
        after: list[object] = []

        def nest(_: object) -> None:
            try:
                own.invoke(kit.pure("loop_raw", timeout=20), b"")
            finally:
                after.append(None)

        future = own.submit(kit.asking(nest, "nag_raw", timeout=20), b"\xc0")
        eventually(lambda: in_flight(own) == 2)
        started = time.monotonic()
        assert future.cancel()
        eventually(lambda: in_flight(own) == 0)
        assert time.monotonic() - started < 2
        eventually(lambda: len(after) == 1)

    def test_cancel_from_inside_stops_the_guest(self, own: Either) -> None:
        """A host function may cancel the future that it runs for."""
        futures: list[wasmrun.Future[Any]] = []
        ready = threading.Event()

        def cancel(_: object) -> None:
            assert ready.wait(20)
            assert futures[0].cancel()

        futures.append(own.submit(kit.asking(cancel, "nag_raw"), b"\xc0"))
        ready.set()
        with pytest.raises(concurrent.futures.CancelledError):
            futures[0].result(20)
        eventually(lambda: in_flight(own) == 0)

    def test_cancel_never_hits_the_next_event(self, shared: Either) -> None:
        """A late mark would end a guest of somebody else."""
        function = kit.pure(reuse=True)
        wrong: list[BaseException] = []
        is_over = threading.Event()

        def invoke() -> None:
            try:
                while not is_over.is_set():
                    assert shared.invoke(function, b"x") == b"x"
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=invoke) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(150):
            future = shared.submit(function, b"y")
            while not (future.running() or future.done()):
                pass
            future.cancel()
        is_over.set()
        for thread in threads:
            thread.join(20)
        assert not wrong

    # Waiting and limits of concurrency

    def test_event_that_finds_no_room_is_throttled(self, make: Make, gate: Gate) -> None:
        """After the wait, not before; and is counted."""
        executor = make(1, wait=0.1)
        running = executor.submit(kit.asking(gate), b"\xc0")
        gate.wait_for(1)
        started = time.monotonic()
        with pytest.raises(wasmrun.Throttled, match=r"within 0\.1 s"):
            executor.invoke(kit.pure(), b"")
        assert 0.09 < time.monotonic() - started < 2
        assert executor.stats().pool.throttled == 1
        assert executor.stats().failures == {"Throttled": 1}
        gate.opened.set()
        running.result(20)
        assert executor.invoke(kit.pure(), b"x") == b"x"

    def test_event_that_waits_gets_the_next_room(self, make: Make, gate: Gate) -> None:
        """As soon as there is some; the wait is in its report."""
        executor = make(1, wait=20)
        running = executor.submit(kit.asking(gate), b"\xc0")
        gate.wait_for(1)
        results: list[wasmrun.Result] = []
        thread = threading.Thread(target=lambda: results.append(executor.run(kit.pure(), b"x")))
        thread.start()
        eventually(lambda: executor.stats().pool.waits == 1)
        gate.opened.set()
        thread.join(20)
        assert running.result(20) == b"\x92\x00\xc0"
        assert results[0].value == b"x"
        assert results[0].report.pool_wait > 0

    def test_concurrency_of_a_function_is_a_limit(self, make: Make, gate: Gate) -> None:
        """Of that function only; the error says so."""
        executor = make(2, wait=0.05)
        function = kit.asking(gate, concurrency=1)
        running = executor.submit(function, b"\xc0")
        gate.wait_for(1)
        with pytest.raises(wasmrun.Throttled, match="reached its concurrency of 1"):
            executor.invoke(function, b"\xc0")
        assert executor.invoke(kit.pure(), b"x") == b"x"
        gate.opened.set()
        running.result(20)
        assert executor.invoke(function, b"\xc0") == b"\x92\x00\xc0"

    # Sandboxes

    def test_sandbox_serves_one_event(self, shared: Either) -> None:
        """What an event leaves behind is not there for the next one."""
        assert [number(shared.invoke(kit.pure("count_raw", warm=2), b"")) for _ in range(10)] == [1] * 10

    def test_sandbox_that_is_reused_serves_one_tenant(self, make: Make) -> None:
        """With `reuse=True`; after a failure there is a new one."""
        executor = make(1) if isinstance(make(), wasmrun.ProcessExecutor) else make()
        function = kit.pure("count_raw", reuse=True)
        counts = [number(executor.invoke(function, b"", tenant="a")) for _ in range(3)]
        assert counts == [1, 2, 3]
        result = executor.run(function, b"", tenant="a")
        assert (number(result.value), result.report.start) == (4, "reused")
        assert number(executor.invoke(function, b"", tenant="b")) == 1
        assert number(executor.invoke(function, b"")) == 1

    def test_answers_of_a_reused_sandbox_are_freed(self, make: Make) -> None:
        """By `wasmrun_free`, after they were read."""
        executor = make(1)
        assert [number(executor.invoke(kit.pure("freed_raw", reuse=True), b"")) for _ in range(3)] == [0, 1, 2]

    def test_prewarm_makes_warm_starts(self, own: Either) -> None:
        """As many as the function asks for, where there is room."""
        function = kit.pure(warm=3)
        assert own.prewarm(function) >= 3
        result = own.run(function, b"x")
        assert (result.value, result.report.start, result.report.init_duration) == (b"x", "warm", None)
        cold = own.run(kit.pure(name="cold"), b"x")
        assert cold.report.start == "cold"
        assert cold.report.init_duration is not None

    def test_sandboxes_are_refilled_behind_the_event(self, own: Either) -> None:
        """So that later ones start warm, too."""
        function = kit.pure(warm=2)
        own.prewarm(function)
        starts = []
        for _ in range(20):
            starts.append(own.run(function, b"").report.start)
            threading.Event().wait(0.005)
        assert starts.count("warm") >= 15

    # Functions

    def test_load_tells_how_a_function_is_called(self, shared: Either) -> None:
        """Its ABI and what says so, its entry, and whether it takes bytes."""
        assert shared.load(kit.pure()) == ("native", "it exports wasmrun_alloc", "echo_raw", True)
        assert shared.load(wasmrun.Function(guests.CAT)).abi == "command"

    def test_inspect_and_compile_need_no_event(self, own: Either, tmp_path: Path) -> None:
        """What is compiled once is known to be."""
        function = kit.pure()
        looked = own.inspect(function)
        assert looked.abi == "native"
        assert own.compile(function).key != ""
        assert own.is_compiled(function)
        assert not own.is_compiled(wasmrun.Function('(module (func (export "f")) (memory 7))', warm=0))
        assert own.stats().pool.in_flight == 0

    def test_inspect_says_why_a_function_could_not_run(self, shared: Either) -> None:
        """And what a file is that is no module."""
        looked = shared.inspect(wasmrun.Function(kit.HOST, entry="ask_raw"))
        assert looked.problem is None or "call" in str(looked)
        looked = shared.inspect(wasmrun.Function(b"\x1f\x8b garbage"))
        assert (looked.kind, looked.abi) == ("a gzip file", None)
        with pytest.raises(wasmrun.InvalidFunction):
            shared.inspect(wasmrun.Function("none.wasm"))

    def test_unload_forgets_a_function(self, own: Either, gate: Gate) -> None:
        """Unless it is not there, or an event of it runs; it may come back."""
        function = kit.asking(gate)
        assert not own.unload(function)
        running = own.submit(function, b"\xc0")
        gate.wait_for(1)
        assert not own.unload(function)
        gate.opened.set()
        running.result(20)
        eventually(lambda: in_flight(own) == 0)
        assert own.unload(function)
        assert not own.unload(function)
        assert own.invoke(function, b"\xc0") == b"\x92\x00\xc0"

    def test_refused_function_is_refused_each_time(self, shared: Either) -> None:
        """For the same reason; others are served."""
        for function, reason in (
            (wasmrun.Function(kit.HOST, entry="ask_raw"), r"not granted: wasmrun\.call"),
            (kit.pure("missing_raw"), "missing_raw"),
            (wasmrun.Function(b"\0asm\1\0\0\0garbage"), "module"),
            (wasmrun.Function("/nowhere/to/be/found.wasm"), "found.wasm"),
        ):
            for call in (shared.invoke, shared.run, shared.load, shared.prewarm):
                with pytest.raises(wasmrun.InvalidFunction, match=reason):
                    call(function)  # type: ignore[operator]
        assert shared.invoke(kit.pure(), b"x") == b"x"

    def test_functions_may_differ_in_stack_and_metering(self, shared: Either) -> None:
        """Each combination has an engine of its own; without fuel, none is reported."""
        for stack, fuel in itertools.product(("64KiB", "512KiB", "1MiB"), (None, 10**9)):
            result = shared.run(kit.pure(stack=stack, fuel=fuel), b"x")
            assert result.value == b"x"
            assert (result.report.fuel_used is None) == (fuel is None)

    def test_functions_of_different_names_are_told_apart(self, shared: Either) -> None:
        """Although their code is the same."""
        for name in ("a", "b", "a"):
            result = shared.run(kit.pure("context", name=name, version=name * 2), 1)
            assert (result.report.function, result.report.version) == (name, name * 2)
            assert (result.value[1]["function"], result.value[1]["version"]) == (name, name * 2)

    def test_programs_get_the_arguments_and_variables_that_were_granted(self, shared: Either) -> None:
        """And no others."""
        args = wasmrun.Function(guests.strings("args"), name="prog", args=["-v", "ü x"], warm=0)
        assert shared.invoke(args).split("\0")[1:] == ["-v", "ü x", ""]
        environ = wasmrun.Function(guests.strings("environ"), env={"MODE": "fast", "EMPTY": ""}, warm=0)
        assert sorted(shared.invoke(environ).split("\0")) == ["", "EMPTY=", "MODE=fast"]
        assert shared.invoke(wasmrun.Function(guests.strings("environ"), warm=0)) in ("", None)

    def test_programs_read_and_write_the_directories_that_were_granted(self, shared: Either, tmp_path: Path) -> None:
        """Two functions with different grants, in turn: each sees its own."""
        functions = {}
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "in").write_text(f'"{name}"')
            functions[name] = wasmrun.Function(guests.COPY, dirs=[f"{tmp_path / name}::/data"], warm=0)
        for name in ("one", "two", "one"):
            assert shared.invoke(functions[name]) == name
            assert (tmp_path / name / "out").read_text() == f'"{name}"'
        (tmp_path / "two" / "out").unlink()
        read_only = wasmrun.Function(guests.COPY, dirs=[f"{tmp_path / 'two'}::/data:ro"], warm=0)
        assert shared.invoke(read_only) == "two"
        assert not (tmp_path / "two" / "out").exists()
        assert shared.invoke(kit.pure(), b"x") == b"x"

    def test_directory_that_is_missing_is_refused(self, shared: Either, tmp_path: Path) -> None:
        """By name."""
        with pytest.raises(wasmrun.InvalidFunction, match="gone does not exist, or is none"):
            shared.invoke(wasmrun.Function(guests.COPY, dirs=[f"{tmp_path}/gone::/data"], warm=0))

    # Host functions

    def test_host_functions_answer_guests(self, shared: Either) -> None:
        """In this process, whatever they are given and give."""
        seen: list[object] = []

        def call(value: object) -> object:
            seen.append((value, os.getpid()))
            return {"got": value}

        for value in (None, 1, "ü", [b"x", {}], 2**64 - 1):
            answer = shared.invoke(kit.asking(call), msgpack.packb(value))
            assert msgpack.unpackb(answer) == [0, {"got": value}]
            assert seen.pop() == (value, os.getpid())

    def test_host_function_gets_and_gives_much(self, shared: Either, wat: Wat) -> None:
        """Megabytes, which need more than one turn of a socket."""
        source = wat(
            "(call $call (local.get $ptr) (local.get $len))", entry="ask_raw",
            imports='(import "wasmrun" "call" (func $call (param i32 i32) (result i64)))',
        )  # fmt: skip
        function = wasmrun.Function(source, entry="ask_raw", imports={"call": lambda value: value[::-1]}, warm=0)
        data = os.urandom(100) * 30_000
        assert msgpack.unpackb(shared.invoke(function, msgpack.packb(data))) == [0, data[::-1]]

    def test_host_function_that_fails_is_an_error_value_for_the_guest(self, shared: Either) -> None:
        """Which copes."""

        def fail(_: object) -> None:
            raise OSError("no such table")

        answer = shared.invoke(kit.asking(fail), b"\xc0")
        assert msgpack.unpackb(answer) == [1, {"type": "OSError", "message": "no such table"}]

    def test_host_function_that_fails_is_the_caller_s_error(self, shared: Either) -> None:
        """Where the guest gives up because of it; the original is its cause."""

        def fail(_: object) -> None:
            raise OSError("no such table")

        ask = "(call $call (local.get 0) (local.get 1)))"
        function = wasmrun.Function(
            kit.HOST.replace(ask, f"(drop {ask[:-1]}) unreachable)", 1),
            entry="ask_raw", imports={"call": fail}, warm=0,
        )  # fmt: skip
        for call in (
            lambda: shared.invoke(function, b"\xc0"),
            lambda: shared.run(function, b"\xc0"),
            lambda: shared.submit(function, b"\xc0").result(20),
        ):
            with pytest.raises(
                wasmrun.HostError, match="the host function 'call' failed: OSError: no such t"
            ) as caught:
                call()
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.report is not None
            assert caught.value.report.status == "HostError"

    def test_host_function_may_answer_what_cannot_be_sent(self, shared: Either) -> None:
        """It failed, then; the guest is told."""
        for answer in (object(), 2**64, "\ud800", {1}):
            reply = shared.invoke(kit.asking(lambda _, answer=answer: answer), b"\xc0")  # type: ignore[misc]
            assert msgpack.unpackb(reply)[0] == 1

    def test_host_function_is_not_asked_what_cannot_be_read(self, shared: Either) -> None:
        """The guest is told so."""
        asked: list[object] = []
        assert msgpack.unpackb(shared.invoke(kit.asking(asked.append), b"\xc1"))[1]["type"] == "InvalidArgument"
        assert asked == []

    def test_host_function_may_run_another_function(self, own: Either) -> None:
        """In a second sandbox, or a second worker."""

        def nest(event: Any) -> Any:
            return own.invoke(kit.pure(), event)

        assert own.invoke(kit.asking(nest), b"\xc4\x01x") == b"\x92\x00\xc4\x01x"
        assert own.submit(kit.asking(nest), b"\xc4\x01y").result(20) == b"\x92\x00\xc4\x01y"

    @pytest.mark.parametrize("way", ["invoke", "run", "submit"])
    def test_host_function_may_end_the_thread(self, own: Either, way: str) -> None:
        """What is no Exception ends the guest and reaches the caller; the executor serves on."""

        def leave(_: object) -> None:
            raise SystemExit(3)

        function = kit.asking(leave, "nag_raw")
        with pytest.raises(SystemExit):
            if way == "submit":
                own.submit(function, b"\xc0").result(20)
            else:
                getattr(own, way)(function, b"\xc0")
        eventually(lambda: in_flight(own) == 0)
        assert [own.invoke(kit.pure(), event) for event in (b"1", b"2", b"3")] == [b"1", b"2", b"3"]

    def test_host_function_is_bounded_by_the_event_s_time(self, shared: Either) -> None:
        """A guest that asks for ever ends at its deadline."""
        with pytest.raises(wasmrun.TimedOut):
            shared.invoke(kit.asking(lambda _: None, "nag_raw", timeout=0.1), b"\xc0")

    def test_host_functions_of_many_events_are_not_mixed_up(self, shared: Either) -> None:
        """Each event gets the answer to its own question, and each error is its own."""

        def call(value: Any) -> Any:
            if value % 3 == 0:
                raise ValueError(str(value))
            return value

        function = kit.asking(call, warm=4)
        answers = list(shared.map(function, [msgpack.packb(at) for at in range(600)]))
        for at, answer in enumerate(map(msgpack.unpackb, answers)):
            assert answer == ([0, at] if at % 3 else [1, {"type": "ValueError", "message": str(at)}])

    def test_start_up_may_ask_the_host(self, make: Make) -> None:
        """While its event waits for it, and ahead of events; the answers of those are not touched by it."""
        executor = make()
        asked: list[object] = []
        cold = wasmrun.Function(kit.INIT_ASKS, entry="echo_raw", imports={"call": asked.append}, warm=0)
        assert executor.invoke(cold, b"x") == b"x"
        assert asked == [0]
        warm = wasmrun.Function(kit.INIT_ASKS, entry="echo_raw", imports={"call": asked.append}, warm=3, name="warm")
        assert executor.prewarm(warm) >= 3
        for at in range(100):
            event = str(at).encode()
            assert executor.invoke(warm if at % 2 else kit.pure(), event) == event
        eventually(lambda: len(asked) > 50)
        assert set(asked) == {0}

    def test_start_up_that_fails_is_its_event_s_error(self, shared: Either) -> None:
        """Of its own class, and again the next time."""
        for source, error in ((kit.INIT_TRAPS, wasmrun.GuestTrap), (kit.INIT_DEEP, wasmrun.GuestTrap)):
            for _ in range(2):
                with pytest.raises(error):
                    shared.invoke(wasmrun.Function(source, entry="echo_raw", warm=0), b"")
        with pytest.raises(wasmrun.TimedOut, match="init_timeout"):
            shared.invoke(wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", warm=0, init_timeout=0.1), b"")

    # shutdown

    def test_shutdown_waits_for_what_was_submitted(self, make: Make) -> None:
        """All of it: what runs and what has not begun."""
        executor = make()
        futures = [executor.submit(kit.pure("spin_raw"), (2_000_000).to_bytes(4, "little")) for _ in range(50)]
        executor.shutdown()
        assert all(future.done() for future in futures)
        assert [future.result() for future in futures] == [b""] * 50

    def test_shutdown_waits_for_what_other_threads_run(self, own: Either, gate: Gate) -> None:
        """An `invoke` of another thread gets its answer."""
        answers: list[bytes] = []
        thread = threading.Thread(target=lambda: answers.append(own.invoke(kit.asking(gate, timeout=20), b"\xc0")))
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

    def test_shutdown_without_wait_comes_back_at_once(self, make: Make, gate: Gate) -> None:
        """What was submitted still runs, and the executor takes nothing more."""
        executor = make()
        futures = [executor.submit(kit.asking(gate, timeout=20), b"\xc0") for _ in range(5)]
        gate.wait_for(1)
        executor.shutdown(wait=False)
        assert not any(future.done() for future in futures)
        with pytest.raises(RuntimeError, match="shut down"):
            executor.invoke(kit.pure(), b"")
        gate.opened.set()
        assert [future.result(20) for future in futures] == [b"\x92\x00\xc0"] * 5

    def test_shutdown_without_wait_right_after_submit_still_runs_it(self, make: Make) -> None:
        """Although the executor had nothing loaded yet."""
        executor = make()
        future = executor.submit(kit.pure(), b"x")
        executor.shutdown(wait=False)
        assert future.result(20) == b"x"

    @pytest.mark.parametrize("wait", [True, False])
    def test_shutdown_cancels_what_has_not_begun_if_told_to(self, make: Make, gate: Gate, wait: bool) -> None:
        """Whoever waits for such a future is woken; what runs, runs on."""
        executor = make(wait=60)
        running = executor.submit(kit.asking(gate, timeout=20), b"\xc0")
        gate.wait_for(1)
        others = [executor.submit(kit.asking(gate, timeout=20), b"\xc0") for _ in range(80)]
        called: list[object] = []
        others[-1].add_done_callback(called.append)
        opening = threading.Timer(0.1, gate.opened.set)
        opening.start()
        executor.shutdown(wait=wait, cancel_futures=True)
        assert concurrent.futures.wait(others, timeout=20).not_done == set()
        opening.join()
        assert others[-1].cancelled()
        assert called == [others[-1]]
        assert running.result(20) == b"\x92\x00\xc0"
        assert {other.result() for other in others if not other.cancelled()} <= {b"\x92\x00\xc0"}

    def test_shutdown_may_be_repeated(self, make: Make, gate: Gate) -> None:
        """And the second call waits, too."""
        executor = make()
        future = executor.submit(kit.asking(gate, timeout=20), b"\xc0")
        gate.wait_for(1)
        executor.shutdown(wait=False)
        opening = threading.Timer(0.05, gate.opened.set)
        opening.start()
        executor.shutdown()
        opening.join()
        assert future.done()
        executor.shutdown()

    def test_shutdown_of_an_unused_executor_does_nothing(self, make: Make) -> None:
        """It made nothing."""
        executor = make()
        executor.shutdown()
        executor.shutdown(wait=False)
        assert executor.stats().pool.live == 0

    def test_shutdown_in_its_own_invocation_is_an_error(self, make: Make) -> None:
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

    def test_shutdown_wakes_who_waits_for_room(self, make: Make, gate: Gate) -> None:
        """With a RuntimeError, or with the room that became free; never with a wait for nothing."""
        executor = make(1, wait=60)
        running = executor.submit(kit.asking(gate, timeout=20), b"\xc0")
        gate.wait_for(1)
        outcomes: list[object] = []

        def wait() -> None:
            try:
                outcomes.append(executor.invoke(kit.pure(), b"x"))
            except BaseException as error:
                outcomes.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: executor.stats().pool.waits == 1)
        closing = threading.Thread(target=executor.shutdown)
        closing.start()
        closing.join(0.05)
        gate.opened.set()
        closing.join(20)
        thread.join(20)
        assert running.done()
        assert outcomes in ([b"x"], ["the executor was shut down"])

    def test_use_after_shutdown_is_an_error(self, own: Either, make: Make) -> None:
        """A RuntimeError, whatever is asked for, and whether the executor was used before."""
        function = kit.pure()
        own.invoke(function, b"")
        for executor in (own, make()):
            executor.shutdown()
            for call in (
                executor.invoke, executor.run, executor.submit, executor.prewarm, executor.load, executor.inspect,
                executor.unload, executor.compile, executor.is_compiled,
            ):  # fmt: skip
                for one in (function, kit.pure("trap_raw")):
                    with pytest.raises(RuntimeError, match="the executor was shut down"):
                        call(one)  # type: ignore[operator]
            with pytest.raises(RuntimeError, match="shut down"):
                executor.map(function, [b""])
            with pytest.raises(RuntimeError, match="shut down"):
                asyncio.run(executor.ainvoke(function, b""))
            assert executor.stats().pool.in_flight == 0

    def test_with_ends_the_executor(self, make: Make) -> None:
        """When the block is left, with what was submitted done; by an error as well."""
        with make() as executor:
            future = executor.submit(kit.pure(), b"x")
        assert future.result(0) == b"x"
        with pytest.raises(RuntimeError, match="shut down"):
            executor.invoke(kit.pure(), b"")
        with pytest.raises(ZeroDivisionError), make() as executor:
            executor.invoke(kit.pure(), b"")
            raise ZeroDivisionError
        with pytest.raises(RuntimeError, match="shut down"):
            executor.invoke(kit.pure(), b"")
