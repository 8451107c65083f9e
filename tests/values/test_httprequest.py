"""Requests have one spelling; what two readers could understand differently is refused."""

from __future__ import annotations

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wasmrun.addresses import is_granted
from wasmrun.httprequest import parse_authority, parse_host, parse_request, parse_url


@pytest.mark.parametrize(
    ("text", "parts", "again"),
    [
        ("https://a.test", ("https", "a.test", 443, "/"), "https://a.test/"),
        ("HTTPS://A.Test:443/X?y=%20#z", ("https", "a.test", 443, "/X?y=%20"), "https://a.test/X?y=%20"),
        ("http://a.test:81?q", ("http", "a.test", 81, "/?q"), "http://a.test:81/?q"),
        ("http://a_b.test#x", ("http", "a_b.test", 80, "/"), "http://a_b.test/"),
        ("http://127.0.0.1:8080/a@b", ("http", "127.0.0.1", 8080, "/a@b"), "http://127.0.0.1:8080/a@b"),
        ("http://[::0001]:8080/", ("http", "::1", 8080, "/"), "http://[::1]:8080/"),
        ("http://[::FFFF:7f00:1]/", ("http", "::ffff:7f00:1", 80, "/"), "http://[::ffff:7f00:1]/"),
    ],
)
def test_url_is_read_into_its_parts(text: str, parts: tuple[object, ...], again: str) -> None:
    """And written in one spelling."""
    url = parse_url(text)
    assert url[:4] == parts
    assert str(url) == again
    assert parse_url(again) == url


@pytest.mark.parametrize(
    "text",
    [
        "", "a.test", "//a.test", "/", "https:a.test", "https:/a.test", "https://", "https:///x", "ftp://a.test",
        "file:///etc/passwd", "javascript:alert(1)", "https://u@a.test", "https://u:p@a.test", "https://@a.test",
        "https://a.test@b.test", "https://a.test\\@b.test", "https://a.test\\.b.test", "https://a.test:0",
        "https://a.test:65536", "https://a.test:", "https://a.test:x", "https://a.test:+1", "https://a.test:٣",
        "https://a.test:443:443", "https:// a.test", "https://a.test/ b", "https://a.test\r\nHost: b", "https://a\0.test",
        "https://a\t.test", "https://ä.test", "https://a。test", "https://a%2etest", "https://a.test.", "https://.a.test",
        "https://a..test", "https://-a.test", "https://a-.test", "https://" + "a" * 64, "https://" + "a." * 127 + "aa",
        "https://[::1", "https://::1", "https://[::1]x", "https://[fe80::1%25eth0]", "https://[fe80::1%eth0]",
        "https://[1.2.3.4]", "https://[::1.2.3]", "https://[v1.x]", "https://[]", "http://2130706433", "http://0177.0.0.1",
        "http://0x7f.0.0.1", "http://127.1", "http://127.0.1", "http://0", "http://0x7f000001", "http://017700000001",
        "http://127.0.0.01", "http://127.0.0.1.", "http://1.2.3.4.5", "http://256.0.0.1", "http://a.0x", "http://a.1",
        "https://a.test/" + "a" * 8192, None, 5, b"https://a.test",
    ],
    ids=lambda text: str(text)[:40],
)  # fmt: skip
def test_url_that_is_not_plain_is_refused(text: object) -> None:
    """Rather than repaired."""
    with pytest.raises(ValueError):
        parse_url(text)


def spellings(number: int) -> list[str]:
    """Ways to write an IPv4 address that C libraries, browsers and clients understand."""
    a, b, c, d = number.to_bytes(4, "big")
    return [
        str(number), hex(number), oct(number).replace("o", ""), f"0{number:o}", f"{a}.{b}.{c}.{d}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{c << 8 | d}", f"00{a}.{b}.{c}.{d}", f"{a:#X}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d}.",
        f"[::ffff:{a}.{b}.{c}.{d}]", f"[::{a}.{b}.{c}.{d}]", f"[::ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]",
        f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::]", f"[64:ff9b::{a}.{b}.{c}.{d}]", f"[::ffff:{a}.{b}.{c}.{d}%1]",
        f"{a}%2e{b}.{c}.{d}", f"{a}。{b}。{c}。{d}", "".join(chr(0xFF10 + int(x)) if x.isdigit() else x for x in f"{a}.{b}"),
    ]  # fmt: skip


