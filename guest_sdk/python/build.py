"""Builds the examples: ``python build.py [OUTPUT_DIR]``, by default into ``build`` beside this file.

Needs componentize-py, from PyPI, and nothing from the network.
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

NAMES = ("hello", "report", "vectors")
WORLD = "project:function/handler"


def find_componentize() -> str | None:
    """The componentize-py of this Python, else the one of the search path."""
    own = Path(sysconfig.get_path("scripts")) / "componentize-py"
    return str(own) if own.exists() else shutil.which("componentize-py")


def command(source: Path, target: Path) -> list[str]:
    """The command that makes a component of the directory *source*, run where this file is."""
    own = source / "function.wit"
    wit = ["-d", "../wit/wasmrun.wit", "-d", str(own if own.exists() else HERE / "function.wit"), "-w", WORLD]
    paths = ["-p", str(source), "-p", str(HERE)]
    return [
        find_componentize() or "componentize-py",
        "-q",
        *wit,
        "componentize",
        *paths,
        "component",
        "-o",
        str(target),
    ]


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    if find_componentize() is not None:
        return None
    return f"componentize-py is missing; install it with: {sys.executable} -m pip install componentize-py"


def build(output: Path | None = None) -> list[Path]:
    """Builds every example into *output* and gives the components' paths. Raises `subprocess.CalledProcessError`."""
    output = output or HERE / "build"
    output.mkdir(parents=True, exist_ok=True)
    targets = []
    for name in NAMES:
        target = output.resolve() / f"{name}.wasm"
        environ = {"RUST_BACKTRACE": "0", **os.environ}
        subprocess.run(command(HERE / "examples" / name, target), check=True, cwd=HERE, env=environ)
        targets.append(target)
    return targets


if __name__ == "__main__":
    sys.exit(main(build, missing))
