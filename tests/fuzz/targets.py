"""Targets: what comes from outside as values, each with a strategy that makes it up and a check of what became of it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import hypothesis
import kit
import msgpack
import verdicts
from hypothesis import strategies as st

import wasmrun
from wasmrun.errors import OUTCOMES
from wasmrun.invocation import LEVELS, Log, Report
from wasmrun.processes import frames, wire

AnyExecutor = wasmrun.Executor | wasmrun.ProcessExecutor


class Target(Protocol):
    """What is fuzzed: ``cases`` are made up, `check` gives the end of one, or raises where that is none."""

    cases: st.SearchStrategy[Any]

    def check(self, case: Any) -> str:
        """How *case* ended."""


def hunt(target: Target, examples: int, seed: int | None = None) -> Counter[str]:
    """Check so many cases, the same ones each time unless there is a *seed*; how they ended."""
    counts: Counter[str] = Counter()

    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, derandomize=seed is None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(target.cases)
    def test(case: Any) -> None:
        counts[target.check(case)] += 1

    (test if seed is None else hypothesis.seed(seed)(test))()
    return counts


def is_plain(value: object) -> bool:
    """Whether *value* holds what JSON can, and bytes, and nothing else."""
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and is_plain(inner) for key, inner in value.items())
    return value is None or type(value) in (bool, int, float, str, bytes)


def run(executor: AnyExecutor, function: wasmrun.Function, event: Any, *allowed: type[wasmrun.WasmrunError]) -> Any:
    """The value, or the error, which must be of a class that is *allowed*; as `Executor.run`, but with every error."""
    try:
        result = executor.run(function, event)
    except wasmrun.WasmrunError as refused:
        error: wasmrun.WasmrunError | None = refused
    else:
        error = result.error
        assert error is None or error.report is result.report
    assert error is None or type(error) in allowed, f"{type(error).__name__}: {error}"
    return result.value if error is None else error


def name_of(end: Any) -> str:
    """The class of an error; "answer" for a value."""
    return type(end).__name__ if isinstance(end, wasmrun.WasmrunError) else verdicts.ANSWER


# Events


class Text(str):
    """A text of the program's own."""

    __slots__ = ()


class Map(dict[Any, Any]):
    """A map of the program's own."""


def _in_itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.decimals() | st.fractions()
    | st.text() | st.text(st.characters(codec=None)) | st.binary() | st.binary().map(bytearray)
    | st.binary().map(memoryview) | st.text().map(Text) | st.datetimes() | st.uuids()
    | st.sampled_from([object(), int, print, NotImplemented, ..., range(3), Path("x"), 2**63, -(2**63), 2**64, -(2**64),
                       msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2), wasmrun.HostError("x"), 10**400])
)  # fmt: skip


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=5) | st.integers() | st.binary(max_size=5) | st.none() | st.tuples(st.text(max_size=3))
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4).map(Map)
        | st.frozensets(st.integers(), max_size=3)
        | st.lists(inner, max_size=3).map(iter)
    )


class Events:
    """Any Python value as the event of a function of any ABI: an answer, or an error that says what is wrong with it."""

    cases = st.recursive(_LEAVES, _containers, max_leaves=8) | st.builds(_in_itself) | st.builds(
        _deep, st.sampled_from([100, 500, 600, 1_100, 5_000, 100_000])
    )  # fmt: skip

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        numbers = '(module (func (export "{0}") (param {0}) (result {0}) (local.get 0)))'
        settings: dict[str, Any] = {"warm": 1, "event_bytes": "4KiB"}
        self._functions = [
            kit.pure("context", **settings),
            kit.pure("echo_raw", **settings),
            wasmrun.Function(kit.COMMAND, **settings),
            *[wasmrun.Function(numbers.format(kind), **settings) for kind in ("i32", "i64", "f32", "f64")],
        ]

    def check(self, case: Any) -> str:
        """Run each of the functions with it."""
        ends = []
        for function in self._functions:
            value = run(self._executor, function, case, wasmrun.InvalidEvent, wasmrun.PayloadTooLarge, *_ANSWERS)
            if not isinstance(value, wasmrun.WasmrunError):
                assert is_plain(value)
            ends.append(name_of(value))
        return "taken" if verdicts.ANSWER in ends[:1] else ends[0]


