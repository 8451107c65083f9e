"""Environments: one for each rival, with what its `requirements.txt` pins, made where they are needed.

Kept in `wasmrun-benchmarks` in the user's cache directory; nothing is installed twice.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from benchmarks.fetched import directory, run

HERE = Path(__file__).parent


def requirements(name: str) -> Path:
    """What a rival needs; a rival of the standard library alone has no such file."""
    return HERE / name / "requirements.txt"


def pinned(name: str) -> list[str]:
    """The lines of a rival's requirements that name a package."""
    file = requirements(name)
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def interpreter(name: str) -> Path | str:
    """The Python of a rival's environment, made if need be; where it cannot be made, why not."""
    if not pinned(name):
        return Path(sys.executable)
    # Another Python, and other pins, make another environment.
    digest = hashlib.sha256(f"{sys.version}\n{sys.base_prefix}\n{pinned(name)}".encode()).hexdigest()
    place = directory() / f"{name}-{digest[:16]}"
    python, complete = place / "bin" / "python", place / "complete"
    if complete.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    failed = run([sys.executable, "-m", "venv", str(place)]) or run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--only-binary", ":all:", "--requirement", str(requirements(name))]
    )  # fmt: skip
    if failed:
        shutil.rmtree(place, ignore_errors=True)
        return f"pip cannot install {', '.join(pinned(name))}: {failed}"
    complete.touch()
    return python
