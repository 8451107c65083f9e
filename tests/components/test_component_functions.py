"""A component is a function: event, context and answer are JSON, in this process and in workers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lifted import CONTEXT, CONTEXT_BYTES, ECHO, answer, component, text

import wasmrun
from wasmrun.base_executor import BaseExecutor

VALUES = [None, True, -(2**70), 1.5, "ä€😀\0\n", [], {}, {"a": [1, {"b": "c"}]}, "x" * 100_000]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_component_answers_what_json_can_hold(executor: BaseExecutor, value: Any) -> None:
    """Integers exactly, texts of any language."""
    assert executor.invoke(wasmrun.Function(component()), value) == value


def test_component_gets_its_context(executor: BaseExecutor) -> None:
    """The same keys as other functions."""
    function = wasmrun.Function(component(answer(CONTEXT, CONTEXT_BYTES)), name="told", fuel=10**9, memory="1MiB")
    found = executor.invoke(function, 1, request_id="r-1", tenant="t", client_context={"a": 1}, trace_id="x")
    assert found.pop("deadline_ms") > 1.6e12
    assert found == {
        "function": "told", "version": "$LATEST", "memory_limit_bytes": 2**20, "fuel_limit": 10**9,
        "request_id": "r-1", "client_context": {"a": 1}, "tenant_id": "t", "trace_id": "x",
    }  # fmt: skip


def test_component_reports_an_error_with_its_type_and_stack(executor: BaseExecutor) -> None:
    """In JSON."""
    said = json.dumps({"type": "NotFound", "message": "no such user", "stack": ["a.py:3", 5]})
    data, _ = text(said)
    function = wasmrun.Function(component(answer(1024, len(said), error=True), functions=data))
    with pytest.raises(wasmrun.GuestError) as caught:
        executor.invoke(function)
    assert (caught.value.type, caught.value.message, caught.value.stack) == ("NotFound", "no such user", ("a.py:3",))


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("it broke", "Error", "it broke"),
        ("", "Error", "the function reported an error, and said nothing of it"),
        ("[1]", "Error", "[1]"),
        ('{"message": 5}', "Error", '{"message": 5}'),
        ('{"message": "m", "type": 5, "stack": "s"}', "Error", "m"),
        ('{"message": "", "type": "T"}', "T", "T"),
    ],
)
def test_component_reports_any_text(threads: wasmrun.Executor, said: str, kind: str, message: str) -> None:
    """What is not the JSON of an error is a message."""
    data, _ = text(said)
    function = wasmrun.Function(component(answer(1024, len(said), error=True), functions=data))
    with pytest.raises(wasmrun.GuestError) as caught:
        threads.invoke(function)
    assert (caught.value.type, caught.value.message) == (kind, message)


def test_component_reports_that_it_has_no_memory(threads: wasmrun.Executor) -> None:
    """As an error of that type, as in the native ABI."""
    said = '{"type": "OutOfMemory", "message": "full"}'
    function = wasmrun.Function(component(answer(1024, len(said), error=True), functions=text(said)[0]))
    with pytest.raises(wasmrun.OutOfMemory, match="full"):
        threads.invoke(function)


@pytest.mark.parametrize("said", ["", "x", "NaN", "Infinity", "[" * 100_000, '{"a": 1} 2'])
def test_component_that_answers_no_json_is_told_so(executor: BaseExecutor, said: str) -> None:
    """NaN and infinities are none."""
    data, end = text(said)
    function = wasmrun.Function(component(end, functions=data, memory="4"))
    with pytest.raises(wasmrun.InvalidAnswer, match="the answer is not JSON"):
        executor.invoke(function)


def test_component_takes_texts_as_they_stand(executor: BaseExecutor) -> None:
    """With raw=True, where an event that is no text is nobody's fault but the caller's."""
    function = wasmrun.Function(component(), raw=True)
    assert executor.invoke(function, b"no {json") == b"no {json"
    assert executor.invoke(function) == b""
    assert executor.invoke(function, b"a\0b") == b"a\0b"
    with pytest.raises(wasmrun.InvalidEvent, match="not UTF-8"):
        executor.invoke(function, b"\xff")
    with pytest.raises(wasmrun.InvalidEvent, match="takes bytes, not int"):
        executor.invoke(function, 5)


@pytest.mark.parametrize("event", [float("nan"), {1: 2}, {"a": object()}, "\ud800"])
def test_component_gets_only_what_json_can_hold(threads: wasmrun.Executor, event: Any) -> None:
    """Before anything runs."""
    with pytest.raises(wasmrun.InvalidEvent, match="cannot be written as JSON"):
        threads.invoke(wasmrun.Function(component()), event)


def test_component_gets_bytes_as_base64(threads: wasmrun.Executor) -> None:
    """As at every door of JSON."""
    assert threads.invoke(wasmrun.Function(component()), {"b": b"\0\xff"}) == {"b": "AP8="}


def test_component_can_have_other_entries(threads: wasmrun.Executor) -> None:
    """Every export of the handler's type is one."""
    function = wasmrun.Function(component(exports='(export "other" (func $handle))'), entry="other")
    assert threads.invoke(function, 7) == 7


