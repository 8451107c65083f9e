"""What plug-ins ask of the host: configuration, log, host functions, HTTP; each in both kinds of executor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from extism_kit import A, B, Either, plugin

import wasmrun

sys.path.append(str(Path(__file__).parent.parent / "outbound"))  # its servers

from servers import LOOPBACK, Server, response

if TYPE_CHECKING:
    from collections.abc import Iterator

OUT = "(call $output_set (local.get $a) (call $length (local.get $a)))"


def test_log_has_levels_and_its_cap(executor: Either) -> None:
    """The level that plug-ins are told is that of everything."""
    body = " ".join(f"(call $log_{level} (call $text {A}))" for level in ("trace", "debug", "info", "warn", "error"))
    source = plugin(run=f"{body} (return (call $get_log_level))")
    result = executor.run(wasmrun.Function(source, raw=True))
    assert [tuple(log) for log in result.logs] == [
        (level, "A" * 8) for level in ("trace", "debug", "info", "warn", "error")
    ]
    flood = plugin(
        run=f"(loop $l (call $log_info (call $text {A})) "
        "(br_if $l (i64.ne (local.tee $a (i64.add (local.get $a) (i64.const 1))) (i64.const 500))))"
    )
    result = executor.run(wasmrun.Function(flood, raw=True, log_bytes="1KiB"))
    assert result.error is None
    assert result.logs[-1].message.startswith("[the log is cut here")
    assert result.report.log_bytes <= 1024


def test_configuration_is_looked_up(executor: Either) -> None:
    """By the bytes of its name; one that is too long for the kernel is the plug-in's own failure."""
    source = plugin(run=f"(local.set $a (call $config_get (call $text {A}))) {OUT}")
    assert (
        executor.invoke(wasmrun.Function(source, raw=True, config={"A" * 8: "Wert, größer"})) == "Wert, größer".encode()
    )
    assert executor.invoke(wasmrun.Function(source, raw=True, config={"B" * 8: "other"})) == b""
    assert executor.invoke(wasmrun.Function(source, raw=True)) == b""
    error = executor.run(wasmrun.Function(source, memory="1MiB", config={"A" * 8: "x" * 2_000_000})).error
    assert type(error) is wasmrun.OutOfMemory


def test_variables_have_a_limit(executor: Either) -> None:
    """Which counts 48 bytes for each; 0 switches them off."""
    source = plugin(run=f"(call $var_set (call $text {A}) (call $text {B}))")
    assert executor.run(wasmrun.Function(source, var_bytes=64)).error is None
    for size, words in ((63, "are full"), (0, "switched off")):
        with pytest.raises(wasmrun.GuestTrap, match=words):
            executor.invoke(wasmrun.Function(source, var_bytes=size))


def user(signature: str, body: str) -> str:
    """A plug-in that imports the host function ``f``."""
    return plugin(more=f'(import "extism:host/user" "f" (func $f {signature}))', run=body)


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (b"bytes\xff", b"bytes\xff"),
        ("täxt", "täxt".encode()),
        (None, b""),
        ({"a": [1]}, b'{"a": [1]}'),
        (5, b"5"),
        (b"", b""),
    ],
)
def test_host_function_answers_a_block(executor: Either, answer: Any, got: bytes) -> None:
    """Bytes as they stand, text as UTF-8, nothing as no block, anything else as JSON."""
    asked: list[Any] = []

    def f(value: Any) -> Any:
        asked.append(value)
        return answer

    source = user("(param i64) (result i64)", f"(local.set $a (call $f (call $input_offset))) {OUT}")
    assert executor.invoke(wasmrun.Function(source, raw=True, imports={"f": f}), b"event") == got
    assert asked == [b"event"]


def test_host_function_takes_numbers_and_blocks(executor: Either) -> None:
    """Several are a list; none is None. Older plug-ins import it from env."""
    asked: list[Any] = []

    def f(value: Any) -> Any:
        asked.append(value)
        return -7

    source = user(
        "(param i32 f32 f64 i64 i64) (result i32)",
        f"(return (i32.add (i32.const 7) (call $f (i32.const -3) (f32.const 0.5) (f64.const 1e300) (call $text {A}) (i64.const 0))))",
    )
    for one in (source, source.replace("extism:host/user", "env")):
        assert executor.run(wasmrun.Function(one, imports={"f": f})).error is None
        assert asked.pop() == [-3, 0.5, 1e300, b"A" * 8, b""]
    assert executor.run(wasmrun.Function(user("", "(call $f)"), imports={"f": f})).error is None
    assert asked == [None]


