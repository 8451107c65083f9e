"""``wasmrun new``: a project to begin with."""

from __future__ import annotations

import shlex

import click

from wasmrun.cli.inputs import Misuse
from wasmrun.cli.options import Command, option
from wasmrun.cli.table import Option
from wasmrun.projects.languages import LANGUAGES
from wasmrun.projects.scaffold import make_project

_LANGUAGE = Option("language", "--lang", "Language that the function is written in.", choices=tuple(LANGUAGES))


@click.command(name="new", cls=Command)
@click.argument("name", metavar="NAME")
@option(_LANGUAGE)
def command(name: str, language: str | None) -> None:
    """Make a directory NAME with a function in it: a handler, its settings, an event, a test.

    The SDK's files are put there, too, so that it needs nothing that is elsewhere but the language's own tools.
    """
    if language is None:
        raise Misuse(f"--lang: say which language: {', '.join(LANGUAGES)}")
    try:
        files = make_project(name, LANGUAGES[language])
    except ValueError as error:
        raise Misuse(f"NAME: {error}") from None
    for file in files:
        click.echo(f"{name.rstrip('/')}/{file}")
    click.echo(f"next: cd {shlex.quote(name)} && wasmrun dev", err=True)
