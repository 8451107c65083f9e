"""The AssemblyScript SDK's own ways, and its example, which fills in templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wasmrun

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "assemblyscript"


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
