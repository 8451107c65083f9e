"""The JavaScript SDK's own ways: what scripts throw, await, import and hold, and where each of their ends is."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun
from wasmrun.machine import engine as machine_engine
from wasmrun.projects import bundle

if TYPE_CHECKING:
    from collections.abc import Callable

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "javascript"
ENGINE = str(SDK / "engine.wasm")
STACK = 512 * 1024

Module = Any


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """Makes a module of a script, and of other files by path."""

    def make(text: str, **files: str) -> bytes:
        place = tmp_path_factory.mktemp("script")
        for name, content in {"handler.js": text, **files}.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        before = os.getcwd()
        os.chdir(place)
        try:
            assert bundle.main([ENGINE, "handler.js", str(STACK), "out.wasm"]) == 0
        finally:
            os.chdir(before)
        return (place / "out.wasm").read_bytes()

    return make


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the bundler says of a script that it does not take."""

    def refuse(text: str, **files: str) -> str:
        for name, content in {"handler.js": text, **files}.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert bundle.main([ENGINE, "handler.js", str(STACK), "out.wasm"]) == 1
        assert not (tmp_path / "out.wasm").exists()
        return capsys.readouterr().err.strip()

    return refuse


@pytest.fixture(scope="session")
def evaluate(executor: wasmrun.Executor, script: Module) -> Callable[..., wasmrun.Result]:
    """Runs the body of a handler, each in a sandbox of its own."""
    module = script(
        'import * as wasmrun from "wasmrun";\n'
        "const Async = (async () => {}).constructor;\n"
        'export function handle([text, event]) { return Function("wasmrun", "event", text)(wasmrun, event); }\n'
        'export async function later([text, event]) { return new Async("wasmrun", "event", text)(wasmrun, event); }\n'
    )

    def run(text: str, event: Any = None, entry: str | None = None, **settings: Any) -> wasmrun.Result:
        function = wasmrun.Function(module, entry=entry, http="granted.invalid", snapshot=True, **settings)
        return executor.run(function, [text, event])

    return run


def reported(result: wasmrun.Result) -> str:
    assert isinstance(result.error, wasmrun.GuestError), result
    return f"{result.error.type}: {result.error.message}"


# ---- errors


@pytest.mark.parametrize(
    ("thrown", "told"),
    [
        ('new Error("no")', "Error: no"),
        ('new TypeError("no")', "TypeError: no"),
        ('Object.assign(new Error("no"), { name: "NotFound" })', "NotFound: no"),
        ('new (class extends Error { name = "Own" })("no")', "Own: no"),
        ('new RangeError("grüße 😀 \\ud800")', "RangeError: grüße 😀 \ufffd"),
        ('"text"', "Error: text"),
        ("5", "Error: 5"),
        ("5n", "Error: 5n"),
        ("null", "Error: null"),
        ("undefined", "Error: undefined"),
        ('Symbol("s")', "Error: Symbol(s)"),
        ("[1, [2]]", "Error: [1, [2]]"),
        ('{ name: "Mine", message: "m" }', 'Mine: {name: "Mine", message: "m"}'),
        ("new Proxy({}, { get() { throw 1; }, ownKeys() { throw 2; } })", "Error: what was thrown cannot be shown"),
        ("{ get name() { throw 1; } }", "Error: what was thrown cannot be shown"),
        ('Object.defineProperty(new Error("m"), "name", { get() { throw 1; } })', "Error: m"),
        ('Object.defineProperty(new Error("m"), "message", { get() { throw 1; } })', "Error: Error"),
        ('Object.defineProperty(new Error("m"), "stack", { get() { throw 1; } })', "Error: m"),
    ],
)
def test_whatever_is_thrown_is_reported(evaluate: Any, thrown: str, told: str) -> None:
    """By its name and message where it is an error, else as it is shown; a sandbox that is used again goes on."""
    for entry in (None, "later"):
        assert reported(evaluate(f"throw {thrown}", entry=entry)) == told
    assert evaluate("return 1").value == 1


def test_stack_says_where(executor: wasmrun.Executor, script: Module) -> None:
    """Each frame with the file as it is called in the project, line and column."""
    module = script(
        'import { deep } from "./lib/deep.js";\n\nexport function handle(event) {\n  return deep(event);\n}\n',
        **{"lib/deep.js": "export function deep(event) {\n  return event.no();\n}\n"},
    )
    error = executor.run(wasmrun.Function(module), {}).error
    assert isinstance(error, wasmrun.GuestError)
    assert [re.sub(r":\d+\)$", ")", frame) for frame in error.stack] == [
        "deep (lib/deep.js:2)",
        "handle (handler.js:4)",
    ]