PRIVATE = st.one_of(
    *(
        st.integers(int.from_bytes(socket.inet_aton(low), "big"), int.from_bytes(socket.inet_aton(high), "big"))
        for low, high in (
            ("10.0.0.0", "10.255.255.255"), ("127.0.0.0", "127.255.255.255"), ("192.168.0.0", "192.168.255.255"),
            ("172.16.0.0", "172.31.255.255"), ("169.254.0.0", "169.254.255.255"), ("0.0.0.0", "0.255.255.255"),
            ("100.64.0.0", "100.127.255.255"), ("224.0.0.0", "255.255.255.255"),
        )
    )
)  # fmt: skip


@given(PRIVATE, st.sampled_from(["http", "https"]), st.sampled_from(["", ":80", ":8080"]))
@example(0x7F000001, "http", "")
@example(0, "http", "")
@example(0xA9FEA9FE, "http", "")
def test_no_spelling_of_a_private_address_gets_through(number: int, scheme: str, port: str) -> None:
    """It is refused as a URL, or it is an address that is refused as such: never a name for a resolver to read."""
    for spelling in spellings(number):
        try:
            url = parse_url(f"{scheme}://{spelling}{port}/")
        except ValueError:
            continue
        assert url.address is not None, spelling
        assert not is_granted(url.address, ()), spelling


@given(st.text("0123456789abcdefxX.:[]%", min_size=1, max_size=24))
@example("0x7F.1")
@example("1.")
def test_what_is_taken_for_a_name_is_no_address_for_the_system(text: str) -> None:
    """What C's `inet_aton` and `inet_pton` can read never goes to a resolver."""
    try:
        host = parse_host(text)
        url = parse_url(f"http://{text}/")
    except ValueError:
        return
    assert url.host == host
    if url.address is None:
        with pytest.raises(OSError):
            socket.inet_aton(host)
        with pytest.raises(OSError):
            socket.inet_pton(socket.AF_INET6, host)


@given(st.text(max_size=60))
def test_url_that_is_taken_is_its_own_spelling(text: str) -> None:
    """Reading what was written gives the same again; nothing in it can end a line."""
    for url_text in (text, f"https://{text}", f"https://a.test/{text}", f"https://a.test{text}"):
        try:
            url = parse_url(url_text)
        except ValueError:
            continue
        assert parse_url(str(url)) == url
        assert str(url).isascii()
        assert str(url).isprintable()
        assert " " not in str(url)


def test_request_has_defaults() -> None:
    """GET, no headers, no body; text is UTF-8."""
    request = parse_request({"url": "https://a.test"})
    assert (request.method, request.headers, request.body, request.timeout_ms) == ("GET", (), b"", None)
    request = parse_request({"url": "https://a.test", "headers": {"A": " b\t"}, "body": "é", "timeout_ms": 5})
    assert (request.headers, request.body, request.timeout_ms) == ((("A", "b"),), b"\xc3\xa9", 5)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_headers_that_are_taken_are_lines(headers: dict[str, str]) -> None:
    """No name and no value ends its line or begins another."""
    try:
        request = parse_request({"url": "https://a.test", "headers": headers})
    except ValueError:
        return
    for name, value in request.headers:
        assert not set(name + value) & {"\r", "\n", "\0"}
        assert ":" not in name
        (name + value).encode("ascii")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    VALUES
    | st.dictionaries(st.sampled_from(["method", "url", "headers", "body", "timeout_ms"]), VALUES | st.just("http://a"))
)
def test_whatever_a_guest_asks_is_a_request_or_refused(value: object) -> None:
    """By no other exception."""
    try:
        request = parse_request(value)
    except ValueError:
        return
    assert request.url.scheme in ("http", "https")


def test_authority_without_a_port_has_none() -> None:
    """Rules and URLs have different defaults."""
    assert parse_authority("a.test") == ("a.test", None)
    assert parse_authority("[::1]:8") == ("::1", 8)
