"""What abi.md and the C README show is true, byte for byte."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

GUEST_SDK = Path(__file__).resolve().parents[2] / "guest_sdk"
PAGE = (GUEST_SDK / "abi.md").read_text(encoding="utf-8")
README = (GUEST_SDK / "c" / "README.md").read_text(encoding="utf-8")


def example(name: str) -> tuple[Any, bytes]:
    """The value and the bytes of the block *name* of abi.md."""
    found = re.search(rf"^```{name}\njson: (.*)\nhex: ([0-9a-f\s]+)^```$", PAGE, re.MULTILINE)
    assert found, name
    return json.loads(found[1]), bytes.fromhex(found[2])


@pytest.fixture(scope="session")
def hello(compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's function, compiled."""
    source = tmp_path_factory.mktemp("readme") / "hello.c"
    found = re.search(r"^```c\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    source.write_text(found[1], encoding="utf-8")
    return compile_c(source)


@pytest.mark.parametrize("name", ["input", "answer", "error", "request", "reply", "refusal"])
def test_bytes_of_the_page_are_those_of_its_values(name: str) -> None:
    """Each example is its JSON in MessagePack."""
    value, data = example(name)
    shown = msgpack.unpackb(data)
    assert shown == value
    assert msgpack.packb(shown) == data


@pytest.mark.parametrize("name", ["http-request", "http-reply", "http-refusal"])
def test_bytes_of_the_pages_http_examples_are_those_of_their_values(name: str) -> None:
    """But for bodies, which are bytes."""
    value, data = example(name)
    for part in (value, value[1]) if isinstance(value, list) else (value,):
        if "body" in part:
            part["body"] = part["body"].encode()
    assert msgpack.unpackb(data) == value
    assert msgpack.packb(value) == data


def test_answers_of_the_page_are_what_the_readme_function_gives(executor: wasmrun.Executor, hello: Path) -> None:
    """The event of the page gives its answer, another one its error."""
    (event, _context), _ = example("input")
    (_, answer), _ = example("answer")
    assert executor.invoke(wasmrun.Function(hello), event) == answer
    (_, error), _ = example("error")
    with pytest.raises(wasmrun.GuestError) as caught:
        executor.invoke(wasmrun.Function(hello), {"name": 5})
    assert (caught.value.type, caught.value.message, list(caught.value.stack)) == (
        error["type"],
        error["message"],
        error["stack"],
    )


def test_input_of_the_page_is_read_by_the_sdk(executor: wasmrun.Executor, probe: bytes) -> None:
    """Byte for byte: the handler that echoes answers the event of it."""
    (event, _context), data = example("input")
    function = wasmrun.Function(probe, entry="envelope_raw", imports={"db.get": bool})
    assert executor.invoke(function, data) == b"\x92\x00" + msgpack.packb(event)


def test_context_of_the_page_has_the_keys_that_handlers_get(executor: wasmrun.Executor, probe: bytes) -> None:
    """No key is missing on the page, and none is invented."""
    (_event, context), _ = example("input")
    function = wasmrun.Function(probe, entry="context_seen", imports={"db.get": bool})
    assert set(executor.invoke(function, None)) == set(context)


def test_packed_answers_of_the_page_are_calculated_right() -> None:
    """Pointer and length in hex, and as a signed number."""
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `0x([0-9a-f]{16})` \| (-?\d+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 2
    for pointer, length, packed, signed in rows:
        assert int(packed, 16) == int(pointer) << 32 | int(length)
        assert int.from_bytes(bytes.fromhex(packed), "big", signed=True) == int(signed)


def test_host_function_of_the_page_goes_both_ways(executor: wasmrun.Executor, probe: bytes) -> None:
    """The guest gets the reply and the refusal that the page shows."""
    request, _ = example("request")
    (_, value), _ = example("reply")
    (_, error), _ = example("refusal")

    def find_user(key: str) -> Any:
        if key != request:
            raise LookupError(error["message"])
        return value

    function = wasmrun.Function(probe, entry="asks_calmly", imports={"db.get": find_user})
    assert executor.invoke(function, request) == value
    assert executor.invoke(function, "user:2") == error


def module(answer: int = 0, *, alloc: int = 1024, data: str = "", body: str = "", name: str = "wasmrun_handle") -> str:
    """A guest in WAT whose allocator and handler answer these numbers; *data* stands at 8, *body* runs first."""
    return f"""(module
        (import "wasmrun" "log" (func $log (param i32 i32 i32)))
        (memory (export "memory") 1) (data (i32.const 8) "{data}")
        (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const {alloc}))
        (func (export "{name}") (param i32 i32) (result i64) {body} (i64.const {answer})))"""


def packed(pointer: int, length: int) -> int:
    return pointer << 32 | length


BAD_ANSWERS = {
    "no memory to give": (module(alloc=0), wasmrun.OutOfMemory),
    "a place that is not all in memory": (module(alloc=65_535), wasmrun.InvalidAnswer),
    "an answer that is not all in memory": (module(packed(65_530, 10)), wasmrun.InvalidAnswer),
    "an answer past 2 GiB": (module(-(1 << 63) | 10), wasmrun.InvalidAnswer),
    "an answer at 0": (module(packed(0, 3)), wasmrun.InvalidAnswer),
    "no answer": (module(0), wasmrun.InvalidAnswer),
    "too long": (module(packed(8, 2_000)), wasmrun.ResultTooLarge),
    "not MessagePack": (module(packed(8, 1), data="\\c1"), wasmrun.InvalidAnswer),
    "more than one value": (module(packed(8, 4), data="\\92\\00\\01\\01"), wasmrun.InvalidAnswer),
    "half a value": (module(packed(8, 2), data="\\92\\00"), wasmrun.InvalidAnswer),
    "no envelope": (module(packed(8, 1), data="\\01"), wasmrun.InvalidAnswer),
    "another status": (module(packed(8, 3), data="\\92\\02\\c0"), wasmrun.InvalidAnswer),
    "an error that is no map": (module(packed(8, 3), data="\\92\\01\\c0"), wasmrun.InvalidAnswer),
    "an extension": (module(packed(8, 5), data="\\92\\00\\d4\\05\\00"), wasmrun.InvalidAnswer),
    "a key that is no string": (module(packed(8, 5), data="\\92\\00\\81\\01\\02"), wasmrun.InvalidAnswer),
    "a string that is not UTF-8": (module(packed(8, 4), data="\\92\\00\\a1\\ff"), wasmrun.InvalidAnswer),
    "a trap": (module(body="unreachable"), wasmrun.GuestTrap),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers_end_as_the_page_says(executor: wasmrun.Executor, name: str) -> None:
    """Each with its own class of error."""
    guest, error = BAD_ANSWERS[name]
    with pytest.raises(error) as caught:
        executor.invoke(wasmrun.Function(guest, result_bytes="1KiB"), None)
    assert type(caught.value) is error


def test_raw_answers_may_be_empty(executor: wasmrun.Executor) -> None:
    """At a null pointer, and elsewhere."""
    for answer in (0, packed(100, 0)):
        guest = module(answer, name="wasmrun_handle_raw")
        assert executor.invoke(wasmrun.Function(guest), b"") == b""


def test_host_calls_cost_what_the_page_says(executor: wasmrun.Executor) -> None:
    """1,000 fuel a call, and 1 a byte."""

    def fuel(body: str) -> int:
        guest = module(packed(8, 3), data="\\92\\00\\c0", body=body)
        used = executor.run(wasmrun.Function(guest), None).report.fuel_used
        assert used is not None
        return used

    call = "(call $log (i32.const 2) (i32.const 8) (i32.const {}))"
    assert fuel(call.format(10_000)) - fuel(call.format(0)) == 10_000
    once, twice = fuel(call.format(0)), fuel(call.format(0) * 2)
    assert 1_000 <= twice - once <= 1_010
