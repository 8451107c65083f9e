"""JavaScript, by the engine that comes with wasmrun: there is nothing to install."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from wasmrun.limits import Limits
from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, identity
from wasmrun.projects.sdk import sdk_file

_HERE = os.path.dirname(os.path.abspath(__file__))
_BUNDLER, _EMBEDDING = (os.path.join(_HERE, name) for name in ("bundle.py", "embedding.py"))


def cook(project: Project, target: str, environ: Mapping[str, str]) -> Recipe:
    """A module with the engine and the sources in it, made by a program of our own: `wasmrun.projects.bundle`."""
    del environ
    engine = sdk_file("javascript/engine.wasm")
    (source,) = project.sources
    # The engine has to know where its stack ends.
    stack = str(project.settings.get("stack", Limits().stack))
    toolchain = " ".join((stack, *map(identity, (engine, _BUNDLER, _EMBEDDING))))
    # -P: a project's file may be called like a module of Python's.
    command = (sys.executable, "-P", _BUNDLER, engine, source, stack, target)
    variables = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return Recipe(toolchain, command, variables, name="the bundler")
