"""The parts of the wasi:http host: values of other kinds than an interface has, and requests that leave."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from wasmrun.errors import GuestTrap, InvalidAnswer, ResultTooLarge
from wasmrun.machine.abi.wasi_http import WasiHttpCodec
from wasmrun.machine.components import binding
from wasmrun.machine.components.binding import (
    BOOL,
    LIST,
    OPTION,
    RESOURCE,
    RESULT,
    STRING,
    TUPLE,
    U8,
    U64,
    VARIANT,
    Value,
)
from wasmrun.machine.proxy.carriers import (
    MOST_ITEMS,
    SIZE,
    Bytes,
    Carrier,
    List,
    Ok,
    Option,
    Resource,
    Some,
    Text,
    Tuple,
    Variant,
    Wrong,
    text,
    u64,
    words_at,
)
from wasmrun.machine.proxy.host import Host
from wasmrun.machine.proxy.resources import (
    MOST_HEADER_BYTES,
    Arrived,
    Body,
    Budget,
    Fields,
    FutureResponse,
    HeaderError,
    IncomingResponse,
    InputStream,
    OutgoingBody,
    OutgoingRequest,
    Pollable,
    Table,
)


class Holder:
    """A sandbox that pays for all, and has no resources."""

    context = 0

    def pay(self, size: int) -> None:
        pass

    def number_of(self, resource: Any) -> int:
        return 1

    def resource(self, number: int, *, is_given: bool) -> Any:
        return None


def array(*values: tuple[int, int, int, int]) -> Any:
    """Values of the engine: kind and words."""
    found = (Value * len(values))()
    words = words_at(ctypes.addressof(found), len(values))
    for at, value in enumerate(values):
        words[at * SIZE : at * SIZE + SIZE] = value
    words.keep = found
    return words


POINTER = 0x4141_4141_4141
INNER = array((U64, POINTER, 0, 0))
AT = ctypes.addressof(INNER)


@pytest.mark.parametrize(
    ("carrier", "value"),
    [
        (text, (U64, POINTER, POINTER, 0)),
        (Bytes(), (STRING, 1, POINTER, 0)),
        (Bytes(), (LIST, 1, AT, 0)),
        (List(text), (LIST, 1, AT, 0)),
        (List(Resource(Pollable)), (LIST, 1, AT, 0)),
        (Tuple(u64, u64), (TUPLE, 1, AT, 0)),
        (Tuple(text), (TUPLE, 1, AT, 0)),
        (Option(text), (OPTION, AT, 0, 0)),
        (Ok(text), (RESULT, 1, AT, 0)),
        (Ok(None, text), (RESULT, 0, AT, 0)),
        (Variant(other=text), (BOOL, 1, 0, 0)),
        (Resource(Pollable), (U64, POINTER, 0, 0)),
        (Resource(Pollable), (BOOL, 1, 0, 0)),
    ],
)
def test_value_of_another_kind_is_not_read(carrier: Carrier, value: tuple[int, int, int, int]) -> None:
    """However deep it is: a number of the guest's is never an address."""
    with pytest.raises(GuestTrap, match="with other types than it has"):
        carrier.read(Holder(), array(value), 0)


def test_written_values_are_read_again() -> None:
    """Lists of bytes by strides, options in results in options."""
    for carrier, value in (
        (Bytes(), bytes(range(256)) * 5),
        (Bytes(), b""),
        (Text(), "ü\0"),
        (List(Tuple(text, Bytes())), [("a", b"1"), ("", b"")]),
        (Option(u64), None),
        (Option(u64), 2**64 - 1),
        (Variant(other=text), ("other", "PURGE")),
        (Variant(other=text), ("get", None)),
    ):
        words = array((BOOL, 0, 0, 0))
        carrier.write(Holder(), words, 0, value)
        assert carrier.read(Holder(), words, 0) == value
    deep = Option(Ok(Ok(Option(u64), Variant())))
    words = array((BOOL, 0, 0, 0))
    deep.write(Holder(), words, 0, Some(Some(Some(None))))
    assert words[0] == OPTION
    assert words[1]
    deep.write(Holder(), words, 0, Some(Some(Wrong(("timeout", None)))))
    read = deep.read(Holder(), words, 0)
    assert isinstance(read, Wrong)
    assert read.reason == ("timeout", None)
    assert VARIANT != RESOURCE != U8


