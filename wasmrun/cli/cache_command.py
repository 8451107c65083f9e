"""``wasmrun cache``: what the cache of compiled modules holds."""

from __future__ import annotations

import os
import time

import click

from wasmrun.cli.options import cache_option, json_option
from wasmrun.cli.output import print_json
from wasmrun.errors import HostError, printable
from wasmrun.machine.artifacts import ArtifactCache, CacheUnusable, default_directory
from wasmrun.units import format_size


@click.group(name="cache")
def command() -> None:
    """Look at the cache of compiled modules, or clear it."""


@command.command(name="list")
@json_option
@cache_option
def list_(as_json: bool, cache_dir: str | None) -> None:
    """List compiled modules.

    A line each: the key's beginning, size, time, and the function that it was first made for.
    """
    cache = _open(cache_dir)
    entries = list(cache.entries())
    if as_json:
        print_json({"directory": cache.directory, "artifacts": [entry._asdict() for entry in entries]})
        return
    for entry in entries:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created))
        click.echo(f"{entry.key[:16]}  {format_size(entry.artifact_bytes):>9}  {when}  {printable(entry.name, 60)}")
    total = format_size(sum(entry.artifact_bytes for entry in entries))
    click.echo(f"{_modules(len(entries))}, {total}, in {cache.directory}", err=True)


@command.command()
@json_option
@cache_option
def clear(as_json: bool, cache_dir: str | None) -> None:
    """Remove every compiled module.

    Each is compiled again when it is next needed.
    """
    cache = _open(cache_dir)
    count, size = cache.clear()
    if as_json:
        print_json({"directory": cache.directory, "removed": count, "bytes": size})
    else:
        click.echo(f"removed {_modules(count)}, {format_size(size)}, from {cache.directory}", err=True)


def _modules(count: int) -> str:
    return f"{count} compiled module{'' if count == 1 else 's'}"


def _open(cache_dir: str | None) -> ArtifactCache:
    directory = cache_dir or default_directory(os.environ, os.path.expanduser("~"))
    try:
        return ArtifactCache(directory)
    except CacheUnusable as error:
        raise HostError(str(error)) from None
