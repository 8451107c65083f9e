"""Rust, by cargo: with rustup's target for WebAssembly, or with Debian's packages, which build the library themselves."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wasmrun.projects.project import Project
from wasmrun.projects.recipe import Recipe, ToolchainMissing, identity, program

TARGET = "wasm32-unknown-unknown"

_CRATES = "/usr/share/cargo/registry"
"""Where Debian's packages of crates are."""

_LINKERS = ("wasm-ld", *(f"wasm-ld-{version}" for version in range(25, 13, -1)))


class Toolchain(NamedTuple):
    """A cargo that can build for WebAssembly, what it has to be told for that, and what tells it from another one."""

    cargo: str
    identity: str
    arguments: tuple[str, ...]
    variables: dict[str, str]


def cook(project: Project, target: str, environ: Mapping[str, str]) -> Recipe:
    """A module of the project's one library, with a small stack and for size where its Cargo.toml says so."""
    del target  # cargo's own directory, which it needs again
    found = find_toolchain(project.directory, environ)
    shared = found.variables.get("CARGO_TARGET_DIR")
    own = os.path.abspath(project.directory)
    # Never the user's: where several projects are built, one gets what another one made.
    directory = shared or os.path.join(own, "target")
    command = (found.cargo, "build", "--release", "--lib", "--target", TARGET, *found.arguments, *project.arguments)
    flags = f"{environ.get('RUSTFLAGS', '')} -Clink-arg=-zstack-size={project.stack}".strip()
    made = os.path.join(directory, TARGET, "release", "function.wasm")
    variables = {**found.variables, "CARGO_TARGET_DIR": directory, "RUSTFLAGS": flags}
    return Recipe(found.identity, command, variables, made, alone=functools.partial(alone, found, own, environ))


@contextlib.contextmanager
def alone(found: Toolchain, own: str, environ: Mapping[str, str]) -> Iterator[None]:
    """While in here, what is in a directory that builds share is of the package in *own*, beside what comes from elsewhere.

    cargo knows packages by their names and by where they are in their project, and tells by times whether one has
    changed: so it would take another project's for this one's.
    """
    shared = found.variables.get("CARGO_TARGET_DIR")
    if shared is None:
        yield
        return
    status = os.stat(own)
    whose = f"{own} {status.st_dev} {status.st_ino}"
    os.makedirs(shared, exist_ok=True)
    with open(os.path.join(shared, "wasmrun.lock"), "a+", encoding="utf-8", errors="surrogateescape") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        owner.seek(0)
        if owner.read() != whose:
            _forget(shared, _packages(own, found, environ))
            owner.seek(0)
            owner.truncate()
            owner.write(whose)
            owner.flush()
        yield


def _packages(own: str, found: Toolchain, environ: Mapping[str, str]) -> set[str] | None:
    """The packages whose sources are no crate's from elsewhere; None where cargo does not tell."""
    command = (found.cargo, "metadata", "--format-version", "1", "--filter-platform", TARGET, *found.arguments)
    done = subprocess.run(
        command, cwd=own, env={**environ, **found.variables}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        return None  # which the build will tell
    return {package["name"] for package in json.loads(done.stdout)["packages"] if package["source"] is None}


def _forget(shared: str, packages: set[str] | None) -> None:
    """Have *packages* built anew, of whichever project they were; without them, everything."""
    for place in (os.path.join(shared, "release"), os.path.join(shared, TARGET, "release")):
        for entry in _entries(os.path.join(place, ".fingerprint")):
            if packages is None or entry.name.rpartition("-")[0] in packages:
                shutil.rmtree(entry.path)


def find_toolchain(directory: str, environ: Mapping[str, str]) -> Toolchain:
    """The first cargo, on the search path or the system's, that can build for WebAssembly. Raises `ToolchainMissing`."""
    detail = " (no cargo on the search path)"
    for cargo in dict.fromkeys((program("cargo", environ), "/usr/bin/cargo")):
        if cargo is None or not os.access(cargo, os.X_OK):
            continue
        rustc = os.path.join(os.path.dirname(cargo), "rustc")
        sysroot = _sysroot(rustc, directory, environ)
        if sysroot is None:
            continue
        library = os.path.join(sysroot, "lib", "rustlib")
        name = f"{sysroot} {identity(rustc)}"
        if os.path.isdir(os.path.join(library, TARGET, "lib")):
            return Toolchain(cargo, name, (), {"RUSTC": rustc})
        vendored = os.path.join(library, "src", "rust", "library", "vendor")
        linker = next((found for linker in _LINKERS if (found := program(linker, environ))), None)
        if os.path.isdir(vendored) and linker is not None:
            cache = _cache(environ)
            return Toolchain(cargo, name, _sources(vendored, cache), _debian(rustc, linker, cache))
        detail = f" (the Rust of {sysroot} has no target {TARGET})"
    install = (
        f"rustup target add {TARGET}, or on Debian: "
        "apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19"
    )
    raise ToolchainMissing("Rust for WebAssembly", install, detail)


def _sysroot(rustc: str, directory: str, environ: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            (rustc, "--print", "sysroot"),
            cwd=directory,  # which may say which of rustup's toolchains it is for
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cache(environ: Mapping[str, str]) -> str:
    cache = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME", "/tmp"), ".cache")  # noqa: S108  # as rustc does
    return os.path.join(cache, "wasmrun-cargo")


def _sources(vendored: str, cache: str) -> tuple[str, ...]:
    config = ('source.crates-io.replace-with="system"', f'source.system.directory="{_merged(vendored, cache)}"')
    return ("-Zbuild-std=std,panic_abort", *(word for line in config for word in ("--config", line)))


def _merged(vendored: str, cache: str) -> str:
    """One directory of what the library is built from and of the crates that Debian has packages for.

    cargo takes one directory in the place of crates.io, and these are two.
    """
    crates = {item.name: item.path for item in _entries(_CRATES)} | {
        item.name: item.path for item in _entries(vendored)
    }
    if not _entries(_CRATES):
        return vendored
    digest = hashlib.sha256(repr(sorted(crates.items())).encode()).hexdigest()[:16]
    target = os.path.join(cache, f"sources-{digest}")
    if not os.path.isdir(target):
        made = f"{target}.{os.getpid()}.part"
        os.makedirs(made)
        for name, path in crates.items():
            os.symlink(path, os.path.join(made, name))
        try:
            os.rename(made, target)
        except OSError:  # somebody else was quicker
            shutil.rmtree(made)
    return target


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []


def _debian(rustc: str, linker: str, cache: str) -> dict[str, str]:
    return {
        "RUSTC": rustc,
        "RUSTC_BOOTSTRAP": "1",  # for -Zbuild-std
        "CARGO_NET_OFFLINE": "true",
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": linker,
        # Shared, so that the standard library is built once and not for each project.
        "CARGO_TARGET_DIR": cache,
    }
