"""The committed modules of SDKs with a build.py and two examples are what their sources say (test_examples_rebuild.py: C)."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wasmrun

SDKS = Path(__file__).resolve().parents[2] / "guest_sdk"

SUFFIXES = {"assemblyscript": "ts", "cpp": "cpp", "zig": "zig"}

EVENTS: dict[str, list[Any]] = {
    "hello": [{"name": ""}, {"name": "Ada", "age": 3}, {"name": 3}, {"name": None}, {}, [], "Ada", None],
    "nearest": [
        *({"query": "a", "words": words} for words in ([], ["b", "a"], ["", "ä", "aa"], [5], 5)),
        *({"query": "a", "words": ["a", "b"], "top": top} for top in (0, 1, 9, -1, 2**40, "x")),
        {},
        5,
    ],
    "table": [
        *({"csv": table} for table in ("", "\n", "a", "a,b\n1", 'a\n"', 'a\n"x"y', "a\n1\nx\n", "a\n\n-inf\n")),
        *({"csv": "a;b\n1;2", "delimiter": delimiter} for delimiter in (";", ",", "", "ab", 5, None)),
        {},
        5,
    ],
    "template": [
        *({"template": text} for text in ("", "a", "{{", "{{#a}}", "{{/a}}", "{{^a}}x{{/a}}", "{{!x}}", 5)),
        *({"template": "{{#a}}{{.}},{{/a}}", "data": {"a": a}} for a in ([1, 2.5, "x"], 5, "", 0, None, {}, [])),
        {},
        5,
    ],
}

EXAMPLES = [("assemblyscript", "template"), ("cpp", "nearest"), ("zig", "table"), *((one, "hello") for one in SUFFIXES)]


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The modules of a language, built by its build.py as a user runs it, once."""
    outputs: dict[str, Path] = {}

    def build(language: str) -> Path:
        script = SDKS / language / "build.py"
        missing = runpy.run_path(str(script)).get("missing")
        if missing is not None and (problem := missing()):
            pytest.skip(problem)
        if language not in outputs:
            output = tmp_path_factory.mktemp(f"rebuilt_{language}")
            subprocess.run([sys.executable, str(script), str(output)], check=True)
            outputs[language] = output
        return outputs[language]

    return build


def outcome(executor: wasmrun.Executor, module: Path, event: Any) -> tuple[Any, ...]:
    result = executor.run(wasmrun.Function(module), event)
    if result.error is None:
        return ("value", result.value)
    return (type(result.error), result.error.type, result.error.message)


@pytest.mark.parametrize(("language", "name"), EXAMPLES)
def test_rebuilt_example_answers_like_the_committed_one(
    executor: wasmrun.Executor, rebuilt: Any, language: str, name: str
) -> None:
    """Values and errors alike."""
    examples = SDKS / language / "examples"
    sample = json.loads((examples / "events" / f"{name}.json").read_text(encoding="utf-8"))
    outcomes = [outcome(executor, rebuilt(language) / f"{name}.wasm", event) for event in [sample, *EVENTS[name]]]
    assert outcomes == [outcome(executor, examples / f"{name}.wasm", event) for event in [sample, *EVENTS[name]]]
    assert {kind for kind, *_ in outcomes} == {"value", wasmrun.GuestError}


@pytest.mark.parametrize("language", SUFFIXES)
def test_rebuilt_guest_of_the_vectors_is_the_committed_one(rebuilt: Any, language: str) -> None:
    """Byte for byte, so that what passed is what the sources say."""
    assert (rebuilt(language) / "vectors.wasm").read_bytes() == (SDKS / language / "vectors.wasm").read_bytes()


@pytest.mark.parametrize("language", SUFFIXES)
def test_every_example_is_committed(language: str) -> None:
    """Sources, modules and this file name the same ones."""
    for suffix in (SUFFIXES[language], "wasm"):
        found = {path.stem for path in (SDKS / language / "examples").glob(f"*.{suffix}")}
        assert found == {name for one, name in EXAMPLES if one == language}


@pytest.mark.parametrize("language", SUFFIXES)
def test_build_says_how_to_get_the_compiler(tmp_path: Path, language: str) -> None:
    """Where nothing is installed, the command to type; and what is not a directory name is a usage error."""
    (tmp_path / "building.py").write_bytes((SDKS / "building.py").read_bytes())
    build = tmp_path / language / "build.py"
    build.parent.mkdir()
    build.write_bytes((SDKS / language / "build.py").read_bytes())
    done = subprocess.run([sys.executable, "-I", "-S", str(build)], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "install" in done.stderr
    done = subprocess.run([sys.executable, str(build), "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr


@pytest.mark.parametrize("language", SUFFIXES)
def test_hello_greets_and_logs(executor: wasmrun.Executor, language: str) -> None:
    """As in C."""
    result = executor.run(wasmrun.Function(SDKS / language / "examples" / "hello.wasm"), {"name": "Ada"})
    assert result.value == {"hello": "Ada"}
    assert [(log.level, log.message) for log in result.logs] == [("info", "greeting somebody")]
