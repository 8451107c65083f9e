"""Builds the compiled hot path where a C compiler is; without one the package is whole as well, and slower."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_DIRECTORY = "wasmrun/machine/hotpath"
_SOURCES = tuple(f"{_DIRECTORY}/{name}.c" for name in ("crossings", "entries", "express", "notebook"))
_MODULE = f"{_DIRECTORY}/_crossings.abi3.so"
_FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden")


class CompileCrossings(BuildHookInterface):
    """``WASMRUN_HOTPATH=ctypes`` leaves it out; with ``compiled`` an installation without it fails."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile it, and make it a part of the wheel; of the tree where the wheel only points there."""
        wanted = os.environ.get("WASMRUN_HOTPATH", "")
        if self.target_name != "wheel":
            return
        # What is installed from a tree that is worked on is not what that tree itself runs.
        is_editable = version == "editable"
        module = Path(self.root if is_editable else tempfile.mkdtemp(prefix="wasmrun-build-"), _MODULE)
        module.unlink(missing_ok=True)
        module.parent.mkdir(parents=True, exist_ok=True)
        if wanted == "ctypes" or sys.platform != "linux":
            return
        problem = self._compile(module)
        if problem:
            if wanted == "compiled":
                raise RuntimeError(f"the compiled hot path cannot be built: {problem}")
            self.app.display_warning(f"wasmrun is built without its compiled hot path: {problem}")
            return
        if not is_editable:
            build_data["force_include"][str(module)] = _MODULE
        build_data["pure_python"] = False
        # One for every Python from 3.11 on: it uses the stable ABI alone.
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _compile(self, module: Path) -> str:
        """Compile; what kept it from being done, or nothing."""
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        command = [*compiler, *_FLAGS, f"-I{sysconfig.get_path('include')}", *_SOURCES, "-o", str(module)]
        try:
            done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=300, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if done.returncode == 0 else f"{shlex.join(command)}\n{done.stderr.strip()[-2000:]}"