# Answers

_ANSWERS = (wasmrun.InvalidAnswer, wasmrun.GuestError, wasmrun.OutOfMemory)

SPEAKING = f"""(module
  (import "wasmrun" "call" (func $call (param i32 i32) (result i64)))
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  {kit.NATIVE}
  ;; [bytes, context]: 92, then c4 or c5 and a length of one or two bytes. Those bytes are the answer.
  (func (export "say") (param i32 i32) (result i64)
    (if (result i64) (i32.eq (i32.load8_u offset=1 (local.get 0)) (i32.const 0xc4))
      (then (call $pack (i32.add (local.get 0) (i32.const 3)) (i32.load8_u offset=2 (local.get 0))))
      (else (call $pack (i32.add (local.get 0) (i32.const 4))
        (i32.or (i32.shl (i32.load8_u offset=2 (local.get 0)) (i32.const 8)) (i32.load8_u offset=3 (local.get 0)))))))
  ;; A length and a pointer, little-endian: the answer, a request to the host, a line of the log.
  (func (export "place_raw") (param i32 i32) (result i64) (i64.load (local.get 0)))
  (func (export "request_raw") (param i32 i32) (result i64)
    (call $call (i32.load offset=4 (local.get 0)) (i32.load (local.get 0))))
  (func (export "log_raw") (param i32 i32) (result i64)
    (call $log (i32.load (local.get 0)) (i32.load offset=4 (local.get 0)) (i32.load (local.get 0))) (i64.const 0))
)"""
"""A guest that says what its event tells it to."""

