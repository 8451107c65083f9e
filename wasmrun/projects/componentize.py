"""Python, by componentize-py: an interpreter, the project's modules imported into it, and the SDK, as one component."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Mapping

from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, ToolchainMissing, program

WORLD = "project:function/handler"
"""The world in a project's ``function.wit``."""

_WIT = ("-d", "sdk/wasmrun.wit", "-d", "function.wit", "-w", WORLD)

_PATHS = ("-p", ".", "-p", "sdk")
"""Where modules are looked for; after these, among the packages of the environment that componentize-py runs in."""


def cook(project: Project, target: str, environ: Mapping[str, str]) -> Recipe:
    """A component of ``handler.py``; the compiler's own stack stays untold, unless the user wants it."""
    path, version = _componentize(project, environ)
    command = (path, "-q", *_WIT, "componentize", *_PATHS, *project.arguments, "component", "-o", target)
    return Recipe(f"{path} {version}", command, {} if "RUST_BACKTRACE" in environ else {"RUST_BACKTRACE": "0"})


def _componentize(project: Project, environ: Mapping[str, str]) -> tuple[str, str]:
    own = os.path.join(sysconfig.get_path("scripts"), "componentize-py")
    path = own if os.access(own, os.X_OK) else program("componentize-py", environ)
    if path is None:
        raise ToolchainMissing(
            "componentize-py", project.language.install, " (not in this Python, nor on the search path)"
        )
    done = subprocess.run(
        (path, "--version"), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=dict(environ)
    )
    return path, done.stdout.strip()