def test_error_of_the_start_up_is_every_event_s(executor: wasmrun.Executor, script: Module) -> None:
    """From a snapshot, too: with its place, and not as a trap."""
    module = script(
        'export function init() {\n  throw new RangeError("no start");\n}\nexport const handle = () => 1;\n'
    )
    for snapshot in (False, True):
        for _ in range(2):
            error = executor.run(wasmrun.Function(module, snapshot=snapshot), None).error
            assert isinstance(error, wasmrun.GuestError)
            assert (error.type, error.message) == ("RangeError", "no start")
            assert error.stack[0].startswith("init (handler.js:2:")


# ---- promises


def test_handlers_may_await(evaluate: Any) -> None:
    result = evaluate(
        "let n = 0; for (let i = 0; i < 1000; i++) n += await i; return [n, await Promise.all([1, 2])]", entry="later"
    )
    assert result.value == [499500, [1, 2]]


def test_promise_that_never_settles_is_told(evaluate: Any) -> None:
    told = "TypeError: the promise of the handler never settles: nothing is left that could do it"
    assert reported(evaluate("return new Promise(() => {})")) == told
    assert reported(evaluate("await new Promise(() => {})", entry="later")) == told


def test_promise_in_an_answer_is_told(evaluate: Any) -> None:
    assert (
        reported(evaluate("return { a: Promise.resolve(1) }"))
        == "TypeError: a Promise cannot be sent; was an await left out?"
    )


def test_rejection_that_nobody_handles_is_logged(evaluate: Any) -> None:
    """Once; one that is handled late, or is the handler's own, is not."""
    result = evaluate(
        'Promise.reject(new Error("lost")); const p = Promise.reject(1); queueMicrotask(() => p.catch(() => {})); return 1'
    )
    assert result.value == 1
    [log] = result.logs
    assert log.level == "error"
    assert log.message.startswith("a promise was rejected, and nothing handles it: Error: lost\n    at ")
    assert evaluate('throw new Error("own")', entry="later").logs == ()


def test_jobs_are_done_before_the_answer_is_told(evaluate: Any) -> None:
    result = evaluate(
        'Promise.resolve().then(() => console.log("then")); queueMicrotask(() => { throw new Error("job") }); return 1'
    )
    assert result.value == 1
    assert [log.message.split("\n")[0] for log in result.logs] == ["then", "a job failed: Error: job"]


