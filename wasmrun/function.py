"""Function: code, its configuration, and what it is granted, as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from wasmrun.dataclass import dataclass
from wasmrun.errors import InvalidFunction, printable
from wasmrun.hints import TYPE_CHECKING, Any, NamedTuple
from wasmrun.limits import MIB, Limits
from wasmrun.settings import REQUIRED, Frozen, Setting, count, flag, settings_of, size, whole

if TYPE_CHECKING:
    from dataclasses import KW_ONLY

    from wasmrun.addresses import Network
    from wasmrun.httpgrant import HttpRule, HttpSecret

LATEST = "$LATEST"
"""The version of a function that was not published."""

ABIS = ("native", "command", "plain", "extism", "wagi", "component", "wasi-http")

Module = str | bytes | os.PathLike[str]
HostFunction = Callable[[Any], Any]


class Directory(NamedTuple):
    """A directory of the host that a function may use, and the path it has for the guest."""

    host: str
    guest: str
    writable: bool

    def __str__(self) -> str:
        return f"{self.host}::{self.guest}" + ("" if self.writable else ":ro")


def parse_directory(text: str | Directory) -> Directory:
    """A grant from HOST::GUEST or HOST::GUEST:ro. Raises `ValueError`."""
    if isinstance(text, Directory):
        return text
    host, separator, guest = text.partition("::") if isinstance(text, str) else ("", "", "")
    writable = not guest.endswith(":ro")
    guest = guest if writable else guest[: -len(":ro")]
    if not separator or not host or not guest or "\0" in host or not _is_text(guest):
        raise ValueError(f"{text!r} is not a directory grant; write HOST::GUEST or HOST::GUEST:ro")
    return Directory(os.path.abspath(host), guest, writable)


def _is_text(value: object) -> bool:
    """Whether WASI can give *value* to a guest: text that UTF-8 can write, without NUL."""
    # What the command line could not decode arrives as surrogates.
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _parse_dirs(value: Iterable[str | Directory]) -> tuple[Directory, ...]:
    return tuple(parse_directory(item) for item in ([value] if isinstance(value, str) else value))


def _parse_env(value: Mapping[str, str] | Iterable[str]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    items = value.items() if isinstance(value, Mapping) else (_split_variable(item) for item in value)
    for name, text in items:
        if not _is_text(name) or not _is_text(text) or not name or "=" in name:
            raise ValueError(f"{name!r}={text!r} is not an environment variable; names and values are text without NUL")
        pairs.append((name, text))
    return tuple(pairs)


def _parse_config(value: Mapping[str, str] | Iterable[str]) -> tuple[tuple[str, str], ...]:
    items = value.items() if isinstance(value, Mapping) else (_split_variable(item) for item in value)
    pairs = tuple((name, text) for name, text in items)
    for name, text in pairs:
        if not _is_text(name) or not _is_text(text):
            raise ValueError(f"{name!r}={text!r} is no configuration; names and values are text without NUL")
    return pairs


def _split_variable(item: str | tuple[str, str]) -> tuple[str, str]:
    if isinstance(item, tuple):
        return item
    name, separator, text = item.partition("=") if isinstance(item, str) else ("", "", "")
    if not separator:
        raise ValueError(f"{item!r} is not an environment variable; write NAME=VALUE")
    return name, text


def _parse_args(value: Iterable[str]) -> tuple[str, ...]:
    args = tuple(value)
    if isinstance(value, str) or not all(_is_text(arg) for arg in args):
        raise ValueError("must be a sequence of texts without NUL")
    return args


def _parse_imports(value: Mapping[str, HostFunction]) -> tuple[tuple[str, HostFunction], ...]:
    items = tuple(value.items() if isinstance(value, Mapping) else value)
    for name, function in items:
        if not isinstance(name, str) or not callable(function):
            raise ValueError(f"{name!r} must be the name of a callable")
        hash(function)  # a TypeError that says so: functions are told apart by what they import, too
        if name in ("log", "http_request"):
            raise ValueError(f"{name!r} is a name of the ABI's own; choose another, such as 'app.{name}'")
    return items


def _parse_http(value: Iterable[str | HttpRule]) -> tuple[HttpRule, ...]:
    if value == ():
        return ()
    from wasmrun.httpgrant import parse_rules  # for the few functions that have the grant

    return parse_rules(value)


def _parse_networks(value: Iterable[str | Network]) -> tuple[Network, ...]:
    if value == ():
        return ()
    from wasmrun.httpgrant import parse_networks  # as above

    return parse_networks(value)


def _parse_secrets(value: Mapping[str, Mapping[str, str]] | Iterable[HttpSecret]) -> tuple[HttpSecret, ...]:
    if value == ():
        return ()
    from wasmrun.httpgrant import parse_secrets  # as above

    return parse_secrets(value)


def _parse_abi(value: str | None) -> str | None:
    if value is not None and value not in ABIS:
        raise ValueError(f"must be one of {', '.join(ABIS)}, not {value!r}")
    return value


class _AutoName(str):
    """A name that follows from the module: a copy with another module gets a name to match."""

    __slots__ = ()


def _parse_name(value: str | None) -> str | None:
    return None if isinstance(value, _AutoName) else _parse_text(value)


def _parse_text(value: str | None) -> str | None:
    if value is not None and (not isinstance(value, str) or not value or not value.isprintable() or len(value) > 256):
        raise ValueError(f"must be 1 to 256 printable characters, not {printable(repr(value))}")
    return value


def _parse_module(value: Module) -> str | bytes:
    module = value
    if isinstance(value, os.PathLike):
        # A path is a path, even to a file whose name starts as WAT text does.
        module = (
            os.path.join(os.curdir, value) if os.fspath(value).lstrip().startswith(("(", ";;")) else os.fspath(value)
        )
    if not isinstance(module, (str, bytes)) or not module:
        raise ValueError(f"must be a path, bytes or WAT text, not {printable(repr(value))}")
    return module


def _parse_concurrency(value: int | None) -> int | None:
    if value is not None and whole(value) < 1:
        raise ValueError(f"must be at least 1, or None for no limit, not {value!r}")
    return None if value is None else whole(value)


@dataclass(kw_only=True)
class Grants(Frozen):
    """What a function may reach outside its sandbox. Nothing, unless named here.

    ``env``: variables for the guest. ``config``: what an Extism plug-in can look up. ``dirs``: directories as
    ``HOST::GUEST`` or ``HOST::GUEST:ro``.
    ``imports``: host functions, each called with one decoded value, answering one that can be encoded.
    ``http``: requests that the host does for the guest, by rules as `wasmrun.httpgrant.HttpRule` has
    them, to public addresses and those in ``http_networks``, with the headers of ``http_secrets`` added.
    """

    env: Setting[tuple[tuple[str, str], ...], Mapping[str, str] | Iterable[str]] = Setting(
        (), _parse_env, "Environment variable for the guest.", "K=V"
    )
    dirs: Setting[tuple[Directory, ...], Iterable[str | Directory]] = Setting(
        (), _parse_dirs, "Directory of the host for the guest; read-only with :ro.", "HOST::GUEST[:ro]"
    )
    config: Setting[tuple[tuple[str, str], ...], Mapping[str, str] | Iterable[str]] = Setting(
        (), _parse_config, "Configuration that an Extism plug-in reads.", "K=V"
    )
    imports: Setting[tuple[tuple[str, HostFunction], ...], Mapping[str, HostFunction]] = Setting(
        (), _parse_imports, "Host functions by name.", "NAME=FUNCTION"
    )
    http: Setting[tuple[HttpRule, ...], Iterable[str | HttpRule]] = Setting(
        (), _parse_http, "HTTP requests that the function may make.", "[METHODS ][SCHEME://]HOST[:PORT]"
    )
    http_networks: Setting[tuple[Network, ...], Iterable[str | Network]] = Setting(
        (), _parse_networks, "Network that HTTP requests may reach although it is not public.", "CIDR"
    )
    http_secrets: Setting[tuple[HttpSecret, ...], Mapping[str, Mapping[str, str]] | Iterable[HttpSecret]] = Setting(
        (), _parse_secrets, "Headers that the host adds to HTTP requests, by rule.", "RULE={HEADER: VALUE}"
    )
    http_requests: Setting[int, int] = count(50, "HTTP requests of one event, redirects included.", most=10_000)
    http_bytes: Setting[int, int | str] = size(
        6 * MIB, "Size of all HTTP requests of one event, and of all responses.", most=1024 * MIB
    )


@dataclass(eq=False, repr=False)
class Function(Limits, Grants):
    """A function: code and configuration. A value, not a callable; an Executor runs it.

    *module* is a path to a ``.wasm`` or ``.wat`` file, the bytes of a module, or WAT text (a str
    that starts with a parenthesis). A file is read when an executor first needs the function.
    ``warm`` sandboxes are kept ready (0: none); at most ``concurrency`` events run at once (None:
    no limit of its own); ``reuse=True`` lets one sandbox take many events, as Lambda's environments do.
    ``snapshot=True`` runs the guest's start-up once, when the function is first loaded, and never again.
    ``raw=True`` passes event and answer as bytes, as they stand.

    Raises `InvalidFunction` for settings that cannot work.
    """

    module: Setting[str | bytes, Module] = Setting(REQUIRED, _parse_module, "Module to run.", "MODULE")
    _: KW_ONLY
    name: Setting[str | None, str | None] = Setting(None, _parse_name, "Name of the function.", "NAME")
    tenant: Setting[str | None, str | None] = Setting(None, _parse_text, "Tenant whose events it serves.", "TENANT")
    version: Setting[str | None, str | None] = Setting(LATEST, _parse_text, "Version of the function.", "VERSION")
    entry: Setting[str | None, str | None] = Setting(None, _parse_text, "Export to call.", "NAME")
    abi: Setting[str | None, str | None] = Setting(None, _parse_abi, "Guest ABI, where looking is not enough.", "ABI")
    args: Setting[tuple[str, ...], Iterable[str]] = Setting((), _parse_args, "Arguments of a command.", "ARG")
    warm: Setting[int, int] = count(1, "Sandboxes kept ready.", most=20_000)
    concurrency: Setting[int | None, int | None] = Setting(
        None, _parse_concurrency, "Events that may run at once.", "N"
    )
    reuse: Setting[bool, bool] = flag("Let one sandbox take many events.")
    snapshot: Setting[bool, bool] = flag("Run the start-up once, and start every sandbox from where it ended.")
    raw: Setting[bool, bool] = flag("Pass event and answer as bytes, as they stand.")

    def __post_init__(self) -> None:
        super().__post_init__()
        values = self.__dict__
        if self.http:
            self._check_http()
        if self.name is None:
            values["name"] = _AutoName(self._default_name())
        # One tuple for equality and a hash computed once: a function is looked up at every event.
        key = tuple(values.values())
        values["_key"] = key
        values["_hash"] = hash(key)

    def _default_name(self) -> str:
        if isinstance(self.module, bytes) or self.is_text:
            return "function"
        stem = os.path.splitext(os.path.basename(str(self.module)))[0]
        return stem if stem.isprintable() and 0 < len(stem) <= 256 else "function"

    def _check_http(self) -> None:
        from wasmrun.httpgrant import check_reach  # loaded by the setting

        try:
            check_reach(self.http, self.http_networks)
        except ValueError as error:
            raise InvalidFunction(f"http: {error}") from None

    @property
    def is_text(self) -> bool:
        """Whether *module* is WAT text rather than a path."""
        return isinstance(self.module, str) and self.module.lstrip().startswith(("(", ";;"))

    @property
    def label(self) -> str:
        """The function's name as text; always set once the value exists."""
        return self.name or "function"

    def __hash__(self) -> int:
        return self.__dict__["_hash"]  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Function) and self.__dict__["_key"] == other.__dict__["_key"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Hashes of text differ from process to process.
        self.__dict__.update(state, _hash=hash(state["_key"]))

    def __repr__(self) -> str:
        changed = [
            f"{name}={self.__dict__[name]!r}"
            for name, item in settings_of(type(self)).items()
            if name not in ("module", "fuel") and self.__dict__[name] != item.default
        ]
        module = f"<{len(self.module)} bytes>" if isinstance(self.module, bytes) or self.is_text else repr(self.module)
        return f"Function({', '.join([module, *changed])})"
