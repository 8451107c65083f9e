"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs the Zig compiler of the PyPI package ``ziglang``, nothing else. The same version gives the same bytes again.
"""

from __future__ import annotations

import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent
sys.path.insert(0, str(SDK.parent))

from building import compile_each, main, zig_is_missing  # noqa: E402  # found beside this directory

STACKS = {"hello": 16384}
"""Bytes of stack, where not the usual: a value of any shape is read by recursion, up to 128 levels deep."""

USUAL_STACK = 65536


def command(source: Path, target: Path) -> list[str]:
    """The compiler's command line for one function. The module imports nothing but what it calls."""
    return [
        *(sys.executable, "-m", "ziglang", "build-exe", "-target", "wasm32-freestanding", "-OReleaseSmall", "-fstrip"),
        *("-fno-entry", "-rdynamic", "--stack", str(STACKS.get(source.stem, USUAL_STACK))),
        *("--dep", "wasmrun", f"-Mroot={source}", f"-Mwasmrun={SDK / 'wasmrun.zig'}", f"-femit-bin={target}"),
    ]


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    return zig_is_missing("Zig compiler")


def build(output: Path | None = None) -> list[Path]:
    """Compiles every source into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    return compile_each((*sorted(SDK.glob("examples/*.zig")), SDK / "vectors.zig"), command, output)


if __name__ == "__main__":
    sys.exit(main(build, missing))
