"""A component calls host functions of the program, and has the host do HTTP requests: JSON in, JSON out."""

from __future__ import annotations

import base64
import http.server
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from lifted import EVENT, EVENT_BYTES, component, text

import wasmrun
from wasmrun.base_executor import BaseExecutor

_TYPE = '(param "request" string) (result (result string (error string)))'


def asking(instance: str = "", name: str = "lookup", request: tuple[str, str] | None = None) -> str:
    """A component that passes its event, or *request*, to the host, and gives what comes back: answer or error."""
    function = f"(func {_TYPE})" if not instance else f'(instance $db (export "{name}" (func {_TYPE})))'
    imports = f'(import "{instance or name}" {function if instance else "(func $ask " + _TYPE + ")"})'
    alias = f'(alias export $db "{name}" (func $ask))' if instance else ""
    data, what = ("", f"{EVENT} {EVENT_BYTES}") if request is None else (request[0], request[1])
    return component(
        f"(call $ask {what} (i32.const 8)) (i32.const 8)",
        imports=imports,
        lowered=f'{alias} (core func $ask0 (canon lower (func $ask) (memory (core memory $l "memory")) '
        '(realloc (core func $l "realloc"))))',
        functions=f'(import "h" "ask" (func $ask (param i32 i32 i32))) {data}',
        given='(export "ask" (func $ask0))',
    )


def find(request: Any) -> Any:
    """A host function that does what it is asked."""
    if request == "raise":
        raise LookupError("no such user")
    odd = {"nan": math.nan, "keys": {1: 2}, "bytes": b"\0\xff"}
    return odd[request] if isinstance(request, str) and request in odd else [request]


def double(request: Any) -> Any:
    """Another one."""
    return request * 2


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (asking(), "lookup"),
        (asking("db", "get"), "db.get"),
        (asking("acme:db/users@1.2.0", "get"), "acme:db/users@1.2.0.get"),
    ],
)
def test_component_calls_what_it_was_granted(executor: BaseExecutor, code: str, name: str) -> None:
    """Under the name of the import."""
    function = wasmrun.Function(code, imports={name: find})
    assert executor.invoke(function, {"a": [1, 2.5, None, 2**60]}) == [{"a": [1, 2.5, None, 2**60]}]
    assert executor.invoke(function, "bytes") == "AP8="
    assert executor.invoke(wasmrun.Function(code, imports={name: double}), 4) == 8


def test_failure_of_a_host_function_is_the_components_to_handle(executor: BaseExecutor) -> None:
    """It gets type and text; where it fails, too, the caller gets the exception."""
    function = wasmrun.Function(asking(), imports={"lookup": find})
    with pytest.raises(
        wasmrun.HostError, match="the host function 'lookup' failed: LookupError: no such user"
    ) as caught:
        executor.invoke(function, "raise")
    assert isinstance(caught.value.__cause__, LookupError)
    assert executor.invoke(function, 1) == [1]


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("x", "not JSON that can be passed on"),
        ("NaN", "not JSON that can be passed on"),
        ("99999999999999999999999", "not JSON that can be passed on"),
        ('"\\ud800"', "not JSON that can be passed on"),
        ("[" * 20_000, "not JSON that can be passed on"),
    ],
)
def test_request_that_is_none_is_refused(executor: BaseExecutor, request_text: str, message: str) -> None:
    """The component gets an error of its own making."""
    data = text(request_text)[0]
    code = asking(request=(data, f"(i32.const 1024) (i32.const {len(request_text)})"))
    with pytest.raises(wasmrun.GuestError, match=message) as caught:
        executor.invoke(wasmrun.Function(code, imports={"lookup": find}), 1)
    assert caught.value.type == "InvalidArgument"


def test_request_over_the_limit_is_refused(threads: wasmrun.Executor) -> None:
    """It is not even looked at."""
    function = wasmrun.Function(asking(), imports={"lookup": find}, result_bytes=100)
    with pytest.raises(wasmrun.GuestError, match="more than the limit of 100 B"):
        threads.invoke(function, "x" * 100)


