"""Hosts: what plug-ins and components ask of theirs, and what these and programs of CGI answer, each told by its event."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import lowered
import verdicts
from extism_kit import plugin
from hypothesis import strategies as st
from lifted import answer, component
from targets import MOST_RESULT, PAGE, AnyExecutor, name_of, run

import wasmrun
from wasmrun.machine.kernel import FUNCTIONS

_LETTERS = 97
"""A byte is two letters, "a" for 0 to "p" for 15, where what carries it must be text."""


def lettered(data: bytes) -> str:
    """*data* in letters."""
    return "".join(chr(_LETTERS + (byte >> 4)) + chr(_LETTERS + (byte & 15)) for byte in data)


UNLETTER = """
  (func $nibble (param $at i32) (result i32) (i32.and (i32.sub (i32.load8_u (local.get $at)) (i32.const 97)) (i32.const 15)))
  (func $unletter (param $from i32) (param $length i32) (param $to i32) (local $end i32)
    (local.set $end (i32.add (local.get $from) (local.get $length)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
      (i32.store8 (local.get $to) (i32.or (i32.shl (call $nibble (local.get $from)) (i32.const 4))
        (call $nibble (i32.add (local.get $from) (i32.const 1)))))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br $next))))"""

_ENDS = (
    wasmrun.GuestError, wasmrun.GuestTrap, wasmrun.OutOfMemory, wasmrun.OutOfFuel, wasmrun.TimedOut,
    wasmrun.InvalidAnswer, wasmrun.ResultTooLarge,
)  # fmt: skip


def _bounded(executor: AnyExecutor, function: wasmrun.Function, event: Any) -> str:
    """How the event ends, which is within the limits of its function."""
    result = executor.run(function, event)
    report = result.report
    assert result.error is None or type(result.error) in _ENDS, f"{type(result.error).__name__}: {result.error}"
    assert report.memory_bytes <= function.memory
    assert report.log_bytes <= function.log_bytes
    assert report.result_bytes <= function.result_bytes or isinstance(result.error, wasmrun.ResultTooLarge)
    return name_of(result.error) if result.error is not None else verdicts.ANSWER


# Plug-ins

_CALLS = [*FUNCTIONS, "call"]


def _calling(name: str) -> str:
    params = FUNCTIONS[name].params if name in FUNCTIONS else ("i64",)
    results = FUNCTIONS[name].results if name in FUNCTIONS else ("i64",)
    given = " ".join(
        f"(local.get ${which})" if kind == "i64" else f"(i32.wrap_i64 (local.get ${which}))"
        for which, kind in zip("ab", params, strict=False)
    )
    called = f"(call ${name} {given})"
    if results == ("i32",):
        called = f"(i64.extend_i32_u {called})"
    return f"(local.set $last {called})" if results else called


_STEPS = "".join(
    f"(if (i32.eq (i32.and (local.get $op) (i32.const 63)) (i32.const {at})) (then {_calling(name)}))"
    for at, name in enumerate(_CALLS)
)
KERNEL = plugin(
    more='(import "extism:host/user" "call" (func $call (param i64) (result i64)))',
    run=f"""(local $at i64) (local $op i32) (local $last i64)
      (block $end (loop $next
        (br_if $end (i64.gt_u (i64.add (local.get $at) (i64.const 17)) (call $input_length)))
        (local.set $op (call $input_load_u8 (local.get $at)))
        (local.set $a (call $input_load_u64 (i64.add (local.get $at) (i64.const 1))))
        (local.set $b (call $input_load_u64 (i64.add (local.get $at) (i64.const 9))))
        (if (i32.and (local.get $op) (i32.const 128)) (then (local.set $a (local.get $last))))
        (if (i32.and (local.get $op) (i32.const 64)) (then (local.set $b (local.get $last))))
        {_STEPS}
        (local.set $at (i64.add (local.get $at) (i64.const 17)))
        (br $next)))""",
)
"""A plug-in that makes the calls of its kernel and its host that its event says: 17 bytes each. One of the numbers, or
both, may be what the call before gave."""

_NUMBERS = (
    st.sampled_from([0, 1, 8, 40, 64, 4096, PAGE - 1, PAGE, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1])
    | st.integers(0, 300)
    | st.integers(0, 2**64 - 1)
)  # fmt: skip
_STEP = st.builds(
    lambda call, last, a, b: bytes((call | last << 6,)) + a.to_bytes(8, "little") + b.to_bytes(8, "little"),
    st.integers(0, len(_CALLS) - 1), st.integers(0, 3), _NUMBERS, _NUMBERS,
)  # fmt: skip


class Plugins:
    """Any calls of an Extism kernel, with any numbers: an answer or an error of the plug-in's own, within its limits."""

    cases = st.lists(_STEP, max_size=25).map(b"".join) | st.binary(max_size=100)

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = wasmrun.Function(
            KERNEL, entry="run", raw=True, warm=4, memory="2MiB", fuel=3_000_000, log_bytes="1KiB", var_bytes="8KiB",
            result_bytes=MOST_RESULT, config={"a": "b"}, imports={"call": verdicts.same},
        )  # fmt: skip

    def check(self, case: bytes) -> str:
        """Have a plug-in make the calls."""
        return _bounded(self._executor, self._function, case)


