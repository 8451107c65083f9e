"""Components of wasi:http/proxy: requests in payload 2.0 in, responses out, and what ends one that does harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun.base_executor import BaseExecutor

Ask = Callable[..., Any]


def request(path: str, **more: Any) -> dict[str, Any]:
    return {"version": "2.0", "rawPath": path, **more}


@pytest.fixture
def ask(executor: BaseExecutor, proxy: Path) -> Ask:
    """Has the component answer a request of *path*."""

    def ask(path: str, event: dict[str, Any] | None = None, **settings: Any) -> Any:
        return executor.invoke(wasmrun.Function(proxy, **settings), request(path, **(event or {})))

    return ask


def test_request_arrives_and_response_comes_back(ask: Ask) -> None:
    """Method, scheme, authority, headers and body; status, joined headers, cookies and body."""
    event = {
        "rawQueryString": "a=b",
        "headers": {"Host": "example.com", "X-A": "1"},
        "cookies": ["c=d"],
        "requestContext": {"http": {"method": "POST"}},
        "body": "aGVsbG8=",
        "isBase64Encoded": True,
    }
    assert ask("/echo", event) == {
        "statusCode": 201,
        "headers": {"x-twice": "1, 2"},
        "cookies": ["a=1", "b=2"],
        # Headers of a request are not to be changed; its body is consumed once.
        "body": "2 1 example.com3 \nhost=example.com\nx-a=1\ncookie=c=d\nhello1 ",
        "isBase64Encoded": False,
    }
    other = ask("/echo", {"requestContext": {"http": {"method": "PURGE"}}, "headers": {"x-forwarded-proto": "http"}})
    assert other["body"].startswith("9 PURGE0 localhost3 ")


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 1_000_000])
def test_body_of_any_size_arrives_whole(ask: Ask, size: int) -> None:
    """In chunks."""
    body = "ü" * (size // 2) + "x" * (size % 2)
    assert ask("/echo", {"body": body})["body"].endswith(f"{body}1 ")


def test_event_that_is_no_request_is_refused(executor: BaseExecutor, proxy: Path) -> None:
    """Before the guest runs."""
    with pytest.raises(wasmrun.InvalidEvent, match="must be a request"):
        executor.invoke(wasmrun.Function(proxy), [1])


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("/no response", wasmrun.InvalidAnswer, "without setting its response-outparam"),
        ("/unfinished", wasmrun.InvalidAnswer, "did not finish the body"),
        ("/wrong", wasmrun.GuestError, "^internal-error: own words$"),
        ("/code", wasmrun.GuestError, "^connection-refused$"),
        ("/many handles", wasmrun.GuestTrap, "more than 1000 handles"),
        ("/long headers", wasmrun.GuestTrap, "holds headers and lines of requests of more than 1 MiB"),
        ("/zeroes at once", wasmrun.GuestTrap, "too much data is being copied|65536 were permitted"),
        ("/all random bytes", wasmrun.GuestTrap, "at most 65536"),
        ("/kernel's network", wasmrun.GuestTrap, "wasi:sockets/instance-network"),
        ("/x trap", wasmrun.GuestTrap, "unreachable"),
    ],
)
def test_guest_that_does_wrong_gets_what_is_its_own(ask: Ask, path: str, error: type, reason: str) -> None:
    """Each kind of end, and the next request is answered."""
    with pytest.raises(error, match=reason):
        ask(path, timeout="20s")
    assert ask("/headers")["statusCode"] == 200


def test_error_code_is_reported_by_a_type_of_its_own(ask: Ask) -> None:
    """So that callers tell it from others."""
    with pytest.raises(wasmrun.GuestError) as caught:
        ask("/code")
    assert caught.value.type == "HttpErrorCode"


def test_response_over_the_limit_is_too_large(ask: Ask) -> None:
    """Before all of it is held."""
    with pytest.raises(wasmrun.ResultTooLarge, match="result_bytes"):
        ask("/big", result_bytes="1MiB")
    assert len(ask("/big")["body"]) == 3 << 20


@pytest.mark.parametrize(("path", "limit"), [("/time", {}), ("/y spins", {"fuel": 10**15})])
def test_waiting_and_computing_end_at_the_deadline(ask: Ask, path: str, limit: dict[str, Any]) -> None:
    """An hour's wait, or a loop."""
    with pytest.raises(wasmrun.TimedOut):
        ask(path, timeout="100ms", **limit)