# ---- values


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("64 * 1.5", 96),
        ("0.5 + 0.25", 0.75),
        ("2 ** 53 - 1", 2**53 - 1),
        ("2 ** 53", 2.0**53),
        ("2n ** 64n - 1n", 2**64 - 1),
        ("-(2n ** 63n)", -(2**63)),
        ("5n", 5),
        ("Date.UTC(2026, 0)", 1767225600000),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("new wasmrun.Float(2)", 2.0),
        ("[new Number(1.0), new String('a'), new Boolean(false), Object(7n)]", [1, "a", False, 7]),
        ("{ a: undefined, b: () => 1, c: Symbol(), d: null }", {"d": None}),
        ("[undefined, () => 1, Symbol()]", [None, None, None]),
        ("undefined", None),
        ("() => 1", None),
        ("[1, , 3]", [1, None, 3]),
        ("new Map([['a', 1], ['__proto__', 2]])", {"a": 1, "__proto__": 2}),
        ("new Set([1, [2]])", [1, [2]]),
        ("new Uint8Array([1, 255]).subarray(1)", b"\xff"),
        ("new Uint8Array([1, 2]).buffer", b"\x01\x02"),
        ("new Uint8Array()", b""),
        ("{ toJSON() { return { a: [this.b] } }, b: 1 }", {"a": [1]}),
        ("new (class { x = 1; get y() { return 2 } #z = 3 })()", {"x": 1}),
        ("new Proxy([1, { a: 2 }], {})", [1, {"a": 2}]),
        ("{ get a() { return 1 }, 7: 2, [Symbol('s')]: 3 }", {"7": 2, "a": 1}),
        ("(() => { const o = { a: 1, b: 2, c: 3 }; delete o.b; return o })()", {"a": 1, "c": 3}),
        ("Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } })", {"own": 2}),
        ("'\\ud800a\\udc00'", "\ufffda\ufffd"),
        ("'a'.repeat(10) + 'ü'.repeat(10) + '😀'.repeat(10)", "a" * 10 + "ü" * 10 + "😀" * 10),
        ("{ 10: 'a', 9: 'b', x: 'c' }", {"9": "b", "10": "a", "x": "c"}),
        ('JSON.parse(\'{"__proto__": {"a": 1}}\')', {"__proto__": {"a": 1}}),
    ],
)
def test_answer_is_what_was_meant(evaluate: Any, expression: str, value: Any) -> None:
    """Whole numbers are integers; what JSON leaves out is left out, and what has a toJSON is what that says."""
    answer = evaluate(f"return ({expression})").value
    assert (answer, type(answer)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("2n ** 64n", "RangeError: a BigInt of more than 64 bits cannot be sent"),
        ("-(2n ** 63n) - 1n", "RangeError: a BigInt of more than 64 bits cannot be sent"),
        ("new Float64Array(2)", "TypeError: of typed arrays, only a Uint8Array can be sent"),
        ("new Map([[1, 2]])", "TypeError: a Map with keys that are no strings cannot be sent: 1"),
        ("(() => { const a = []; a.push(a); return a })()", "RangeError: the value is nested too deep to be sent, or holds itself"),
        ("(() => { let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; return a })()",
         "RangeError: the value is nested too deep to be sent, or holds itself"),
        ("{ get a() { throw new Error('from a getter') } }", "Error: from a getter"),
        ("{ toJSON() { throw 'from toJSON' } }", "Error: from toJSON"),
        ("new Proxy({}, { ownKeys() { throw new Error('from a trap') } })", "Error: from a trap"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_told(evaluate: Any, expression: str, told: str) -> None:
    assert reported(evaluate(f"return {{ in: [1, ({expression})] }}")) == told
    assert evaluate("return 1").value == 1


def test_object_that_changes_while_it_is_sent_is_told(evaluate: Any) -> None:
    for change in ("o.d = 1", "Object.defineProperty(o, 'b', { get() { return 1 } })"):
        text = f"const o = {{ a: {{ toJSON() {{ {change}; return 1 }} }}, b: 2, c: 3 }}; return o"
        assert reported(evaluate(text)) == "TypeError: an object changed while it was being sent", change
    for change, value in (("o.b = 5", {"a": 1, "b": 5, "c": 3}), ("delete o.b", {"a": 1, "c": 3})):
        assert (
            evaluate(f"const o = {{ a: {{ toJSON() {{ {change}; return 1 }} }}, b: 2, c: 3 }}; return o").value == value
        )


def test_array_that_changes_while_it_is_sent_is_an_answer(evaluate: Any) -> None:
    """Of the length that it had."""
    text = "const a = [{ toJSON() { a.length = 0; return 1 } }, 2, 3]; return a"
    assert evaluate(text).value == [1, None, None]
    text = "const a = [{ toJSON() { for (let i = 0; i < 1000; i++) a.push(i); return 1 } }, 2]; return a"
    assert evaluate(text).value == [1, 2]


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (2**53 - 1, "number 9007199254740991"),
        (2**53, "bigint 9007199254740992"),
        (-(2**53), "bigint -9007199254740992"),
        (2.0**53, "number 9007199254740992"),
        (1.0, "number 1"),
        (b"\x01\x02", "object 1,2"),
        ({"__proto__": 1}, "object [object Object]"),
    ],
)
def test_event_is_what_javascript_has_for_it(evaluate: Any, event: Any, shown: str) -> None:
    assert evaluate("return typeof event + ' ' + event", event).value == shown


def test_keys_of_events_change_no_prototype(evaluate: Any) -> None:
    text = "return [Object.keys(event), Object.getPrototypeOf(event) === Object.prototype, event.polluted ?? null]"
    assert evaluate(text, {"__proto__": {"polluted": 1}, "constructor": 2}).value == [
        ["__proto__", "constructor"],
        True,
        None,
    ]


def test_deep_events_are_taken_or_refused(evaluate: Any) -> None:
    """256 levels, one of which is the list that these tests send them in, around an empty one; deeper ones by name."""
    for depth in (10, 256, 257, 1000):
        event: Any = []
        for _ in range(depth - 1):
            event = [event]
        result = evaluate("return event", event)
        if depth <= 256:
            assert result.value == event
        else:
            assert reported(result) == "InvalidInput: the input is nested too deep"


def test_large_values_go_through(evaluate: Any) -> None:
    event = {"text": "ü" * 1_000_000, "bytes": bytes(2_000_000), "numbers": [*range(100_000)]}
    assert evaluate("return event", event).value == event


# ---- ends


