"""Options, made from the settings of a function: spelled once, in the dataclass."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wasmrun.errors import InvalidEvent, InvalidFunction
from wasmrun.function import ABIS, Function, Grants
from wasmrun.jsontext import from_json
from wasmrun.limits import FUEL_PER_SECOND, LEAST_FUEL, Limits
from wasmrun.settings import Setting
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.executor import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])

_FIRST = ("entry", "abi", "raw", "memory", "timeout", "fuel", "env", "dirs")
_FLAGS = {"dirs": "--dir", "args": "ARGS", "module": "MODULE"}
_REPEATED = ("env", "dirs")
_NOT_HERE = ("imports",)

_CONTROLS = re.compile(r"[\x7f-\x9f]")
"""Control characters that JSON leaves as they are."""


def _settings() -> list[tuple[str, Setting[Any, Any]]]:
    names = [item.name for cls in (Limits, Grants) for item in fields(cls)]
    rest = [name for name in names if name not in (*_FIRST, *_NOT_HERE)]
    return [(name, _setting(name)) for name in (*_FIRST, *rest)]


def _default(name: str, setting: Setting[Any, Any]) -> str:
    if name == "fuel":
        shown = f"{FUEL_PER_SECOND:.0e} for a second of timeout, at least {LEAST_FUEL:.0e}"
        return f"  [default: {shown.replace('e+0', 'e').replace('e+', 'e')}]"
    if name in _REPEATED:
        return "  [may be repeated]"
    if not setting.default:
        return ""
    formats: dict[str, Callable[[Any], str]] = {"SIZE": format_size, "TIME": "{:g}s".format}
    shown = formats.get(setting.metavar, str)(setting.default)
    return f"  [default: {shown.replace(' ', '')}]"


def _setting(name: str) -> Setting[Any, Any]:
    for cls in Function.__mro__:
        if name in cls.__dict__:
            setting = cls.__dict__[name]
            if isinstance(setting, Setting):
                return setting
    raise AttributeError(name)


def function_options(command: Command) -> Command:
    """Add the options that describe a function: its limits, its grants, its entry."""
    for name, setting in reversed(_settings()):
        flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
        options: dict[str, Any] = {
            "help": setting.help + _default(name, setting),
            "envvar": "WASMRUN_" + flag[2:].upper().replace("-", "_"),
        }
        if setting.default is False:
            options |= {"is_flag": True, "default": None}
        elif name == "abi":
            options |= {"type": click.Choice(ABIS)}
        else:
            options |= {"metavar": setting.metavar, "multiple": name in _REPEATED}
        command = click.option(flag, name, **options)(command)
    return command


module_argument = click.argument("module", type=click.Path(), metavar="MODULE")

event_option = click.option(
    "--event",
    "-e",
    metavar="JSON|@FILE|-",
    envvar="WASMRUN_EVENT",
    help="The event: JSON text, a file, or standard input. Without it: {}.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, envvar="WASMRUN_JSON", help="Print one JSON object to standard output."
)

cache_option = click.option(
    "--cache-dir",
    type=click.Path(file_okay=False),
    metavar="DIR",
    envvar="WASMRUN_CACHE_DIR",
    help="Directory of compiled modules.  [default: wasmrun in the user's cache directory]",
)


def make_function(module: str, settings: dict[str, Any], **more: Any) -> Function:
    """The function that the command line describes. Raises `click.UsageError` for a setting that cannot be."""
    given = {name: value for name, value in settings.items() if value is not None and value != ()}
    # A file may be called "(1).wasm", which would be taken for a module's text.
    path = os.path.join(".", module) if module.lstrip().startswith(("(", ";;")) else module
    try:
        return Function(path, **given, **more)
    except InvalidFunction as error:
        name, _, reason = error.message.partition(": ")
        raise click.UsageError(f"{_FLAGS.get(name, '--' + name.replace('_', '-'))}: {reason}") from None


def read_event(text: str | None) -> bytes | None:
    """The bytes of an event as the option gave it; None without one. Raises `click.UsageError`."""
    if text is None:
        return None
    if text == "-":
        if sys.stdin is None:
            raise click.UsageError("--event: standard input is closed")
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            with open(text[1:], "rb") as file:
                return file.read()
        except OSError as error:
            raise click.UsageError(f"--event: {text[1:]} cannot be read: {error.strerror}") from None
    return text.encode("utf-8", "surrogateescape")


def parse_event(data: bytes | None) -> Any:
    """The value of an event's JSON. Raises `InvalidEvent`."""
    if data is None:
        return {}
    try:
        return from_json(data)
    except ValueError as error:
        raise InvalidEvent(f"the event is not JSON: {error}") from None


def event_for(loaded: Loaded, data: bytes | None) -> Any:
    """The event as a function takes it: the bytes as they stand where it is raw, else the value of the JSON."""
    if loaded.is_raw:
        return b"" if data is None else data
    return parse_event(data)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print_text(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_text(text: str) -> None:
    """JSON text on standard output, as UTF-8 wherever that goes; what a terminal would obey is escaped."""
    shown = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    click.echo(shown.encode("utf-8", "backslashreplace"))  # a lone surrogate: its escape is the same in JSON