def test_component_has_its_start_up_run_before_any_event(executor: BaseExecutor) -> None:
    """Once for each sandbox, where it exports `init`."""
    code = component(
        answer(1024, 1),
        functions=(
            '(func (export "init") (i32.store8 (i32.const 1024) (i32.add (i32.load8_u (i32.const 1024)) (i32.const 1))))'
            '(data (i32.const 1024) "0")'
        ),
        exports='(func $init (canon lift (core func $i "init"))) (export "init" (func $init))',
    )
    assert [executor.invoke(wasmrun.Function(code)) for _ in range(3)] == [1, 1, 1]


def test_component_is_reused_where_its_function_says_so(executor: BaseExecutor) -> None:
    """And finds what it left, which another function's sandbox does not. No second one is kept warm, which could be next."""
    counting = "(i32.store8 (i32.const 1024) (i32.add (i32.load8_u (i32.const 1024)) (i32.const 1)))" + answer(1024, 1)
    code = component(counting, functions='(data (i32.const 1024) "0")', post="")
    assert [executor.invoke(wasmrun.Function(code, reuse=True, warm=0)) for _ in range(3)] == [1, 2, 3]
    assert [executor.invoke(wasmrun.Function(code)) for _ in range(3)] == [1, 1, 1]


def test_report_of_a_component_says_what_is_known(executor: BaseExecutor) -> None:
    """Fuel exactly; of its memory what it starts with."""
    result = executor.run(wasmrun.Function(component(ECHO), warm=0), {"a": 1})
    report = result.report
    assert (report.abi, report.start, report.status) == ("component", "cold", "success")
    assert (report.memory_bytes, report.memory_near_limit) == (2 * 65536, False)
    assert report.fuel_exact
    assert report.fuel_used is not None
    assert 0 < report.fuel_used < 1000
    assert (report.result_bytes, report.log_bytes) == (8, 0)
    assert executor.run(wasmrun.Function(component(ECHO), fuel=None)).report.fuel_used is None


def test_handler_may_be_in_an_exported_instance(executor: BaseExecutor) -> None:
    """Named with both names, as they are shown; the instance's may have a version."""
    inner = component().replace("(component", "(component $inner", 1)
    code = f"""(component {inner} (instance $i (instantiate $inner))
      (instance $w (export "handle" (func $i "handle"))) (export "a:b/c@1.2.3" (instance $w)))"""
    assert executor.invoke(wasmrun.Function(code, entry="a:b/c@1.2.3.handle"), {"a": 1}) == {"a": 1}
    with pytest.raises(wasmrun.InvalidFunction, match=r"it exports a:b/c@1\.2\.3\.handle: name one with --entry"):
        executor.invoke(wasmrun.Function(code), 1)
