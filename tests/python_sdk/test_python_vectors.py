"""Python passes the vectors, as far as JSON carries them: bytes are base64 text on the way, NaN and infinities are refused."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from conftest import Call

Make = Callable[..., wasmrun.Function]

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "guest_sdk" / "vectors" / "vectors.json").read_text(encoding="utf-8")
)


def data(parts: str | list[Any]) -> bytes:
    if isinstance(parts, list):
        parts = "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)
    return bytes.fromhex(parts)


def carried(value: Any) -> Any:
    """*value* as JSON carries it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [carried(item) for item in value]
        case dict():
            return {key: carried(item) for key, item in value.items()}
    return value


def shown(value: Any) -> str:
    """*value* as guest_sdk/vectors/README.md has `show_event` show it."""
    match value:
        case None | bool():
            return json.dumps(value)
        case float():
            return "0x" + struct.pack(">d", value).hex()
        case str():
            escaped = re.sub(r'["\\\0-\x1f]', lambda c: f"\\u{ord(c[0]):04x}" if c[0] < " " else f"\\{c[0]}", value)
            return f'"{escaped}"'
        case list():
            return f"[{','.join(map(shown, value))}]"
        case dict():
            return f"{{{','.join(f'{shown(key)}:{shown(value[key])}' for key in sorted(value, key=str.encode))}}}"
    return str(value)


def has_no_json(value: Any) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case list():
            return any(map(has_no_json, value))
        case dict():
            return any(map(has_no_json, value.values()))
    return False


VALUES = [(vector["name"], msgpack.unpackb(data(vector["bytes"]))) for vector in VECTORS["values"]]
CARRIED = [(name, value) for name, value in VALUES if not has_no_json(value)]


@pytest.fixture
def ask(executor: wasmrun.Executor, make: Make) -> Callable[..., Any]:
    """Calls an entry of the vectors' guest, in a sandbox that is used again."""
    asked = []

    def answer(value: Any) -> Any:
        asked.append(value)
        return value

    function = make(reuse=True, imports={"ask": answer}, event_bytes="8MiB", result_bytes="8MiB")

    def ask(entry: str, event: Any, **settings: Any) -> Any:
        return executor.invoke(function, {"do": "vectors", "event": [entry, event]}, **settings)

    ask.asked = asked  # type: ignore[attr-defined]
    return ask


def test_values_arrive_unchanged_and_come_back(ask: Any) -> None:
    """The handler says in words what it got; its answer is the event again; so it is with a host function."""
    assert len(CARRIED) > 100
    for name, value in CARRIED:
        expected = carried(value)
        assert ask("show_event", value) == shown(expected), name
        for entry in ("echo", "ask"):
            assert shown(ask(entry, value)) == shown(expected), name
        assert shown(ask.asked.pop()) == shown(expected), name


def test_values_without_a_form_in_json_are_refused_before_the_guest_runs(ask: Any) -> None:
    """NaN and infinities, wherever they are."""
    refused = [value for _, value in VALUES if has_no_json(value)]
    assert refused
    for value in refused:
        with pytest.raises(wasmrun.InvalidEvent, match="JSON"):
            ask("echo", value)


def test_context_has_its_fields(executor: wasmrun.Executor, make: Make) -> None:
    """All nine, those that were not given as None."""
    function = make(name="users", memory="64MiB", fuel=20_000_000_000)
    event = {"do": "vectors", "event": ["show_context", None]}
    context = executor.invoke(function, event, request_id="8f5a0a3e-3f6c-4d0e-9b39-0d6f6f1c2a57")
    assert context.pop("deadline_ms") > 1_700_000_000_000
    assert context == {
        "request_id": "8f5a0a3e-3f6c-4d0e-9b39-0d6f6f1c2a57",
        "function": "users",
        "version": "$LATEST",
        "memory_limit_bytes": 64 << 20,
        "fuel_limit": 20_000_000_000,
        "client_context": None,
        "tenant_id": None,
        "trace_id": None,
    }
    given: Any = {"client_context": {"custom": {"ü": [1]}}, "tenant": "acme", "trace_id": "Root=1-5759e988"}
    context = executor.invoke(function, event, **given)
    assert (context["client_context"], context["tenant_id"], context["trace_id"]) == tuple(given.values())


def test_event_nests_400_levels_and_not_without_end(executor: wasmrun.Executor, make: Make) -> None:
    """What is deeper is reported, whatever it is made of, and the sandbox goes on; brackets in texts are none."""
    function = make(reuse=True)
    head, tail = b'{"do": "vectors", "event": ["echo", ', b"]}"

    def echo(event: bytes) -> Any:
        return executor.run(function, head + event + tail)

    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = echo(opening * 390 + b"1" + closing * 390)
        assert deep.error is None, deep.error
        for depth in (401, 100_000):
            error = echo(opening * depth + b"1" + closing * depth).error
            assert isinstance(error, wasmrun.GuestError)
            assert error.type == "InvalidInput"
        assert echo(opening * 100_000).error.type == "InvalidInput"
    text = "[{" * 100_000 + '\\"' + "[" * 500
    assert echo(json.dumps(text).encode()).value == text
    # One that is nothing else has no bracket to count, and comes as far as the handler, which takes no text.
    error = executor.run(function, json.dumps("[" * 500).encode()).error
    assert isinstance(error, wasmrun.GuestError)
    assert error.type == "TypeError"
    wide = [[]] * 10_000
    assert echo(json.dumps(wide).encode()).value == wide


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1,]", b"NaN", b'"\x01"', b"1 2", b"-", b'{"a" 1}', b"9" * 5000, b"\xef\xbb\xbf1"]
)
def test_input_that_is_no_json_is_reported(executor: wasmrun.Executor, make: Make, text: bytes) -> None:
    """As `InvalidInput`; no trap."""
    error = executor.run(make(reuse=True), text).error
    assert isinstance(error, wasmrun.GuestError)
    assert error.type == "InvalidInput"


def test_errors_are_reported_with_type_message_and_stack(ask: Any) -> None:
    """Those of every language."""
    for vector in VECTORS["errors"]:
        with pytest.raises(wasmrun.WasmrunError) as caught:
            ask("fail", vector["error"])
        error: Any = caught.value
        assert (error.type, error.message, list(error.stack)) == (
            vector["error"]["type"],
            vector["error"]["message"] or vector["error"]["type"],
            vector["error"]["stack"],
        )


def test_lines_are_logged(executor: wasmrun.Executor, make: Make) -> None:
    """At their levels."""
    for vector in VECTORS["logs"]:
        result = executor.run(make(), {"do": "vectors", "event": ["write_logs", vector["lines"]]})
        levels = ("trace", "debug", "info", "warn", "error")
        assert [(log.level, log.message) for log in result.logs] == [
            (levels[level], text) for level, text in vector["lines"]
        ]


def test_init_ran_once_at_build_time(call: Call) -> None:
    """And is over in every sandbox."""
    assert call("vectors", ["count_starts", None]) == 1
    assert call("vectors", ["count_starts", None]) == 1


def test_http_request_that_is_not_granted_is_refused_by_its_type(ask: Any) -> None:
    """The caller sees that the host failed the guest, which reported what it was told."""
    with pytest.raises(wasmrun.HostError, match=r"HttpNotGranted: GET https://else\.example is not granted"):
        ask("fetch", {"method": "GET", "url": "https://else.example", "headers": {}, "body": None})
