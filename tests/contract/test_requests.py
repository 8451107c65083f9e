"""Programs that answer requests, of the WAGI ABI: the same on threads and in worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import guests
import pytest

import wasmrun

if TYPE_CHECKING:
    from conftest import Either

MIB = 2**20


def test_programs_answer_requests(shared: Either) -> None:
    """Of the WAGI ABI: variables of the request and of the function, arguments, and the body."""
    function = wasmrun.Function(guests.PAGE, abi="wagi", warm=0, env={"MODE": "fast", "HTTP_ROLE": "a", "PATH": "b"})
    event = {
        "rawPath": "/x/y", "rawQueryString": "a=1&b", "body": "in",
        "headers": {"role": "admin", "path": "c", "proxy": "http://evil", "x-long": "y" * 100_000},
    }  # fmt: skip
    result = shared.run(function, event)
    answer = result.value
    assert (answer["statusCode"], answer["headers"]) == (200, {"content-type": "text/plain"})
    args, variables, body = answer["body"].split("\0\0")
    assert (args.split("\0"), body) == (["/", "a=1", "b"], "in")
    found = dict(variable.split("=", 1) for variable in variables.split("\0"))
    assert (found["MODE"], found["PATH"], found["HTTP_PATH"], found["PATH_INFO"]) == ("fast", "b", "c", "/x/y")
    assert (found["HTTP_ROLE"], found["HTTP_X_LONG"], "HTTP_PROXY" in found) == ("a", "y" * 100_000, False)
    assert (result.report.abi, result.report.status) == ("wagi", "success")
    assert result.report.event_bytes > 100_000


def test_requests_may_be_as_large_as_events(shared: Either) -> None:
    """In their variables as in their body; beyond that they are refused."""
    function = wasmrun.Function(guests.PAGE, abi="wagi", warm=0, args=("-x",), result_bytes="16MiB")
    event = {"headers": {f"h{at}": "v" * 600 for at in range(9_900)}, "rawQueryString": "-s"}
    answer = shared.invoke(function, event)["body"]
    assert answer.startswith("/\0-x\0\0")
    assert answer.count("=" + "v" * 600) == 9_900
    body = shared.invoke(function, {"body": "x" * (6 * MIB - 1000)})["body"]
    assert body.endswith("\0\0" + "x" * (6 * MIB - 1000))
    with pytest.raises(wasmrun.PayloadTooLarge):
        shared.run(function, {"headers": {f"h{at}": "v" * 700 for at in range(9_900)}})
    with pytest.raises(wasmrun.InvalidEvent, match="10001 headers"):
        shared.run(function, {"headers": {f"h{at}": "" for at in range(10_001)}})


def test_programs_whose_answer_is_no_response_are_told(shared: Either) -> None:
    """What they wrote was no header; an exit status counts first."""
    error = shared.run(wasmrun.Function(guests.CAT, abi="wagi", warm=0), {"body": "hello"}).error
    assert isinstance(error, wasmrun.InvalidAnswer)
    assert "wrote no empty line" in error.message
    exited = shared.run(wasmrun.Function(guests.EXITS, abi="wagi", warm=0), {}).error
    assert isinstance(exited, wasmrun.GuestExit)
    assert exited.status == 42