def test_endless_recursion_is_an_error(evaluate: Any) -> None:
    """That a script can catch, whichever way it went."""
    ways = (
        "function f() { return f() + 1 } f()",
        "const o = { get a() { return this.a } }; o.a",
        "const p = new Proxy({}, { get(t, k, r) { return r[k] } }); p.a",
        "function f() { [2, 1].sort(f) } f()",
        "function f() { 'a'.replace(/a/, f) } f()",
        "const o = { toString() { return `${this}` } }; `${o}`",
        "class A { constructor() { new A() } } new A()",
        "function* g() { yield* g() } g().next()",
        "JSON.parse('['.repeat(1e5))",
        "let v = []; for (let i = 0; i < 1e5; i++) v = [v]; JSON.stringify(v)",
        "let v = []; for (let i = 0; i < 1e5; i++) v = [v]; String(v)",
        "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.a",
        "eval('('.repeat(1e5))",
        "eval('{'.repeat(1e5))",
        "eval('-'.repeat(1e5) + 1)",
        "const o = { toJSON() { return JSON.stringify(o) } }; JSON.stringify(o)",
    )
    for way in ways:
        assert reported(evaluate(way)) == "RangeError: Maximum call stack size exceeded", way
        result = evaluate(f"try {{ {way} }} catch (error) {{ return error.name }}")
        assert result.value == "RangeError", way


def test_calls_may_nest_as_deep_as_is_promised(evaluate: Any) -> None:
    """About 400 deep with the usual stack, says the README."""
    text = "const f = (n) => (n ? f(n - 1) + 1 : 0); return f(event)"
    assert evaluate(text, 380).value == 380


@pytest.mark.parametrize(
    "text",
    [
        "const all = []; for (;;) all.push(new Array(1000).fill(0))",
        "const all = []; for (;;) all.push('!'.repeat(1000) + all.length)",
        "return new Uint8Array(1e9)",
        "const all = []; for (;;) all.push({ a: all.length })",
        "return 'x'.repeat(2 ** 28)",
        "let v = []; for (;;) v = [v, v => 1]",
        "return new Array(4e6).fill('a long text that is sent again and again')",
    ],
)
def test_memory_that_runs_out_is_reported(evaluate: Any, text: str) -> None:
    result = evaluate(text, memory="16MiB", timeout="30s")
    assert isinstance(result.error, wasmrun.OutOfMemory), result
    assert result.report.memory_bytes <= 16 << 20


def test_endless_loops_end(evaluate: Any) -> None:
    """By time or by fuel, in JavaScript's loops and in those of its jobs and regular expressions."""
    loops = ("for (;;);", "const f = () => Promise.resolve().then(f); f()", "/^(a+)+$/.test('a'.repeat(60) + 'b')")
    for loop in loops:
        assert isinstance(evaluate(loop, timeout="50ms").error, wasmrun.TimedOut)
        assert isinstance(evaluate(loop, fuel=20_000_000, timeout="20s").error, wasmrun.OutOfFuel)


# ---- sandboxes


def test_time_and_chance_are_a_sandbox_s_own(evaluate: Any) -> None:
    """After a snapshot, too: nothing that is made of chance comes twice, and no clock stands still."""
    text = """
      const bytes = crypto.getRandomValues(new Uint8Array(8));
      return [Math.random(), crypto.randomUUID(), bytes.join(), Date.now(), performance.timeOrigin, performance.now()]
    """
    before = time.time() * 1000
    seen = [evaluate(text).value for _ in range(4)]
    after = time.time() * 1000
    for column in (0, 1, 2):
        assert len({row[column] for row in seen}) == len(seen)
    for random, identifier, _, now, origin, since in seen:
        assert 0 <= random < 1
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", identifier)
        assert before - 2 <= now <= after + 2
        assert before - 2 <= origin <= after + 2
        assert 0 <= since < 1000


def test_seed_from_the_start_up_is_not_kept(executor: wasmrun.Executor, script: Module) -> None:
    """A script that has drawn numbers before the snapshot draws others in each sandbox."""
    module = script("const first = Math.random(); export const handle = () => [first, Math.random()];")
    function = wasmrun.Function(module, snapshot=True)
    (first, one), (again, other) = (executor.invoke(function, None) for _ in range(2))
    assert first == again
    assert len({first, one, other}) == 3


def test_what_an_event_changes_no_other_one_finds(evaluate: Any) -> None:
    """Prototypes, globals, modules: each event has a sandbox of its own."""
    pollute = """
      Object.prototype.polluted = 1; Array.prototype.push = () => 7; globalThis.left = 1; Math.random = () => 0.5;
      JSON.stringify = () => "x"; Object.prototype.toJSON = () => "taken over"; return {}
    """
    look = "return [({}).polluted ?? null, [].push(1), typeof left, Math.random() === 0.5, JSON.stringify(1), {}]"
    clean = [None, 1, "undefined", False, "1", {}]
    assert evaluate(look).value == clean
    assert evaluate(pollute).value == "taken over"
    assert evaluate(look).value == clean


