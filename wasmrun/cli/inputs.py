"""What goes in: the function and the event that a command line describes."""

from __future__ import annotations

import os
import sys

from wasmrun.cli.table import flag_of
from wasmrun.errors import InvalidEvent, InvalidFunction
from wasmrun.function import Function
from wasmrun.hints import Any
from wasmrun.jsontext import from_json
from wasmrun.units import parse_duration


class Ended(Exception):
    """The command ends with *status*, and what there was to say has been said."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


class Misuse(Exception):
    """The command line cannot be followed; the text names the option. click shows it, with the usage."""


def make_function(module: str, settings: dict[str, Any], **more: Any) -> Function:
    """The function that the command line describes. Raises `Misuse` for a setting that cannot be.

    A directory stands for the project in it, which is built where it has to be; *settings* win over the project's.
    """
    manifest = settings.get("manifest")
    if bool(module) == bool(manifest):
        raise Misuse(
            "Missing argument 'MODULE'." if not module else "--manifest: it names the module; leave MODULE out"
        )
    if os.path.isdir(module):
        module, more = _of_project(module, more)
    given = {
        name: value
        for name, value in settings.items()
        # A flag that was not given is False.
        if value not in (None, ()) and value is not False and name != "manifest"
    }
    if manifest:
        return _of_manifest(manifest, {**more, **given})
    # A file may be called "(1).wasm", which would be taken for a module's text.
    path = os.path.join(".", module) if module.lstrip().startswith(("(", ";;")) else module
    try:
        return Function(path, **{**more, **given})
    except InvalidFunction as error:
        name, _, reason = error.message.partition(": ")
        raise Misuse(f"{flag_of(name)}: {reason}") from None


def _of_manifest(path: str, settings: dict[str, Any]) -> Function:
    from wasmrun.manifest import from_manifest  # for the few that have one

    try:
        return from_manifest(path, **settings)
    except InvalidFunction as error:
        name, _, reason = error.message.partition(": ")
        # What is wrong in the file is no misuse of the command.
        raise Misuse(f"{flag_of(name)}: {reason}") if name in settings else error from None


def _of_project(directory: str, more: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The module of a project, and *more* with the project's settings before it. Raises `Ended`."""
    # Loaded for the few who run sources.
    from wasmrun.cli.output import say
    from wasmrun.projects.building import CompilerFailed, build
    from wasmrun.projects.project import read_project

    project = read_project(directory)
    try:
        built = build(project, os.environ)
    except CompilerFailed as failure:
        say(failure)
        raise Ended(failure.status) from None
    return built.module, {**project.settings, **more}


def beside(function: Function, ending: str) -> str:
    """The path of a file beside the module of a *function* that `make_function` made, with another *ending*."""
    return os.path.splitext(str(function.module))[0] + ending


def event_text(text: str | None, module: str) -> str | None:
    """The event as the option gave it, else the one that the project in the directory *module* is tried on."""
    if text is not None or not os.path.isdir(module):
        return text
    from wasmrun.projects.project import read_project  # as above

    path = read_project(module).event_path
    return None if path is None else f"@{path}"


def read_event(text: str | None) -> bytes | None:
    """The bytes of an event as the option gave it; None without one. Raises `Misuse`."""
    if text is None:
        return None
    if text == "-":
        if sys.stdin is None:
            raise Misuse("--event: standard input is closed")
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            with open(text[1:], "rb") as file:
                return file.read()
        except OSError as error:
            raise Misuse(f"--event: {text[1:]} cannot be read: {error.strerror}") from None
    return text.encode("utf-8", "surrogateescape")


def parse_event(data: bytes | None, hint: str = "") -> Any:
    """The value of an event's JSON. Raises `InvalidEvent`, with *hint* behind what is wrong."""
    if data is None:
        return {}
    try:
        return from_json(data)
    except ValueError as error:
        raise InvalidEvent(f"the event is not JSON: {error}{hint}") from None


def parse_time(name: str, text: str, *, most: float, least: float = 0.0) -> float:
    """The seconds that the option --*name* says: above 0, from *least* to *most*. Raises `Misuse`."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise Misuse(f"--{name}: {error}") from None
    if not max(least, 1e-9) <= seconds <= most:
        bounds = f"from {least:g}s to {most:g}s" if least else f"above 0, and at most {most:g}s"
        raise Misuse(f"--{name}: it must be {bounds}")
    return seconds


def event_for(data: bytes | None, *, is_raw: bool) -> Any:
    """The event as a function takes it: the bytes as they stand where it is raw, else the value of the JSON."""
    if is_raw:
        return b"" if data is None else data
    return parse_event(data)