class Full(Holder):
    """A sandbox that has no place for another resource."""

    def number_of(self, resource: Any) -> int:
        raise GuestTrap("full")


@pytest.mark.parametrize(
    ("carrier", "value"),
    [
        (Resource(Pollable), Pollable()),
        (Option(Resource(Pollable)), Pollable()),
        (Ok(Resource(Pollable)), Pollable()),
        (Ok(None, Resource(Pollable)), Wrong(Pollable())),
        (Option(Ok(Ok(Option(Resource(Pollable))))), Some(Some(Some(Pollable())))),
        (Variant(other=Resource(Pollable)), ("other", Pollable())),
        (Text(), "\ud800"),
        (Variant(other=text), ("other", "\ud800")),
    ],
)
def test_value_that_cannot_be_written_is_of_no_kind(carrier: Carrier, value: Any) -> None:
    """What is there is freed by its kind: it stays the one of a number, whatever stands beside it."""
    words = array((BOOL, POINTER, POINTER, POINTER))
    with pytest.raises((GuestTrap, UnicodeEncodeError)):
        carrier.write(Full(), words, 0, value)
    assert words[0] == BOOL


@pytest.mark.parametrize("carrier", [List(Resource(Pollable)), Tuple(Resource(Pollable)), List(Tuple(text, text))])
def test_value_that_is_written_in_part_can_be_freed(carrier: Carrier) -> None:
    """What is in it is of no kind, too."""
    words = array((BOOL, POINTER, POINTER, POINTER))
    with pytest.raises((GuestTrap, UnicodeEncodeError)):
        carrier.write(Full(), words, 0, [("a", "\ud800")] if carrier.kind == LIST else (Pollable(),))
    assert words[0] == carrier.kind
    assert words_at(words[2], 1)[0] & 0xFF in (BOOL, TUPLE)
    binding.value_delete(ctypes.addressof(words.keep))


def test_numbers_of_handles_are_not_used_again() -> None:
    """A guest that kept one gets nothing by it."""
    table = Table()
    first = table.put("a")
    assert table.get(first, is_given=True) == "a"
    second = table.put("b")
    assert second != first
    assert table.get(first, is_given=False) is None
    table.drop(first)
    assert len(table) == 1


def asked(reply: list[Any], *, body: bytes = b"", finish: bool = True) -> tuple[dict[str, Any], FutureResponse]:
    """A request that the host does, and what became of it."""
    seen: list[dict[str, Any]] = []

    def exchange(_instance: Any, request: bytes) -> bytes:
        seen.append(msgpack.unpackb(request))
        packed: bytes = msgpack.packb(reply)
        return packed

    function = SimpleNamespace(env=(), result_bytes=1_000_000, event_bytes=1_000_000, http_bytes=1_000_000)
    instance: Any = SimpleNamespace(program=SimpleNamespace(function=function), context=0, charge=lambda _size: True)
    host = Host(instance, exchange)
    fields = Fields.of(host.budget, [("X-A", b"1"), ("x-a", b"2"), ("Content-Length", b"4")])
    request = OutgoingRequest(fields, host.new_body(), host.budget)
    request.method, request.authority, request.target = ("post", None), "api.example.com", "/users?a=b"
    if body:
        request.body.is_taken = True
        handle = OutgoingBody(request.body)
        handle.body.write(body)
        request.body.is_finished = finish
    future = FutureResponse(request, 1_500_000_000)
    host.fetch(future)
    host.fetch(future)
    assert len(seen) <= 1
    return (seen[0] if seen else {}), future


def test_request_that_leaves_is_the_host_s_own() -> None:
    """With all that the guest said of it, done once; its response has the body and the cookies as they came."""
    headers = {"content-type": "text/plain", "set-cookie": "a=1\nb=2"}
    request, future = asked([0, {"status": 201, "headers": headers, "body": b"made"}], body=b"name")
    assert request == {
        "method": "POST",
        "url": "https://api.example.com/users?a=b",
        "headers": {"x-a": "1, 2"},
        "body": b"name",
        "timeout_ms": 1500,
    }
    response = future.outcome
    assert isinstance(response, IncomingResponse)
    assert (response.status, [body.data for body in response.body]) == (201, [b"made"])
    assert response.headers == [("content-type", b"text/plain"), ("set-cookie", b"a=1"), ("set-cookie", b"b=2")]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("HttpNotGranted", ("HTTP-request-denied", None)),
        ("HttpTimeout", ("HTTP-response-timeout", None)),
        ("HttpTooLarge", ("internal-error", "too large")),
    ],
)
def test_request_that_failed_has_an_error_code(kind: str, code: tuple[str, str | None]) -> None:
    """The nearest one; else the host's words."""
    _, future = asked([1, {"type": kind, "message": "too large"}])
    assert future.outcome.value.value.reason == code


