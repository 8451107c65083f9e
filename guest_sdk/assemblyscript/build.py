"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs Node and what ``npm ci`` installs here. The same version of the compiler gives the same bytes again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent

COMPILER = SDK / "node_modules" / "assemblyscript" / "bin" / "asc.js"


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    if shutil.which("node") is None:
        return "Node is missing; install it from https://nodejs.org or with your system's packages"
    if not COMPILER.exists():
        return f"the AssemblyScript compiler is missing; install it with: npm ci --prefix {SDK}"
    return None


def command(source: Path, target: Path) -> list[str]:
    """The compiler's command line for one function; it runs in this directory. The module imports nothing but what it calls."""
    return [
        *("node", str(COMPILER), str(source), "-O3", "--runtime", "minimal"),
        *("--use", "abort=wasmrun/abort", "-o", str(target)),
    ]


def build(output: Path | None = None) -> list[Path]:
    """Compiles every source into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    targets = []
    for source in (*sorted(SDK.glob("examples/*.ts")), SDK / "vectors.ts"):
        target = (output or source.parent).resolve() / f"{source.stem}.wasm"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command(source.relative_to(SDK), target), check=True, cwd=SDK)
        targets.append(target)
    return targets


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    problem = missing()
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    try:
        for target in build(*(Path(argument) for argument in arguments)):
            print(f"{target.stat().st_size:7,d} bytes  {target}")
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
