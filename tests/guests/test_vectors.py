"""The SDK of every language passes the vectors: what guest_sdk/vectors/README.md says, told by each `guest_sdk/LANGUAGE/vectors.wasm`."""

from __future__ import annotations

import json
import random
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from vector_host import GuestModule, Reported, answered

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from vector_host import Guest

SDKS = Path(__file__).resolve().parents[2] / "guest_sdk"

BUILT = ["go", "javascript"]
"""Whose modules are too large to be committed."""

LANGUAGES = sorted([*BUILT, *(path.parent.name for path in SDKS.glob("*/vectors.wasm"))])

VECTORS = json.loads((SDKS / "vectors" / "vectors.json").read_text(encoding="utf-8"))

USUAL_CONTEXT = bytes.fromhex(VECTORS["contexts"][0]["bytes"])

ENTRIES = ["ask", "count_starts", "echo", "fail", "fetch", "show_context", "show_event", "write_logs"]


def text(parts: str | list[Any]) -> str:
    """A text of vectors.json: its parts after each other, ``[part, n]`` n times."""
    if isinstance(parts, str):
        return parts
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)


def data(parts: str | list[Any]) -> bytes:
    return bytes.fromhex(text(parts))


def escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}" if found[0] < " " else f"\\{found[0]}"


def shown(value: Any) -> str:
    """*value* as `show_event` shows it."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int():
            return str(value)
        case float():
            return "nan" if value != value else "0x" + struct.pack(">d", value).hex()
        case bytes():
            return f'b"{value.hex()}"'
        case str():
            return '"' + re.sub(r'["\\\0-\x1f]', escaped, value) + '"'
        case list():
            return f"[{','.join(map(shown, value))}]"
        case dict():
            return f"{{{','.join(f'{shown(key)}:{shown(item)}' for key, item in value.items())}}}"
    raise AssertionError(type(value))


def ordered(value: Any) -> Any:
    """*value* with the keys of its maps in order."""
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value, key=str.encode)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def named(group: str) -> Any:
    return pytest.mark.parametrize("vector", VECTORS[group], ids=lambda vector: vector["name"])


@pytest.fixture(scope="session", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def module(language: str, built_sdk: Callable[[str], Path]) -> GuestModule:
    return GuestModule(built_sdk(language) / "vectors.wasm")


@pytest.fixture(scope="session")
def used(module: GuestModule) -> Guest:
    """A guest that answered one vector after the other."""
    return module.guest()


def event_input(event: bytes) -> bytes:
    return b"\x92" + event + USUAL_CONTEXT


# ---- the vectors themselves


@named("values")
def test_bytes_of_a_vector_are_those_of_its_text(vector: dict[str, Any]) -> None:
    """As the msgpack package reads them; keys of maps are in order."""
    value = msgpack.unpackb(data(vector["bytes"]))
    assert shown(ordered(value)) == shown(value) == text(vector["shown"])


@named("contexts")
def test_bytes_of_a_context_are_those_of_its_text(vector: dict[str, Any]) -> None:
    """Which has the nine fields that are promised, missing ones as null."""
    context = msgpack.unpackb(data(vector["bytes"]))
    names = [
        *("request_id", "function", "version", "deadline_ms", "memory_limit_bytes", "fuel_limit"),
        *("client_context", "tenant_id", "trace_id"),
    ]
    assert shown(ordered({name: context.get(name) for name in names})) == vector["shown"]


def test_vectors_have_every_first_byte_of_messagepack() -> None:
    """But extensions and the byte that means nothing."""
    seen = {data(vector["bytes"])[0] for vector in VECTORS["values"]}
    assert set(range(0xC0, 0xE0)) - seen == {0xC1, 0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8}


def test_names_of_vectors_are_told_once() -> None:
    for group in VECTORS.values():
        names = [vector["name"] for vector in group]
        assert len(set(names)) == len(names)


# ---- bytes


@named("values")
def test_event_reaches_the_handler_unchanged(used: Guest, vector: dict[str, Any]) -> None:
    """The handler says in words what it got."""
    assert answered(used.answer("show_event", event_input(data(vector["bytes"])))) == text(vector["shown"])


@named("values")
def test_answer_is_the_event_again(used: Guest, vector: dict[str, Any]) -> None:
    """Read into the language's values and written from them."""
    answer = answered(used.answer("echo", event_input(data(vector["bytes"]))))
    assert shown(ordered(answer)) == text(vector["shown"])


