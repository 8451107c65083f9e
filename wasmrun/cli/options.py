"""The table of options as click has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from wasmrun.cli import table
from wasmrun.cli.inputs import Misuse

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Command(click.Command):
    """A command that shows its usage where its function raises `Misuse`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function."""
        try:
            return super().invoke(ctx)
        except Misuse as misuse:
            raise click.UsageError(str(misuse), ctx) from None


class _Lines(click.types.StringParamType):
    """Text; several in a variable are a line each, because anything else can be part of one."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [line for line in rv.split("\n") if line]


def option(spec: table.Option) -> Callable[[Decorated], Decorated]:
    """A row of the table, for click."""
    kind: dict[str, Any] = {}
    if spec.is_switch:
        kind = {"is_flag": True}
    elif spec.is_repeated:
        kind = {"type": _Lines(), "multiple": True}
    elif spec.choices is not None:
        kind = {"type": click.Choice(spec.choices)}
    elif spec.is_directory:
        kind = {"type": click.Path(file_okay=False)}
    return click.option(
        *spec.flags,
        spec.name,
        default=spec.default,
        metavar=spec.metavar,
        envvar=spec.variable,
        help=spec.help,
        **kind,
    )


def options(specs: tuple[table.Option, ...]) -> Callable[[Decorated], Decorated]:
    """Rows of the table, in their order."""

    def decorate(function: Decorated) -> Decorated:
        for spec in reversed(specs):
            function = option(spec)(function)
        return function

    return decorate


module_argument = click.argument("module", type=click.Path(), metavar="MODULE")
module_or_manifest = click.argument("module", type=click.Path(), default="", metavar="MODULE")
manifest_option = option(table.MANIFEST)
function_options = options(table.FUNCTION)
event_option = option(table.EVENT)
json_option = option(table.JSON)
cache_option = option(table.CACHE_DIR)
