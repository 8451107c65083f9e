"""The examples answer alike from a shell, from Python, and from asyncio."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from pathlib import Path


def shown(value: Any) -> Any:
    """*value* as a shell shows it: bytes as base64."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("name", ["words", "thumbnail", "proxy"])
def test_example_answers_alike_from_shell_sync_and_async(
    executor: wasmrun.Executor, examples: Path, tmp_path: Path, name: str
) -> None:
    """On its own sample event."""
    event = examples / "events" / f"{name}.json"
    function = wasmrun.Function(examples / f"{name}.wasm")
    value = executor.invoke(function, json.loads(event.read_text()))

    async def ask() -> Any:
        return await executor.ainvoke(function, json.loads(event.read_text()))

    assert asyncio.run(ask()) == value
    command = [sys.executable, "-m", "wasmrun", "run", examples / f"{name}.wasm", "--event", f"@{event}"]
    done = subprocess.run([*command, "--cache-dir", tmp_path], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == shown(value)
    assert b"Status: success" in done.stderr
