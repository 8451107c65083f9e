"""A request becomes variables that mean one thing each, and a program's output a response that says one thing each."""

from __future__ import annotations

import base64
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from wasmrun import InvalidAnswer, InvalidEvent
from wasmrun.cgi import MOST_HEADER_BYTES, MOST_HEADERS, read_request, read_response

DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

REQUEST = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/env/a%20b",
    "rawQueryString": "greet=matt&foo=b%20a+r",
    "headers": {
        "host": "foo.example.com:8443",
        "user-agent": "curl/7.64.1",
        "content-type": "text/plain",
        "content-length": "999",
        "x-forwarded-proto": "https",
    },
    "requestContext": {
        "domainName": "abc.lambda-url.eu-west-1.on.aws",
        "stage": "$default",
        "http": {"method": "POST", "path": "/env/a b", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7"},
    },
    "body": "hello",
    "isBase64Encoded": False,
}


def headers(**given: str) -> dict[str, str]:
    """Variables of a request with these headers, in which "_" stands for "-"."""
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return read_request({"headers": named}).variables


def test_request_is_variables_arguments_and_input() -> None:
    """All that CGI 1.1 and WAGI name, and each header besides."""
    request = read_request(REQUEST)
    assert (request.script_name, request.args, request.body) == ("/", ["greet=matt", "foo=b a r"], b"hello")
    assert request.variables == {
        "AUTH_TYPE": "",
        "CONTENT_LENGTH": "5",
        "CONTENT_TYPE": "text/plain",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": "foo.example.com:8443",
        "HTTP_USER_AGENT": "curl/7.64.1",
        "HTTP_X_FORWARDED_PROTO": "https",
        "PATH_INFO": "/env/a b",
        "PATH_TRANSLATED": "/env/a b",
        "QUERY_STRING": "greet=matt&foo=b%20a+r",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_HOST": "192.0.2.7",
        "REMOTE_USER": "",
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "foo.example.com",
        "SERVER_PORT": "8443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "WAGI/1",
        "X_FULL_URL": "https://foo.example.com:8443/env/a%20b?greet=matt&foo=b%20a+r",
        "X_MATCHED_ROUTE": "/...",
        "X_RAW_PATH_INFO": "/env/a%20b",
    }


@pytest.mark.parametrize("event", [{}, {"headers": None, "body": None, "requestContext": {"http": None}}])
def test_request_of_nothing_is_a_get_of_the_root(event: dict[str, Any]) -> None:
    """So that a program can be tried without an event."""
    variables = read_request(event).variables
    assert (variables["REQUEST_METHOD"], variables["X_FULL_URL"]) == ("GET", "https://localhost/")


@pytest.mark.parametrize(
    ("key", "stage", "path", "route", "script", "info"),
    [
        ("$default", "$default", "/a/b", "/...", "", "/a/b"),
        ("$default", "", "", "/...", "", "/"),
        ("$default", "dev", "/dev/a", "/...", "/dev", "/a"),
        ("$default", "dev", "/devil/a", "/...", "", "/devil/a"),
        ("GET /pets", "$default", "/pets", "/pets", "/pets", ""),
        ("GET /pets/{id}", "$default", "/pets/7", "/pets/{id}", "/pets/7", ""),
        ("ANY /files/{rest+}", "$default", "/files/a/b", "/files/...", "/files", "/a/b"),
        ("ANY /files/{rest+}", "dev", "/dev/files/a", "/files/...", "/dev/files", "/a"),
        ("ANY /{proxy+}", "$default", "/a//b/", "/...", "", "/a//b/"),
        ("ANY /files/{rest+}", "$default", "/files", "/files/...", "/files", ""),
    ],
)
def test_route_divides_the_path(key: str, stage: str, path: str, route: str, script: str, info: str) -> None:
    """In the part that was matched, and the rest; the stage is a part of the former."""
    found = read_request({"routeKey": key, "rawPath": path, "requestContext": {"stage": stage}}).variables
    assert (found["X_MATCHED_ROUTE"], found["SCRIPT_NAME"], found["PATH_INFO"]) == (route, script, info)


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ({"host": "example.com"}, ("example.com", "443")),
        ({"host": "example.com", "x_forwarded_proto": "http"}, ("example.com", "80")),
        ({"host": "example.com", "x_forwarded_port": "8080"}, ("example.com", "8080")),
        ({"host": "[::1]:3000"}, ("[::1]", "3000")),
        ({"host": "a b<script>"}, ("localhost", "443")),
        ({"host": "example.com", "x_forwarded_port": "8\u0660"}, ("example.com", "443")),
        ({"host": "example.com/../x"}, ("localhost", "443")),
    ],
)
def test_server_is_what_the_client_calls_it_if_that_is_a_name(given: dict[str, str], server: tuple[str, str]) -> None:
    """Else what the request's context says, else `localhost`."""
    found = headers(**given)
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == server


