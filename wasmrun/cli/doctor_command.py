"""``wasmrun doctor``: what this machine offers to run functions behind, and what to do where it does not."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import NamedTuple

import click

from wasmrun import __version__
from wasmrun.cli.options import cache_option, json_option
from wasmrun.cli.output import print_json
from wasmrun.errors import HostError, printable
from wasmrun.hardening.trial import probe
from wasmrun.machine.artifacts import ArtifactCache, CacheUnusable, default_directory


class _Engine(NamedTuple):
    """What the engine is, and how many sandboxes there is address space for; or why there is none."""

    engine: str | None
    engine_problem: str | None
    max_sandboxes: int
    hotpath: str | None
    hotpath_problem: str | None


@click.command(name="doctor")
@json_option
@cache_option
def command(as_json: bool, cache_dir: str | None) -> None:
    """Tell which walls a worker process can put up here, and what the others need.

    They are put up around a child that does nothing else. Also told are the versions, the cache, and how
    many sandboxes the address space has room for.
    """
    engine = _engine()
    directory = cache_dir or default_directory(os.environ, os.path.expanduser("~"))
    cache_problem = _cache_problem(directory)
    python = platform.python_version()
    walls = probe()
    if as_json:
        cache = {"cache": directory, "cache_problem": cache_problem}
        versions = {"wasmrun": __version__, "python": python, **engine._asdict()}
        print_json({**versions, **cache, "walls": [wall._asdict() for wall in walls]})
        return
    _line("wasmrun", __version__)
    _line("python", python)
    _line("engine", engine.engine, engine.engine_problem)
    _line("sandboxes", f"at most {engine.max_sandboxes} in one process")
    _line("hot path", engine.hotpath, engine.hotpath_problem)
    _line("cache", directory, cache_problem)
    for wall in walls:
        _line(wall.name, wall.detail, None if wall.is_up else wall.detail)
        if wall.remedy:
            _line("", f"what to do: {wall.remedy}")


def _engine() -> _Engine:
    try:
        # Here, because it is one of the questions whether that can be imported.
        from wasmrun.machine import capi
        from wasmrun.machine.engine import MOST_SLOTS, probe_address_space
    except HostError as error:
        return _Engine(None, error.message, 0, None, None)
    package = os.path.basename(os.path.dirname(os.path.dirname(capi.LIBRARY_PATH)))
    none, most = 0, MOST_SLOTS
    while none < most:
        middle = (none + most + 1) // 2
        try:
            probe_address_space(middle)
        except HostError:
            most = middle - 1
        else:
            none = middle
    return _Engine(f"{package} {metadata.version(package)}", None, most, *_hotpath())


def _hotpath() -> tuple[str | None, str | None]:
    from wasmrun.machine.hotpath import check_kind, choose  # as above

    try:
        return choose(check_kind(os.environ)), None
    except HostError as error:
        return None, error.message


def _cache_problem(directory: str) -> str | None:
    try:
        ArtifactCache(directory)
    except CacheUnusable as error:
        return str(error)
    return None


def _line(title: str, fact: str | None, problem: str | None = None) -> None:
    click.echo(f"{title:14} {printable(f'missing: {problem}' if problem else fact or '', 400)}")
