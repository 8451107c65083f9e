"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default into ``build`` beside this file.

Needs wasmrun, which finds the toolchain: rustup's with the target wasm32-unknown-unknown, or Debian's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wasmrun.projects.recipe import ToolchainMissing
from wasmrun.projects.rust import TARGET, find_toolchain

HERE = Path(__file__).resolve().parent
STACK = 131_072
"""Bytes of stack: a value of any shape is read by recursion, up to 128 levels deep."""


def build(output: Path) -> list[Path]:
    """Builds every example into *output*. Raises `subprocess.CalledProcessError` and `ToolchainMissing`."""
    found = find_toolchain(str(HERE), os.environ)
    output.mkdir(parents=True, exist_ok=True)
    targets = []
    with tempfile.TemporaryDirectory() as place:
        made = Path(found.variables.get("CARGO_TARGET_DIR", place))
        settings = {"CARGO_TARGET_DIR": str(made), "RUSTFLAGS": f"-Clink-arg=-zstack-size={STACK}"}
        copy = Path(place) / "rust"  # cargo writes a lock file beside what it builds
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("build", "target"))
        for names in (["--example", "hello", "--example", "route", "--example", "vectors"], ["--example", "tiny"]):
            features = ["--features", "standalone"] if "tiny" in names else []
            arguments = ["build", "--quiet", "--release", "--target", TARGET, *found.arguments, *names, *features]
            environ = {**os.environ, **found.variables, **settings}
            subprocess.run([found.cargo, *arguments], check=True, cwd=copy / "examples", env=environ)
            for name in names[1::2]:
                target = output / f"{name}.wasm"
                shutil.copyfile(made / TARGET / "release" / "examples" / f"{name}.wasm", target)
                targets.append(target)
    return targets


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    try:
        for target in build(Path(arguments[0]) if arguments else HERE / "build"):
            print(f"{target.stat().st_size:7,d} bytes  {target}")
    except ToolchainMissing as missing:
        print(missing.message, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
