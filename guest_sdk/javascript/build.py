"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs nothing but wasmrun. What engine.wasm is made of, and with, says engine/build.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent

STACK = 512 * 1024
"""What functions have, unless their settings say something else."""


def command(source: Path, target: Path) -> list[str]:
    """The command line for one function; it runs in the source's directory."""
    engine = str(SDK / "engine.wasm")
    return [sys.executable, "-m", "wasmrun.projects.bundle", engine, source.name, str(STACK), str(target)]


def build(output: Path | None = None) -> list[Path]:
    """Builds every function into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    targets = []
    for source in (*sorted(SDK.glob("examples/*.js")), SDK / "vectors.js"):
        target = (output or source.parent).resolve() / f"{source.stem}.wasm"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command(source, target), check=True, cwd=source.parent)
        targets.append(target)
    return targets


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    try:
        for target in build(*(Path(argument) for argument in arguments)):
            print(f"{target.stat().st_size:9,d} bytes  {target}")
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
