"""Rules, networks and secrets of the http grant: what a function says, and what it does not."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

import wasmrun
from wasmrun import InvalidFunction
from wasmrun.httpgrant import USUAL_METHODS, HttpRule, is_allowed, parse_rule, secrets_for
from wasmrun.httprequest import parse_url


def function(**settings: object) -> wasmrun.Function:
    return wasmrun.Function("(module)", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "rule", "again"),
    [
        ("a.test", (USUAL_METHODS, "https", "a.test", 443), "https://a.test"),
        ("A.test:8443", (USUAL_METHODS, "https", "a.test", 8443), "https://a.test:8443"),
        ("http://a.test", (USUAL_METHODS, "http", "a.test", 80), "http://a.test"),
        ("GET,HEAD https://*.a.test", (("GET", "HEAD"), "https", "*.a.test", 443), "GET,HEAD https://*.a.test"),
        ("PURGE  a.test", (("PURGE",), "https", "a.test", 443), "PURGE https://a.test"),
        ("*", (USUAL_METHODS, "https", "*", 443), "https://*"),
        ("http://*:8080", (USUAL_METHODS, "http", "*", 8080), "http://*:8080"),
        ("https://8.8.8.8", (USUAL_METHODS, "https", "8.8.8.8", 443), "https://8.8.8.8"),
        ("[2606:4700:0::1]:8", (USUAL_METHODS, "https", "2606:4700::1", 8), "https://[2606:4700::1]:8"),
    ],
)
def test_rule_is_read_from_its_text(text: str, rule: tuple[object, ...], again: str) -> None:
    """What is left out has its default; the text it gives is a rule again."""
    assert tuple(parse_rule(text)) == rule
    assert str(parse_rule(text)) == again
    assert parse_rule(again) == parse_rule(parse_rule(text)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "GET", "GET,HEAD", "get a.test", "GET, HEAD a.test", "a b c", "CONNECT a.test", "TRACE a.test", "ftp://a.test",
        "https://", "https://a.test/", "a.test/path", "u@a.test", "a.test:0", "a.test:*", "*a.test", "a.*.test", "**",
        "*.*", "*.", "*.1.2.3.4", "127.1", "0x7f.0.0.1", "[::1", "ä.test", "a.test\n", 5, None, b"a.test",
    ],
)  # fmt: skip
def test_rule_that_is_none_is_refused(text: object) -> None:
    """By a setting that names itself."""
    if text in ("GET", "a.test\n"):
        return  # a host called get; and blanks around a rule are nothing
    with pytest.raises(InvalidFunction, match=r"^http: "):
        function(http=[text])


@pytest.mark.parametrize(
    ("rule", "url", "is_covered"),
    [
        ("a.test", "https://A.TEST/x", True),
        ("*.a.test", "https://b.a.test", True),
        ("*.a.test", "https://c.b.a.test", True),
        ("*.a.test", "https://a.test", False),
        ("*.a.test", "https://.a.test.b.test".replace("/.", "/x."), False),
        ("*", "https://b.test", True),
        ("*", "https://8.8.8.8", True),
        ("*", "http://b.test", False),
        ("*", "https://b.test:444", False),
        ("[2606:4700::1]", "https://[2606:4700:0:0::1]", True),
    ],
)
def test_rule_covers_what_it_says(rule: str, url: str, *, is_covered: bool) -> None:
    """Sub-domains at any depth, and not the name itself."""
    assert is_allowed([parse_rule(rule)], "GET", parse_url(url)) is is_covered


def test_address_that_can_never_be_reached_is_refused_at_once() -> None:
    """A rule for it needs a network."""
    for place in ("127.0.0.1", "10.0.0.1:80", "[::1]", "http://169.254.169.254"):
        with pytest.raises(InvalidFunction, match="is not public; grant it with http_networks="):
            function(http=place)
    assert function(http="http://127.0.0.1:80", http_networks="127.0.0.0/8").http[0].port == 80


def test_one_text_is_one_rule_and_one_network() -> None:
    """As for directories."""
    made = function(http="a.test", http_networks="10.0.0.0/8")
    assert made.http == (HttpRule(USUAL_METHODS, "https", "a.test", 443),)
    assert [str(network) for network in made.http_networks] == ["10.0.0.0/8"]
    assert function().http == function().http_networks == function().http_secrets == ()


SECRETS = {"a.test": {"Authorization": "Bearer hidden-value", "X-Key": "hidden-too"}, "*.a.test": {"X-KEY": "other"}}


def test_secret_shows_nowhere() -> None:
    """Neither in the function, nor in the secret."""
    made = function(http="a.test", http_secrets=SECRETS)
    shown = repr(made) + str(made) + repr(made.http_secrets) + "".join(map(str, made.http_secrets))
    assert "hidden" not in shown
    assert "Authorization" in shown


@pytest.mark.parametrize(
    "bad",
    [
        {"a.test": {"Authorization": "hidden\r\nX: y"}}, {"a.test": {"Authorization": "hidd\xe9n"}},
        {"a.test": {"Authorization": b"hidden"}}, {"a.test": {"Authorization": 5}}, {"a.test": {"Authorization": ""}},
        {"a.test": {"Host": "hidden"}}, {"a.test": {"a b": "hidden"}}, {"a.test": "hidden"}, {"/": {"a": "hidden"}},
        "a.test Authorization: hidden", ["hidden"], [("a.test", "hidden")],
    ],
    ids=range(12),
)  # fmt: skip
def test_secret_that_cannot_be_one_is_refused_without_being_shown(bad: object) -> None:
    """The message names the setting."""
    with pytest.raises(InvalidFunction, match=r"^http_secrets: ") as caught:
        function(http_secrets=bad)
    assert "hidd" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_functions_with_other_secrets_are_others() -> None:
    """They compare, hash and pickle with what they hold; one without them can be made for elsewhere."""
    one = function(http="a.test", http_secrets=SECRETS)
    assert one != function(http="a.test", http_secrets={"a.test": {"X-Key": "another"}})
    again = pickle.loads(pickle.dumps(one))
    assert (again, hash(again)) == (one, hash(one))
    assert again.http_secrets[0].value == "Bearer hidden-value"
    bare = dataclasses.replace(one, http_secrets=())
    assert b"hidden" not in pickle.dumps(bare)
    assert bare.http == one.http


def test_first_of_several_secrets_for_a_header_counts() -> None:
    """In the order in which they were given, whatever the case of the name."""
    made = function(http_secrets={"b.a.test": {"X-Key": "1"}, "*.a.test": {"x-key": "2", "Y": "3"}}).http_secrets
    assert secrets_for(made, "GET", parse_url("https://b.a.test")) == {"x-key": "1", "y": "3"}
    assert secrets_for(made, "GET", parse_url("https://c.a.test")) == {"x-key": "2", "y": "3"}
    assert secrets_for(made, "GET", parse_url("http://c.a.test")) == {}
    assert secrets_for(made, "PURGE", parse_url("https://c.a.test")) == {}
