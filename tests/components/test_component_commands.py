"""Components at a shell: run, inspect, compile, bench, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lifted import component
from preview2 import wasi_component
from test_component_refusals import binary

HEAD = [sys.executable, "-m", "wasmrun"]


@pytest.fixture
def shell(cache_dir: Path, tmp_path: Path) -> Path:
    """A directory with an echo in it."""
    (tmp_path / "echo.wasm").write_bytes(binary(component()))
    (tmp_path / "cache").symlink_to(cache_dir)
    return tmp_path


def run(shell: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What `wasmrun` *words* prints."""
    command = [*HEAD, *words, "--cache-dir", "cache"]
    return subprocess.run(command, cwd=shell, capture_output=True, text=True, check=False)


def test_run_prints_the_answer(shell: Path) -> None:
    """Integers exactly; bytes as they stand with --raw."""
    done = run(shell, "run", "echo.wasm", "--event", '{"a": 123456789012345678901, "b": 1.50}', "--report", "none")
    assert (done.stdout, done.stderr, done.returncode) == ('{"a": 123456789012345678901, "b": 1.5}\n', "", 0)
    done = run(shell, "run", "echo.wasm", "--raw", "--event", "no json", "--report", "none")
    assert (done.stdout, done.returncode) == ("no json", 0)
    done = run(shell, "run", "echo.wasm", "--raw", "--report", "none")
    assert (done.stdout, done.returncode) == ("", 0)
    done = run(shell, "run", "echo.wasm", "--json")
    assert json.loads(done.stdout)["report"]["abi"] == "component"


def test_compile_fills_the_cache_that_run_uses(shell: Path) -> None:
    """The artifact is the one of the engine for components."""
    done = run(shell, "compile", "echo.wasm", "--json")
    assert done.returncode == 0, done.stderr
    again = run(shell, "compile", "echo.wasm", "--json")
    assert "true" in again.stdout
    done = run(shell, "inspect", "echo.wasm")
    assert "ABI       component: it is a component\nentry     handle\n" in done.stdout
    assert "handle  func(event: string, context: string) -> result<string, string>" in done.stdout


def test_bench_measures_components(shell: Path) -> None:
    """Every kind of start."""
    done = run(shell, "bench", "echo.wasm", "--cold", "5", "--warm", "5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_snapshot_says_why_not(shell: Path) -> None:
    """With the status of a function that cannot be."""
    done = run(shell, "run", "echo.wasm", "--snapshot")
    assert done.returncode == 3
    assert "what its instances hold cannot be read" in done.stderr


@pytest.mark.parametrize(
    "body", ["(call $block (call $after (i64.const -1)))", "(loop $on (br $on))"], ids=["sleeps", "computes"]
)
def test_ctrl_c_ends_a_component(shell: Path, body: str) -> None:
    """With status 130, as soon as it has said that it runs."""
    said = f"(call $print (call $stdout) (i32.const 1024) (i32.const 0) (i32.const 64)) {body} (i32.const 8)"
    (shell / "long.wasm").write_bytes(binary(wasi_component(said)))
    assert run(shell, "compile", "long.wasm").returncode == 0
    command = [*HEAD, "run", "long.wasm", "--timeout", "60s", "--cache-dir", "cache"]
    process = subprocess.Popen(command, cwd=shell, stderr=subprocess.PIPE, text=True)
    try:
        # Its engine ticks when the guest runs; the kernel lists the timer.
        while "signal" not in Path(f"/proc/{process.pid}/timers").read_text():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, said
