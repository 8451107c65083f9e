"""``wasmrun.http_request`` as a guest calls it: from rules on the function to the record of the event."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from servers import LOOPBACK, Server, response

import wasmrun
from wasmrun import GuestTrap, HostError, InvalidFunction, OutOfFuel, TimedOut

Serve = Callable[..., Server]

HTTP = '(import "wasmrun" "http_request" (func $http (param i32 i32) (result i64)))'
ASK = "(call $http (local.get $ptr) (local.get $len))"


@pytest.fixture
def guest(wat: Callable[..., str]) -> Callable[..., wasmrun.Function]:
    """A raw guest that passes its event to the host as a request, and answers with the bytes of the reply."""

    def guest(server: Server | None = None, body: str = ASK, **settings: Any) -> wasmrun.Function:
        more = {"more": settings.pop("more", ""), "data": settings.pop("data", b"\x92\x00\xc3")}
        source = wat(body, imports=HTTP, entry="wasmrun_handle_raw", **more)
        rules = {} if server is None else {"http": server.url}
        return wasmrun.Function(source, **{"warm": 0, "http_networks": LOOPBACK, **rules, **settings})

    return guest


def request(url: str, **more: Any) -> bytes:
    packed: bytes = msgpack.packb({"url": url, **more})
    return packed


def test_guest_gets_the_response(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """As MessagePack [0, {status, headers, body}]; and the event's report has the call."""
    server = serve(response(201, b"made\0"))
    result = executor.run(guest(server), request(f"{server.url}/x", method="POST", body=b"y"))
    assert result.error is None
    assert msgpack.unpackb(result.value) == [0, {"status": 201, "headers": {"content-length": "5"}, "body": b"made\0"}]
    (call,) = result.report.http
    assert (call.method, call.host, call.status, call.error) == ("POST", f"127.0.0.1:{server.port}", 201, None)
    assert "\tHTTP: 1" in str(result.report)
    assert result.report.as_dict()["http"][0]["status"] == 201


def test_guest_without_the_grant_is_refused_by_the_name_of_the_import(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function]
) -> None:
    """With the option that grants it."""
    with pytest.raises(InvalidFunction, match=r"wasmrun\.http_request; grant HTTP requests with .*--http HOST"):
        executor.load(guest(http_networks=()))


def test_guest_that_imports_it_with_another_type_or_without_an_allocator_is_refused(
    executor: wasmrun.Executor,
) -> None:
    """As for host functions."""
    for module in (
        '(module (import "wasmrun" "http_request" (func)) (func (export "f")))',
        (
            '(module (import "wasmrun" "http_request" (func (param i32 i32) (result i64))) (memory (export "memory") 1)'
            ' (func (export "f")))'
        ),
    ):
        with pytest.raises(InvalidFunction, match="http_request"):
            executor.load(wasmrun.Function(module, http="a.test"))


def test_function_that_has_the_grant_needs_not_use_it(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """Its report has no requests."""
    result = executor.run(wasmrun.Function(wat(), http="a.test", warm=0))
    assert (result.value, result.report.http) == (True, ())
    assert "HTTP" not in str(result.report)


def test_inspection_tells_what_would_have_to_be_granted(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function]
) -> None:
    """Nothing is opened for it."""
    assert executor.inspect(guest(http="a.test")).problem is None
    found = executor.inspect(guest())
    assert found.needs == ("wasmrun.http_request",)
    assert "--http" in str(found.problem)