PRINTING = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $nibble (param $at i32) (result i32) (i32.sub (i32.load8_u (local.get $at)) (i32.const 97)))
  (func (export "_start") (local $from i32) (local $to i32)
    ;; The event is a JSON string of two letters a byte, "a" for 0 to "p" for 15; they are printed as bytes.
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 30000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $from (i32.const 1025)) (local.set $to (i32.const 32000))
    (block $end (loop $next
      (br_if $end (i32.lt_u (i32.load8_u (local.get $from)) (i32.const 97)))
      (i32.store8 (local.get $to) (i32.or (i32.shl (call $nibble (local.get $from)) (i32.const 4))
        (call $nibble (i32.add (local.get $from) (i32.const 1)))))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br $next)))
    (i32.store (i32.const 0) (i32.const 32000)) (i32.store (i32.const 4) (i32.sub (local.get $to) (i32.const 32000)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
"""A command that prints what its event tells it to."""

PAGE = 65_536
MOST_RESULT = 50_000


def speaking(entry: str, **settings: Any) -> wasmrun.Function:
    """The function *entry* of `SPEAKING`."""
    given: dict[str, Any] = {"warm": 4, "result_bytes": MOST_RESULT, "log_bytes": 2_000, **settings}
    return wasmrun.Function(SPEAKING, entry=entry, imports={"call": verdicts.same}, **given)


class Answers:
    """Any bytes as the envelope of an answer: a value of plain types, or one of the errors that there are for it."""

    cases = (
        st.binary(max_size=200)
        | st.binary(max_size=40).map(lambda tail: b"\x92\0" + tail)
        | st.binary(max_size=40).map(lambda tail: b"\x92\1\x83\xa4type" + tail)
    )

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = speaking("say")

    def check(self, case: bytes) -> str:
        """Have a guest answer with it."""
        value = run(self._executor, self._function, case, *_ANSWERS)
        if not isinstance(value, wasmrun.WasmrunError):
            assert is_plain(value)
        return name_of(value)


class Values:
    """Any value of plain types comes back as it went, from a guest that gives back what it got."""

    cases = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
        | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=8,
    )  # fmt: skip

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = speaking("say")

    def check(self, case: Any) -> str:
        """Have a guest answer with it."""
        assert run(self._executor, self._function, msgpack.packb([0, case])) == case
        return verdicts.ANSWER


class Outputs:
    """Any bytes as what a command prints: a value of plain types, or `InvalidAnswer`."""

    cases = st.binary(max_size=200) | st.text(max_size=60).map(str.encode) | Values.cases.filter(
        lambda value: not isinstance(value, bytes)
    ).map(repr).map(str.encode)  # fmt: skip

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = wasmrun.Function(PRINTING, warm=4, result_bytes=MOST_RESULT)

    def check(self, case: bytes) -> str:
        """Have a command print it."""
        letters = "".join(chr(97 + (byte >> 4)) + chr(97 + (byte & 15)) for byte in case)
        value = run(self._executor, self._function, letters, wasmrun.InvalidAnswer)
        if not isinstance(value, wasmrun.WasmrunError):
            assert is_plain(value)
        return name_of(value)


_EDGES = st.sampled_from([0, 1, 16, 4112, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1, 1 << 31, (1 << 32) - 1])


class Places:
    """Any pointer and length: exactly what lies in the memory and within the limit is read, all else is refused."""

    cases = st.tuples(
        _EDGES | st.integers(0, 3 * PAGE) | st.integers(0, 2**32 - 1),
        _EDGES | st.integers(0, 300) | st.integers(0, 2**32 - 1),
    )

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._answer, self._request, self._log = map(speaking, ("place_raw", "request_raw", "log_raw"))

    def check(self, case: tuple[int, int]) -> str:
        """As an answer, as a request to the host, as a line of the log."""
        pointer, length = case
        event = (pointer << 32 | length).to_bytes(8, "little")
        value = run(self._executor, self._answer, event, wasmrun.InvalidAnswer, wasmrun.ResultTooLarge)
        if pointer + length > 2 * PAGE:
            assert type(value) is wasmrun.InvalidAnswer
        elif length > MOST_RESULT:
            assert type(value) is wasmrun.ResultTooLarge
        elif length and not pointer:
            assert type(value) is wasmrun.InvalidAnswer
        else:
            assert len(value) == length
            if pointer <= 16 and pointer + length >= 21:
                assert value[16 - pointer : 21 - pointer] == b"hello"
        run(self._executor, self._request, event, *_ANSWERS, wasmrun.GuestTrap, wasmrun.ResultTooLarge)
        run(self._executor, self._log, event, wasmrun.GuestTrap)
        return name_of(value)


class Requests:
    """Any bytes as a request to a host function: its answer, or the error in its place, as the guest reads it."""

    cases = Answers.cases | Values.cases.map(msgpack.packb)

    def __init__(self, executor: AnyExecutor) -> None:
        self._executor = executor
        self._function = wasmrun.Function(
            kit.HOST, entry="ask_raw", warm=4, imports={"call": verdicts.same}, result_bytes=MOST_RESULT
        )

    def check(self, case: bytes) -> str:
        """Have a guest ask it; it answers with the host's reply as it stands."""
        reply = run(self._executor, self._function, case)
        assert type(reply) is bytes
        ok, value = msgpack.unpackb(reply, strict_map_key=False)
        assert ok in (0, 1)
        assert is_plain(value)
        return "refused" if ok else verdicts.ANSWER


# Frames


class Fed(NamedTuple):
    """What arrives at one end: pieces of bytes, and the most that a payload may have."""

    pieces: list[bytes]
    most_payload: int


def _frame(message: bytes, payload: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + message + payload


_MESSAGES = st.binary(max_size=30) | Values.cases.map(msgpack.packb) | st.lists(
    Values.cases, min_size=1, max_size=4
).map(lambda rest: msgpack.packb(["word", *rest]))  # fmt: skip
_STREAMS = st.lists(
    st.builds(_frame, _MESSAGES, st.binary(max_size=50) | st.integers(60_000, 140_000).map(bytes))
    | st.binary(max_size=20),
    max_size=5,
).map(b"".join)


@st.composite
def _fed(draw: st.DrawFn) -> Fed:
    stream = draw(_STREAMS)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    ends = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(ends)]
    return Fed(pieces, draw(st.sampled_from([0, 10, 100_000, 1 << 20])))


class Frames:
    """Any bytes in any pieces: frames as they are promised, then `BrokenFrame` or `Closed`, and never a wait for ever."""

    cases = _fed()

    def check(self, case: Fed) -> str:
        """Feed them to a channel."""
        mine, theirs = socket.socketpair()
        channel = frames.Channel(theirs, case.most_payload, turn_seconds=0.001)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
        mine.settimeout(5)
        try:
            for piece in case.pieces:
                mine.sendall(piece)
                with contextlib.suppress(TimeoutError):
                    while True:
                        self._receive(channel, case.most_payload)
            mine.close()
            while True:
                self._receive(channel, case.most_payload)
        except (frames.BrokenFrame, frames.Closed) as end:
            return type(end).__name__
        finally:
            mine.close()
            channel.close()

    def _receive(self, channel: frames.Channel, most: int) -> None:
        message, payload = channel.receive()
        assert type(message) is list
        assert type(message[0]) is str
        assert is_plain(message)
        assert len(payload) <= most


FUNCTION = wasmrun.Function("(module)", name="fuzzed")
REPORT = Report(
    request_id="r", function="f", version="v", abi="native", start="warm", status="success", duration=0.1,
    init_duration=None, pool_wait=0.0, fuel_used=5, fuel_exact=True, memory_bytes=1, memory_limit_bytes=2,
    memory_near_limit=False, event_bytes=3, result_bytes=4, log_bytes=5, http=(),
)  # fmt: skip

RECORDS: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "report": (lambda packed: wire.unpack_report(packed, FUNCTION, "request"), [wire.pack_report(REPORT)]),
    "error": (wire.unpack_error, [wire.pack_error(cls("x")) for cls in OUTCOMES]),
    "logs": (wire.unpack_logs, [wire.pack_logs((Log(LEVELS[0], "x"), Log(LEVELS[1], "y")))]),
    "shape": (wire.unpack_shape, [["plain", "why", "run", False, ["i32"], ["f64"], True]]),
    "inspection": (wire.unpack_inspection, [[None] * 12]),
    "pool": (wire.unpack_pool, [[0] * 11]),
}
"""What a worker says, by what reads it: how that is read, and records that are as they should be."""

