"""The wire: what crosses comes back the same, and nothing that a worker says is believed."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmrun
from wasmrun.errors import OUTCOMES, FunctionError
from wasmrun.function import Directory
from wasmrun.invocation import LEVELS, Log, Report
from wasmrun.machine.abi.base import Shape
from wasmrun.processes import wire
from wasmrun.processes.frames import BrokenFrame

FUNCTION = wasmrun.Function("(module)", name="f", version="3", memory="1MiB")
REPORT = Report(
    request_id="r", function="f", version="3", abi="native", start="cold", status="success", duration=0.5,
    init_duration=0.1, pool_wait=0.0, fuel_used=7, fuel_exact=True, memory_bytes=65536, memory_limit_bytes=2**20,
    memory_near_limit=False, event_bytes=1, result_bytes=2, log_bytes=3,
)  # fmt: skip

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def crossed(value: Any) -> Any:
    """*value* as it comes out of a frame."""
    return msgpack.unpackb(msgpack.packb(value))


ERRORS: list[wasmrun.WasmrunError] = [
    *(cls("what happened") for cls in OUTCOMES),
    wasmrun.GuestError("ü\0\n" * 100, type="T", stack=["a", "b"]),
    wasmrun.GuestExit("exit", status=255, output=b"\xff\0"),
    wasmrun.GuestExit("exit", status=-1),
    wasmrun.GuestTrap("trap", kind="unreachable", frames=["f (function 1)"]),
    wasmrun.OutOfMemory("m", type="OutOfMemory", stack=["x"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_comes_back_the_same(error: wasmrun.WasmrunError) -> None:
    """Of every class, with all that its class keeps."""
    again = wire.unpack_error(crossed(wire.pack_error(error)))
    assert type(again) is type(error)
    assert again.args == error.args
    assert vars(again) == vars(error)


def test_error_of_a_subclass_comes_back_as_the_class_that_everybody_knows() -> None:
    """As a `HostError`, say."""

    class Special(wasmrun.HostError):
        pass

    assert type(wire.unpack_error(crossed(wire.pack_error(Special("x"))))) is wasmrun.HostError


@given(st.text(), st.text(), st.lists(st.text()))
def test_error_s_texts_may_be_any(message: str, kind: str, stack: list[str]) -> None:
    """A guest chooses them; surrogates are replaced."""
    again = wire.unpack_error(crossed(wire.pack_error(wasmrun.GuestError(message or "m", type=kind, stack=stack))))
    assert isinstance(again, FunctionError)
    again = wire.unpack_error(crossed(wire.pack_error(wasmrun.GuestTrap("\ud800", kind="\udfff", frames=["\ud800"]))))
    assert again.message == "?"


def test_report_comes_back_the_same() -> None:
    """But for what only the executor knows: the requests that it did."""
    for report in (
        REPORT,
        REPORT._replace(status="GuestTrap", start="reused", init_duration=None, fuel_exact=False),
        REPORT._replace(memory_near_limit=True, start="warm", abi="command"),
    ):
        assert wire.unpack_report(crossed(wire.pack_report(report)), FUNCTION, "r") == report


def test_report_says_the_executor_s_own_names() -> None:
    """Whatever a worker says."""
    lies = REPORT._replace(request_id="x", function="x", version="x", memory_limit_bytes=1)
    assert wire.unpack_report(crossed(wire.pack_report(lies)), FUNCTION, "r") == REPORT
    unmetered = wasmrun.Function("(module)", name="f", version="3", memory="1MiB", fuel=None)
    assert wire.unpack_report(crossed(wire.pack_report(REPORT)), unmetered, "r").fuel_used is None


@given(st.lists(st.builds(Log, st.sampled_from(LEVELS), st.text())))
def test_logs_come_back_the_same(logs: list[Log]) -> None:
    """Every level, every text."""
    assert wire.unpack_logs(crossed(wire.pack_logs(tuple(logs)))) == tuple(logs)


FUNCTIONS = [
    FUNCTION,
    wasmrun.Function("(module)", entry="e", abi="plain", args=["a", "ü"], env={"A": "1"}, reuse=True, raw=True, warm=0),
    wasmrun.Function("(module)", dirs=["/tmp::/a", "/usr::/b:ro"], tenant="t", concurrency=3, timeout=0.25),
    wasmrun.Function("(module)", fuel=None, stack="1MiB", memory="2GiB", init_timeout=1, log_bytes=0, event_bytes=5),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_comes_back_the_same(function: wasmrun.Function) -> None:
    """But for its code, which is an artifact by then."""
    again = wire.unpack_function(crossed(wire.pack_function(function)), "key", None)
    assert again.module == b"key"
    for name in (
        "name",
        "version",
        "entry",
        "abi",
        "args",
        "env",
        "dirs",
        "tenant",
        "memory",
        "timeout",
        "fuel",
        "stack",
    ):
        assert getattr(again, name) == getattr(function, name)
    assert wire.pack_function(again) == wire.pack_function(function)


def test_function_keeps_its_secrets_and_its_code_at_home() -> None:
    """A worker learns which host functions there are, and whether HTTP is one of them."""
    function = wasmrun.Function(
        "(module (; the code ;))", imports={"app.call": print}, http=["https://example.org"],
        http_secrets={"https://example.org": {"Authorization": "a secret"}},
    )  # fmt: skip
    packed = wire.pack_function(function)
    text = repr(crossed(packed))
    for word in ("the code", "example.org", "a secret"):
        assert word not in text
    again = wire.unpack_function(crossed(packed), "key", lambda name: len)
    assert again.imports == (("app.call", len),)
    assert bool(again.http)


def test_directories_come_back_as_directories() -> None:
    """With their rights."""
    function = wire.unpack_function(crossed(wire.pack_function(FUNCTIONS[2])), "key", None)
    assert [type(directory) for directory in function.dirs] == [Directory, Directory]
    assert [directory.writable for directory in function.dirs] == [True, False]


SHAPE = Shape("native", "why", "entry", False, ("i32",), ("i64", "f64"), True)


def test_shape_comes_back_the_same() -> None:
    """How a function is called."""
    assert wire.unpack_shape(crossed(list(SHAPE))) == SHAPE


UNPACKERS = {
    "error": wire.unpack_error,
    "report": lambda value: wire.unpack_report(value, FUNCTION, "r"),
    "logs": wire.unpack_logs,
    "shape": wire.unpack_shape,
    "inspection": wire.unpack_inspection,
    "pool": wire.unpack_pool,
    "count": wire.unpack_count,
}
GOOD = {
    "error": wire.pack_error(ERRORS[-2]),
    "report": wire.pack_report(REPORT),
    "logs": [[2, "text"], [4, ""]],
    "shape": list(SHAPE),
    "inspection": None,
    "pool": [0] * 11,
    "count": 3,
}


@given(st.sampled_from(sorted(UNPACKERS)), anything)
def test_value_that_is_none_breaks_the_frame(what: str, value: Any) -> None:
    """Whatever it is: a value that can be shown, or `BrokenFrame`; no other error."""
    try:
        found = UNPACKERS[what](value)  # type: ignore[no-untyped-call]
    except BrokenFrame:
        return
    repr(found)
    str(found)


def replaced(value: Any, path: list[int], other: Any) -> Any:
    """*value* with *other* somewhere inside."""
    if not path or not isinstance(value, (list, dict)) or not value:
        return other
    if isinstance(value, dict):
        key = sorted(value)[path[0] % len(value)]
        return {**value, key: replaced(value[key], path[1:], other)}
    at = path[0] % len(value)
    return [*value[:at], replaced(value[at], path[1:], other), *value[at + 1 :]]


@given(
    st.sampled_from(sorted(set(GOOD) - {"inspection"})), st.lists(st.integers(0, 30), min_size=1, max_size=3), anything
)
def test_value_with_something_wrong_in_it_breaks_the_frame(what: str, path: list[int], other: Any) -> None:
    """One field of a good value is replaced; what is taken all the same is safe to use."""
    value = replaced(GOOD[what], path, other)
    try:
        found = UNPACKERS[what](value)  # type: ignore[no-untyped-call]
    except BrokenFrame:
        return
    str(found)
    if what == "report":
        assert found.request_id == "r"
        found.as_dict()
        assert found.memory_bytes >= 0
        assert found.init_duration is None or found.init_duration >= 0
        assert found.fuel_used is None or found.fuel_used >= 0
        assert isinstance(found.status, str)
    elif what == "logs":
        assert all(log.level in LEVELS and isinstance(log.message, str) for log in found)
    elif what == "error":
        assert isinstance(found.message, str)