def test_error_is_a_value_for_the_guest(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """What it answers counts; the record has the error's type."""
    result = executor.run(guest(serve()), request("https://secret.test/path"))
    assert result.error is None
    error = {"type": "HttpNotGranted", "message": "GET https://secret.test is not granted"}
    assert msgpack.unpackb(result.value) == [1, error]
    assert [call.error for call in result.report.http] == ["HttpNotGranted"]


def test_guest_that_gives_up_is_a_host_error_that_says_why(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """With more than the guest was told; without a cause, whose frames could hold secrets."""
    function = guest(serve(), f"(drop {ASK}) (unreachable)", http=["https://a.test"])
    with pytest.raises(HostError, match=r"HttpNotGranted: GET http://b\.test is not granted: grant it with") as caught:
        executor.run(function, request("http://b.test"))
    assert caught.value.__cause__ is None


def test_guest_that_asks_for_nonsense_and_gives_up_failed_by_itself(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """Its own mistake; so is a failure after a request that succeeded."""
    server = serve()
    with pytest.raises(GuestTrap):
        executor.invoke(guest(server, f"(drop {ASK}) (unreachable)"), request("nonsense"))
    with pytest.raises(GuestTrap):
        executor.invoke(guest(server, f"(drop {ASK}) (unreachable)"), request(server.url))


@pytest.mark.parametrize("event", [b"", b"\xc1", b"\x92\x01", b"\xd4\x05\x00"])
def test_request_that_is_not_messagepack_is_an_error_value(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve, event: bytes
) -> None:
    """As for host functions."""
    assert msgpack.unpackb(executor.invoke(guest(serve()), event))[1]["type"] == "InvalidArgument"


def test_request_and_response_are_charged_by_the_byte(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """And a guest that has no fuel for the response ends."""

    def used(size: int) -> int:
        server = serve(response(200, bytes(size)))
        return executor.run(guest(server), request(server.url)).report.fuel_used or 0

    assert used(20_000) - used(10_000) >= 10_000
    server = serve(response(200, bytes(100_000)))
    with pytest.raises(OutOfFuel):
        executor.invoke(guest(server, fuel=50_000), request(server.url))


def test_response_that_the_guest_has_no_memory_for_is_nothing(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """As for host functions: 0."""
    server = serve(response(200, bytes(1_000_000)))
    assert executor.invoke(guest(server, memory="64KiB"), request(server.url)) == b""


def test_event_ends_at_its_deadline_while_it_waits(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """As `TimedOut`, with the call in its report."""
    server = serve(lambda connection, seen: connection.recv(1))
    started = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        executor.invoke(guest(server, timeout="200ms"), request(server.url))
    assert time.monotonic() - started < 0.4
    assert caught.value.report is not None
    assert [call.error for call in caught.value.report.http] == ["HttpTimeout"]


def test_cancel_ends_an_event_that_waits_for_a_response(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """Within 50 ms."""
    asked, gone = threading.Event(), threading.Event()

    def wait(connection: socket.socket, _: object) -> None:
        asked.set()
        connection.recv(1)
        gone.set()

    server = serve(wait)
    future = executor.submit(guest(server, timeout="20s"), request(server.url))
    assert asked.wait(10)
    started = time.monotonic()
    assert future.cancel()
    assert gone.wait(5)
    assert time.monotonic() - started < 0.1  # the 50 ms, and what it takes the server to see it


@pytest.mark.skipif(sys.platform != "linux", reason="signals to a thread")
def test_ctrl_c_ends_an_event_that_waits_for_a_response(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """On the main thread, as KeyboardInterrupt."""
    pressed: list[float] = []

    def press(connection: socket.socket, _: object) -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
        connection.recv(1)

    server = serve(press)
    with pytest.raises(KeyboardInterrupt):
        executor.invoke(guest(server, timeout="20s"), request(server.url))
    assert time.monotonic() - pressed[0] < 0.1


def test_no_request_is_made_before_an_event(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """A start-up has no event whose caps and record it would be; it is refused, and may go on."""
    server = serve()
    wanted = request(server.url)
    more = f'(func (export "wasmrun_init") (drop (call $http (i32.const 16) (i32.const {len(wanted)}))))'
    function = guest(server, "(i64.const 0)", more=more, data=wanted)
    result = executor.run(function, b"")
    assert (result.error, result.report.http, server.seen) == (None, (), [])


def test_no_request_is_made_after_an_event(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """Nor between two: `wasmrun_free` runs when the report was made."""
    server = serve()
    wanted = request(server.url)
    more = (
        f'(func (export "wasmrun_free") (param i32 i32) (drop (call $http (i32.const 16) (i32.const {len(wanted)}))))'
    )
    function = guest(server, more=more, data=wanted, reuse=True)
    for count in (1, 2):
        result = executor.run(function, wanted)
        assert len(result.report.http) == 1
        assert len(server.seen) == count


def test_events_of_one_sandbox_have_caps_and_records_of_their_own(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """With reuse, too."""
    server = serve()
    function = guest(server, reuse=True, http_requests=1)
    for _ in range(3):
        result = executor.run(function, request(server.url))
        assert msgpack.unpackb(result.value)[0] == 0
        assert len(result.report.http) == 1
    refused = executor.run(function, b"\xc0")
    assert refused.report.http == ()


def test_many_events_at_once_each_get_their_own_response(
    guest: Callable[..., wasmrun.Function], serve: Serve, wat: Callable[..., str]
) -> None:
    """On many threads, with one client."""
    server = serve(lambda connection, seen: connection.sendall(response(200, seen.target.encode())))
    function = guest(server)
    with wasmrun.Executor(threads=8) as executor:
        events = [request(f"{server.url}/{number}") for number in range(100)]
        answers = [msgpack.unpackb(answer)[1]["body"] for answer in executor.map(function, events)]
    assert answers == [f"/{number}".encode() for number in range(100)]


def test_failure_of_the_client_itself_is_the_hosts(
    executor: wasmrun.Executor,
    guest: Callable[..., wasmrun.Function],
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guest gets no answer, the caller a `HostError` with the cause."""
    from wasmrun import outbound

    def fail(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(outbound, "is_allowed", fail)
    server = serve()
    with pytest.raises(HostError, match="ZeroDivisionError in the host") as caught:
        executor.invoke(guest(server), request(server.url))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_client_that_is_not_installed_is_named_with_its_extra(
    guest: Callable[..., wasmrun.Function], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the function is loaded, and for functions that need it only."""
    monkeypatch.setitem(sys.modules, "httpcore", None)
    monkeypatch.delitem(sys.modules, "wasmrun.outbound")
    monkeypatch.delitem(sys.modules, "wasmrun.pinned")
    with wasmrun.Executor() as executor, pytest.raises(HostError, match=r"pip install 'wasmrun\[http\]'"):
        executor.load(guest(serve()))


def test_secret_is_in_nothing_that_a_caller_sees(
    executor: wasmrun.Executor, guest: Callable[..., wasmrun.Function], serve: Serve
) -> None:
    """Result, report, logs, error; the server has it."""
    server = serve(b"nonsense")
    settings = {"http_secrets": {server.url: {"Authorization": "Bearer hidden"}}}
    function = guest(server, f"(drop {ASK}) (unreachable)", **settings)
    with pytest.raises(HostError) as caught:
        executor.run(function, request(server.url))
    result = executor.run(guest(server, **settings), request(server.url))
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer hidden"] * 2
    assert "hidden" not in f"{caught.value!r} {vars(caught.value)} {result} {function!r}"
