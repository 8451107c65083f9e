"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs the C++ compiler of the PyPI package ``ziglang``, nothing else. The same version gives the same bytes again.
"""

from __future__ import annotations

import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent
sys.path.insert(0, str(SDK.parent))

from building import compile_each, main, zig_is_missing  # noqa: E402  # found beside this directory

STACKS = {"vectors": 65536}
"""Bytes of C stack, where not the usual: vectors recurses over its event."""

USUAL_STACK = 16384


def command(source: Path, target: Path) -> list[str]:
    """The compiler's command line for one function. The C++ library is there; of it, the module has what it uses."""
    return [
        *(sys.executable, "-m", "ziglang", "c++", "-target", "wasm32-wasi", "-mexec-model=reactor", "-std=c++20"),
        *("-fno-exceptions", "-fno-rtti", "-Os", "-s", "-Wall", "-Wextra", "-Werror"),
        *("-I", str(SDK), "-I", str(SDK.parent / "c"), f"-Wl,-z,stack-size={STACKS.get(source.stem, USUAL_STACK)}"),
        *(str(source), "-o", str(target)),
    ]


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    return zig_is_missing("C++ compiler")


def build(output: Path | None = None) -> list[Path]:
    """Compiles every source into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    return compile_each((*sorted(SDK.glob("examples/*.cpp")), SDK / "vectors.cpp"), command, output)


if __name__ == "__main__":
    sys.exit(main(build, missing))
