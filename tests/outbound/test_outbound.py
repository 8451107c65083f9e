"""The client does what was granted and nothing else, whatever guest, server and resolver try."""

from __future__ import annotations

import contextlib
import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Client, Seen, Server, response

import wasmrun
from wasmrun.machine.ledger import HttpError, Outgoing
from wasmrun.outbound import MOST_REDIRECTS, Outbound, system_trust
from wasmrun.pinned import system_resolver

Serve = Callable[..., Server]


def refused(call: Callable[[], object]) -> str:
    """The type of the error that a call ends with."""
    with pytest.raises(HttpError) as caught:
        call()
    return caught.value.kind


# What goes out and what comes back


def test_request_reaches_the_server_as_the_guest_asked(serve: Serve, client: Client) -> None:
    """Method, target, headers and body; and the headers that carry it, set by the host."""
    server = serve(response(201, b"made", X_Answer="yes"))
    got = client(
        f"{server.url}/a%20b?q=1#part", "POST", rules=server.url, headers={"X-Ask": "é".encode().hex()}, body="text é"
    )
    assert got == {"status": 201, "headers": {"content-length": "4", "x-answer": "yes"}, "body": b"made"}
    (seen,) = server.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/a%20b?q=1", "text é".encode())
    assert seen.headers == {
        "host": f"127.0.0.1:{server.port}", "connection": "close", "content-length": "7", "accept": "*/*",
        "accept-encoding": "identity", "user-agent": "wasmrun", "x-ask": "c3a9",
    }  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_usual_methods_need_no_naming(serve: Serve, client: Client, method: str) -> None:
    """A rule without methods grants them."""
    server = serve(response(204))
    assert client(server.url, method, rules=server.url)["status"] == 204
    assert server.seen[0].method == method


def test_guest_may_replace_the_headers_that_have_defaults(serve: Serve, client: Client) -> None:
    """Each is there once."""
    server = serve()
    client(server.url, rules=server.url, headers={"User-Agent": "mine", "ACCEPT": "text/plain"})
    assert server.seen[0].headers["user-agent"] == "mine"
    assert server.seen[0].headers["accept"] == "text/plain"


def test_headers_that_come_several_times_are_one_text(serve: Serve, client: Client) -> None:
    """Cookies by lines, since they may hold commas; and none is kept for the next request."""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: a\r\nVia: b\r\nSet-Cookie: a=1, 2\r\nSet-Cookie: b=3\r\n\r\n"
    server = serve(body)
    got = client(server.url, rules=server.url)
    assert got["headers"]["via"] == "a, b"
    assert got["headers"]["set-cookie"] == "a=1, 2\nb=3"
    client(server.url, rules=server.url)
    assert "cookie" not in server.seen[1].headers


def test_every_request_has_a_connection_of_its_own(serve: Serve, client: Client) -> None:
    """Nothing that one guest left in a connection is met by another."""
    server = serve()
    for _ in range(3):
        client(server.url, rules=server.url)
    assert server.connections == 3


def test_body_is_given_as_it_was_sent(serve: Serve, client: Client) -> None:
    """A bomb of 50 MB in 50 KB is the guest's to unpack, within its own limits."""
    bomb = gzip.compress(bytes(50_000_000))
    server = serve(response(200, bomb, Content_Encoding="gzip"))
    got = client(server.url, rules=server.url, settings={"http_bytes": "100KB"})
    assert got["body"] == bomb
    assert got["headers"]["content-encoding"] == "gzip"


