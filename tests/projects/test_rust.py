"""Rust where projects share a directory, as with Debian's packages: none gets what was made of another one."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from wasmrun.projects.languages import LANGUAGES
from wasmrun.projects.project import read_project
from wasmrun.projects.rust import TARGET, Toolchain, alone, cook
from wasmrun.projects.scaffold import make_project

OWN = {"release/.fingerprint/my-macros-0a1b2c3d4e5f6071", f"{TARGET}/release/.fingerprint/function-0a1b2c3d4e5f6071"}
OTHERS = {f"{TARGET}/release/.fingerprint/{name}-0a1b2c3d4e5f6071" for name in ("std", "function-kit", "libc")}


@pytest.fixture
def shared(place: Path) -> Path:
    """A directory in which cargo has built."""
    for name in OWN | OTHERS:
        (place / "shared" / name).mkdir(parents=True)
    return place / "shared"


def toolchain(place: Path, shared: Path, *, status: int = 0) -> Toolchain:
    """A cargo that tells of packages, and of nothing else."""
    packages = [{"name": name, "source": None} for name in ("function", "my-macros")]
    told = json.dumps({"packages": [*packages, {"name": "libc", "source": "registry+https://example.com"}]})
    cargo = place / "cargo"
    cargo.write_text(f"#!/bin/sh\n[ \"$1\" = metadata ] && echo '{told}'\nexit {status}\n")
    cargo.chmod(0o755)
    return Toolchain(str(cargo), "1", (), {"CARGO_TARGET_DIR": str(shared)})


def there(shared: Path) -> set[str]:
    """What cargo would take as built."""
    return {str(path.relative_to(shared)) for path in shared.glob("**/.fingerprint/*")}


def test_project_gets_nothing_that_was_made_of_another_one(place: Path, shared: Path) -> None:
    """Its packages' names are those of others; the library, and crates from elsewhere, are built once for all."""
    found = toolchain(place, shared)
    for name in ("one", "two"):
        (place / name).mkdir()
        with alone(found, str(place / name), os.environ):
            assert there(shared) == OTHERS
        for made in OWN:
            (shared / made).mkdir()
        with alone(found, str(place / name), os.environ):
            assert there(shared) == OWN | OTHERS  # its own
    (place / "two").rename(place / "three")
    (place / "one").rename(place / "two")
    with alone(found, str(place / "two"), os.environ):
        assert there(shared) == OTHERS


def test_project_of_which_cargo_tells_nothing_has_all_built_anew(place: Path, shared: Path) -> None:
    """What is wrong with it, the build will tell."""
    with alone(toolchain(place, shared, status=101), str(place), os.environ):
        assert there(shared) == set()


def test_project_is_alone_until_its_module_was_taken(place: Path, shared: Path) -> None:
    """Another build waits."""
    with (shared / "wasmrun.lock").open("w") as lock:
        with alone(toolchain(place, shared), str(place), os.environ), pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_project_with_a_toolchain_that_shares_nothing_is_built_in_itself(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the user's CARGO_TARGET_DIR is: the module would be sought in the one, and made in the other."""
    make_project(str(place / "one"), LANGUAGES["rust"])
    found = Toolchain("cargo", "1", (), {})
    monkeypatch.setattr("wasmrun.projects.rust.find_toolchain", lambda directory, environ: found)
    recipe = cook(read_project(str(place / "one")), "unused", {"CARGO_TARGET_DIR": "/elsewhere"})
    assert recipe.variables["CARGO_TARGET_DIR"] == f"{place}/one/target"
    assert recipe.made == f"{place}/one/target/{TARGET}/release/function.wasm"
    with recipe.alone():
        assert not (place / "one" / "target").exists()
