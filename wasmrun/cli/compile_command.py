"""``wasmrun compile``: fill the cache ahead of time."""

from __future__ import annotations

import time
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
from wasmrun.executor import Executor
from wasmrun.units import format_duration, format_size


@click.command(name="compile", cls=Command)
@module_or_manifest
@manifest_option
@function_options
@json_option
@cache_option
def command(module: str, as_json: bool, cache_dir: str | None, **settings: Any) -> None:
    """Compile MODULE into the cache, so that its first run does not have to.

    Of the options, only --stack and whether --fuel is 'none' change the compiled code.
    """
    function = make_function(module, settings, warm=0)
    with Executor(threads=1, max_sandboxes=1, cache_dir=cache_dir) as executor:
        started = time.perf_counter()
        compiled = executor.compile(function)
        seconds = time.perf_counter() - started
    if as_json:
        print_json({**compiled._asdict(), "seconds": seconds})
    else:
        what = "was in the cache" if compiled.was_cached else f"compiled in {format_duration(seconds)}"
        click.echo(f"{compiled.key[:16]}  {format_size(compiled.artifact_bytes)}, {what}")