def test_reused_sandbox_keeps_what_modules_hold(executor: wasmrun.Executor, script: Module) -> None:
    """And no memory of events that are over."""
    module = script("let n = 0; export function handle(event) { return [++n, event.length]; }")
    function = wasmrun.Function(module, reuse=True, snapshot=True, warm=0)
    results = [executor.run(function, "x" * 500_000) for _ in range(100)]
    assert [result.value for result in results] == [[n, 500_000] for n in range(1, 101)]
    assert results[-1].report.memory_bytes == results[20].report.memory_bytes


# ---- what is there beside the language


def test_console_shows_values(evaluate: Any) -> None:
    """As text in one line where they hold nothing long, cut where they go deep."""
    shown = {
        '"a", 1, -0, 2n, null, undefined, true': "a 1 -0 2n null undefined true",
        "{ a: 'x', b: [1, { c: null }] }, Symbol('s')": 'a: "x"',
        "new Map([['k', [1]]]), new Set([2])": "Map(1) {k: [1]} Set(1) {2}",
        "new Uint8Array([1, 2]), new ArrayBuffer(3), new Date(0)": "Uint8Array(2) [1, 2] ArrayBuffer(3) 1970-01-01T00:00:00.000Z",
        "/a/g, () => 1, class A {}, function f() {}": "/a/g [function (anonymous)] [function A] [function f]",
        "(() => { const o = {}; o.o = o; return o })()": "{o: [circular]}",
        "new (class Point { x = 1 })()": "Point {x: 1}",
        "Array.from({ length: 200 }, (_, i) => i)": "99, …]",
        "[[[[[[[[1]]]]]]]]": "[[[[[[[…]]]]]]]",
        "Promise.resolve(1), new Proxy([1], {})": "[promise] [1]",
    }
    for arguments, text in shown.items():
        result = evaluate(f"console.log({arguments})")
        [log] = result.logs
        assert log.level == "info"
        assert text in log.message
    logs = evaluate(
        "for (const level of ['trace', 'debug', 'log', 'info', 'warn', 'error']) console[level](level)"
    ).logs
    assert [(log.level, log.message) for log in logs] == [
        *((level, level) for level in ("trace", "debug")), ("info", "log"), *((level, level) for level in ("info", "warn", "error")),
    ]  # fmt: skip
    error = evaluate("console.error(new Error('outer', { cause: new TypeError('inner') }))").logs[0].message
    assert re.search(r"^Error: outer\n    at .*\ncaused by TypeError: inner\n    at ", error, re.DOTALL)


def test_text_is_encoded_and_decoded(evaluate: Any) -> None:
    assert evaluate("return new TextEncoder().encode(event)", "grüße 😀").value == "grüße 😀".encode()
    assert evaluate("return new TextDecoder().decode(event)", "\ufeffgrüße 😀".encode()).value == "grüße 😀"
    assert (
        evaluate("return new TextDecoder('UTF8', { ignoreBOM: true }).decode(event.buffer)", "\ufeffa".encode()).value
        == "\ufeffa"
    )
    assert evaluate("return new TextDecoder().decode(event)", b"a\xff").value == "a\ufffd"
    fatal = "return new TextDecoder('utf-8', { fatal: true }).decode(event)"
    assert evaluate(fatal, "aü😀".encode()).value == "aü😀"
    for wrong in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"):
        assert reported(evaluate(fatal, wrong)) == "TypeError: the bytes are not UTF-8"
    assert "there is no decoder for latin1" in reported(evaluate("new TextDecoder('latin1')"))


def test_random_values_are_for_integers(evaluate: Any) -> None:
    assert evaluate("return crypto.getRandomValues(new Uint32Array(4)).length").value == 4
    assert "takes a typed array" in reported(evaluate("crypto.getRandomValues(new Float32Array(1))"))
    assert "at most 65536" in reported(evaluate("crypto.getRandomValues(new Uint8Array(65537))"))


# ---- raw handlers


def test_raw_handler_takes_and_gives_bytes(executor: wasmrun.Executor, script: Module) -> None:
    module = script(
        "export function handle_raw(bytes) { return bytes.map((byte) => byte ^ 255).subarray(1) }\n"
        "export async function text_raw(bytes) { return new TextDecoder().decode(bytes) + 'ü' }\n"
        "export const nothing_raw = () => {};\n"
        "export const wrong_raw = () => 5;\n"
        "export function throws_raw() { throw new TypeError('no bytes') }\n"
    )
    assert executor.invoke(wasmrun.Function(module), b"\x00\x01\x02") == b"\xfe\xfd"
    assert executor.invoke(wasmrun.Function(module, entry="text_raw"), b"gr") == "grü".encode()
    assert executor.invoke(wasmrun.Function(module, entry="text_raw"), b"") == "ü".encode()
    assert executor.invoke(wasmrun.Function(module, entry="nothing_raw"), b"x") == b""
    for entry, told in (
        ("wrong_raw", "TypeError: a raw handler answers a Uint8Array or a string"),
        ("throws_raw", "TypeError: no bytes"),
    ):
        result = executor.run(wasmrun.Function(module, entry=entry), b"x")
        assert isinstance(result.error, wasmrun.GuestTrap)
        assert result.logs[0].message.startswith(f"the raw handler failed: {told}")


