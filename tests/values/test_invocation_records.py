"""What a guest is told about an event, and the one record of what the event did."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.errors import GuestError, InvalidEvent
from wasmrun.invocation import LEVELS, Context, HttpCall, Log, Report, Result, check_text
from wasmrun.jsontext import from_json, to_json

REPORT = Report(
    request_id="8f5a0a3e-3f6c-4d0e-9b39-0d6f6f1c2a57",
    function="resize",
    version="$LATEST",
    abi="native",
    start="cold",
    status="success",
    duration=0.0123456,
    init_duration=0.002,
    pool_wait=0.0,
    fuel_used=1234,
    fuel_exact=True,
    memory_bytes=3 * 2**20 + 1,
    memory_limit_bytes=128 * 2**20,
    memory_near_limit=False,
    event_bytes=64,
    result_bytes=1536,
    log_bytes=10,
)

FIELDS_OF_THE_DESIGN = {
    "request_id", "function", "version", "abi", "start", "status", "duration", "init_duration", "pool_wait",
    "fuel_used",
    "memory_bytes", "event_bytes", "result_bytes", "log_bytes", "fuel_exact", "memory_near_limit",
}  # fmt: skip


def fields_of(line: str) -> dict[str, str]:
    return dict(part.split(": ", 1) for part in line.removeprefix("REPORT ").split("\t"))


def test_report_text_is_lambdas_line_with_fields_added() -> None:
    """The same fields in the same order and the same form as Lambda writes them, tabs between; ours come after."""
    assert re.match(
        r"REPORT RequestId: 8f5a0a3e-3f6c-4d0e-9b39-0d6f6f1c2a57\t"
        r"Duration: 12\.346 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 4 MB\t"
        r"Init Duration: 2\.000 ms\tStatus: success\tStart: cold\tFuel: 1234\tEvent: 64 B\tResult: 1\.5 KiB$",
        str(REPORT),
    )


def test_report_text_is_one_line_whatever_the_callers_id_is() -> None:
    """Tabs, newlines and escape sequences in a request id are escaped, and its length is bounded."""
    line = str(REPORT._replace(request_id="r\tStatus: success\nREPORT \x1b[31m\ud800" + "x" * 1000))
    assert line.replace("\t", "").isprintable()
    assert line.startswith("REPORT RequestId: r\\tStatus: success\\nREPORT \\x1b[31m\\ud800xxx")
    assert len(line) < 600
    assert fields_of(line)["Status"] == "success"


@pytest.mark.parametrize("text", [None, "", "r-1", "Root=1-5759e988;Parent=53995c3f42cd8ad8", "ünï 日本", "x" * 256])
def test_text_that_a_caller_gives_may_be_what_can_be_shown(text: str | None) -> None:
    """Request ids, tenants, trace ids."""
    check_text("request_id", text)


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a\tb", "\x1b[31m", "\ud800", "x" * 257, b"r-1", 5, ["r" * 10_000]],
    ids=lambda value: repr(value)[:20],
)
def test_text_that_a_caller_gives_is_refused_by_its_name(value: Any) -> None:
    """What would break a line of the log, or cannot be written as UTF-8, or is no text: the caller's fault."""
    with pytest.raises(
        InvalidEvent, match=r"^trace_id must be text of at most 256 printable characters, not "
    ) as caught:
        check_text("trace_id", value)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_report_text_leaves_out_what_there_was_not() -> None:
    """Init Duration only on a cold start, fuel only where it was metered."""
    fields = fields_of(str(REPORT._replace(init_duration=None, fuel_used=None, start="warm")))
    assert "Init Duration" not in fields
    assert "Fuel" not in fields
    assert fields["Start"] == "warm"


def test_report_text_says_what_is_not_as_usual() -> None:
    """Fuel that is a lower bound, a wait for a sandbox, memory near its limit."""
    line = str(REPORT._replace(fuel_exact=False, pool_wait=0.0015, memory_near_limit=True, status="GuestTrap"))
    fields = fields_of(line)
    assert fields["Fuel"] == ">=1234"
    assert fields["Wait"] == "1.500 ms"
    assert fields["Memory"] == "near its limit"
    assert fields["Status"] == "GuestTrap"


@given(st.floats(0, 1e5), st.integers(0, 2**32), st.integers(0, 2**32))
def test_report_text_rounds_what_is_billed_and_used_up(seconds: float, memory: int, limit: int) -> None:
    """Never less than was used, never a whole unit more, and at least a millisecond."""
    report = REPORT._replace(duration=seconds, memory_bytes=memory, memory_limit_bytes=limit)
    fields = fields_of(str(report))
    assert len(fields) == str(report).count("\t") + 1
    billed = int(fields["Billed Duration"].removesuffix(" ms"))
    assert max(0, billed - 1) <= seconds * 1e3 + 1e-3
    assert billed >= 1
    assert billed >= seconds * 1e3 - 2e-3
    used = int(fields["Max Memory Used"].removesuffix(" MB"))
    assert used * 2**20 - 2**20 < max(memory, 1) <= max(used * 2**20, 1)