def test_no_proxy_of_the_environment_is_used(serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor anything else of it."""
    proxy, server = serve(), serve()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    client(server.url, rules=server.url)
    assert (proxy.connections, server.connections) == (0, 1)


# What is granted


@pytest.mark.parametrize(
    ("rule", "method", "url"),
    [
        ("https://a.test", "GET", "http://a.test"),
        ("http://a.test", "GET", "https://a.test"),
        ("https://a.test", "GET", "https://b.test"),
        ("https://a.test", "GET", "https://a.test:8443"),
        ("https://a.test:8443", "GET", "https://a.test"),
        ("https://*.a.test", "GET", "https://a.test"),
        ("https://*.a.test", "GET", "https://aa.test"),
        ("https://*.a.test", "GET", "https://b.a.test.evil.test"),
        ("GET,HEAD https://a.test", "POST", "https://a.test"),
        ("https://a.test", "PROPFIND", "https://a.test"),
        ("https://a.test", "GET", "https://xn--a-ecp.test"),
    ],
)
def test_request_that_no_rule_grants_is_refused_before_anything_is_looked_up(
    client: Client, rule: str, method: str, url: str
) -> None:
    """The guest learns that it is not granted, and nothing else."""
    client.names = {"a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"]}
    with pytest.raises(HttpError) as caught:
        client(url, method, rules=rule)
    assert caught.value.kind == "HttpNotGranted"
    assert caught.value.message == f"{method} {url} is not granted"
    assert client.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.31.0.1", "192.168.1.1", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.0.0.192", "198.18.0.1",
        "::", "::1", "fe80::1%lo", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1",
        "::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:4860::5efe:10.0.0.1", "::ffff:0:127.0.0.1",
    ],
)  # fmt: skip
def test_name_that_leads_to_a_special_address_is_refused(client: Client, address: str) -> None:
    """In the words of a request that no rule grants: a guest cannot find out which names of a network there are."""
    client.names = {"a.test": ["8.8.8.8", address]}
    with pytest.raises(HttpError) as caught:
        client("https://a.test", rules="a.test", settings={"http_networks": ()})
    assert (caught.value.kind, caught.value.message) == ("HttpNotGranted", "GET https://a.test is not granted")
    assert "http_networks" in caught.value.reason


def test_public_address_of_this_machine_is_refused_unless_it_is_named(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads past the firewall to what listens here. Loopback stands for it, taken for public."""
    server = serve()
    client.names = {"a.test": ["127.0.0.1"], "mapped.test": ["::ffff:127.0.0.1"]}
    rules = [f"http://a.test:{server.port}", f"http://mapped.test:{server.port}"]
    monkeypatch.setattr("wasmrun.outbound.is_granted", lambda address, networks: True)
    for place in rules:
        with pytest.raises(HttpError) as caught:
            client(place, rules=rules, settings={"http_networks": ()})
        assert (caught.value.kind, caught.value.message) == ("HttpNotGranted", f"GET {place} is not granted")
        assert "this machine" in caught.value.reason
    assert server.seen == []
    for place in rules:
        assert client(place, rules=rules)["status"] == 200


def test_name_is_looked_up_once_and_its_address_used(serve: Serve, client: Client) -> None:
    """A name that leads elsewhere the second time it is asked for is not asked a second time."""
    server = serve()
    answers = iter([["127.0.0.1"], ["192.0.2.1"]])

    class Rebinding(dict[str, list[str]]):
        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: str) -> list[str]:
            return next(answers)

    client.names = Rebinding()
    assert client(f"http://a.test:{server.port}", rules=f"http://a.test:{server.port}")["status"] == 200
    assert client.asked == ["a.test"]
    assert server.seen[0].headers["host"] == f"a.test:{server.port}"


def test_second_address_is_tried_where_the_first_is_dead(serve: Serve, client: Client) -> None:
    """Within the same deadline; all of them were checked before."""
    server = serve()
    client.names = {"a.test": ["127.0.0.9", "127.0.0.1"]}
    rule = f"http://a.test:{server.port}"
    assert client(rule, rules=rule)["status"] == 200