@pytest.mark.parametrize(
    "name", ["Proxy", "proxy", "authorization", "proxy-authorization", "connection", "transfer-encoding", "x_a", "x a",
             "x=a", "", "x\0a", "grüße", "content-type", "content-length"]
)  # fmt: skip
def test_header_that_would_mean_something_else_is_no_variable(name: str) -> None:
    """`HTTP_PROXY` would be the program's proxy; with `_`, two headers could be one variable."""
    plain = read_request({}).variables
    found = read_request({"headers": {name: "evil.example.com:1"}}).variables
    assert set(found) == set(plain)


def test_header_that_comes_twice_is_one_variable() -> None:
    """In one list, as HTTP means it."""
    assert read_request({"headers": {"X-A": "1", "x-a": "2"}}).variables["HTTP_X_A"] == "1, 2"


def test_cookies_are_a_header() -> None:
    """Where there is none."""
    assert read_request({"cookies": ["a=1", "b=2"]}).variables["HTTP_COOKIE"] == "a=1; b=2"
    found = read_request({"cookies": ["a=1"], "headers": {"cookie": "c=3"}}).variables
    assert found["HTTP_COOKIE"] == "c=3"


def test_body_is_bytes() -> None:
    """Base64 where it is said to be."""
    data = bytes(range(256))
    event = {"body": base64.b64encode(data).decode(), "isBase64Encoded": True}
    assert read_request(event).body == data
    assert read_request({"body": "ü"}).body == b"\xc3\xbc"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "the event must be a request"),
        ([], "the event must be a request"),
        ("GET /", "the event must be a request"),
        ({"version": "1.0"}, "must be of version 2.0, not '1.0'"),
        ({"version": None}, "must be of version 2.0, not None"),
        ({"version": DEEP}, "must be of version 2.0, not of type list"),
        ({"version": 10**5_000}, "must be of version 2.0, not of type int"),
        ({"requestContext": []}, "requestContext must be an object, not list"),
        ({"requestContext": {"http": 1}}, "requestContext.http must be an object"),
        ({"requestContext": {"http": {"method": 5}}}, "requestContext.http.method must be text"),
        ({"requestContext": {"http": {"method": "GET /x"}}}, "is no method: 'GET /x'"),
        ({"requestContext": {"http": {"method": ""}}}, "is no method: ''"),
        ({"requestContext": {"http": {"sourceIp": "1\n2"}}}, "sourceIp has characters that no request can have"),
        ({"requestContext": {"domainName": "\0"}}, "domainName has characters"),
        ({"rawPath": "/a\r\nX: y"}, r"rawPath has characters that no request can have: '/a\\r\\nX: y'"),
        ({"rawPath": "/\0"}, "rawPath has characters"),
        ({"rawPath": "/%00"}, "rawPath has a NUL"),
        ({"rawPath": "/%ff"}, "rawPath is not UTF-8"),
        ({"rawPath": "/\ud800"}, "rawPath has characters"),
        ({"rawPath": 5}, "rawPath must be text"),
        ({"rawQueryString": "a\nb"}, "rawQueryString has characters"),
        ({"rawQueryString": {}}, "rawQueryString must be text"),
        ({"rawQueryString": "&a" * (MOST_HEADERS + 1)}, "rawQueryString has more than 10000 pairs"),
        ({"headers": ["a"]}, "headers must be an object"),
        ({"headers": {"a": 5}}, "headers must be texts by name, not 'a': int"),
        ({"headers": {5: "a"}}, "headers must be texts by name, not of type int: str"),
        ({"headers": {10**5_000: "a"}}, "headers must be texts by name, not of type int: str"),
        ({"headers": {"a": "b\r\nset-cookie: c"}}, "the header a has characters that no request can have"),
        ({"headers": {"a": "b\0"}}, "the header a has characters"),
        ({"headers": {"a\x1b[31m": "\0"}}, r"the header a\\x1b\[31m has characters"),
        ({"headers": {str(i): "" for i in range(MOST_HEADERS + 1)}}, "the request has 10001 headers"),
        ({"cookies": "a=b"}, "cookies must be a list"),
        ({"cookies": [1]}, "cookies must be a list of texts"),
        ({"cookies": ["a\n"]}, "cookies has characters"),
        ({"body": {}}, "body must be text"),
        ({"body": "!", "isBase64Encoded": True}, "body must be base64"),
        ({"body": "ü", "isBase64Encoded": True}, "body must be base64"),
        ({"body": "\ud800"}, "body must be base64 where"),
        ({"body": "aa", "isBase64Encoded": "yes"}, "isBase64Encoded must be true or false"),
    ],
)  # fmt: skip
def test_request_that_is_none_is_refused(event: Any, reason: str) -> None:
    """With the name of what is wrong, on one line that a terminal can show."""
    with pytest.raises(InvalidEvent, match=reason) as caught:
        read_request(event)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("routeKey", "rawPath", "rawQueryString", "cookies", "headers", "requestContext", "body", "isBase64Encoded")


