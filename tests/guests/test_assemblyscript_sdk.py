"""The AssemblyScript SDK: its committed modules are what their sources say, and its example fills in templates."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wasmrun

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "assemblyscript"

EVENTS: dict[str, list[Any]] = {
    "hello": [{"name": ""}, {"name": "Ada", "age": 3}, {"name": 3}, {"name": None}, {}, [], "Ada", None],
    "template": [
        *({"template": text} for text in ("", "a", "{{", "{{#a}}", "{{/a}}", "{{^a}}x{{/a}}", "{{!x}}", 5)),
        *({"template": "{{#a}}{{.}},{{/a}}", "data": {"a": a}} for a in ([1, 2.5, "x"], 5, "", 0, None, {}, [])),
        {},
        5,
    ],
}


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules built by build.py as a user runs it."""
    if problem := runpy.run_path(str(SDK / "build.py"))["missing"]():
        pytest.skip(problem)
    output = tmp_path_factory.mktemp("rebuilt_assemblyscript")
    subprocess.run([sys.executable, str(SDK / "build.py"), str(output)], check=True)
    return output


def outcome(executor: wasmrun.Executor, module: Path, event: Any) -> tuple[Any, ...]:
    result = executor.run(wasmrun.Function(module), event)
    if result.error is None:
        return ("value", result.value)
    return (type(result.error), result.error.type, result.error.message)


@pytest.mark.parametrize("name", EVENTS)
def test_rebuilt_example_answers_like_the_committed_one(executor: wasmrun.Executor, rebuilt: Path, name: str) -> None:
    """Values and errors alike."""
    sample = json.loads((SDK / "examples" / "events" / f"{name}.json").read_text(encoding="utf-8"))
    outcomes = [outcome(executor, rebuilt / f"{name}.wasm", event) for event in [sample, *EVENTS[name]]]
    assert outcomes == [
        outcome(executor, SDK / "examples" / f"{name}.wasm", event) for event in [sample, *EVENTS[name]]
    ]
    assert {kind for kind, *_ in outcomes} == {"value", wasmrun.GuestError}


def test_rebuilt_guest_of_the_vectors_is_the_committed_one(rebuilt: Path) -> None:
    """Byte for byte, so that what passed is what the sources say."""
    assert (rebuilt / "vectors.wasm").read_bytes() == (SDK / "vectors.wasm").read_bytes()


def test_every_example_is_committed() -> None:
    for suffix in ("ts", "wasm"):
        assert {path.stem for path in (SDK / "examples").glob(f"*.{suffix}")} == set(EVENTS)


def test_build_says_how_to_get_the_compiler(tmp_path: Path) -> None:
    """Where nothing is installed, the command to type."""
    build = tmp_path / "build.py"
    build.write_bytes((SDK / "build.py").read_bytes())
    done = subprocess.run([sys.executable, str(build)], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "npm ci" in done.stderr or "nodejs.org" in done.stderr


def test_hello_greets_and_logs(executor: wasmrun.Executor) -> None:
    result = executor.run(wasmrun.Function(SDK / "examples" / "hello.wasm"), {"name": "Ada"})
    assert result.value == {"hello": "Ada"}
    assert [(log.level, log.message) for log in result.logs] == [("info", "greeting somebody")]


def test_throw_is_logged_with_its_place_and_traps(executor: wasmrun.Executor) -> None:
    """Here from a value that was taken for what it is not."""
    granted = {"imports": {"vectors.ask": bool}, "http": "granted.invalid"}
    result = executor.run(wasmrun.Function(SDK / "vectors.wasm", entry="write_logs", **granted), 5)
    assert isinstance(result.error, wasmrun.GuestTrap)
    [log] = result.logs
    assert log.level == "error"
    assert log.message.startswith("the value is an integer, not an array (msgpack.ts:")


# ---- template

FILLED = [
    ("plain", {}, "plain"),
    ("{{a}} {{ a }} {{{a}}} {{&a}} {{& a }}", {"a": '<"&>'}, '&lt;&quot;&amp;&gt; &lt;&quot;&amp;&gt; <"&> <"&> <"&>'),
    ("{{a}}|{{b}}|{{c}}|{{d}}", {"a": -5, "b": 2**64 - 1, "c": 1.5, "d": True}, "-5|18446744073709551615|1.5|true"),
    ("[{{missing}}{{nil}}]", {"nil": None}, "[]"),
    ("{{a.b.c}}{{a.x.c}}{{x.y}}", {"a": {"b": {"c": "deep"}}}, "deep"),
    ("{{#a}}<{{.}}>{{/a}}", {"a": [1, "&", 2.5]}, "<1><&amp;><2.5>"),
    ("{{#a}}{{x}}{{y}};{{/a}}", {"a": [{"x": 1}, {"x": 2, "y": 3}], "y": 9}, "19;23;"),
    ("{{#a}}{{#a}}{{.}}{{/a}}{{/a}}", {"a": {"a": "in"}}, "in"),
    ("{{#a}}yes{{/a}}{{^a}}no{{/a}}", {"a": True}, "yes"),
    *(("{{#a}}yes{{/a}}{{^a}}no{{/a}}", {"a": nothing}, "no") for nothing in (None, False, 0, 0.0, "", [])),
    ("{{^a}}no{{/a}}", {}, "no"),
    ("{{^a}}{{#b}}{{.}}{{/b}}{{/a}}", {"b": [1, 2]}, "12"),
    ("{{#a}}{{#b}}{{x}}{{/b}}{{/a}}z", {"b": {"x": 1}}, "z"),
    ("a{{! a comment }}b", {}, "ab"),
    ("grüße {{😀}}", {"😀": "日本"}, "grüße 日本"),
    ("{{#a}}{{.}}{{/a}}", {"a": list(range(3000))}, "".join(map(str, range(3000)))),
]


@pytest.mark.parametrize(("template", "data", "text"), FILLED, ids=range(len(FILLED)))
def test_template_is_filled_in(executor: wasmrun.Executor, template: str, data: Any, text: str) -> None:
    function = wasmrun.Function(SDK / "examples" / "template.wasm")
    assert executor.invoke(function, {"template": template, "data": data}) == text


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({}, 'InvalidEvent: the event needs a string "template"'),
        ({"template": "a\n{{b"}, "InvalidTemplate: line 2: a tag is not closed"),
        ({"template": "{{{b}}"}, "InvalidTemplate: line 1: a tag is not closed"),
        ({"template": "\n\n{{#a}}\n"}, "InvalidTemplate: line 3: {{#a}} is not closed"),
        ({"template": "\n{{#a}}{{#b}}{{/a}}{{/b}}"}, "InvalidTemplate: line 2: {{/a}} closes nothing"),
        ({"template": "{{/a}}"}, "InvalidTemplate: line 1: {{/a}} closes nothing"),
        ({"template": "{{a}}", "data": {"a": []}}, "InvalidTemplate: line 1: {{a}} is no text and no number"),
        ({"template": "{{#a}}" * 100_000}, "InvalidTemplate: line 1: sections nest too deep"),
    ],
)
def test_template_says_what_is_wrong(executor: wasmrun.Executor, event: Any, message: str) -> None:
    error = executor.run(wasmrun.Function(SDK / "examples" / "template.wasm"), event).error
    assert isinstance(error, wasmrun.GuestError)
    assert f"{error.type}: {error.message}" == message
