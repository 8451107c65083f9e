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
from wasmrun.projects.rust import TARGET, alone, find_toolchain

HERE = Path(__file__).resolve().parent
SERDE = "apt-get install --no-install-recommends librust-serde+serde-derive-dev, or a rustup that reaches crates.io"
"""How to get what the typed example needs besides."""

STACK = 131_072
"""Bytes of stack: a value of any shape is read by recursion, up to 128 levels deep."""


class SerdeMissing(Exception):
    """cargo has no serde to build with."""


def build_typed(output: Path) -> list[Path]:
    """Builds the example that needs serde, and what tests it. Raises as `build` does, and `SerdeMissing`."""
    found = find_toolchain(str(HERE), os.environ)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        made = Path(found.variables.get("CARGO_TARGET_DIR", place))
        settings = {"CARGO_TARGET_DIR": str(made), "RUSTFLAGS": f"-Clink-arg=-zstack-size={STACK}"}
        copy = Path(place) / "rust"
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("build", "target"))
        command = [
            found.cargo,
            "build",
            "--quiet",
            "--release",
            "--target",
            TARGET,
            *found.arguments,
            "--lib",
            "--example",
            "probe",
        ]
        environ = {**os.environ, **found.variables, **settings}
        typed = copy / "examples" / "typed"
        with alone(found, str(typed), environ):
            done = subprocess.run(command, cwd=typed, env=environ, stderr=subprocess.PIPE, text=True, check=False)
            targets = _taken(made, output, "typed", "examples/probe") if not done.returncode else []
        if done.returncode:
            if any(
                words in done.stderr
                for words in ("no matching package named `serde`", "failed to download", "failed to get `serde`")
            ):
                raise SerdeMissing
            print(done.stderr, end="", file=sys.stderr)
            raise subprocess.CalledProcessError(done.returncode, command)
    return targets


def _taken(made: Path, output: Path, *names: str) -> list[Path]:
    """Modules that cargo has made, copied into *output*."""
    return [
        Path(shutil.copyfile(made / TARGET / "release" / f"{name}.wasm", output / f"{Path(name).name}.wasm"))
        for name in names
    ]


def build(output: Path) -> list[Path]:
    """Builds every other example into *output*. Raises `subprocess.CalledProcessError` and `ToolchainMissing`."""
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
            with alone(found, str(copy), environ):
                subprocess.run([found.cargo, *arguments], check=True, cwd=copy / "examples", env=environ)
                targets += _taken(made, output, *(f"examples/{name}" for name in names[1::2]))
    return targets


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    output = Path(arguments[0]) if arguments else HERE / "build"
    try:
        for builder in (build, build_typed):
            for target in builder(output):
                print(f"{target.stat().st_size:7,d} bytes  {target}")
    except SerdeMissing:
        print(f"the typed example was left out: there is no serde; {SERDE}", file=sys.stderr)
    except ToolchainMissing as missing:
        print(missing.message, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
