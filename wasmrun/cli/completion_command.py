"""``wasmrun completion``: let the shell complete commands, options and file names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from wasmrun.cli.quick import COMPLETION


@click.command(name="completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion script for SHELL: eval "$(wasmrun completion bash)"."""
    from wasmrun.cli.commands import commands

    complete = get_completion_class(shell)
    if complete is None:  # the choice above names what click has
        raise click.UsageError(f"no completion for {shell}")
    click.echo(complete(commands, {}, "wasmrun", COMPLETION).source())
