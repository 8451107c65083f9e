"""The scan of a module's file tells what its headers say, or what is wrong with them, whatever the bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.machine.wasmfile import MOST, Facts, is_wasm, scan

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


def test_scan_counts_what_the_headers_say() -> None:
    """Functions, imports, exports, and whether there is a start function."""
    module = (
        HEADER + section(2, leb(3)) + section(3, leb(300)) + section(7, leb(2)) + section(8, leb(0)) + section(10, b"x")
    )
    assert scan(module) == Facts(has_start=True, functions=300, imports=3, exports=2, module_bytes=len(module))
    assert scan(HEADER) == Facts(has_start=False, functions=0, imports=0, exports=0, module_bytes=8)


def test_scan_skips_what_it_need_not_know() -> None:
    """Custom sections of any size, code, data, and sections that the engine will refuse."""
    module = HEADER + section(0, b"\4name" + b"\xff" * 5000) + section(11, b"\xff") + section(99, b"")
    assert scan(module) == Facts(False, 0, 0, 0, len(module))


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
        (b"\0asm\x0d\0\1\0", "a component: this version of wasmrun runs core modules only"),
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
    """The most is taken, one more is refused by its name."""
    scan(HEADER + section(number, leb(MOST[what])))
    with pytest.raises(ValueError, match=f"it has {MOST[what] + 1} {what} entries; at most {MOST[what]} are allowed"):
        scan(HEADER + section(number, leb(MOST[what] + 1)))


def test_scan_caps_cover_every_section_that_costs_the_host() -> None:
    """Among them the 20,000 exports that cost seconds in the wheel's own classes."""
    assert MOST["export"] < 20_000
    assert MOST["import"] <= 1_000
    assert MOST["function"] <= 100_000


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: HEADER + data))
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
