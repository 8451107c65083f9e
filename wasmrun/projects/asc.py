"""AssemblyScript, by the compiler that ``npm install`` puts into the project."""

from __future__ import annotations

import os
from collections.abc import Mapping

from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, ToolchainMissing, identity, program

_COMPILER = os.path.join("node_modules", "assemblyscript", "bin", "asc.js")
_PACKAGE = os.path.join("node_modules", "assemblyscript", "package.json")


def cook(project: Project, target: str, environ: Mapping[str, str]) -> Recipe:
    """A module whose garbage is collected between events."""
    node = program("node", environ)
    if node is None:
        raise ToolchainMissing("Node", "https://nodejs.org, or your system's packages")
    if not os.path.isfile(os.path.join(project.directory, _COMPILER)):
        where = f"npm install --prefix {project.directory}"
        raise ToolchainMissing("the AssemblyScript compiler", where, " in this project")
    (source,) = project.sources
    options = ("-O3", "--runtime", "minimal", "--use", "abort=sdk/wasmrun/abort", *project.arguments)
    toolchain = f"{identity(node)} {identity(os.path.join(project.directory, _PACKAGE))}"
    return Recipe(toolchain, (node, _COMPILER, os.path.join(".", source), *options, "-o", target), {})
