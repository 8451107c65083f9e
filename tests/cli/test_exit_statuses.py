"""Exit statuses: one for each kind of outcome, from a guest that ends so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgpack
import programs
import pytest

from wasmrun.errors import OUTCOMES, FunctionError, WasmrunError
from wasmrun.single import Single

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]
    Wat = Callable[..., str]


class Case(NamedTuple):
    """A guest that ends in one way; *native* holds what differs from one that answers, *module* all of it."""

    status: int
    error: str
    says: str
    native: dict[str, object] = {}  # noqa: RUF012  # never changed
    module: str = ""
    options: tuple[str, ...] = ()


CASES = (
    Case(3, "InvalidFunction", "imports what it is not granted: env.gone", {"imports": '(import "env" "gone" (func))'}),
    Case(5, "PayloadTooLarge", "raise `event_bytes`", options=("--event-bytes", "10")),
    Case(10, "GuestError", "no luck", {"data": msgpack.packb([1, {"type": "Unlucky", "message": "no luck"}])}),
    Case(11, "GuestExit", "exited with status 3", module=programs.program("(call $exit (i32.const 3))")),
    Case(12, "GuestTrap", "unreachable", {"handler": "unreachable"}),
    Case(13, "TimedOut", "ran past its time of 50.0 ms", module=programs.SPIN, options=("--timeout", "50ms")),
    Case(14, "OutOfMemory", "wasmrun_alloc answered 0", {"alloc": "(i32.const 0)"}),
    Case(14, "OutOfMemory", "too big", {"data": msgpack.packb([1, {"type": "OutOfMemory", "message": "too big"}])}),
    Case(15, "OutOfFuel", "used up its fuel of 1000", module=programs.SPIN, options=("--fuel", "1000")),
    Case(16, "InvalidAnswer", "not MessagePack [0, value]", {"data": b"\xc0"}),
    Case(17, "ResultTooLarge", "raise `result_bytes`", options=("--result-bytes", "2")),
)


@pytest.fixture(params=CASES, ids=lambda case: f"{case.status} {case.says}")
def case(request: pytest.FixtureRequest) -> Case:
    """One way to end."""
    found: Case = request.param
    return found


@pytest.fixture
def module(case: Case, wat: Wat, save: Save) -> Path:
    """The file of the case's guest."""
    return save(case.module or wat(**case.native))


def test_an_exit_status_tells_how_the_function_ended(case: Case, module: Path, run: Run) -> None:
    """Nothing on standard output; class and reason, and a report if it ran, on standard error."""
    done = run("run", module, *case.options)
    assert (done.status, done.output) == (case.status, b"")
    error, *more = done.err.splitlines()
    assert error.startswith(f"wasmrun: {case.error}: ")
    assert case.says in error
    reports = [line for line in more if line.startswith("REPORT ")]
    assert [f"\tStatus: {case.error}\t" in line for line in reports] == ([True] if case.status >= 10 else [])


def test_an_exit_status_comes_with_the_json_object(case: Case, module: Path, run: Run) -> None:
    """`--json` changes where the error is told, not the status; a function that did not run has no report."""
    done = run("run", module, "--json", *case.options)
    assert (done.status, done.err) == (case.status, "")
    shown = done.json
    assert list(shown) == ["value", "error", "report", "logs"]
    assert shown["value"] is None
    assert shown["error"]["class"] == case.error
    assert case.says in shown["error"]["message"]
    if case.status < 10:
        assert shown["report"] is None
        assert set(shown["error"]) == {"class", "message"}
    else:
        assert shown["report"]["status"] == case.error
        more = {"GuestTrap": {"kind"}, "GuestExit": {"status", "output"}}.get(case.error, set())
        assert set(shown["error"]) == {"class", "message", "type", "stack"} | more


def test_an_exit_status_was_seen_for_every_kind_of_failure_that_a_guest_can_cause() -> None:
    """The cases above, an event that is no JSON, and those three that take more than one event or a broken host."""
    causes = {cls.__name__ for cls in OUTCOMES} - {"InvalidEvent", "FunctionNotFound", "Throttled", "HostError"}
    assert {case.error for case in CASES} == causes


@pytest.mark.parametrize("cls", OUTCOMES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_exit_status_is_that_of_the_table(
    cls: type[WasmrunError], as_json: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every class of error, those that one event at a shell cannot meet included."""

    def fail(*_args: object, **_settings: object) -> None:
        raise cls("for a test")

    monkeypatch.setattr(Single, "run", fail)
    done = run("run", programs.ECHO, *(["--json"] if as_json else []))
    assert done.status == OUTCOMES[cls].exit_status
    if as_json:
        own: dict[str, object] = {"type": cls.__name__, "stack": []} if issubclass(cls, FunctionError) else {}
        own |= {"GuestTrap": {"kind": "unknown"}, "GuestExit": {"status": 1, "output": ""}}.get(cls.__name__, {})
        assert done.json["error"] == {"class": cls.__name__, "message": "for a test", **own}
    else:
        assert done.err == f"wasmrun: {cls.__name__}: for a test\n"


def test_an_exit_status_is_never_one_of_the_shells_own() -> None:
    """1 is what a Python program that crashed gives, and 126 and above are a shell's."""
    statuses = [outcome.exit_status for outcome in OUTCOMES.values()]
    assert len(set(statuses)) == len(statuses)
    assert all(1 < status < 126 for status in statuses)


def test_an_exit_status_survives_the_process(start: Run, save: Save) -> None:
    """What `status_of` gives is what a shell sees."""
    assert start("run", save(programs.SPIN), "--fuel", "1000").status == 15
