"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs nothing but wasmrun. What engine.wasm is made of, and with, says engine/build.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent
sys.path.insert(0, str(SDK.parent))

from building import compile_each, main  # noqa: E402  # found beside this directory

STACK = 512 * 1024
"""What functions have, unless their settings say something else."""


def command(source: Path, target: Path) -> list[str]:
    """The command line for one function; it runs in the source's directory."""
    engine = str(SDK / "engine.wasm")
    return [sys.executable, "-m", "wasmrun.projects.bundle", engine, source.name, str(STACK), str(target)]


def build(output: Path | None = None) -> list[Path]:
    """Builds every function into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    sources = (*sorted(SDK.glob("examples/*.js")), SDK / "vectors.js")
    return compile_each(sources, command, output, cwd=lambda source: source.parent)


if __name__ == "__main__":
    sys.exit(main(build))