@hypothesis.given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_request_is_texts_or_refused(event: dict[str, Any]) -> None:
    """Whatever comes: no value of the environment ends early, and no other error is raised."""
    try:
        request = read_request(event)
    except InvalidEvent:
        return
    for name, value in request.variables.items():
        (name + value).encode()
        assert "\0" not in name + value
        assert "=" not in name
        assert name.isprintable()
    assert all("\0" not in argument for argument in request.args)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_response_is_headers_an_empty_line_and_a_body(end: bytes) -> None:
    """Names in lower case, a repeated header as one list, cookies apart."""
    lines = [b"Status: 404 Not Found", b"Content-Type:text/plain ", b"X-A: 1", b"x-a:2", b"Set-Cookie: a=1, b",
             b"set-cookie: c=2", b"X-Empty:", b"", b"line", b"", b"more"]  # fmt: skip
    assert read_response(end.join(lines)) == {
        "statusCode": 404,
        "headers": {"content-type": "text/plain", "x-a": "1, 2", "x-empty": ""},
        "cookies": ["a=1, b", "c=2"],
        "body": end.join(lines[8:]).decode(),
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(
    ("output", "status", "body"),
    [
        (b"content-type: a/b\n\n", 200, ""),
        (b"status: 204\n\n", 204, ""),
        (b"location: /there\n\n", 302, ""),
        (b"location: /there\nstatus: 308\n\nmoved", 308, "moved"),
        (b"content-type: a/b\n\n\n\nx", 200, "\n\nx"),
    ],
)
def test_response_has_a_status(output: bytes, status: int, body: str) -> None:
    """As the program says, 302 with a location, else 200."""
    found = read_response(output)
    assert (found["statusCode"], found["body"]) == (status, body)
    assert "status" not in found["headers"]
    assert "cookies" not in found


def test_response_of_bytes_is_base64() -> None:
    """And says so."""
    found = read_response(b"content-type: image/png\n\n\x89PNG\0")
    assert (found["body"], found["isBase64Encoded"]) == ("iVBORwA=", True)


@pytest.mark.parametrize("name", ["Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Upgrade", "TE"])
def test_response_says_nothing_about_its_connection(name: str) -> None:
    """What would shift where the response ends is left to whoever sends it."""
    found = read_response(f"content-type: a/b\n{name}: chunked\n\nx".encode())
    assert found["headers"] == {"content-type": "a/b"}


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"", "wrote no empty line in its output"),
        (b"hello\n", "wrote no empty line in its output"),
        (b"content-type: text/plain\nhello", "wrote no empty line in its output"),
        (b"content-type: a/b\r\r", "wrote no empty line"),
        (b"x: y\n" * 20_000, "wrote no empty line in its first 64 KiB"),
        (b"x: " + b"y" * MOST_HEADER_BYTES + b"\n\n", "wrote no empty line in its first 64 KiB"),
        (b"\n\nhello", "none of the headers content-type, status and location"),
        (b"x-a: b\n\nhello", "none of the headers content-type, status and location"),
        (b"hello\n\n", "what is no header: 'hello'"),
        (b"content-type: a/b\nhello world\n\n", "what is no header: 'hello world'"),
        (b"content-type: a/b\n folded: x\n\n", "what is no header"),
        (b"content type: a/b\n\n", "what is no header"),
        (b": a/b\n\n", "what is no header"),
        (b"x-\xc3\xbc: 1\n\n", "what is no header"),
        (b"content-type: a\rset-cookie: b\n\n", "what is no header"),
        (b"content-type: a\0b\n\n", "what is no header"),
        (b"content-type: \x1b[31m\n\n", r"what is no header: 'content-type: \\\\x1b\[31m'"),
        (b"content-type: \xff\n\n", "headers are not UTF-8"),
        (b"status: abc\n\n", "must be a number from 200 to 599, not 'abc'"),
        (b"status:\n\n", "must be a number from 200 to 599"),
        (b"status: 100\n\n", "must be a number from 200 to 599"),
        (b"status: 2000\n\n", "must be a number from 200 to 599"),
        (b"status: 0x200\n\n", "must be a number from 200 to 599"),
        ("status: \u0662\u0660\u0660\n\n".encode(), "must be a number from 200 to 599"),
        (b"status: 200\nStatus: 404\n\n", "more than one header status"),
        (b"location: a\nlocation: b\n\n", "more than one header location"),
        (b"content-type: a/b\ncontent-type: c/d\n\n", "more than one header content-type"),
    ],
)
def test_output_that_is_no_response_is_an_invalid_answer(output: bytes, reason: str) -> None:
    """With what was wanted, on one line that a terminal can show."""
    with pytest.raises(InvalidAnswer, match=reason) as caught:
        read_response(output)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@hypothesis.given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"Content-Type: a/b\n" + rest))
def test_any_output_is_a_response_or_an_invalid_answer(output: bytes) -> None:
    """No header of a response can be taken for two."""
    try:
        found = read_response(output)
    except InvalidAnswer:
        return
    for value in (*found["headers"].values(), *found.get("cookies", ())):
        assert not {"\r", "\n", "\0"} & set(value)
    body = found["body"].encode()
    assert output.endswith(base64.b64decode(body) if found["isBase64Encoded"] else body)
