"""The C SDK keeps the promises of its header, and stands whatever bytes it is given."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from pathlib import Path

Call = Callable[..., Any]
MakeFunction = Callable[..., wasmrun.Function]

MAX_DEPTH = 128

INTEGERS = sorted(
    {
        sign * (1 << bits) + step
        for bits in (0, 5, 7, 8, 15, 16, 31, 32, 53, 62, 63)
        for sign in (1, -1)
        for step in (-1, 0, 1)
        if -(2**63) <= sign * (1 << bits) + step < 2**64
    }
    | {2**64 - 1, 2**64 - 2}
)

FLOATS = [0.0, -0.0, 1.5, -1e-300, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.pi]

LENGTHS = (0, 1, 31, 32, 255, 256, 65535, 65536, 200_000)

VALUES = [
    None,
    True,
    False,
    "grüße, 日本語 😀 \0",
    b"\x00\xff",
    [],
    {},
    [[], {}, [None, [{}]]],
    {"a": {"b": [1, {"c": b"d"}]}, "": None},
    list(range(15)),
    list(range(16)),
    list(range(70_000)),
    {str(i): i for i in range(15)},
    {str(i): i for i in range(16)},
    {str(i): i for i in range(66_000)},
]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture
def entry_of(probe: bytes) -> MakeFunction:
    """One entry of the probe as a function; its host function gives back what it gets."""

    def make(entry: str, **settings: Any) -> wasmrun.Function:
        return wasmrun.Function(probe, entry=entry, **{"imports": {"db.get": lambda value: value}, **settings})

    return make


@pytest.fixture
def call(executor: wasmrun.Executor, entry_of: MakeFunction) -> Call:
    """Calls one entry of the probe with an event."""
    return lambda entry, event, **settings: executor.invoke(entry_of(entry, **settings), event)


@pytest.mark.parametrize("entry", ["wasmrun_handle", "copied"])
def test_integers_stay_exact_at_every_width(call: Call, entry: str) -> None:
    """From -2**63 to 2**64 - 1, copied as bytes and through the typed readers and writers."""
    assert call(entry, INTEGERS) == INTEGERS


@pytest.mark.parametrize("entry", ["wasmrun_handle", "copied"])
def test_floats_keep_their_bits(call: Call, entry: str) -> None:
    """Signed zeros, the smallest and the largest, infinities, and NaN."""
    answer = call(entry, [*FLOATS, math.nan])
    assert [struct.pack(">d", value) for value in answer[:-1]] == [struct.pack(">d", value) for value in FLOATS]
    assert math.isnan(answer[-1])


@pytest.mark.parametrize("entry", ["wasmrun_handle", "copied"])
@pytest.mark.parametrize("length", LENGTHS)
def test_text_and_bytes_of_every_length_come_back(call: Call, entry: str, length: int) -> None:
    """On both sides of each length that MessagePack writes differently."""
    event = {"text": "x" * length, "bytes": bytes(length)}
    assert call(entry, event) == event


@pytest.mark.parametrize("entry", ["wasmrun_handle", "copied"])
@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values_of_every_shape_come_back(call: Call, entry: str, value: Any) -> None:
    """Empty, nested and large ones."""
    assert call(entry, value) == value


def test_writer_chooses_the_shortest_encoding(call: Call) -> None:
    """Its bytes are those of the msgpack package."""
    for value in [
        *INTEGERS,
        *FLOATS,
        *("x" * length for length in LENGTHS),
        *(bytes(length) for length in LENGTHS),
        *VALUES,
    ]:
        packed = msgpack.packb(value)
        assert call("parse_raw", packed) == b"\0" + packed


def test_nesting_is_allowed_to_its_limit_and_reported_past_it(call: Call) -> None:
    """An event of 128 levels is answered; one more is an error with a type, not a trap."""
    assert call("copied", nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(wasmrun.GuestError, match="nested too deep") as caught:
        call("copied", nested(MAX_DEPTH + 1))
    assert caught.value.type == "InvalidInput"


KINDS: list[tuple[Any, set[str]]] = [
    (None, {"nil"}),
    (True, {"bool"}),
    (0, {"int", "uint", "double"}),
    (-1, {"int", "double"}),
    (2**63 - 1, {"int", "uint", "double"}),
    (2**63, {"uint", "double"}),
    (-(2**63), {"int", "double"}),
    (2.5, {"double"}),
    ("text", {"str"}),
    (b"bytes", {"bin"}),
    ([1], {"array"}),
    ({"a": 1}, {"map"}),
]


@pytest.mark.parametrize(("value", "readers"), KINDS, ids=[repr(value) for value, _ in KINDS])
def test_readers_take_their_own_kind_and_leave_others_alone(call: Call, value: Any, readers: set[str]) -> None:
    """A reader of another kind answers false and does not move."""
    assert set(call("readers", value)) == readers


def test_get_finds_keys_and_says_when_there_are_none(call: Call) -> None:
    """Behind values of any shape, the empty key too; in what is no map there are no keys."""
    event = {"a": [1, {"b": 2}], "b": {"c": None}, "": 0}
    for key, value in event.items():
        assert call("get", [event, key]) == value
    assert call("get", [event, "c"]) == "absent"
    assert call("get", [{}, "c"]) == "absent"
    assert call("get", [["c", 1], "c"]) == "absent"
    assert call("get", ["c", "c"]) == "absent"


def test_handler_sees_the_context(call: Call) -> None:
    """Who is called, and within which limits."""
    context = call("context_seen", None, memory="3MiB", name="probe")
    assert context["function"] == "probe"
    assert context["memory_limit_bytes"] == 3 << 20
    assert {"request_id", "version", "deadline_ms", "fuel_limit"} <= set(context)


# What malformed input may start from: every kind, and every width of a length.
SEEDS = [
    msgpack.packb(value)
    for value in [
        *INTEGERS[::5],
        *FLOATS[:3],
        *("x" * length for length in (0, 5, 40, 300)),
        *(bytes(length) for length in (0, 5, 300)),
        {"key": [1, "two", b"three", {"four": None, "five": [True, 2.5]}], "other": list(range(20))},
        {str(i): [i] for i in range(20)},
    ]
] + [
    b"\xca\x3f\xc0\x00\x00",
    b"\xd4\x05x",
    b"\xd8\x05" + bytes(16),
    b"\xc7\x03\x05abc",
    b"\xdd\x00\x00\x00\x01\xc0",
    b"\xdf\x00\x00\x00\x01\xa1a\xc0",
]

HEADS = b"\xc1\xc4\xc6\xc7\xc9\xca\xcb\xcf\xd3\xd9\xdb\xdc\xdd\xde\xdf\x8f\x9f\xbf\xff\x80"


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(changed) + 1)
        step = chance.randrange(4)
        if step == 0:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif step == 1:
            changed[at : at + 1] = bytes([chance.choice(HEADS)])
        elif step == 2:
            del changed[at : at + chance.randrange(1, 6)]
        else:
            changed[at:at] = chance.choice(SEEDS)[:12]
    return bytes(changed)


def malformed(number: int) -> list[bytes]:
    """Changed, cut and random inputs, the same ones every time; some are well-formed by luck."""
    chance = random.Random(number)
    data = [mutated(chance, chance.choice(SEEDS)) for _ in range(1_500)]
    data += [seed[:length] for seed in SEEDS for length in range(min(len(seed), 12))]
    data += [chance.randbytes(chance.randrange(30)) for _ in range(300)]
    data += [head * length for head in (b"\x91", b"\x81", b"\xdd", b"\xdf\xff") for length in (1, 128, 129, 5_000)]
    return data


TIMESTAMP = "an extension of type -1, which the package does not show as it is"


def as_msgpack_reads(data: bytes) -> tuple[Any] | None:
    """The value in a tuple, extensions as [type, bytes] and maps as pairs; None for what is not exactly one value."""
    try:
        return (
            msgpack.unpackb(
                data,
                raw=True,
                strict_map_key=False,
                object_pairs_hook=lambda pairs: ("map", pairs),
                ext_hook=lambda kind, content: [kind, content],
            ),
        )
    except ValueError as error:
        return (TIMESTAMP,) if "imestamp" in str(error) else None


def is_too_deep(value: Any, left: int = MAX_DEPTH) -> bool:
    if isinstance(value, tuple):  # a map's mark, then its pairs
        return left == 0 or any(is_too_deep(item, left - 1) for pair in value[1] for item in pair)
    return isinstance(value, list) and (left == 0 or any(is_too_deep(item, left - 1) for item in value))


def test_reader_takes_exactly_what_is_well_formed(executor: wasmrun.Executor, entry_of: MakeFunction) -> None:
    """On thousands of damaged inputs it agrees with the msgpack package, on the value too, and never traps."""
    function = entry_of("parse_raw", reuse=True)
    taken = 0
    for data in malformed(1):
        answer = executor.invoke(function, data)
        expected = as_msgpack_reads(data)
        if TIMESTAMP in repr(expected) or "Timestamp(" in repr(expected):
            continue
        if expected is None or is_too_deep(expected[0]):
            assert answer == b"\1", data.hex()
        else:
            taken += 1
            assert answer[:1] == b"\0", data.hex()
            assert repr(as_msgpack_reads(answer[1:])) == repr(expected), data.hex()
    assert taken > 100


def test_envelope_reports_malformed_input(executor: wasmrun.Executor, entry_of: MakeFunction) -> None:
    """A handler called with bytes that are no [event, context] answers InvalidInput; it never traps."""
    function = entry_of("envelope_raw", reuse=True)
    refused = 0
    for data in malformed(2):
        for around in (data, b"\x92" + data + b"\x80", b"\x92\xc0" + data):
            answer = executor.invoke(function, around)
            if answer[1] == 1:
                refused += 1
                assert msgpack.unpackb(answer)[1]["type"] == "InvalidInput"
            else:
                assert answer[:2] == b"\x92\x00"
    assert refused > 1_000


def test_handler_that_writes_nothing_answers_null(call: Call) -> None:
    """An answer is always complete."""
    assert call("writes_nothing", 1) is None


@pytest.mark.parametrize(
    ("entry", "type_", "message"),
    [
        ("writes_too_little", "InvalidAnswer", "fewer values"),
        ("writes_too_much", "InvalidAnswer", "more values"),
        ("fails_without_a_word", "Error", "did not say why"),
        ("fails_twice", "First", "on the stack – and copied"),
    ],
)
def test_handler_mistakes_are_reported(call: Call, entry: str, type_: str, message: str) -> None:
    """Answers of the wrong shape, failures without a reason; of two reports the first stands."""
    with pytest.raises(wasmrun.GuestError, match=message) as caught:
        call(entry, None)
    assert caught.value.type == type_


def test_raw_handler_that_fails_traps(call: Call) -> None:
    """A raw answer has no place for an error."""
    with pytest.raises(wasmrun.GuestTrap):
        call("fails_raw", b"")


@pytest.mark.parametrize("value", [-5, "x" * 40, {"a": [1, 2.5, b"bytes"], "b": "c"}], ids=["int", "text", "map"])
def test_fixed_writer_stays_in_its_buffer_and_counts(call: Call, value: Any) -> None:
    """At every capacity it says whether the value fitted, and how long it is."""
    length = len(msgpack.packb(value))
    for capacity in range(65):
        assert call("fixed", [capacity, value]) == [length <= capacity, length]


def test_growing_answer_survives_being_moved(call: Call) -> None:
    """With other allocations in its way."""
    assert call("grows", 50_000) == list(range(50_000))


def test_allocator_keeps_its_promises(call: Call) -> None:
    """Sizes of 0 and of more than there is, alignment, growing in place and elsewhere, zeros."""
    assert call("allocator", None) is None


@pytest.mark.parametrize(
    ("entry", "event"),
    [
        ("wasmrun_handle", bytes(150_000)),  # the input fits, the answer does not
        ("wasmrun_handle", bytes(1_000_000)),  # not even the input
        ("answers_zeros", 10_000_000),
        ("answers_zeros", 2**32 - 1),
        ("grows", 200_000),
        ("copied", ["x" * 100] * 1_500),
    ],
)
def test_memory_that_runs_out_is_reported(call: Call, entry: str, event: Any) -> None:
    """Wherever it happens the caller sees OutOfMemory, and no trap."""
    with pytest.raises(wasmrun.OutOfMemory):
        call(entry, event, memory="256KiB")


def test_memory_is_used_up_to_the_limit(call: Call) -> None:
    """Where doubling a buffer does not fit any more, what is needed still does."""
    assert len(call("answers_zeros", 3_000_000, memory="3072KiB")) == 3_000_000
    texts = ["x" * 100] * 3_000  # input and answer take 10 pages, the next doubling would take 13
    assert call("copied", texts, memory="704KiB") == texts


def test_sandbox_that_is_reused_does_not_grow(executor: wasmrun.Executor, entry_of: MakeFunction) -> None:
    """Memory is that of the largest event, not of their number, and what start-up kept stays whole."""
    function = entry_of("keeps", reuse=True)
    chance = random.Random(3)
    largest = executor.run(function, bytes(150_000)).report.memory_bytes
    for _ in range(300):
        event = chance.randbytes(chance.choice((0, 10, 5_000, 140_000)))
        result = executor.run(function, event)
        assert result.value == event
        assert result.report.memory_bytes <= largest


def test_sandbox_that_is_reused_forgets_replies(executor: wasmrun.Executor, entry_of: MakeFunction) -> None:
    """What the host puts into memory during imports goes with its event."""
    function = entry_of("asks_often", imports={"db.get": lambda i: "x" * 100}, reuse=True)
    sizes = {executor.run(function, 500).report.memory_bytes for _ in range(50)}
    assert len(sizes) == 1


@pytest.mark.parametrize("habit", ["without_free", "with_free", "that_frees_late", "without_alloc"])
def test_arena_is_emptied_for_hosts_of_other_habits(call: Call, habit: str) -> None:
    """Once an event: at free, else at the next input, else at the next call; never under an input that is there."""
    assert call(f"host_{habit}_raw", b"") == b"good"


def test_host_function_takes_and_gives_values(call: Call) -> None:
    """Every shape, and replies that make memory grow during the import."""
    for value in VALUES[:-1]:
        assert call("asks", value) == value
    assert call("asks", "key", imports={"db.get": lambda key: {key: b"x" * 300_000}}) == {"key": b"x" * 300_000}


def test_host_function_replies_do_not_disturb_each_other(call: Call) -> None:
    """Nor the answer that is being written meanwhile."""
    answer = call("asks_often", 1_000, imports={"db.get": lambda i: f"reply {i}"})
    assert answer == [f"reply {i}" for i in range(1_000)] + ["reply 0"]


def refuse(_key: object) -> None:
    raise LookupError("no such user")


def test_host_function_error_reaches_the_guest(call: Call) -> None:
    """As a value with its type and message."""
    answer = call("asks_calmly", "user:2", imports={"db.get": refuse})
    assert (answer["type"], answer["message"]) == ("LookupError", "no such user")


def test_host_function_error_can_be_passed_on(call: Call) -> None:
    """The caller of the function sees what happened."""
    with pytest.raises((wasmrun.GuestError, wasmrun.HostError), match="no such user"):
        call("asks", "user:2", imports={"db.get": refuse})


def test_host_function_is_not_called_with_half_a_value(call: Call) -> None:
    """A request that is incomplete fails before it leaves the guest."""
    calls: list[object] = []
    assert call("asks_half", None, imports={"db.get": calls.append}) is True
    assert calls == []


def test_log_lines_arrive_with_their_levels(executor: wasmrun.Executor, entry_of: MakeFunction) -> None:
    """In order, as UTF-8, empty ones too."""
    result = executor.run(entry_of("logs"), None)
    assert [(line.level, line.message) for line in result.logs] == [
        ("trace", "finest"),
        ("info", "grüße"),
        ("error", ""),
    ]


def test_base64_is_decoded_or_refused(call: Call) -> None:
    """Every remainder of 3; wrong lengths, alphabets, padding and left-over bits are no base64."""
    for text, content in [("", b""), ("QQ==", b"A"), ("QUI=", b"AB"), ("QUJD", b"ABC"), ("+/+/QQ==", b"\xfb\xff\xbfA")]:
        assert call("base64", text) == content
    for text in ["Q", "QQ", "QQ=", "Q===", "====", "QR==", "QUJ=", "QQ==QQ==", "Q=Q=", "QU_-", "QUJD\n", "QUé"]:
        with pytest.raises(wasmrun.GuestError) as caught:
            call("base64", text)
        assert caught.value.type == "NotBase64"


@pytest.mark.parametrize("number", [0, 9, -10, 2**63 - 1, -(2**63)])
def test_numbers_are_put_as_decimal_text(call: Call, number: int) -> None:
    """To the ends of 64 bits."""
    assert call("decimal", number) == str(number)


TWO_FILES = {
    "main.c": """
        #include "wasmrun.h"
        int from_the_other_file(wasmrun_writer *answer);
        WASMRUN_HANDLER(wasmrun_handle) { return from_the_other_file(answer); }
    """,
    "other.c": """
        #include "wasmrun.h"
        int from_the_other_file(wasmrun_writer *answer);
        int from_the_other_file(wasmrun_writer *answer) {
            wasmrun_write_text(answer, wasmrun_new(100000) == NULL ? "full" : "there");
            return 0;
        }
    """,
}


def test_files_of_one_module_share_the_arena(
    compile_c: Callable[..., Path], tmp_path: Path, executor: wasmrun.Executor
) -> None:
    """Each of them may include the header, and memory stays flat."""
    for name, text in TWO_FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    module = compile_c(tmp_path / "main.c", str(tmp_path / "other.c"))
    function = wasmrun.Function(module, reuse=True)
    results = [executor.run(function, None) for _ in range(20)]
    assert {result.value for result in results} == {"there"}
    assert len({result.report.memory_bytes for result in results}) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("WASMRUN_HANDLER(shrink_raw) { return 0; }", "use WASMRUN_RAW_HANDLER"),
        ("WASMRUN_RAW_HANDLER(shrink) { return 0; }", "has to end in _raw"),
    ],
)
def test_entry_named_for_the_other_kind_does_not_compile(
    compile_c: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    """The host goes by the name, so the compiler refuses a wrong one, and says why."""
    source = tmp_path / "wrong.c"
    source.write_text(f'#include "wasmrun.h"\n{text}\n', encoding="utf-8")
    with pytest.raises(Exception, match="non-zero exit status"):
        compile_c(source)
    assert reason in capfd.readouterr().err
