"""``wasmrun inspect``: what a module is, and whether it could run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from wasmrun.cli.inputs import make_function
from wasmrun.cli.options import (
    Command,
    cache_option,
    function_options,
    json_option,
    manifest_option,
    module_or_manifest,
)
from wasmrun.cli.output import print_json
from wasmrun.errors import InvalidFunction, outcome, printable
from wasmrun.executor import Executor
from wasmrun.machine.inspection import Inspection
from wasmrun.units import format_size

_NAME_COLUMNS = 40
"""Columns for names; longer ones push their own type to the right."""


@click.command(name="inspect", cls=Command)
@module_or_manifest
@manifest_option
@function_options
@json_option
@cache_option
def command(module: str, as_json: bool, cache_dir: str | None, **settings: Any) -> int:
    """Tell the ABI of MODULE and why, its imports and exports, and what it would need granted.

    The exit status is 0 when the function could run with these settings, else that of an invalid function.
    """
    function = make_function(module, settings, warm=0)
    with Executor(threads=1, max_sandboxes=1, cache_dir=cache_dir) as executor:
        inspection = executor.inspect(function)
    if as_json:
        shown = inspection._asdict()
        for part in ("imports", "exports"):
            shown[part] = [{"name": name, "type": type_} for name, type_ in shown[part]]
        print_json(shown)
    else:
        _show(inspection)
    return 0 if inspection.problem is None else outcome(InvalidFunction).exit_status


def _show(found: Inspection) -> None:
    for title, fact in _facts(found):
        click.echo(f"{title:9} {fact}")
    if found.kind not in ("module", "text", "component"):
        return
    for title, items in (("imports", found.imports), ("exports", found.exports)):
        click.echo(f"{title:9} {len(items) or 'none'}")
        shown = [(printable(name, 80), type_) for name, type_ in items]
        width = min(max((len(name) for name, _ in shown), default=0), _NAME_COLUMNS)
        for name, type_ in shown:
            click.echo(f"  {name:{width}}  {type_}")


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    if found.kind not in ("module", "text"):
        yield "file", found.kind
    if found.made_by:
        yield "made by", ", ".join(found.made_by)
    if found.made_for is not None:
        yield "made for", found.made_for
    if found.artifact_bytes == 0:
        yield from _refused(found)
        return
    yield "ABI", f"{found.abi or 'unknown'}{': ' + found.reason if found.reason else ''}"
    if found.problem is None:
        yield "entry", f"{printable(found.entry or '')}{' (raw)' if found.is_raw else ''}"
    else:
        yield "problem", found.problem
    most = found.memory_maximum_bytes
    yield (
        "memory",
        f"{format_size(found.memory_bytes)}, {'no maximum' if most is None else f'at most {format_size(most)}'}",
    )
    functions = f"{found.functions} function{'' if found.functions == 1 else 's'}"
    yield "code", f"{format_size(found.module_bytes)}, {functions}, {format_size(found.artifact_bytes)} compiled"
    start = "runs a start function" if found.has_start else "no start function"
    preview = 2 if found.abi in ("component", "wasi-http") else 1
    yield "start", f"{start}{f', uses WASI preview {preview}' if found.uses_wasi else ''}"
    yield "needs", ", ".join(found.needs) or "no grants"


def _refused(found: Inspection) -> Iterator[tuple[str, str]]:
    """What there is to say of a file that is no module that could be compiled."""
    yield "problem", found.problem or ""
    yield "size", format_size(found.module_bytes)