@named("values")
def test_host_function_gets_the_value_and_its_reply_comes_back(module: GuestModule, vector: dict[str, Any]) -> None:
    """Both as they are, whatever they hold."""
    asked = []

    def ask(request: bytes) -> bytes:
        asked.append(shown(ordered(msgpack.unpackb(request))))
        return b"\x92\x00" + data(vector["bytes"])

    guest = module.guest(vectors_ask=ask)
    answer = answered(guest.answer("ask", event_input(data(vector["bytes"]))))
    assert [shown(ordered(answer))] == asked == [text(vector["shown"])]


@named("contexts")
def test_context_has_its_fields(used: Guest, vector: dict[str, Any]) -> None:
    """Found by name, whatever else is there; those that were not given are null."""
    answer = answered(used.answer("show_context", b"\x92\xc0" + data(vector["bytes"])))
    assert shown(ordered(answer)) == vector["shown"]


@named("refused")
def test_input_that_cannot_be_read_is_reported(used: Guest, vector: dict[str, Any]) -> None:
    """As `InvalidInput`, and the next event finds nothing of it."""
    with pytest.raises(Reported) as caught:
        answered(used.answer("echo", data(vector["bytes"])))
    assert caught.value.args[0]["type"] == "InvalidInput"
    assert answered(used.answer("echo", event_input(b"\x01"))) == 1


def test_damaged_input_is_answered_or_reported(used: Guest) -> None:
    """Bytes changed, cut out or put in, anywhere: no trap, and what is answered can be decoded."""
    chance = random.Random(7)
    inputs = [event_input(data(vector["bytes"])) for vector in VECTORS["values"]]
    inputs = [one for one in inputs if len(one) < 1000]
    for _ in range(1500):
        damaged = bytearray(chance.choice(inputs))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        status, value = msgpack.unpackb(
            used.answer("echo", bytes(damaged)), strict_map_key=False, unicode_errors="replace"
        )
        assert status == 0 or value["type"] in {"InvalidInput", "InvalidEvent"}


@named("errors")
def test_error_is_reported_with_type_message_and_stack(used: Guest, vector: dict[str, Any]) -> None:
    with pytest.raises(Reported) as caught:
        answered(used.answer("fail", event_input(msgpack.packb(vector["error"]))))
    assert {"stack": [], **caught.value.args[0]} == vector["error"]


@named("logs")
def test_lines_are_logged_in_order_at_their_levels(module: GuestModule, vector: dict[str, Any]) -> None:
    guest = module.guest()
    guest.answer("write_logs", event_input(msgpack.packb(vector["lines"])))
    assert [list(line) for line in guest.logs] == vector["lines"]


def test_init_hook_runs_once(module: GuestModule) -> None:
    """Before the first event, and not again."""
    guest = module.guest()
    assert [answered(guest.answer("count_starts", event_input(b"\xc0"))) for _ in range(3)] == [1, 1, 1]


def test_host_functions_error_is_reported(module: GuestModule) -> None:
    """With its type and message, as the function's own."""
    error = {"type": "LookupError", "message": "no such user"}
    guest = module.guest(vectors_ask=lambda _request: b"\x92\x01" + msgpack.packb(error))
    with pytest.raises(Reported) as caught:
        answered(guest.answer("ask", event_input(b"\xc0")))
    assert {**caught.value.args[0], "stack": []} == {**error, "stack": []}


def test_http_request_and_response_go_through(module: GuestModule) -> None:
    """Each key of both, bodies as bytes."""
    event = {
        "method": "POST",
        "url": "https://api.example.com/users?q=1",
        "headers": {"content-type": "text/plain", "x-a": "b"},
        "body": b"\x00\xffAda",
    }
    response = {"status": 404, "headers": {"content-length": "3", "x-c": ""}, "body": b"\xfe\x00d"}
    asked = []

    def http_request(request: bytes) -> bytes:
        asked.append(msgpack.unpackb(request))
        return msgpack.packb([0, response])

    guest = module.guest(http_request=http_request)
    assert answered(guest.answer("fetch", event_input(msgpack.packb(event)))) == response
    assert asked == [event]