@pytest.mark.parametrize(
    ("signature", "call", "answer"),
    [
        ("(result i32)", "(drop (call $f))", "text"),
        ("(result i32)", "(drop (call $f))", 2**40),
        ("(result f32)", "(drop (call $f))", 1e300),
    ],
)
def test_host_function_that_answers_no_number_is_the_hosts_failure(
    executor: Either, signature: str, call: str, answer: Any
) -> None:
    """Where the plug-in wants one."""
    with pytest.raises(wasmrun.HostError, match="the host function 'f' gave what cannot be given"):
        executor.invoke(wasmrun.Function(user(signature, call), imports={"f": lambda _: answer}))


def test_host_function_that_raises_ends_the_plug_in(executor: Either) -> None:
    """The caller gets the exception."""

    def f(_: Any) -> Any:
        raise ValueError("no luck")

    with pytest.raises(wasmrun.HostError, match="the host function 'f' failed: ValueError: no luck") as caught:
        executor.invoke(wasmrun.Function(user("", "(call $f)"), imports={"f": f}))
    assert isinstance(caught.value.__cause__, ValueError)


def test_host_function_of_other_types_is_refused(executor: Either) -> None:
    """References and several results."""
    for signature in ("(param externref)", "(result i32 i32)"):
        with pytest.raises(wasmrun.InvalidFunction, match="must take numbers and give one or none"):
            executor.load(wasmrun.Function(user(signature, ""), imports={"f": len}))


# HTTP


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers every request."""
    data = response(418, b"a teapot", X_Kind="pot")
    made = Server(lambda connection, _: connection.sendall(data))
    yield made
    made.close()


ASK = plugin(
    run=f"""(local.set $a (call $http_request (call $copy) (call $text {B})))
      (if (i32.ne (call $http_status_code) (i32.const 418)) (then unreachable)) {OUT}""",
    headers=f"(drop (call $http_request (call $copy) (i64.const 0))) (local.set $a (call $http_headers)) {OUT}",
    more="",
).replace(
    "(func $text",
    # The host takes the block of the request; the input stays.
    "(func $copy (result i64) (local $at i64) (local $i i64) (local.set $at (call $alloc (call $input_length)))"
    "(loop $l (call $store_u8 (i64.add (local.get $at) (local.get $i)) (call $input_load_u8 (local.get $i)))"
    "(br_if $l (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (call $input_length)))) (local.get $at))"
    "(func $text",
    1,
)


def test_http_request_goes_through_the_grants(executor: Either, server: Server) -> None:
    """With method, headers and body; status, headers and body come back, and the report has the call."""
    grants: dict[str, Any] = {"http": [server.url], "http_networks": LOOPBACK, "raw": True}
    request = {"url": f"{server.url}/x?y", "method": "post", "headers": {"X-A": "b"}}
    result = executor.run(wasmrun.Function(ASK, entry="run", **grants), json.dumps(request).encode())
    assert result.value == b"a teapot"
    seen = server.seen[0]
    assert (seen.method, seen.target, seen.headers["x-a"], seen.body) == ("POST", "/x?y", "b", b"B" * 8)
    assert [call.status for call in result.report.http] == [418]
    headers = executor.invoke(
        wasmrun.Function(ASK, entry="headers", **grants), json.dumps({"url": server.url}).encode()
    )
    assert json.loads(headers)["x-kind"] == "pot"


def test_http_request_that_is_not_granted_ends_the_plug_in(executor: Either, server: Server) -> None:
    """With the words that say what to grant."""
    event = json.dumps({"url": server.url}).encode()
    with pytest.raises(wasmrun.GuestTrap, match=r"grant HTTP requests with http=\['HOST'\]"):
        executor.invoke(wasmrun.Function(ASK, entry="run"), event)
    with pytest.raises(wasmrun.HostError, match=r"HttpNotGranted: .* is not granted: grant it with http="):
        executor.invoke(wasmrun.Function(ASK, entry="run", http=["example.com"]), event)
    for request in (b"[]", b"{", b'{"url": 5}', b'{"url": "http://u@a.test"}'):
        with pytest.raises(wasmrun.GuestTrap, match="HTTP request"):
            executor.invoke(wasmrun.Function(ASK, entry="run", http=["example.com"]), request)
    assert not server.seen
