"""The http grant: rules for what a function may request, and secrets that the host adds to its requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wasmrun.addresses import Network, is_granted, parse_network
from wasmrun.hints import NamedTuple
from wasmrun.httprequest import (
    PORTS,
    Url,
    literal,
    parse_authority,
    parse_header_name,
    parse_header_value,
    parse_method,
)

USUAL_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
"""What a rule grants that names no methods."""

_RULE = re.compile(r"(?:(\S+)\s+)?(?:(https?)://)?(\S+)")
_EXAMPLE = "write for instance 'api.example.com', 'GET,HEAD https://*.example.org' or 'http://10.1.2.3:8080'"


class HttpRule(NamedTuple):
    """Requests that are granted: ``[METHODS ][scheme://]host[:port]``.

    Without a scheme https is meant, without a port that of the scheme, without methods the usual
    ones. ``*.example.org`` is every name below example.org and not example.org itself; ``*`` is every host.
    """

    methods: tuple[str, ...]
    scheme: str
    host: str
    port: int

    def covers(self, url: Url) -> bool:
        """Whether *url* is one of this rule's, whatever the method."""
        return (self.scheme, self.port) == (url.scheme, url.port) and self._covers_host(url)

    def _covers_host(self, url: Url) -> bool:
        if self.host.startswith("*."):
            return url.address is None and url.host.endswith(self.host[1:])
        return self.host in ("*", url.host)

    def __repr__(self) -> str:
        return repr(str(self))

    def __str__(self) -> str:
        methods = "" if self.methods == USUAL_METHODS else ",".join(self.methods) + " "
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{methods}{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class HttpSecret:
    """A header that the host adds to requests which *rule* covers. Its value is in no repr; a pickle holds it."""

    rule: HttpRule
    header: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.rule} {self.header}"


def parse_rule(text: str | HttpRule) -> HttpRule:
    """A rule from its text. Raises `ValueError`."""
    if isinstance(text, HttpRule):
        return text
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not an http rule; {_EXAMPLE}")
    found = _RULE.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError("it is METHODS, a space, and where to")
        methods = tuple(map(parse_method, found[1].split(","))) if found[1] else USUAL_METHODS
        scheme = found[2] or "https"
        host, port = _parse_place(found[3])
    except ValueError as error:
        raise ValueError(f"{text!r} is not an http rule: {error}; {_EXAMPLE}") from None
    return HttpRule(methods, scheme, host, PORTS[scheme] if port is None else port)


def _parse_place(text: str) -> tuple[str, int | None]:
    """Host pattern and port."""
    if not text.startswith("*"):
        return parse_authority(text)
    # What a star stands for is itself a name.
    host, port = parse_authority("x" + text[1:])
    if host != "x" and not host.startswith("x."):
        raise ValueError("a star stands for whole labels, as in '*.example.org', or alone for every host")
    return "*" + host[1:], port


def parse_rules(value: Iterable[str | HttpRule]) -> tuple[HttpRule, ...]:
    """Rules, from one text or several. Raises `ValueError`."""
    return tuple(parse_rule(item) for item in ([value] if isinstance(value, (str, HttpRule)) else value))


def parse_networks(value: Iterable[str | Network]) -> tuple[Network, ...]:
    """Networks, from one text or several. Raises `ValueError`."""
    return tuple(parse_network(item) for item in ([value] if isinstance(value, str) else value))


def parse_secrets(value: Mapping[str, Mapping[str, str]] | Iterable[HttpSecret]) -> tuple[HttpSecret, ...]:
    """Secrets, from headers by rule. Raises `ValueError` that shows no value."""
    if not isinstance(value, Mapping):
        secrets = tuple(value)
        if not all(isinstance(item, HttpSecret) for item in secrets):
            raise ValueError('must be a mapping such as {"api.example.com": {"Authorization": "…"}}')
        return secrets
    found = []
    for text, headers in value.items():
        if not isinstance(headers, Mapping):
            raise ValueError(f"the secrets of {text!r} must be a mapping from header to value")
        rule = parse_rule(text)
        found += [HttpSecret(rule, parse_header_name(name), _parse_value(headers[name])) for name in headers]
    return tuple(found)


def _parse_value(text: str) -> str:
    value = parse_header_value(text)
    if not value:
        raise ValueError("a secret is empty")
    return value


def check_reach(rules: Iterable[HttpRule], networks: tuple[Network, ...]) -> None:
    """Raise `ValueError` for a rule that can grant nothing: it names an address that no network grants."""
    for rule in rules:
        address = literal(rule.host)
        if address is not None and not is_granted(address, networks):
            raise ValueError(f"{rule}: {address} is not public; grant it with http_networks=['{address}']")


def is_allowed(rules: Iterable[HttpRule], method: str, url: Url) -> bool:
    """Whether one of *rules* grants *method* on *url*."""
    return any(method in rule.methods and rule.covers(url) for rule in rules)


def secrets_for(secrets: Iterable[HttpSecret], method: str, url: Url) -> dict[str, str]:
    """The headers that the host adds to a request; of several for one header the first counts."""
    found: dict[str, str] = {}
    for secret in secrets:
        if method in secret.rule.methods and secret.rule.covers(url):
            found.setdefault(secret.header.lower(), secret.value)
    return found
