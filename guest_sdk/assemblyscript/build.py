"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs Node and what ``npm ci`` installs here. The same version of the compiler gives the same bytes again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent
sys.path.insert(0, str(SDK.parent))

from building import compile_each, main  # noqa: E402  # found beside this directory

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
        *("node", str(COMPILER), str(source.relative_to(SDK)), "-O3", "--runtime", "minimal"),
        *("--use", "abort=wasmrun/abort", "-o", str(target)),
    ]


def build(output: Path | None = None) -> list[Path]:
    """Compiles every source into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    sources = (*sorted(SDK.glob("examples/*.ts")), SDK / "vectors.ts")
    return compile_each(sources, command, output, cwd=lambda _: SDK)


if __name__ == "__main__":
    sys.exit(main(build, missing))
