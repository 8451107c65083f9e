"""The scan of a module's file tells what its headers say, or what is wrong with them, whatever the bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.machine import capi
from wasmrun.machine.facts import Facts, is_wasm
from wasmrun.machine.wasmfile import MOST, MOST_WITHIN, scan

HEADER = b"\0asm\1\0\0\0"
EXAMPLES = sorted((Path(__file__).parents[2] / "guest_sdk" / "c" / "examples").glob("*.wasm"))


def leb(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*data, number))


def section(number: int, body: bytes) -> bytes:
    return bytes((number,)) + leb(len(body)) + body


def binary(wat: str) -> bytes:
    """The module that *wat* describes."""
    source, vec = wat.encode(), capi.ByteVec()
    error = capi.wat2wasm(source, len(source), capi.addressof(vec))
    assert not error, capi.take_error(error)
    module = capi.string_at(vec.data, vec.size)
    capi.byte_vec_delete(capi.addressof(vec))
    return module


def test_scan_counts_what_the_headers_say() -> None:
    """Functions, imports, exports, and whether there is a start function."""
    module = (
        HEADER + section(2, leb(3)) + section(3, leb(300)) + section(7, leb(2)) + section(8, leb(0)) + section(10, b"x")
    )
    assert scan(module) == Facts(True, 300, 3, 2, len(module), memory_pages=0, table_elements=0)
    assert scan(HEADER) == Facts(False, 0, 0, 0, 8, 0, 0)


def test_scan_skips_what_it_need_not_know() -> None:
    """Custom sections of any size, code, data, and sections that the engine will refuse."""
    module = HEADER + section(0, b"\4name" + b"\xff" * 5000) + section(11, b"\xff") + section(99, b"")
    assert scan(module) == Facts(False, 0, 0, 0, len(module), 0, 0)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_scan_reads_what_a_compiler_made(path: Path) -> None:
    """The examples, which export a memory and at least an allocator and a handler."""
    facts = scan(path.read_bytes())
    assert facts.functions > 1
    assert facts.exports >= 3
    assert not facts.has_start


@pytest.mark.parametrize("path", EXAMPLES[:1], ids=lambda path: path.stem)
def test_scan_of_a_module_cut_anywhere_says_truncated_or_ends_between_sections(path: Path) -> None:
    """At every byte of a real module."""
    data = path.read_bytes()
    said = []
    for length in range(8, len(data)):
        try:
            scan(data[:length])
        except ValueError as error:
            said.append(str(error))
    assert all(message.startswith("truncated: ") for message in said)
    assert 3 < len(data) - 8 - len(said) < 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not WebAssembly: it starts with nothing, not with 00 61 73 6d"),
        (b"\x7fELF\1\0\0\0", "not WebAssembly: it starts with 7f 45 4c 46"),
        (b"\0as", "not WebAssembly: it starts with 00 61 73"),
        (b"\0asm", "truncated: the header is 8 bytes"),
        (b"\0asm\1\0\0", "truncated: the header is 8 bytes"),
        (b"\0asm\x0d\0\1\0", "a component, where a module is wanted"),
        (b"\0asm\2\0\0\0", "an unknown version of WebAssembly: 02 00 00 00"),
        (HEADER + b"\1", "truncated: a number at byte 9 does not end"),
        (HEADER + b"\1\x80", "truncated: a number at byte 9 does not end"),
        (HEADER + b"\1\x05\0", "truncated: the section at byte 8 has 5 bytes, the file ends after 1"),
        (HEADER + b"\1\x80\x80\x80\x80\x80\x01", "malformed: the number at byte 9 is too long"),
        (HEADER + section(3, b"\xff" * 5), "malformed: the number at byte 10 is too long"),
        (HEADER + section(3, b"\xff"), "truncated: a number at byte 10 does not end"),
        (HEADER + b"\0\0" * 10_001, "it has more than 10000 sections"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_scan_says_what_is_wrong_and_where(data: bytes, message: str) -> None:
    """A reader with a hex dump finds the place."""
    with pytest.raises(ValueError) as caught:
        scan(data)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (1, "type"),
        (2, "import"),
        (3, "function"),
        (4, "table"),
        (5, "memory"),
        (6, "global"),
        (7, "export"),
        (9, "element"),
    ],
)
def test_scan_caps_what_a_section_may_hold(number: int, what: str) -> None:
    """The most is taken, one more is refused by its name, in one section or in several."""
    entry = {1: b"\x60\0\0", 4: b"\x70\0\0", 5: b"\0\0", 9: b"\1\0\0"}.get(number, b"\0")
    most = HEADER + section(number, leb(MOST[what]) + entry * MOST[what])
    scan(most)
    refusal = f"it has {MOST[what] + 1} {what} entries; at most {MOST[what]} are allowed"
    with pytest.raises(ValueError, match=refusal):
        scan(HEADER + section(number, leb(MOST[what] + 1)))
    with pytest.raises(ValueError, match=refusal):
        scan(most + section(number, leb(1) + entry))


def test_scan_tells_the_memory_and_the_table_that_a_module_starts_with() -> None:
    """Whether they are exported or hidden, and whatever their limits look like."""
    for wat, pages, elements in (
        ("(module (memory 17) (table 21 funcref))", 17, 21),
        ('(module (memory (export "m") 300 65536) (table (export "t") 1000 2000 externref))', 300, 1000),
        ("(module (memory 1) (memory 3) (memory 2) (table 5 funcref) (table 7 funcref))", 3, 7),
        ("(module (memory i64 5 6) (table i64 8 9 funcref))", 5, 8),
        ("(module (memory 4 6 shared) (memory 65536 (pagesize 1)))", 65536, 0),
        ('(module (import "m" "mem" (memory 9)) (import "m" "t" (table 9 funcref)))', 0, 0),
    ):
        facts = scan(binary(wat))
        assert (facts.memory_pages, facts.table_elements) == (pages, elements)
    assert scan(HEADER + section(4, b"\1\x63\x70\0\6")).table_elements == 6  # "funcref" in its long form


def test_scan_leaves_forms_that_the_engine_refuses_to_the_engine() -> None:
    """Types of GC, tables with a value, segments of a later WebAssembly: nothing after them is read."""
    for form in (section(1, b"\2\x50\0"), section(4, b"\1\x40\0"), section(9, b"\1\x08")):
        assert scan(HEADER + form).functions == 0
    scan(binary("(module (type (struct (field i32))) (table 1 funcref (ref.null func)))"))


def test_scan_caps_the_size_of_the_table() -> None:
    """No function can be allowed more than 20,000 elements: the message names the setting."""
    assert scan(binary("(module (table 20000 funcref))")).table_elements == 20_000
    with pytest.raises(ValueError, match="its table starts with 20001 elements, more than `table_elements` can allow"):
        scan(binary("(module (table 20001 funcref))"))


def test_scan_caps_the_parameters_and_results_of_all_types_together() -> None:
    """They are counted before they are read, so that few bytes can claim many."""
    most, _ = MOST_WITHIN["type"]
    widest = b"\x60" + leb(1000) + b"\x7f" * 1000 + leb(0)
    assert most == 100 * 1000
    scan(HEADER + section(1, leb(100) + widest * 100))
    more = b"\x60\0\1\x7f"
    for module in (
        section(1, leb(101) + widest * 100 + more),
        section(1, leb(100) + widest * 100) + section(1, leb(1) + more),
    ):
        with pytest.raises(ValueError, match="it has 100001 parameters and results of types or more; at most 100000"):
            scan(HEADER + module)
    with pytest.raises(ValueError, match="it has 4294967295 parameters and results"):
        scan(HEADER + section(1, b"\1\x60\xff\xff\xff\xff\x0f"))


ELEMENTS = (
    "(elem (i32.const 0) func 0 0 0)",
    "(elem func 0 0 0)",
    "(elem (table 1) (i32.const 0) func 0 0 0)",
    "(elem declare func 0 0 0)",
    "(elem (i32.const 0) funcref (ref.func 0) (ref.null func) (ref.func 0))",
    "(elem funcref (ref.func 0) (ref.null func) (ref.func 0))",
    "(elem (table 1) (i32.const 0) externref (ref.null extern) (ref.null extern) (ref.null extern))",
    "(elem declare funcref (ref.func 0) (ref.func 0) (ref.func 0))",
    "(elem (i32.add (i32.mul (i32.const -1) (global.get 0)) (i32.sub (i32.const 99999) (i32.const 0))) func 0 0 0)",
)


@pytest.mark.parametrize("segment", ELEMENTS)
def test_scan_reads_element_segments_of_every_form(segment: str) -> None:
    """So many of them, between two others, that the count would not come out if one were misread."""
    most, _ = MOST_WITHIN["element"]
    fill = most - 6
    head = '(module (import "m" "g" (global i32)) (table 10 funcref) (table 10 externref) (func)'
    last = "(elem func " + "0 " * fill + ")"
    scan(binary(f"{head} {segment} {segment} {last})"))
    with pytest.raises(ValueError, match=f"it has {most + 1} elements in segments or more; at most {most} are allowed"):
        scan(binary(f"{head} {segment} {segment} {last} (elem func 0))"))


@pytest.mark.parametrize(
    ("number", "body", "message"),
    [
        (1, b"\1", "truncated: it ends at byte 11, where more was to come"),
        (1, b"\1\x60", "truncated: a number at byte 12 does not end"),
        (1, b"\1\x60\2\x7f", "malformed or truncated: byte 14 cannot be read"),
        (1, b"\1\x60\1\x63\xff\xff\xff\xff\xff\0\0", "malformed: the number at byte 14 is too long"),
        (4, b"\1", "malformed or truncated: byte 11 cannot be read"),
        (4, b"\1\x70", "truncated: it ends at byte 12, where more was to come"),
        (4, b"\1\x70\0", "truncated: a number at byte 13 does not end"),
        (5, b"\1\0" + b"\x80" * 10 + b"\0", "malformed: the number at byte 12 is too long"),
        (5, b"\1\1\0", "truncated: a number at byte 13 does not end"),
        (9, b"\1\0\x41\0", "malformed or truncated: byte 12 cannot be read"),
        (9, b"\1\0\x43\0\x0b", "malformed or truncated: byte 12 cannot be read"),
        (9, b"\1\0\xff\x0b", "malformed or truncated: byte 12 cannot be read"),
        (9, b"\1\0" + b"\x41\0" * 101 + b"\x0b\0", "malformed or truncated: byte 13 cannot be read"),
        (9, b"\1\1\0\2\0", "malformed or truncated: byte 15 cannot be read"),
        (9, b"\1\5\x70\1\xd2\0", "malformed or truncated: byte 14 cannot be read"),
    ],
)
def test_scan_of_a_section_that_ends_too_early_says_where(number: int, body: bytes, message: str) -> None:
    """What comes after the section does not count as part of it."""
    with pytest.raises(ValueError) as caught:
        scan(HEADER + section(number, body) + section(0, b"\0" * 300))
    assert str(caught.value) == message


def test_scan_is_quick_on_the_largest_that_it_takes() -> None:
    """Every element, every type, the longest expressions: well under what compiling is given."""
    segment = b"\1\0" + leb(20_000) + b"\0" * 20_000
    for module in (
        section(9, leb(1) + segment),
        section(1, leb(50_000) + b"\x60\1\x7f\1\x7f" * 50_000),
        section(9, leb(50_000) + (b"\0" + b"\x41\0" * 100 + b"\x0b\0") * 50_000),
    ):
        started = time.process_time()
        scan(HEADER + module)
        assert time.process_time() - started < 1


def test_scan_caps_cover_every_section_that_costs_the_host() -> None:
    """Among them the 20,000 exports that cost seconds in the wheel's own classes."""
    assert MOST["export"] < 20_000
    assert MOST["import"] <= 1_000
    assert MOST["function"] <= 100_000


@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda data: HEADER + data)
    | st.tuples(st.sampled_from([1, 4, 5, 9]), st.binary(max_size=300)).map(lambda it: HEADER + section(*it))
)
def test_scan_of_any_bytes_gives_facts_or_value_error(data: bytes) -> None:
    """Nothing else, and never for long."""
    try:
        facts = scan(data)
    except ValueError as error:
        message = str(error)
    else:
        assert data.startswith(HEADER)
        assert facts.imports <= MOST["import"]
        return
    assert message.isprintable()


@given(st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=40)), max_size=20))
def test_scan_of_well_formed_sections_ends_at_the_end(sections: list[tuple[int, bytes]]) -> None:
    """Whatever is in them, one byte more or less is noticed."""
    data = HEADER + b"".join(section(number, b"\0" + body) for number, body in sections)
    scan(data)
    with pytest.raises(ValueError, match="truncated"):
        scan(data + b"\0")


def test_magic_number_is_enough_to_call_it_wasm() -> None:
    """What comes after it is the scan's to judge."""
    assert is_wasm(b"\0asm")
    assert not is_wasm(b"(module)")
    assert not is_wasm(b"")