def test_request_whose_body_is_not_finished_is_not_made() -> None:
    """It would be another one."""
    request, future = asked([0, {}], body=b"half", finish=False)
    assert request == {}
    assert future.outcome.value.value.reason[0] == "internal-error"


def test_fields_find_names_in_any_case() -> None:
    """And are changed only while they may be."""
    budget = Budget(MOST_HEADER_BYTES, "headers")
    fields = Fields.of(budget, [("A", b"1"), ("b", b"2"), ("a", b"3")])
    assert fields.get("a") == [b"1", b"3"]
    fields.set("A", [b"4"])
    assert fields.entries == [("b", b"2"), ("A", b"4")]
    copy = fields.clone()
    fields.delete("B")
    assert fields.get("b") == []
    assert copy.get("b") == [b"2"]
    fields.is_fixed = True
    for change in (lambda: fields.append("c", b""), lambda: fields.delete("a"), lambda: fields.set("a", [])):
        with pytest.raises(HeaderError, match="immutable"):
            change()
    copy.append("d", b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\xc1", *map(msgpack.packb, (1, [], [200, [], 5], ["x", [], b""], [200, [[1, b""]], b""],
        [200, [["a", "b"]], b""], [200, [["a"]], b""], [200, {}, b""])),
    ],
)  # fmt: skip
def test_answer_that_is_no_response_is_refused(answer: bytes) -> None:
    """A worker that does not mean well may send anything."""
    with pytest.raises(InvalidAnswer):
        WasiHttpCodec("handler").decode(answer)
    assert WasiHttpCodec("handler").decode(msgpack.packb([200, [["A", b"\xff"]], b""]))["headers"] == {"a": "\xff"}


def test_what_a_guest_holds_is_counted_until_nobody_has_it() -> None:
    """Views of headers, and streams of bodies, hold what they show."""
    budget = Budget(1_000, "headers")
    fields = Fields.of(budget, [("a", b"1" * 467)])
    view, copy = fields.view(), fields.clone()
    assert budget.left == 0
    with pytest.raises(GuestTrap, match="the component holds headers of more than 1000 B"):
        copy.append("a", b"")
    del copy
    assert budget.left == 500
    del fields
    assert (budget.left, view.get("a")) == (500, [b"1" * 467])
    del view
    assert budget.left == 1_000
    body = Body(600, budget)
    body.write(b"x" * 600)
    with pytest.raises(ResultTooLarge):
        body.write(b"x")
    stream = InputStream(Arrived(budget, b"y" * 400))
    assert budget.left == 0
    with pytest.raises(GuestTrap):
        Body(600, budget).write(b"x")
    del body
    assert (budget.left, stream.read(1)) == (600, b"y")
    del stream
    assert budget.left == 1_000


def test_list_of_too_many_is_not_read() -> None:
    """Each item takes longer than its fuel says."""
    with pytest.raises(GuestTrap, match="a list of 32769; at most 32768"):
        List(text).read(Holder(), array((LIST, MOST_ITEMS + 1, AT, 0)), 0)


def test_what_a_guest_keeps_for_another_event_counts() -> None:
    """In a sandbox that is used again and again."""
    function = SimpleNamespace(env=(), result_bytes=600, event_bytes=400, http_bytes=10**9)
    host = Host(SimpleNamespace(program=SimpleNamespace(function=function), context=0), None)  # type: ignore[arg-type]
    kept = [host.arrived(b"x" * 400)]
    host.begin()
    kept.append(host.arrived(b"x" * 400))
    host.begin()
    with pytest.raises(GuestTrap, match="holds bodies of more than 1000 B"):
        host.arrived(b"x" * 400)
    kept.pop()
    assert host.arrived(b"x" * 400)[0].data == b"x" * 400