def test_loop_and_calls_end_with_the_fuel(ask: Ask) -> None:
    """What the host does for the guest is charged."""
    with pytest.raises(wasmrun.OutOfFuel):
        ask("/y spins", fuel=1_000_000)
    with pytest.raises(wasmrun.OutOfFuel):
        ask("/many handles", fuel=100_000)
    with pytest.raises(wasmrun.OutOfFuel):
        ask("/echo", {"body": "x" * 100_000}, fuel=100_000)


def test_poll_waits_for_the_first_and_clocks_are_coarse(ask: Ask) -> None:
    """One of two is ready, the second; 20 ms have passed; there is nothing below a millisecond."""
    assert ask("/poll")["body"] == "1 1 1 0 "


def test_headers_are_checked(ask: Ask) -> None:
    """A name with a space, a value with a line's end, one that is the server's; an empty value is right."""
    assert ask("/headers") == {
        "statusCode": 200,
        "headers": {"ok": ""},
        "body": "1 1 2 0 ",
        "isBase64Encoded": False,
    }


def test_headers_that_are_dropped_do_not_count(ask: Ask) -> None:
    """3 MiB of them, one after the other."""
    assert ask("/dropped headers")["statusCode"] == 200


def test_variables_are_those_granted_and_prints_are_logged(executor: BaseExecutor, proxy: Path) -> None:
    """The last line, too, though it was not ended."""
    result = executor.run(wasmrun.Function(proxy, env={"MODE": "fast"}), request("/variables"))
    assert result.value["body"] == "MODE=fast"
    assert [log.message for log in result.logs] == ["printed", "rest"]
    assert ("body", "") in executor.invoke(wasmrun.Function(proxy), request("/variables")).items()


def test_random_bytes_differ(ask: Ask) -> None:
    """From event to event."""
    assert ask("/random")["body"] != ask("/random")["body"]


def test_request_that_is_not_granted_is_denied(ask: Ask) -> None:
    """As error code HTTP-request-denied, told once; without any grant, and to another host."""
    assert ask("/outbound")["body"] == "refused 15 1 1 "


def test_sandbox_may_be_used_again(executor: BaseExecutor, proxy: Path) -> None:
    """With a budget of its own for each event."""
    function = wasmrun.Function(proxy, reuse=True, warm=0)
    for number in range(20):
        answer = executor.invoke(function, request("/echo", body=str(number)))
        assert answer["body"].endswith(f"\n{number}1 ")
    assert executor.run(function, request("/headers")).report.start == "reused"


@pytest.mark.parametrize("settings", [{"raw": True}, {"args": ["x"]}, {"dirs": ["/tmp::/tmp:ro"]}])
def test_settings_that_mean_nothing_for_requests_are_refused(
    executor: BaseExecutor, proxy: Path, settings: dict[str, Any]
) -> None:
    """When the function is loaded."""
    with pytest.raises(wasmrun.InvalidFunction, match="not for a component of wasi:http/proxy"):
        executor.invoke(wasmrun.Function(proxy, **settings), request("/"))


def test_abi_is_seen_in_the_exports_and_can_be_named(threads: wasmrun.Executor, proxy: Path) -> None:
    """Its name says what it is; as a function of events it lacks a handler."""
    found = threads.inspect(wasmrun.Function(proxy))
    assert (found.abi, found.reason) == ("wasi-http", "it exports wasi:http/incoming-handler@0.2.10")
    assert (found.entry, found.problem, found.needs) == ("wasi:http/incoming-handler@0.2.10", None, ())
    assert threads.inspect(wasmrun.Function(proxy, abi="wasi-http")).reason == "named by the function"
    with pytest.raises(wasmrun.InvalidFunction, match="wasi:http"):
        threads.invoke(wasmrun.Function(proxy, abi="component"), request("/"))
