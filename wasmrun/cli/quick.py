"""The quick parser: reads the usual `wasmrun run`, so that it need not wait until click is loaded.

Loading click takes longer than everything else that a run of a cached function does. What this parser
reads, it reads as click does; whatever else there is, and whatever is wrong, it leaves to click.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from wasmrun.cli.table import RUN, Option
from wasmrun.hints import Any

COMPLETION = "_WASMRUN_COMPLETE"
"""The variable with which a shell asks click to complete a word."""


def parse(args: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of `wasmrun.cli.run.run`; None where click is needed."""
    if not args or args[0] != "run" or COMPLETION in environ or any(option.variable in environ for option in RUN):
        return None
    options = {flag: option for option in RUN for flag in option.flags}
    given: dict[str, Any] = {option.name: option.default for option in RUN}
    positional: list[str] = []
    words = iter(args[1:])
    for word in words:
        if word == "--":
            positional += words
        elif word == "-" or not word.startswith("-"):
            positional.append(word)
        else:
            # Of a short option, "=" is the beginning of the value; written so, it is not among the flags.
            flag, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
            option = options.get(flag)
            if option is None or (option.is_switch and equals):
                return None
            if option.is_switch:
                given[option.name] = True
                continue
            text = value if equals else next(words, None)
            if text is None or not _fits(option, text):
                return None
            given[option.name] = (*given[option.name], text) if option.is_repeated else text
    # Whatever cannot be read is told by click, or by what runs after it.
    if not positional or not _is_readable(positional[0]):
        return None
    return {"module": positional[0], "args": tuple(positional[1:]), **given}


def _is_readable(path: str) -> bool:
    try:
        return os.access(path, os.R_OK)
    except ValueError:  # what no file can be called
        return False


def _fits(option: Option, value: str) -> bool:
    if option.is_directory:
        return os.path.isdir(value) and os.access(value, os.R_OK)
    return option.choices is None or value in option.choices