# ---- the host


def test_host_functions_are_imports(executor: wasmrun.Executor, script: Module) -> None:
    """Only those that modules import are asked for; what one raises is thrown; handlers and init may call them."""
    module = script(
        'import find from "host:db.find";\nimport { twice } from "./twice.js";\nlet first;\n'
        'export function init() { first = find("start") }\n'
        "export function handle(event) {\n"
        "  try { return [first, twice(event), find()] } catch (error) { return [error.name, error.message, error instanceof Error] }\n"
        "}\n",
        **{
            "twice.js": 'import again from "host:db.find";\nimport other from "host:other";\nexport const twice = (v) => [again(v), other(v)];\n'
        },
    )

    def find(value: Any) -> Any:
        if value == "fail":
            raise LookupError("no such user")
        return {"found": value}

    imports = {"db.find": find, "other": lambda value: [value, 2**64 - 1, b"\x00"]}
    function = wasmrun.Function(module, imports=imports)
    assert executor.invoke(function, 5) == [{"found": "start"}, [{"found": 5}, [5, 2**64 - 1, b"\0"]], {"found": None}]
    assert executor.invoke(function, "fail") == ["LookupError", "no such user", True]
    with pytest.raises(wasmrun.InvalidFunction, match=r"wasmrun\.other"):
        executor.invoke(wasmrun.Function(module, imports={"db.find": find}), 5)


def test_thirty_two_host_functions_can_be_called(executor: wasmrun.Executor, script: Module, refused: Any) -> None:
    lines = [f'import f{number} from "host:f{number}";' for number in range(33)]
    calls = ", ".join(f"f{number}({number})" for number in range(32))
    module = script("\n".join([*lines[:32], f"export const handle = () => [{calls}];"]))
    imports = {f"f{number}": lambda value, number=number: [number, value] for number in range(32)}
    assert executor.invoke(wasmrun.Function(module, imports=imports), None) == [[n, n] for n in range(32)]
    assert (
        refused("\n".join([*lines, "export const handle = () => 1;"]))
        == "it calls 33 host functions; at most 32 are possible"
    )


def test_http_is_imported_only_where_it_is_named(executor: wasmrun.Executor, script: Module) -> None:
    plain = script('import { fail } from "wasmrun";\nexport const handle = () => 1;')
    assert executor.invoke(wasmrun.Function(plain), None) == 1
    asking = script(
        'import { http as ask } from "wasmrun";\nexport const handle = (url) => ask({ url, timeoutMs: 100 }).status;'
    )
    with pytest.raises(wasmrun.InvalidFunction, match="http_request"):
        executor.invoke(wasmrun.Function(asking), "https://x.invalid")
    function = wasmrun.Function(asking, http="x.invalid")
    with pytest.raises(wasmrun.HostError, match="HttpNotGranted"):
        executor.invoke(function, "https://y.invalid")


# ---- modules, and what the bundler says of them