# Programs of CGI

COPYING = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (i32.store (i32.const 0) (i32.const 1024))
    (loop $more
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (if (i32.load (i32.const 4)) (then
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $more))))))"""
"""A program that writes what it reads."""

_LINES = (
    st.sampled_from(["Status: 404 Not Found", "Content-Type: text/plain", "Location: /", "Set-Cookie: a=1", "X-A:1", "x-a: ü",
                     "Content-Length: 5", "Transfer-Encoding: chunked", "status:99", "a b: c", "X-B: a\rb", "X-C: \0", ": x", "x"])
    | st.builds("{}: {}".format, st.from_regex(r"\A[A-Za-z-]{1,5}\Z"), st.text(max_size=8))
    | st.text(max_size=8)
)  # fmt: skip
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


class Responses:
    """Any bytes as what a program of CGI writes: a response in which no header says more than one thing, or `InvalidAnswer`."""

    cases = st.binary(max_size=100) | st.builds(
        lambda lines, end, blank, body: end.join([*lines, ""]).encode("utf-8", "surrogatepass") + blank + body,
        st.lists(_LINES, max_size=4) | st.lists(_LINES, max_size=2).map(lambda lines: ["Status: 201", *lines]),
        st.sampled_from(["\n", "\n", "\r\n", "\r"]), st.sampled_from([b"\n", b"\n", b"\r\n", b""]), st.binary(max_size=60),
    )  # fmt: skip

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = wasmrun.Function(COPYING, abi="wagi", warm=4, result_bytes=MOST_RESULT)

    def check(self, case: bytes) -> str:
        """Have a program write it."""
        event = {"body": base64.b64encode(case).decode(), "isBase64Encoded": True}
        response = run(self._executor, self._function, event, wasmrun.InvalidAnswer)
        if isinstance(response, wasmrun.WasmrunError):
            return name_of(response)
        assert 200 <= response["statusCode"] <= 599
        for name, value in [
            *response["headers"].items(),
            *[("set-cookie", text) for text in response.get("cookies", ())],
        ]:
            assert _TOKEN.fullmatch(name)
            assert name not in ("content-length", "transfer-encoding", "status")
            assert not re.search("[\0-\x08\n-\x1f\x7f]", value)
        body = response["body"]
        assert case.endswith(base64.b64decode(body) if response["isBase64Encoded"] else body.encode())
        return verdicts.ANSWER


_ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5) | st.binary(max_size=3)
    | st.lists(st.text(max_size=3), max_size=3) | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)
    | st.sampled_from([10**5_000, "2.0", "POST", "/a/b", "a=b&c", "http", "$default", "GET /a/{b}", "GET /{rest+}"])
)  # fmt: skip


def _object(*names: str, **inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object that has some of these *names*, with anything."""
    return st.fixed_dictionaries({}, optional={**dict.fromkeys(names, _ODD), **inner})


_HTTP = _object("method", "path", "protocol", "sourceIp") | _ODD
_CONTEXT = _object("domainName", "stage", http=_HTTP) | _ODD


