"""The command line."""

from __future__ import annotations

import gc
import os
import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with the status that its outcome has."""
    # What is loaded stays until the process ends, which is soon: looking through all of it for garbage,
    # again and again while it loads, would take a twentieth of a run.
    gc.disable()
    status = status_of(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass  # what could not be written was told where it was written
    # The interpreter would take longer to tidy up than a function takes to run, and everything that
    # is left belongs to this process alone.
    os._exit(status)


def status_of(args: list[str]) -> int:
    """Run the command line *args*; the exit status that its outcome has."""
    try:
        # Loaded here, so that Ctrl-C while that takes its time ends as at any other moment.
        from wasmrun.cli.dispatch import dispatch

        return dispatch(args)
    except KeyboardInterrupt:
        _tell_interrupted()
        return INTERRUPTED


def _tell_interrupted() -> None:
    try:
        if sys.stderr is not None:
            # On a line of its own: the terminal has shown ^C on this one.
            print("\nwasmrun: interrupted", file=sys.stderr)
    except OSError:
        pass  # nobody reads it; the exit status still tells
