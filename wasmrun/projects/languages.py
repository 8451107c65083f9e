"""The languages that projects are written in: their files, their SDKs, and where their toolchains come from."""

from __future__ import annotations

import os
from typing import NamedTuple


class Language(NamedTuple):
    """A language: what its files are called, which of wasmrun's SDK files go into a project, how its tools are had.

    *sdk* maps files below ``guest_sdk/`` to paths in a project; *build_keys* are the keys of ``[build]`` that mean
    something for it.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    sdk: dict[str, str]
    install: str
    build_keys: tuple[str, ...]
    has_one_source: bool = False
    has_libc: bool = False

    @property
    def sdk_names(self) -> frozenset[str]:
        """The names of the SDK's files, which are nobody's sources."""
        return frozenset(os.path.basename(path) for path in self.sdk.values())


LANGUAGES = {
    language.name: language
    for language in (
        Language(
            "c",
            "C",
            (".c",),
            {"c/wasmrun.h": "wasmrun.h"},
            "pip install 'wasmrun[c]'",
            ("sources", "arguments", "stack", "libc"),
        ),
        Language(
            "go",
            "Go",
            (".go",),
            {"go": "sdk"},
            "pip install 'wasmrun[go]'",
            ("arguments",),
        ),
    )
}


def language_of(path: str) -> Language | None:
    """The language that a file is written in, by its name."""
    ending = os.path.splitext(path)[1]
    return next((language for language in LANGUAGES.values() if ending in language.endings), None)
