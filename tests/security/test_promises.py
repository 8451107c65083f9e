"""docs/security.md: each promise has its number, and a test that is there, or is said to be pending."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
ROWS = [[cell.strip() for cell in row] for row in re.findall(r"^\| (\d+) \| (.*) \| (.*) \|$", TEXT, re.MULTILINE)]
PROOF = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def names_in(path: Path) -> set[str]:
    """The names of the tests in a file."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_promises_are_numbered_in_order() -> None:
    """Each number is there once; what is a row of the tables is a promise."""
    numbers = [int(number) for number, _, _ in ROWS]
    assert len(numbers) > 40
    assert numbers == sorted(set(numbers))
    tables = [line for line in TEXT.splitlines() if line.startswith("| ") and ("`tests/" in line or "pending" in line)]
    assert len(tables) == len(ROWS)


@pytest.mark.parametrize(("promise", "proof"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_promise_is_a_sentence_with_a_proof(promise: str, proof: str) -> None:
    """Tests that are there and nothing else, or the word that says that there are none."""
    assert promise.endswith(".")
    if proof == "pending":
        return
    assert PROOF.sub("", proof).strip() == ""
    for file, name in PROOF.findall(proof):
        assert (ROOT / file).exists(), file
        assert names_in(ROOT / file), file
        assert not name or name in names_in(ROOT / file), f"{file}::{name}"


def test_security_tests_prove_promises() -> None:
    """Each test of this directory is the proof of a promise, but for those of the document itself."""
    proofs = set(PROOF.findall(TEXT))
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path != Path(__file__):
            file = str(path.relative_to(ROOT))
            assert {name for name in names_in(path) if (file, name) not in proofs} == set(), file
