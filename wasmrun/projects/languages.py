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

    def has_in_sdk(self, path: str) -> bool:
        """Whether a project's file is one of the SDK's, which are nobody's sources."""
        return any(path == own or path.startswith(f"{own}/") for own in self.sdk.values())


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
            "cpp",
            "C++",
            (".cpp", ".cc", ".cxx"),
            {"c/wasmrun.h": "wasmrun.h", "cpp/wasmrun.hpp": "wasmrun.hpp"},
            "pip install 'wasmrun[cpp]'",
            ("sources", "arguments", "stack"),
            has_libc=True,
        ),
        Language(
            "zig",
            "Zig",
            (".zig",),
            {f"zig/{name}.zig": f"sdk/{name}.zig" for name in ("wasmrun", "msgpack", "arena")},
            "pip install 'wasmrun[zig]'",
            ("sources", "arguments", "stack"),
            has_one_source=True,
        ),
        Language(
            "go",
            "Go",
            (".go",),
            {"go": "sdk"},
            "pip install 'wasmrun[go]'",
            ("arguments",),
        ),
        Language(
            "rust",
            "Rust",
            (".rs",),
            {"rust/Cargo.toml": "sdk/Cargo.toml", "rust/src": "sdk/src"},
            "rustup target add wasm32-unknown-unknown",
            ("arguments", "stack"),
        ),
        Language(
            "assemblyscript",
            "AssemblyScript",
            (".ts",),
            {f"assemblyscript/{name}.ts": f"sdk/{name}.ts" for name in ("wasmrun", "msgpack")},
            "npm install",
            ("sources", "arguments"),
            has_one_source=True,
        ),
        Language(
            "javascript",
            "JavaScript",
            (".js", ".mjs"),
            {"javascript/wasmrun.d.ts": "sdk/wasmrun.d.ts"},
            "pip install wasmrun",
            ("sources",),
            has_one_source=True,
        ),
        Language(
            "python",
            "Python",
            ("handler.py",),  # other projects have tests in Python
            {
                **{f"python/{name}.py": f"sdk/{name}.py" for name in ("wasmrun", "component")},
                "wit/wasmrun.wit": "sdk/wasmrun.wit",
            },
            "pip install 'wasmrun[python]'",
            ("arguments",),
        ),
    )
}


def language_of(path: str) -> Language | None:
    """The language that a file is written in, by its name."""
    names = {os.path.splitext(path)[1], os.path.basename(path)}
    return next((language for language in LANGUAGES.values() if not names.isdisjoint(language.endings)), None)