def test_silent_address_leaves_time_for_the_next(serve: Serve, client: Client) -> None:
    """Each gets its share of what is left; one that the system refuses at once takes none."""
    server = serve()
    with socket.create_server(("127.0.0.9", server.port), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        client.names = {"a.test": ["255.255.255.255", "127.0.0.9", "127.0.0.1"]}
        rule = f"http://a.test:{server.port}"
        networks = {"http_networks": ["127.0.0.0/8", "255.255.255.255"]}
        assert client(rule, rules=rule, seconds=1, settings=networks)["status"] == 200
        assert 0.2 < client.ledger.calls[0].seconds < 0.9
        for one in waiting:
            one.close()


def test_name_without_an_address_cannot_be_connected_to(client: Client) -> None:
    """What the resolver says about it is not the guest's business."""
    with pytest.raises(HttpError) as caught:
        client("https://a.test", rules="a.test")
    assert (caught.value.kind, caught.value.message) == ("HttpConnect", "a.test has no address")
    client.names = {"a.test": []}
    assert refused(lambda: client("https://a.test", rules="a.test")) == "HttpConnect"


def test_port_that_nobody_listens_at_cannot_be_connected_to(client: Client) -> None:
    """Nor what the system says about that."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HttpError) as caught:
        client(f"http://127.0.0.1:{port}", rules=f"http://127.0.0.1:{port}")
    assert caught.value.kind == "HttpConnect"
    assert "refused" not in caught.value.message
    assert "refused" in caught.value.reason


# Redirects


def to(place: str, status: int = 302) -> bytes:
    return response(status, b"moved", Location=place)


def test_redirects_are_followed(serve: Serve, client: Client) -> None:
    """Relative ones, and to another server that is granted; each is in the ledger."""
    last = serve(response(200, b"here"))
    first = serve(lambda connection, seen: connection.sendall(to("/two" if seen.target == "/" else last.url)))
    assert client(first.url, rules=[first.url, last.url])["body"] == b"here"
    assert [seen.target for seen in first.seen] == ["/", "/two"]
    assert [call.status for call in client.ledger.calls] == [302, 302, 200]


def test_redirect_to_what_is_not_granted_is_refused(serve: Serve, client: Client) -> None:
    """By host, port, scheme, method or address."""
    last = serve()
    client.names = {"inside.test": ["10.0.0.1"]}
    for place in (last.url, "https://127.0.0.1", "http://inside.test", "http://169.254.169.254/latest", "//[::1]/"):
        first = serve(to(place))
        rules = [first.url, "http://inside.test"]
        assert refused(lambda: client(first.url, rules=rules)) == "HttpNotGranted"  # noqa: B023
    first = serve(to(last.url, 303))
    assert refused(lambda: client(first.url, "POST", rules=[first.url, "POST " + last.url])) == "HttpNotGranted"
    assert last.seen == []


def test_redirect_from_https_to_http_needs_a_rule(
    serve: Serve, trust: ssl.SSLContext, certified: Callable[..., ssl.SSLContext]
) -> None:
    """It is a request like any other."""
    plain = serve()
    secure = serve(to(plain.url), certified("127.0.0.1"))
    client = Client(trust)
    assert refused(lambda: client(secure.url, rules=secure.url)) == "HttpNotGranted"
    assert client(secure.url, rules=[secure.url, plain.url])["status"] == 200


@pytest.mark.parametrize("place", ["http://u:p@a.test", "ftp://a.test", "http://[x", "/a b", "/\xe9", "/\\x"])
def test_redirect_to_what_is_not_a_url_ends(serve: Serve, client: Client, place: str) -> None:
    """As an error of the server."""
    server = serve(to(place))
    assert refused(lambda: client(server.url, rules=server.url)) == "HttpProtocol"


def test_redirects_without_end_end(serve: Serve, client: Client) -> None:
    """After a few."""
    server = serve(to("/"))
    assert refused(lambda: client(server.url, rules=server.url)) == "HttpTooMany"
    assert len(client.ledger.calls) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", b""), (302, "POST", "GET", b""), (303, "PUT", "GET", b""), (303, "HEAD", "HEAD", b"x"),
        (307, "POST", "POST", b"x"), (308, "PUT", "PUT", b"x"), (302, "PUT", "PUT", b"x"),
    ],
)  # fmt: skip
def test_redirect_changes_the_method_as_browsers_do(
    serve: Serve, client: Client, status: int, method: str, then: str, body: bytes
) -> None:
    """A body that is dropped takes its headers with it."""
    answers = iter([to("/next", status), response()])
    server = serve(lambda connection, _: connection.sendall(next(answers)))
    client(server.url, method, rules=server.url, body=b"x", headers={"Content-Type": "text/x"})
    seen = server.seen[1]
    assert (seen.method, seen.body, "content-type" in seen.headers) == (then, body, body != b"")


def test_credentials_of_the_guest_stay_with_the_server_they_are_for(serve: Serve, client: Client) -> None:
    """On a redirect within it they are sent again, beyond it not."""
    last = serve()
    first = serve(lambda connection, seen: connection.sendall(to("/two" if seen.target == "/" else last.url)))
    client(first.url, rules=[first.url, last.url], headers={"Authorization": "mine", "Cookie": "a=1", "X-Other": "x"})
    assert [seen.headers.get("authorization") for seen in (*first.seen, *last.seen)] == ["mine", "mine", None]
    assert "cookie" not in last.seen[0].headers
    assert last.seen[0].headers["x-other"] == "x"


# Secrets

SECRET = "Bearer tremendously-secret"


def test_secret_is_added_where_its_rule_covers_the_request(serve: Serve, client: Client) -> None:
    """In place of what the guest set; decided anew for each redirect."""
    last = serve()
    first = serve(lambda connection, seen: connection.sendall(to("/two" if seen.target == "/" else last.url)))
    secrets = {first.url: {"Authorization": SECRET, "X-Key": "k"}}
    client(
        first.url, rules=[first.url, last.url], headers={"authorization": "guest"}, settings={"http_secrets": secrets}
    )
    assert [seen.headers.get("authorization") for seen in (*first.seen, *last.seen)] == [SECRET, SECRET, None]
    assert [seen.headers.get("x-key") for seen in (*first.seen, *last.seen)] == ["k", "k", None]


def test_secret_is_for_the_methods_and_the_scheme_of_its_rule(serve: Serve, client: Client) -> None:
    """Without a scheme that is https."""
    server = serve()
    client.names = {"a.test": ["127.0.0.1"]}
    place = f"a.test:{server.port}"
    secrets = {place: {"X-One": SECRET}, f"POST http://{place}": {"X-Two": SECRET}, f"http://*.{place}": {"X-3": "c"}}
    for method in ("GET", "POST"):
        client(f"http://{place}", method, rules=f"http://{place}", settings={"http_secrets": secrets})
    assert [seen.headers.get("x-one") for seen in server.seen] == [None, None]
    assert [seen.headers.get("x-two") for seen in server.seen] == [None, SECRET]
    assert [seen.headers.get("x-3") for seen in server.seen] == [None, None]


@pytest.mark.parametrize("answer", [response(), to("http://evil.test"), b"nonsense\r\n\r\n", b""], ids=range(4))
def test_secret_is_in_no_error_log_or_record(
    serve: Serve, client: Client, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever happens to the request, and with every logger at its loudest."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.DEBUG)
    server = serve(answer)
    said = ""
    try:
        said += repr(client(server.url, rules=server.url, settings={"http_secrets": {server.url: {"X-K": SECRET}}}))
    except HttpError as error:
        said += f"{error!r} {error.__cause__!r} {error.__context__ if not error.__suppress_context__ else ''}"
    assert server.seen[0].headers["x-k"] == SECRET
    said += caplog.text + repr([record.args for record in caplog.records]) + repr(client.ledger.calls)
    assert "tremendously" not in said


def test_secret_that_cannot_be_written_is_not_shown(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of secrets comes first; were it to fail, the parser's words would show one."""
    monkeypatch.setattr("wasmrun.outbound.secrets_for", lambda *_: {"x-key": SECRET + "\r\nx: y"})
    server = serve()
    with pytest.raises(HttpError) as caught:
        client(server.url, rules=server.url)
    assert caught.value.kind == "HttpInvalid"
    assert "tremendously" not in repr(caught.value)
    assert server.seen == []


def test_length_of_a_secret_cannot_be_measured(serve: Serve, client: Client) -> None:
    """Neither by what is left of the bytes, nor in the record."""
    server = serve()
    for secret in ("s", "s" * 1000):
        client(server.url, rules=server.url, settings={"http_secrets": {server.url: {"X-K": secret}}})
    one, two = client.ledger.calls
    assert one.sent == two.sent


# TLS


@pytest.mark.parametrize("has_own", [True, False])
def test_system_trust_verifies_names_and_certificates(monkeypatch: pytest.MonkeyPatch, *, has_own: bool) -> None:
    """Against the system's authorities, or certifi's where it has none; and no keys are written anywhere."""
    monkeypatch.setenv("SSLKEYLOGFILE", "/nowhere/keys")
    paths = ssl.get_default_verify_paths()._replace(cafile=None, capath="/etc" if has_own else None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    context = system_trust()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not context.keylog_filename
    if not has_own:
        assert context.cert_store_stats()["x509_ca"] > 50


def test_server_is_verified_by_its_name(
    serve: Serve, trust: ssl.SSLContext, certified: Callable[..., ssl.SSLContext]
) -> None:
    """The connection goes to the checked address, with the name in the handshake and in the certificate."""
    names: list[str | None] = []
    context = certified("a.test")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = serve(response(200, b"secure"), context)
    client = Client(trust)
    client.names = {"a.test": ["127.0.0.1"]}
    rule = f"a.test:{server.port}"
    assert client(f"https://{rule}", rules=rule)["body"] == b"secure"
    assert names == ["a.test"]


@pytest.mark.parametrize("case", ["name", "authority", "plain"])
def test_server_that_cannot_be_verified_gets_no_request(
    serve: Serve, trust: ssl.SSLContext, certified: Callable[..., ssl.SSLContext], case: str
) -> None:
    """Another name, an authority that is not trusted, no TLS at all."""
    context = {
        "name": lambda: certified("b.test"),
        "authority": lambda: certified("a.test", issuer=trustme.CA()),
        "plain": lambda: None,
    }[case]()
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n", context)
    client = Client(trust)
    client.names = {"a.test": ["127.0.0.1"]}
    rule = f"a.test:{server.port}"
    with pytest.raises(HttpError) as caught:
        client(f"https://{rule}", rules=rule, seconds=0.5, headers={"X": "never-sent"})
    assert caught.value.kind in (("HttpTls",) if case != "plain" else ("HttpTls", "HttpTimeout"))
    assert server.seen == []


def test_large_bodies_go_both_ways(
    serve: Serve, trust: ssl.SSLContext, certified: Callable[..., ssl.SSLContext]
) -> None:
    """More than the buffers of a connection hold."""
    body = bytes(range(256)) * 40_000
    server = serve(lambda connection, seen: connection.sendall(response(200, seen.body)), certified("127.0.0.1"))
    got = Client(trust)(server.url, "PUT", rules=server.url, body=body, settings={"http_bytes": "32MiB"})
    assert got["body"] == body


def test_body_may_end_with_the_connection(
    serve: Serve, trust: ssl.SSLContext, certified: Callable[..., ssl.SSLContext]
) -> None:
    """Where the server says so, in the way of TLS."""
    server = serve(b"HTTP/1.1 200 OK\r\n\r\nall of it", certified("127.0.0.1"))
    assert Client(trust)(server.url, rules=server.url)["body"] == b"all of it"


def test_body_that_tls_cuts_short_is_an_error(
    serve: Serve, trust: ssl.SSLContext, certified: Callable[..., ssl.SSLContext]
) -> None:
    """Where its end is that of the connection, an attacker could choose it."""

    def cut(connection: socket.socket, _: Seen) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of ")
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(cut, certified("127.0.0.1"))
    assert refused(lambda: Client(trust)(server.url, rules=server.url)) == "HttpConnect"


# Servers that misbehave


def slowly(chunk: bytes, first: bytes = b"") -> Callable[[socket.socket, Seen], None]:
    """Sends a few bytes, again and again, each soon enough for a timeout that is counted from the last one."""

    def drip(connection: socket.socket, _: Seen) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(chunk)
            time.sleep(0.01)

    return drip


DRIPS = {
    "nothing": lambda connection, seen: threading.Event().wait(5),
    "head": slowly(b"H"),
    "headers": slowly(b"a: b\r\n", b"HTTP/1.1 200 OK\r\n"),
    "interim": slowly(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": slowly(b"x", b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks": slowly(b"1\r\nx\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_server_that_drips_is_given_up_at_the_deadline(serve: Serve, client: Client, drip: str) -> None:
    """One deadline for all of the request, not one for each read."""
    server = serve(DRIPS[drip] if drip != "nothing" else lambda connection, seen: connection.recv(1))
    started = time.monotonic()
    if drip == "head":
        assert refused(lambda: client(server.url, rules=server.url, seconds=0.3)) in ("HttpTimeout", "HttpProtocol")
    else:
        assert refused(lambda: client(server.url, rules=server.url, seconds=0.3)) == "HttpTimeout"
    assert time.monotonic() - started < 1


def test_server_may_answer_before_it_has_read_the_body(serve: Serve, client: Client) -> None:
    """And close: its answer counts where it arrives."""

    def hurry(connection: socket.socket, _: Seen) -> None:
        connection.sendall(response(413, b"too much"))
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                time.sleep(0.01)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                break

    server = serve(hurry)
    monster = bytes(20_000_000)
    server.is_hasty = True
    try:
        got = client(server.url, "PUT", rules=server.url, body=monster, settings={"http_bytes": "64MiB"})
        assert got["status"] == 413
    except HttpError as error:
        assert error.kind in ("HttpConnect", "HttpProtocol")  # noqa: PT017  # the reset overtook the answer


def test_server_that_does_not_read_is_given_up_at_the_deadline(client: Client) -> None:
    """While the body is being sent."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        settings = {"http_bytes": "64MiB"}
        call = lambda: client(url, "PUT", rules=url, seconds=0.3, body=bytes(50_000_000), settings=settings)  # noqa: E731
        assert refused(call) == "HttpTimeout"


def test_handshake_that_hangs_is_given_up_at_the_deadline(client: Client) -> None:
    """And one that never begins."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        assert refused(lambda: client(url, rules=url, seconds=0.2)) == "HttpTimeout"


def test_address_that_does_not_answer_is_given_up_at_the_deadline(client: Client) -> None:
    """A listener whose queue is full drops the packets that would connect."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(place)
            waiting.append(one)
        time.sleep(0.05)
        url = f"http://127.0.0.1:{place[1]}"
        assert refused(lambda: client(url, rules=url, seconds=0.3)) == "HttpTimeout"
        for one in waiting:
            one.close()


def test_lookup_that_hangs_is_given_up_at_the_deadline(client: Client) -> None:
    """On a thread of its own, which stays behind."""
    hanging = threading.Event()
    client.outbound = Outbound(resolve=lambda name: ["127.0.0.1"] if hanging.wait(20) else [])
    started = time.monotonic()
    assert refused(lambda: client("http://a.test", rules="http://a.test", seconds=0.2)) == "HttpTimeout"
    assert time.monotonic() - started < 1
    hanging.set()


def test_lookups_that_hang_are_bounded(client: Client) -> None:
    """Past a number of them, further ones wait for a place, within their deadline."""
    hanging = threading.Event()
    client.outbound = Outbound(resolve=lambda name: ["127.0.0.1"] if hanging.wait(20) else [])
    before = threading.active_count()
    for _ in range(40):
        assert refused(lambda: client("http://a.test", rules="http://a.test", seconds=0.01)) == "HttpTimeout"
    assert threading.active_count() - before <= 32
    hanging.set()


def test_lookup_that_gets_no_thread_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives its place back: as many can fail as there are places, and more."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(40):
        call = lambda: client("http://a.test", rules="http://a.test", settings={"http_requests": 100})  # noqa: E731
        assert refused(call) == "HttpConnect"


def test_system_knows_its_own_name() -> None:
    """The resolver that is used unless another one is given."""
    assert set(system_resolver("localhost")) & {"127.0.0.1", "::1"}
    with pytest.raises(OSError):
        system_resolver("nothing.invalid")


def test_guest_may_be_less_patient_than_its_deadline(serve: Serve, client: Client) -> None:
    """With `timeout_ms` it lives to tell."""
    server = serve(lambda connection, seen: connection.recv(1))
    started = time.monotonic()
    assert refused(lambda: client(server.url, rules=server.url, timeout_ms=100)) == "HttpTimeout"
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("where", ["response", "connect", "lookup", "tls"])
def test_request_of_an_event_that_is_stopped_ends_at_once(serve: Serve, where: str) -> None:
    """Wherever it waits: within 50 ms."""
    client = Client()
    hanging = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        if where == "lookup":
            client.outbound = Outbound(resolve=lambda name: ["127.0.0.1"] if hanging.wait(20) else [])
            url = "http://a.test"
        elif where == "tls":
            url = url.replace("http", "https")
        stopped_at = []

        def stop() -> None:
            stopped_at.append(time.monotonic())
            client.is_stopped.set()

        timer = threading.Timer(0.1, stop)
        timer.start()
        assert refused(lambda: client(url, rules=url)) == "HttpStopped"
        assert time.monotonic() - stopped_at[0] < 0.05
        timer.join()
        hanging.set()


NONSENSE = {
    "not HTTP": b"SSH-2.0-x\r\n\r\n",
    "HTTP/0.9": b"hello",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "unasked upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxxx",
    "bad header": b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
    "folded line": b"HTTP/1.1 200 OK\r\n x\r\n\r\n",
    "control character": b"HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("case", NONSENSE)
def test_response_that_is_not_http_is_an_error(serve: Serve, client: Client, case: str) -> None:
    """Of the server, told without the details."""
    server = serve(NONSENSE[case])
    with pytest.raises(HttpError) as caught:
        client(server.url, rules=server.url, seconds=2)
    assert caught.value.kind == "HttpProtocol"
    assert caught.value.message == f"127.0.0.1:{server.port} sent what is not HTTP"


def test_whatever_a_server_sends_is_a_response_or_an_error(serve: Serve) -> None:
    """Bytes that begin like HTTP, and then do not."""
    pieces = st.sampled_from([
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"302", b" X\r\n", b"Content-Length: 5\r\n", b"Content-Length: -0\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Location: /\r\n", b"Location: //b\r\n", b"\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
        b"hello", b"\xff\xfe", b"\0", b":", b" ", b"\n", b"Set-Cookie: \xe9\r\n",
    ])  # fmt: skip
    sent = b""
    server = serve(lambda connection, _: connection.sendall(sent))

    @given(st.lists(pieces | st.binary(max_size=9), max_size=12).map(b"".join))
    @settings(max_examples=150, derandomize=True, deadline=None, database=None)
    def check(data: bytes) -> None:
        nonlocal sent
        sent = data
        try:
            assert Client()(server.url, rules=server.url, seconds=2)["status"]
        except HttpError as error:
            assert error.kind in ("HttpProtocol", "HttpConnect", "HttpNotGranted", "HttpTooMany")  # noqa: PT017

    check()


def test_connection_that_breaks_is_an_error(serve: Serve, client: Client) -> None:
    """A reset in the middle of the body."""

    def reset(connection: socket.socket, _: Seen) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    server = serve(reset)
    assert refused(lambda: client(server.url, rules=server.url)) in ("HttpConnect", "HttpProtocol")


def flood(first: bytes, chunk: bytes) -> Callable[[socket.socket, Seen], None]:
    def send(connection: socket.socket, _: Seen) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(chunk)

    return send


FLOODS = {
    "body": flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    "chunks": flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "interim": flood(b"", b"HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n" * 1000),
    "headers": flood(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 1000),
    "one header": flood(b"HTTP/1.1 200 OK\r\na: ", b"b" * 65536),
    "trailers": flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000),
    "chunk size": flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", b";" * 65536),
}


@pytest.mark.parametrize("case", FLOODS)
def test_server_that_floods_is_cut_off(serve: Serve, client: Client, case: str) -> None:
    """At the limit on bytes, or on headers."""
    server = serve(FLOODS[case])
    assert refused(lambda: client(server.url, rules=server.url, settings={"http_bytes": "1MiB"})) in (
        "HttpTooLarge", "HttpProtocol",
    )  # fmt: skip
    assert client.ledger.received <= 2**20 + 65536


def test_headers_of_a_response_are_bounded(serve: Serve, client: Client) -> None:
    """In number and in size, each response alone."""
    many = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"a: b\r\n" * 100 + b"\r\n"
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + (b"a: " + b"b" * 4000 + b"\r\n") * 17 + b"\r\n"
    for answer in (many, long):
        server = serve(answer)
        assert refused(lambda: client(server.url, rules=server.url)) == "HttpTooLarge"  # noqa: B023


# Caps and the record


def test_bytes_are_counted_over_the_whole_event(serve: Serve, client: Client) -> None:
    """Each way for itself."""
    server = serve(response(200, bytes(600)))
    settings = {"http_bytes": 1500}
    for _ in range(2):
        client(server.url, rules=server.url, settings=settings)
    assert refused(lambda: client(server.url, rules=server.url, settings=settings)) == "HttpTooLarge"
    client.ledger.received = 0
    call = lambda: client(server.url, "PUT", rules=server.url, settings=settings, body=bytes(600))  # noqa: E731
    call()
    client.ledger.received = 0
    call()
    client.ledger.received = 0
    assert refused(call) == "HttpTooLarge"
    assert len(server.seen) == 5


def test_requests_are_counted_over_the_whole_event(serve: Serve, client: Client) -> None:
    """Refused ones and redirects, too; past the number nothing is written down."""
    server = serve(lambda connection, seen: connection.sendall(to("/b") if seen.target == "/a" else response()))
    settings = {"http_requests": 4}
    client(server.url + "/a", rules=server.url, settings=settings)
    assert refused(lambda: client("http://b.test", rules=server.url, settings=settings)) == "HttpNotGranted"
    assert refused(lambda: client(server.url + "/a", rules=server.url, settings=settings)) == "HttpTooMany"
    assert refused(lambda: client(server.url + "/a", rules=server.url, settings=settings)) == "HttpTooMany"
    assert len(server.seen) == 3
    assert len(client.ledger.calls) == 4


def test_each_call_is_written_down(serve: Serve, client: Client) -> None:
    """Method, host, status, bytes, time, error; no path, no query."""
    server = serve(response(404, b"no"))
    client(f"{server.url}/secret-path?secret-query", rules=server.url, headers={"a": "b"}, body=b"x")
    refused(lambda: client("https://else.test/secret-path", rules=server.url))
    one, two = client.ledger.calls
    assert (one.method, one.host, one.status, one.error) == ("GET", f"127.0.0.1:{server.port}", 404, None)
    assert one.sent == len(f"GET{server.url}/secret-path?secret-queryabx")
    assert one.received == len(response(404, b"no"))
    assert 0 < one.seconds < 10
    assert (two.method, two.host, two.status, two.error) == ("GET", "else.test", None, "HttpNotGranted")
    assert "secret" not in repr(client.ledger.calls)


@pytest.mark.parametrize(
    "request_",
    [
        7, None, [], {}, {"url": 5}, {"url": ""}, {"url": "a.test"}, {"url": "//a.test"}, {"url": "file:///etc/passwd"},
        {"url": "http://a.test", "method": "get"}, {"url": "http://a.test", "method": "CONNECT"},
        {"url": "http://a.test", "method": "GET / HTTP/1.1\r\nX: y"}, {"url": "http://a.test", "method": 1},
        {"url": "http://a.test", "headers": []}, {"url": "http://a.test", "headers": {"a": 1}},
        {"url": "http://a.test", "headers": {"a": "b\r\nc: d"}}, {"url": "http://a.test", "headers": {"a\r\nb": "c"}},
        {"url": "http://a.test", "headers": {"": "c"}}, {"url": "http://a.test", "headers": {"a": "\0"}},
        {"url": "http://a.test", "headers": {"a": "\xe9"}}, {"url": "http://a.test", "headers": {"a:": "b"}},
        {"url": "http://a.test", "headers": {"a": "b", "A": "c"}}, {"url": "http://a.test", "body": 5},
        {"url": "http://a.test", "headers": {f"a{n}": "b" for n in range(101)}},
        {"url": "http://a.test", "headers": {"a": "b" * 70_000}},
        {"url": "http://a.test", "timeout_ms": 0}, {"url": "http://a.test", "timeout_ms": True},
        {"url": "http://a.test", "timeout_ms": 1.5}, {"url": "http://a.test", "proxy": "http://b.test"},
        *({"url": "http://a.test", "headers": {name: "x"}} for name in (
            "Host", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade",
            "Expect", "Proxy-Authorization", "Proxy-Connection", "HTTP2-Settings",
        )),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_request_that_is_malformed_is_refused(client: Client, request_: Any) -> None:
    """Before a name is looked up, and before it counts as one."""
    with pytest.raises(HttpError) as caught:
        client.outbound.request(*_asked(client, request_))
    assert caught.value.kind == "HttpInvalid"
    assert client.ledger.calls == []


def _asked(client: Client, request: Any) -> Any:
    function = wasmrun.Function("(module)", http=["*", "http://*"], http_networks=["0.0.0.0/0", "::/0"])
    return function, request, Outgoing(time.monotonic_ns() + 10**9, bool, client.ledger)
