"""The modules that these tests run: the committed examples, the same built anew, and a probe of the SDK."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "guest_sdk" / "c"


@pytest.fixture(scope="session")
def examples() -> Path:
    """Where the committed examples and their modules are."""
    return SDK / "examples"


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples built by build.py as a user runs it."""
    output = tmp_path_factory.mktemp("rebuilt")
    subprocess.run([sys.executable, str(SDK / "build.py"), str(output)], check=True)
    return output


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles C the way build.py does, warnings being errors: the source, then more arguments for the compiler."""
    command = runpy.run_path(str(SDK / "build.py"))["command"]

    def compile_one(source: Path, *more: str) -> Path:
        target = tmp_path_factory.mktemp("compiled") / f"{source.stem}.wasm"
        subprocess.run([*command(source, target), "-I", str(SDK), *more], check=True)
        return target

    return compile_one


@pytest.fixture(scope="session")
def probe(compile_c: Callable[..., Path]) -> bytes:
    """The module of probe.c."""
    return compile_c(Path(__file__).with_name("probe.c")).read_bytes()


@pytest.fixture(scope="session")
def built_sdk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the directory of an SDK's modules: the committed ones, else what its build.py makes, once."""
    made: dict[str, Path] = {}

    def build(language: str) -> Path:
        sdk = ROOT / "guest_sdk" / language
        if (sdk / "vectors.wasm").exists():
            return sdk
        if language not in made:
            output = tmp_path_factory.mktemp(f"sdk_{language}")
            done = subprocess.run([sys.executable, sdk / "build.py", output], check=False, timeout=600)
            if done.returncode == 1 and not list(output.iterdir()):
                pytest.skip(f"the toolchain of {language} is missing; guest_sdk/{language}/build.py says how to get it")
            assert done.returncode == 0
            made[language] = output
        return made[language]

    return build


@pytest.fixture(scope="session")
def executor(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """One executor for all guests of these tests."""
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        yield executor