_ODD = Values.cases | st.sampled_from(
    [0, "", [], {}, b"", False, True, None, -1, 1 << 63, math.nan, math.inf, -0.0, [[]], [{}], {"": []}, "GuestTrap"]
)


@st.composite
def _record(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(sorted(RECORDS)))
    record = msgpack.unpackb(msgpack.packb(draw(st.sampled_from(RECORDS[kind][1]))))
    if draw(st.booleans()) and draw(st.booleans()):
        return kind, copy.deepcopy(draw(_ODD))
    for _ in range(draw(st.integers(1, 2))):
        holder: Any = record
        while draw(st.booleans()):
            inner = [item for item in (holder.values() if isinstance(holder, dict) else holder) if item]
            inner = [item for item in inner if isinstance(item, (list, dict))]
            if not inner:
                break
            holder = draw(st.sampled_from(inner))
        keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
        if keys:
            holder[draw(st.sampled_from(keys))] = copy.deepcopy(draw(_ODD))
    return kind, record


class Records:
    """What a worker says with something wrong in it: read as what it must be, or `BrokenFrame`."""

    cases = _record()

    def check(self, case: tuple[str, Any]) -> str:
        """Read it; what was read can be shown, and sent on."""
        kind, packed = case
        try:
            read = RECORDS[kind][0](packed)
        except frames.BrokenFrame:
            return "BrokenFrame"
        if kind == "report":
            str(read)
            assert is_plain(msgpack.unpackb(msgpack.packb([*read])))
        elif kind == "error":
            assert isinstance(read, wasmrun.WasmrunError)
            wire.pack_error(read)
            str(read)
        else:
            repr(read)
        return verdicts.ANSWER