class HttpEvents:
    """Any object as a request of payload 2.0: taken, or `InvalidEvent`."""

    cases = _object(
        "version", "routeKey", "rawPath", "rawQueryString", "cookies", "body", "isBase64Encoded", requestContext=_CONTEXT,
        headers=_ODD | st.dictionaries(st.sampled_from(["Host", "x-forwarded-proto", "Proxy", "a b", "X-A", "x-a", 5]), _ODD),
    )  # fmt: skip

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._functions = [
            wasmrun.Function(COPYING, abi="wagi", warm=4),
            wasmrun.Function(lowered.proxy("(drop (call $fields))", "fields"), warm=4),
        ]

    def check(self, case: Any) -> str:
        """Send it to a program and to a component."""
        ends = []
        for function in self._functions:
            end = run(self._executor, function, case, wasmrun.InvalidEvent, wasmrun.InvalidAnswer)
            ends.append("InvalidEvent" if isinstance(end, wasmrun.InvalidEvent) else "taken")
        return max(ends)


# Components

_SAYS = """
  (call $unletter {at} {length} (i32.const 16))
  (i32.store (i32.const 0) (i32.load (i32.const 16))) (i32.store (i32.const 4) (i32.load (i32.const 20)))
  (i32.store (i32.const 8) (i32.load (i32.const 24)))"""
LIFTED = component(_SAYS.format(at="(local.get 0)", length="(local.get 1)") + "(i32.const 0)", functions=UNLETTER)
"""A component that answers the case, the pointer and the length that its event says; its text follows, at 28."""
ASKING = component(
    _SAYS.format(at="(local.get 0)", length="(local.get 1)")
    + "(call $ask (i32.load (i32.const 4)) (i32.load (i32.const 8)) (i32.const 0))"
    + answer("(i32.load (i32.const 4))", "(i32.load (i32.const 8))"),
    functions='(import "h" "ask" (func $ask (param i32 i32 i32)))' + UNLETTER,
    imports='(import "ask" (func $asked (param "request" string) (result (result string (error string)))))',
    lowered='(core func $ask (canon lower (func $asked) (memory (core memory $l "memory")) (realloc (core func $l "realloc"))))',
    given='(export "ask" (func $ask))',
)
"""A component that asks the host what its event says, and answers the reply."""

_PLACES = st.sampled_from([0, 16, 28, 40, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1, 1 << 31, (1 << 32) - 1])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=4
).map(lambda value: json.dumps(value).encode())  # fmt: skip


class Lifted:
    """Any case, pointer, length and text as what a component answers and asks: read as it is, or an error of its own."""

    cases = st.tuples(
        st.sampled_from([0, 0, 0, 1, 2, 255, 256, (1 << 32) - 1]),
        _PLACES | st.just(28) | st.integers(0, 3 * PAGE),
        _PLACES | st.integers(0, 40) | st.none(),
        st.binary(max_size=40) | _JSON,
    )

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        settings: dict[str, Any] = {"raw": True, "warm": 4, "memory": "1MiB", "result_bytes": MOST_RESULT}
        self._answers = wasmrun.Function(LIFTED, **settings)
        self._asks = wasmrun.Function(ASKING, imports={"ask": verdicts.same}, **settings)

    def check(self, case: tuple[int, int, int | None, bytes]) -> str:
        """Have components answer it, and ask it."""
        which, pointer, length, data = case
        if length is None:
            pointer, length = 28, len(data)
        numbers = b"".join(number.to_bytes(4, "little") for number in (which, pointer, length))
        event = lettered(numbers + data).encode()
        value = run(
            self._executor, self._answers, event, wasmrun.InvalidAnswer, wasmrun.ResultTooLarge, wasmrun.GuestError,
            wasmrun.OutOfMemory,
        )  # fmt: skip
        # An answer's case is one byte; nothing is read where it, or the place, is none.
        if (which & 0xFF) > 1 or pointer + length > 2 * PAGE:
            assert type(value) is wasmrun.InvalidAnswer
        elif pointer == 28 and length == len(data) and (which & 0xFF) == 0:
            assert value == data if _is_text(data) else type(value) is wasmrun.InvalidAnswer
        _bounded(self._executor, self._asks, event)
        return name_of(value)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# Components of wasi:http/proxy