def test_modules_import_modules(executor: wasmrun.Executor, script: Module) -> None:
    """Each once, in circles, up and down directories, JSON as values, and by a call; what is not imported is not there."""
    module = script(
        'import { a } from "./a/a.js";\nimport table from "./a/table.json";\nimport * as b from "./b.mjs";\n'
        'export async function handle() { return [a(), table.list, Object.keys(b), (await import("./a/a.js")).a === a] }\n',
        **{
            "a/a.js": 'import { b } from "../b.mjs";\nimport "./../a/./a.js";\nexport const a = () => b + 1;\n',
            "a/table.json": '{"list": [1, 2.5]}',
            "b.mjs": 'import { a } from "./a/a.js";\nexport const b = 41;\nexport const late = () => a();\n',
            "unused.js": "this is no JavaScript",
        },
    )
    assert executor.invoke(wasmrun.Function(module), None) == [42, [1, 2.5], ["b", "late"], True]
    assert b"this is no JavaScript" not in module


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("let x = ;", r"SyntaxError: unexpected token in expression: ';'\n    let x = ;\n    at handler\.js:1:\d+"),
        ("\n\nconst a = 1; a b", r"SyntaxError: expecting ';'\n    const a = 1; a b\n    at handler\.js:3:\d+"),
        (
            '\nthrow new TypeError("no")',
            r'TypeError: no\n    throw new TypeError\("no"\)\n    at <anonymous> \(handler\.js:2:\d+\)',
        ),
        (
            "export const y = missing.z;",
            r"ReferenceError: missing is not defined\n    export .*\n    at <anonymous> .*",
        ),
        ('import { x } from "./no.js"', r"ReferenceError: there is no module 'no\.js'.*"),
        (
            'import { x } from "lodash"',
            r"ReferenceError: there is no module 'lodash'; files of the project are named by relative.*",
        ),
        (
            'import { x } from "../x.js"',
            r"ReferenceError: '\.\./x\.js', imported by 'handler\.js', is outside of the project",
        ),
        ('import { x } from "wasmrun:native"', r"ReferenceError: there is no module 'wasmrun:native'"),
        ('import { x } from "./other.js"', r"SyntaxError: Could not find export 'x' in module 'other\.js'"),
        ('import wrong from "./wrong.json"', r"SyntaxError: .*\n.*\n?.*wrong\.json.*"),
        ('import { nothing } from "wasmrun"', r"SyntaxError: Could not find export 'nothing' in module 'wasmrun'"),
        ("await new Promise(() => {})", r"TypeError: the promise of handler\.js never settles.*"),
        ("export const handle = 5;", r"handler\.js exports no function; a handler is one that is called handle"),
        ("export function init() {}", r"handler\.js exports no function.*"),
        (
            "export function memory() {}",
            r"a handler cannot be called 'memory', which every function exports for itself",
        ),
        ("export function wasmrun_alloc() {}", r"a handler cannot be called 'wasmrun_alloc'.*"),
        (
            'import f from "host:f"; f(1)',
            r"TypeError: the host can be called in init and in handlers, not while.*\n    import f .*(\n    at .*)+",
        ),
        ("function f() { f() } f()", r"RangeError: Maximum call stack size exceeded(\n.*)*"),
        ("export const s = 'x'.repeat(2 ** 29) + 'y'.repeat(2 ** 29 - 2)", r"OutOfMemory: JavaScript's heap is full"),
    ],
)
def test_what_is_wrong_with_sources_is_told(refused: Any, text: str, told: str) -> None:
    """As the engine says it, with the file, the line, and what stands there."""
    said = refused(text, **{"other.js": "export const y = 1;", "wrong.json": '{"a": }'})
    assert re.fullmatch(told, said), said


def test_sources_that_do_not_end_are_told(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "SECONDS", 0.05)
    assert refused("for (;;);").startswith("evaluating handler.js: the function ran past its time")


def test_logs_of_modules_are_seen_at_the_build(script: Module, capsys: pytest.CaptureFixture[str]) -> None:
    script('console.warn("from the top");\nexport const handle = () => 1;')
    assert capsys.readouterr().err == "from the top\n"


def test_same_sources_make_the_same_module(script: Module) -> None:
    assert script("export const handle = () => 1;") == script("export const handle = () => 1;")


# ---- the engine


