"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs the C++ compiler of the PyPI package ``ziglang``, nothing else. The same version gives the same bytes again.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent

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


def build(output: Path | None = None) -> list[Path]:
    """Compiles every source into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    targets = []
    for source in (*sorted(SDK.glob("examples/*.cpp")), SDK / "vectors.cpp"):
        target = (output or source.parent) / f"{source.stem}.wasm"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command(source, target), check=True)
        target.chmod(0o644)  # the linker marks it executable, and that is for the host to say
        targets.append(target)
    return targets


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    if importlib.util.find_spec("ziglang") is None:
        print(f"the C++ compiler is missing; install it with: {sys.executable} -m pip install ziglang", file=sys.stderr)
        return 1
    try:
        for target in build(*(Path(argument) for argument in arguments)):
            print(f"{target.stat().st_size:7,d} bytes  {target}")
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