def test_refused_http_request_is_reported(module: GuestModule) -> None:
    error = {"type": "HttpNotGranted", "message": "GET https://else.example.com is not granted"}
    guest = module.guest(http_request=lambda _request: msgpack.packb([1, error]))
    event = {"method": "GET", "url": "https://else.example.com", "headers": {}, "body": None}
    with pytest.raises(Reported) as caught:
        answered(guest.answer("fetch", event_input(msgpack.packb(event))))
    assert {**caught.value.args[0], "stack": []} == {**error, "stack": []}


def test_memory_is_used_again(module: GuestModule) -> None:
    """300 events of 100 KB, each with a call of the host, need no more than the first ones."""
    guest = module.guest(vectors_ask=lambda request: b"\x92\x00" + request)
    event = event_input(msgpack.packb(["x" * 50_000, b"y" * 50_000, *range(100)]))
    sizes = []
    for _ in range(300):
        guest.answer("ask", event)
        sizes.append(guest.memory_bytes)
    assert sizes[-1] == sizes[99]


# ---- run by wasmrun


@pytest.fixture(scope="session")
def function(language: str, built_sdk: Callable[[str], Path]) -> Any:
    """One entry of the guest, with what it imports granted."""

    def ask(value: Any) -> Any:
        return value

    # The same one each time: functions that are equal are loaded once.
    granted = {"imports": {"vectors.ask": ask}, "http": "granted.invalid"}

    def make(entry: str, **settings: Any) -> wasmrun.Function:
        return wasmrun.Function(built_sdk(language) / "vectors.wasm", entry=entry, **{**granted, **settings})

    return make


def test_wasmrun_gets_every_value_back(executor: wasmrun.Executor, function: Any) -> None:
    """Each by itself, through the guest and through a host function."""
    for entry in ("echo", "ask"):
        for vector in VECTORS["values"]:
            value = msgpack.unpackb(data(vector["bytes"]))
            assert shown(ordered(executor.invoke(function(entry), value))) == text(vector["shown"])


def test_wasmrun_gives_the_context(executor: wasmrun.Executor, function: Any) -> None:
    result = executor.run(
        function("show_context", name="vectors", memory="32MiB"),
        None,
        tenant="acme",
        trace_id="Root=1",
        client_context={"a": [1]},
    )
    assert result.error is None
    given = result.value
    assert given.pop("deadline_ms") > 1_700_000_000_000
    assert given.pop("fuel_limit") > 0
    assert given == {
        "request_id": result.report.request_id,
        "function": "vectors",
        "version": "$LATEST",
        "memory_limit_bytes": 32 << 20,
        "client_context": {"a": [1]},
        "tenant_id": "acme",
        "trace_id": "Root=1",
    }


def test_wasmrun_raises_what_is_reported(executor: wasmrun.Executor, function: Any) -> None:
    """Where the message is empty, the type stands for it."""
    for vector in VECTORS["errors"]:
        error = executor.run(function("fail"), vector["error"]).error
        assert type(error) is (wasmrun.OutOfMemory if vector["error"]["type"] == "OutOfMemory" else wasmrun.GuestError)
        expected = vector["error"]
        assert (error.type, error.message) == (expected["type"], expected["message"] or expected["type"])
        assert list(error.stack) == expected["stack"]


def test_wasmrun_gets_the_logs(executor: wasmrun.Executor, function: Any) -> None:
    lines = [line for vector in VECTORS["logs"] for line in vector["lines"]]
    logs = executor.run(function("write_logs"), lines).logs
    assert [(log.level, log.message) for log in logs] == [
        (["trace", "debug", "info", "warn", "error"][level], message) for level, message in lines
    ]


def test_wasmrun_refuses_a_request_that_is_not_granted(executor: wasmrun.Executor, function: Any) -> None:
    event = {"method": "GET", "url": "https://else.example.com/", "headers": {}, "body": None}
    with pytest.raises(wasmrun.HostError, match="HttpNotGranted"):
        executor.run(function("fetch"), event)


def test_every_entry_can_be_named(executor: wasmrun.Executor, function: Any) -> None:
    """And takes events in a sandbox that is used again."""
    assert [executor.invoke(function("count_starts", reuse=True), None) for _ in range(3)] == [1, 1, 1]
    for entry in ENTRIES:
        executor.run(function(entry, reuse=True), None)
