"""HTTP in Lambda's payload 2.0: what is read out of an event, and what an answer looks like."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from wasmrun.errors import InvalidEvent
from wasmrun.payload import make_response, read_payload


def test_request_has_what_the_event_says() -> None:
    """Names of headers in lower case, those that differ in case joined, cookies as a header."""
    request = read_payload(
        {
            "version": "2.0",
            "rawPath": "/a b",
            "rawQueryString": "x=1&x=2",
            "headers": {"X-A": "1", "x-a": "2", "Host": "example.com", "X-Forwarded-Proto": "http"},
            "cookies": ["a=1", "b=2"],
            "requestContext": {"domainName": "d.example", "http": {"method": "PUT", "sourceIp": "203.0.113.9"}},
            "body": "aGk=",
            "isBase64Encoded": True,
        }
    )
    assert (request.method, request.path, request.query, request.body) == ("PUT", "/a b", "x=1&x=2", b"hi")
    assert request.headers == {
        "x-a": "1, 2",
        "host": "example.com",
        "x-forwarded-proto": "http",
        "cookie": "a=1; b=2",
    }
    assert (request.scheme, request.domain, request.source_ip) == ("http", "d.example", "203.0.113.9")


def test_headers_of_one_name_are_joined_at_once() -> None:
    """10,000 spellings of it, in as much time as it takes to read them: joined one by one, they are 30 GB to copy."""
    spellings = [
        "".join(letters) for letters in itertools.product(*zip("abcdefghijklmn", "ABCDEFGHIJKLMN", strict=True))
    ]
    began = time.thread_time()
    request = read_payload({"headers": dict.fromkeys(spellings[:10_000], "x" * 600)})
    response = make_response(200, [(name, "x" * 600) for name in spellings[:10_000]], b"")
    assert time.thread_time() - began < 5
    assert request.headers == response["headers"] == {"abcdefghijklmn": ", ".join(["x" * 600] * 10_000)}


def test_everything_may_be_missing() -> None:
    """An empty object is a GET of the root."""
    request = read_payload({})
    assert (request.method, request.path, request.query, request.headers, request.body) == ("GET", "/", "", {}, b"")
    assert request.scheme == "https"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ([], "must be a request"),
        ({"version": "1.0"}, "version 2.0"),
        ({"headers": {"a": 1}}, "texts by name"),
        ({"headers": {"a": "x\r\ny: z"}}, "the header a has characters"),
        ({"headers": {f"a{number}": "" for number in range(10_001)}}, "at most 10000"),
        ({"cookies": [1]}, "cookies must be a list of texts"),
        ({"rawPath": "/\ud800"}, "rawPath has characters"),
        ({"body": "?", "isBase64Encoded": True}, "base64"),
        ({"requestContext": {"http": {"method": "GET /"}}}, "is no method"),
    ],
)
def test_event_that_is_no_request_is_refused(event: Any, reason: str) -> None:
    """With what is wrong."""
    with pytest.raises(InvalidEvent, match=reason):
        read_payload(event)


def test_response_joins_headers_and_parts_cookies() -> None:
    """What is for the server to say is left out."""
    fields = [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Content-Length", "99")]
    assert make_response(201, fields, "ü".encode()) == {
        "statusCode": 201,
        "headers": {"x-a": "1, 2"},
        "cookies": ["a=1", "b=2"],
        "body": "ü",
        "isBase64Encoded": False,
    }
    assert make_response(200, [], b"\xff") == {
        "statusCode": 200,
        "headers": {},
        "body": "/w==",
        "isBase64Encoded": True,
    }