@pytest.mark.parametrize("event", ["nan", "keys"])
def test_answer_of_a_host_function_that_json_cannot_hold_is_the_hosts_failure(
    threads: wasmrun.Executor, event: str
) -> None:
    """What a module would get, a component cannot."""
    with pytest.raises(wasmrun.HostError, match="answered what JSON has no form for"):
        threads.invoke(wasmrun.Function(asking(), imports={"lookup": find}), event)


def test_calls_of_the_host_are_charged(threads: wasmrun.Executor) -> None:
    """1,000 a call, and each byte both ways."""
    function = wasmrun.Function(asking(), imports={"lookup": find}, fuel=10**6)
    few, many = (threads.run(function, "x" * count).report.fuel_used for count in (10, 10_010))
    assert few is not None
    assert many is not None
    assert 1_000 < few < 2_000
    assert 20_000 <= many - few < 21_000
    with pytest.raises(wasmrun.OutOfFuel):
        threads.invoke(wasmrun.Function(asking(), imports={"lookup": find}, fuel=5_000), "x" * 10_000)


def sleepy(_: Any) -> None:
    """A host function that takes longer than the function has."""
    time.sleep(0.1)


def test_host_function_that_outlasts_the_event_ends_it(threads: wasmrun.Executor) -> None:
    """When it returns."""
    function = wasmrun.Function(asking(), imports={"lookup": sleepy}, timeout="30ms")
    with pytest.raises(wasmrun.TimedOut):
        threads.invoke(function, 1)


def test_errors_of_many_components_are_their_own(threads: wasmrun.Executor) -> None:
    """Host functions that fail on many threads at once: each caller gets the exception of its own event."""

    def fail(request: Any) -> Any:
        raise ValueError(f"for {request}")

    function = wasmrun.Function(asking(), imports={"lookup": fail}, warm=2)
    futures = [threads.submit(function, number) for number in range(200)]
    for number, future in enumerate(futures):
        error = future.exception()
        assert isinstance(error, wasmrun.HostError)
        assert str(error.__cause__) == f"for {number}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-name", self.headers["x-name"])
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server that gives bodies back, turned around."""
    httpd = http.server.HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


HTTP = asking("wasmrun:function/http@1.0.0", "request")


def test_component_makes_http_requests_through_the_host(executor: BaseExecutor, server: str) -> None:
    """Bodies in base64, or as text; the report has the call."""
    function = wasmrun.Function(HTTP, http=[server], http_networks=["127.0.0.0/8"])
    request = {"method": "POST", "url": server, "headers": {"x-name": "Ada"}}
    result = executor.run(function, request | {"body_base64": base64.b64encode(b"\0\xff").decode()})
    assert result.error is None
    assert result.value["status"] == 201
    assert result.value["headers"]["x-name"] == "Ada"
    assert base64.b64decode(result.value["body_base64"]) == b"\xff\0"
    assert [(call.method, call.status) for call in result.report.http] == [("POST", 201)]
    assert base64.b64decode(executor.invoke(function, request | {"body": "ab"})["body_base64"]) == b"ba"


@pytest.mark.parametrize(
    ("request_value", "error"),
    [
        ({"url": "http://192.0.2.1/"}, "HttpNotGranted"),
        ({"url": "ftp://x"}, "HttpInvalid"),
        (5, "HttpInvalid"),
        ({"url": "http://x", "body": "", "body_base64": ""}, "InvalidArgument"),
        ({"url": "http://x", "body_base64": "?"}, "InvalidArgument"),
        ({"url": "http://x", "body_base64": 5}, "InvalidArgument"),
    ],
)
def test_request_that_is_not_granted_or_none_is_refused(
    threads: wasmrun.Executor, request_value: Any, error: str
) -> None:
    """The component gets the type; its caller, what a refused request is."""
    code = HTTP.replace(
        "(i32.const 8)) (i32.const 8)", "(i32.const 8)) (i32.store (i32.const 8) (i32.const 0)) (i32.const 8)"
    )
    function = wasmrun.Function(code, http=["api.example.com"])
    assert threads.invoke(function, request_value)["type"] == error