_ASKED = tuple(name for name in lowered.FUNCTIONS if name != "path")
_WORDS = 6


def _lowered_call(name: str) -> str:
    kinds = re.findall(r"i(32|64)", lowered.FUNCTIONS[name][4].partition("(result")[0])
    given = " ".join(f"(i{kind}.load16_u offset={1 + 2 * at} (local.get $at))" for at, kind in enumerate(kinds))
    called = f"(call ${name} {given})"
    return f"(drop {called})" if "(result" in lowered.FUNCTIONS[name][4] else called


PROXY = lowered.proxy(
    "(call $path (local.get 0) (i32.const 0))"
    "(call $unletter (i32.add (i32.load (i32.const 4)) (i32.const 1)) (i32.sub (i32.load (i32.const 8)) (i32.const 1)) (i32.const 32768))"
    "(local.set $n (i32.add (i32.const 32768) (i32.div_u (i32.load (i32.const 8)) (i32.const 2))))"
    "(local.set $at (i32.const 32768)) (loop $next"
    + "".join(
        f"(if (i32.eq (i32.load8_u (local.get $at)) (i32.const {at})) (then {_lowered_call(name)}))"
        for at, name in enumerate(_ASKED)
    )
    + f"(local.set $at (i32.add (local.get $at) (i32.const {1 + 2 * _WORDS})))"
    "(br_if $next (i32.lt_u (local.get $at) (local.get $n))))",
    *lowered.FUNCTIONS,
    functions=UNLETTER,
)
"""A component that makes the calls of its host that the path of its request says: a byte, and numbers of two bytes."""

_USES = {
    "fields": ("", "f"), "has": ("fan", ""), "from-list": ("anr", "f"), "request": ("F", "q"), "target": ("qban", ""),
    "body": ("qr", "b"), "stream": ("br", "s"), "zeroes": ("snr", ""), "poll": ("anr", ""), "append": ("fananr", ""),
    "get": ("fanr", ""), "entries": ("fr", ""), "clone": ("f", "f"), "write": ("sanr", ""), "after": ("n", "p"),
    "now-or-later": ("p", ""),
}  # fmt: skip
"""What each call takes, a letter a number: a handle of a kind (one in capitals is given away), an address, a number, a
place for the result. And the kind of handle that it gives."""
_NUMBER = st.sampled_from([0, 1, 2, 9, 16, 300, 1_024, 32_768, 40_000, 65_535]) | st.integers(0, 65_535)


@st.composite
def _program(draw: st.DrawFn) -> bytes:
    """Calls of which most have handles of the right kinds, as far as can be known here."""
    handles: dict[int, str] = {}
    program = b""
    for name in draw(st.lists(st.sampled_from(_ASKED), max_size=25)):
        takes, gives = _USES[name]
        numbers = []
        for what in takes:
            fitting = [handle for handle, kind in handles.items() if kind == what.lower()]
            if what == "r":
                numbers.append(16)
            elif fitting and draw(st.integers(0, 9)):
                numbers.append(draw(st.sampled_from(fitting)))
                if what.isupper():
                    del handles[numbers[-1]]
            elif what in "fqbsp" and not draw(st.integers(0, 3)):
                numbers.append(draw(st.integers(0, 12)))
            elif what in "an":
                numbers.append(draw(_NUMBER))
            else:
                break
        else:
            if gives:
                # The request has the first two.
                handles[next(at for at in range(3, 99) if at not in handles)] = gives
            numbers += [0] * (_WORDS - len(numbers))
            program += bytes((_ASKED.index(name),)) + b"".join(number.to_bytes(2, "little") for number in numbers)
    return program


class Proxies:
    """Any calls of the host of a wasi:http/proxy, with any handles, pointers and lengths: an error of the guest's own."""

    cases = _program() | st.binary(max_size=100)

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = wasmrun.Function(
            PROXY, warm=4, memory="2MiB", fuel=3_000_000, log_bytes="1KiB", timeout="100ms", result_bytes=MOST_RESULT
        )

    def check(self, case: bytes) -> str:
        """Have a component make the calls."""
        return _bounded(self._executor, self._function, {"rawPath": "/" + lettered(case)})