def test_engine_imports_no_more_than_it_says() -> None:
    """Time, random bytes and the log, from the host; the rest is a build's to decide."""
    command = [sys.executable, "-m", "wasmrun", "inspect", ENGINE, "--json"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    imports = [item["name"] for item in json.loads(done.stdout)["imports"]]
    assert sorted(imports[:3]) == [
        "wasi_snapshot_preview1.clock_time_get", "wasi_snapshot_preview1.random_get", "wasmrun.log",
    ]  # fmt: skip
    assert imports[3:] == [*(f"wasmrun.slot_{n}" for n in range(32)), "wasmrun.sources_bytes", "wasmrun.sources_copy"]


def test_low_memory_is_what_sandboxes_keep() -> None:
    """What the engine puts into the first bytes stays fast only while these are kept."""
    found = re.search(r"LOW_END = (\d+) \* 1024", (SDK / "engine" / "low.h").read_text(encoding="utf-8"))
    assert found
    assert int(found[1]) * 1024 == machine_engine._KEEP_RESIDENT


def test_rebuilt_engine_is_the_committed_one(tmp_path: Path) -> None:
    """Byte for byte, from the sources that its build.py names."""
    build = runpy.run_path(str(SDK / "engine" / "build.py"))
    if problem := build["missing"]():
        pytest.skip(problem)
    upstream = build["sources"](tmp_path)
    if isinstance(upstream, str):
        pytest.skip(upstream)
    build["patch"](upstream)
    build["build"](upstream, tmp_path / "engine.wasm")
    assert (tmp_path / "engine.wasm").read_bytes() == (SDK / "engine.wasm").read_bytes()


@pytest.mark.parametrize("script", ["build.py", "engine/build.py"])
def test_build_takes_no_options(script: str) -> None:
    done = subprocess.run([sys.executable, str(SDK / script), "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr


# ---- markdown

RENDERED = [
    ("", ""),
    ("a\nb\n\nc", "<p>a\nb</p>\n<p>c</p>"),
    ("# A *b*\n###### c ##\n####### d", "<h1>A <em>b</em></h1>\n<h6>c</h6>\n<p>####### d</p>"),
    ("***\n- - -\n--", "<hr>\n<hr>\n<p>--</p>"),
    ("- a\n- b\n  c\n\n1. d\n2) e", "<ul>\n<li>a</li>\n<li>b\nc</li>\n</ul>\n<ol>\n<li>d</li>\n<li>e</li>\n</ol>"),
    ("> a\n> > b\n> # c", "<blockquote>\n<p>a</p>\n<blockquote>\n<p>b</p>\n</blockquote>\n<h1>c</h1>\n</blockquote>"),
    ("```js\n*a* <b>\n# c\n```\nd", '<pre><code class="language-js">*a* &lt;b&gt;\n# c\n</code></pre>\n<p>d</p>'),
    ("```\nnot closed", "<pre><code>not closed\n</code></pre>"),
    ("**a *b* c** `*d*` ``e ` f``", "<p><strong>a <em>b</em> c</strong> <code>*d*</code> <code>e ` f</code></p>"),
    ("[a *b*](https://x.y/?a=1&b=2)", '<p><a href="https://x.y/?a=1&amp;b=2">a <em>b</em></a></p>'),
    (
        "[a](javascript:alert(1)) [b](JAVASCRIPT:x) [c](#d)",
        '<p>[a](javascript:alert(1)) [b](JAVASCRIPT:x) <a href="#d">c</a></p>',
    ),
    ('<script>alert("x")</script> & \0001\0', "<p>&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; 1</p>"),
    ('[x](https://a"onclick="b)', '<p><a href="https://a&quot;onclick=&quot;b">x</a></p>'),
]


@pytest.mark.parametrize(("text", "html"), RENDERED, ids=range(len(RENDERED)))
def test_markdown_becomes_html(executor: wasmrun.Executor, built_sdk: Any, text: str, html: str) -> None:
    """And nothing in it is taken for HTML, or for an address that is a program."""
    function = wasmrun.Function(built_sdk("javascript") / "markdown.wasm", snapshot=True)
    assert executor.invoke(function, {"markdown": text}) == {"html": html}


def test_markdown_of_the_example_is_rendered(executor: wasmrun.Executor, built_sdk: Any) -> None:
    function = wasmrun.Function(built_sdk("javascript") / "markdown.wasm", snapshot=True)
    event = json.loads((SDK / "examples" / "events" / "markdown.json").read_text(encoding="utf-8"))
    assert executor.invoke(function, event)["html"].startswith(
        "<h1>Notes</h1>\n<p>A <em>short</em> text with <code>code</code>"
    )
    assert reported(executor.run(function, {})) == 'InvalidEvent: the event needs a string "markdown"'


# ---- the README


def test_readme_shows_the_example_and_its_size(built_sdk: Any) -> None:
    """The first block is hello.js; the size is that of the module, here and in the table of all languages."""
    readme = (SDK / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```js\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert found
    assert found[1] == (SDK / "examples" / "hello.js").read_text(encoding="utf-8")
    size = f"{(built_sdk('javascript') / 'hello.wasm').stat().st_size / 1e6:.1f} MB"
    assert size in readme
    table = (SDK.parent / "README.md").read_text(encoding="utf-8")
    row = re.search(r"\[javascript\]\(javascript/README\.md\).*\| ([^|]+) \|$", table, re.MULTILINE)
    assert row
    assert row[1] == size


def test_hello_greets_and_logs(executor: wasmrun.Executor, built_sdk: Any) -> None:
    """As in C."""
    function = wasmrun.Function(built_sdk("javascript") / "hello.wasm")
    result = executor.run(function, {"name": "Ada"})
    assert result.value == {"hello": "Ada"}
    assert [(log.level, log.message) for log in result.logs] == [("info", "greeting somebody")]
    for event in ({"name": 5}, {}, "Ada", None):
        assert reported(executor.run(function, event)) == 'InvalidEvent: the event needs a string "name"'


def test_built_wheel_has_what_projects_need() -> None:
    """Of a file that is missing in the package, a checkout would not tell."""
    wheel = tomllib.loads((SDK.parents[1] / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for path in ("engine.wasm", "wasmrun.d.ts", "engine/LICENSE"):
        assert wheel["force-include"][f"guest_sdk/javascript/{path}"] == f"wasmrun/guest_sdk/javascript/{path}"