def test_report_is_a_json_object_of_the_designs_fields() -> None:
    """The command line, the telemetry and the tests read this."""
    record = REPORT.as_dict()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == FIELDS_OF_THE_DESIGN | {"memory_limit_bytes", "http"}
    assert Report(**record | {"http": ()}) == REPORT


def test_report_has_the_http_requests_of_the_event() -> None:
    """As objects, and as a number on the line where there were any."""
    call = HttpCall("GET", "a.test:8080", 200, 31, 17, 0.25, None)
    report = REPORT._replace(http=(call, call._replace(status=None, error="HttpConnect")))
    one, two = json.loads(json.dumps(report.as_dict()))["http"]
    assert HttpCall(**one) == call
    assert (two["status"], two["error"]) == (None, "HttpConnect")
    assert fields_of(str(report))["HTTP"] == "2"
    assert "HTTP" not in fields_of(str(REPORT))


def test_report_is_a_frozen_value() -> None:
    """Equal when equal, unchangeable, picklable."""
    assert pickle.loads(pickle.dumps(REPORT)) == REPORT
    with pytest.raises(AttributeError):
        REPORT.status = "better"  # type: ignore[misc]


def test_result_is_an_answer_or_an_error() -> None:
    """`is_ok` says which, also where the answer is None."""
    good = Result(None, None, REPORT, ())
    bad = Result(None, GuestError("no"), REPORT, (Log("warn", "hm"),))
    assert good.is_ok
    assert not bad.is_ok
    assert bad.logs[0].level in LEVELS


def test_context_leaves_out_what_the_caller_did_not_give() -> None:
    """The six keys that are always there; an empty value that was given stays."""
    always = {
        "request_id": "r", "function": "f", "version": "1", "deadline_ms": 5, "memory_limit_bytes": 6, "fuel_limit": 0,
    }  # fmt: skip
    assert Context(**always).as_map() == always
    optional: dict[str, Any] = {"client_context": {}, "tenant_id": "", "trace_id": "t"}
    assert Context(**always, **optional).as_map() == {**always, **optional}


def test_log_levels_are_the_guest_abis() -> None:
    """0 trace to 4 error."""
    assert LEVELS == ("trace", "debug", "info", "warn", "error")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_text_gives_the_value_back(value: Any) -> None:
    """Integers of any size and floats exactly; text in any script."""
    again = from_json(to_json(value))
    assert again == value
    assert (
        from_json(to_json(value, indent=2).encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")) == value
    )


@pytest.mark.parametrize("data", [b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff")])
def test_json_text_writes_bytes_as_base64(data: Any) -> None:
    """At JSON doors bytes are text."""
    assert to_json({"data": data}) == '{"data": "AP8="}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "Out of range float"),
        ([float("inf")], "Out of range float"),
        ({1: 2}, "the key 1 is not a string"),
        ([{"a": ({None: 2},)}], "the key None is not a string"),
        ({b"k": 1}, "keys must be"),
        ({1.5: 1}, "the key 1.5 is not a string"),
        ({True: 1}, "the key True is not a string"),
        ({1, 2}, "set has no form in JSON"),
        (object(), "object has no form in JSON"),
    ],
    ids=repr,
)
def test_json_text_refuses_what_json_has_no_form_for(value: Any, message: str) -> None:
    """Instead of writing something else: the standard library would make "1" of 1."""
    with pytest.raises(ValueError, match=message):
        to_json(value)


def test_json_text_refuses_what_is_nested_too_deep_or_in_itself() -> None:
    """An error, not a RecursionError, both ways."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deep"):
        to_json(deep)
    while deep:  # taken apart by hand, as freeing it at once recurses
        deep = deep.pop()
    with pytest.raises(ValueError, match="nested too deep"):
        from_json("[" * 100_000)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        to_json(circle)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_json_value_refuses_constants_that_are_not_json(text: str) -> None:
    """Python's own reader takes them."""
    with pytest.raises(ValueError, match="is not JSON"):
        from_json(text)


@pytest.mark.parametrize("text", ["", "{", "[1,]", "'a'", "1 2", b"\xff\xfe\xff", "\ufeff1", "9" * 5000])
def test_json_value_refuses_what_is_not_json(text: str | bytes) -> None:
    """With one kind of error."""
    with pytest.raises(ValueError):
        from_json(text)


def test_json_value_error_says_where() -> None:
    """Line and column."""
    with pytest.raises(ValueError, match="line 2 column 6"):
        from_json('{"a": 1,\n "b" 2}')
