"""The error tree has the classes, the bases and the outcomes that users and doors rely on."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmrun
from wasmrun import errors
from wasmrun.errors import OUTCOMES, Outcome, WasmrunError, outcome, printable
from wasmrun.invocation import Log, Report

# Class, its parent, what else it is, and its exit status: written down here as the design has it.
TREE = [
    ("InvalidFunction", "WasmrunError", None, 3),
    ("InvalidEvent", "WasmrunError", ValueError, 2),
    ("FunctionNotFound", "WasmrunError", KeyError, 4),
    ("PayloadTooLarge", "WasmrunError", None, 5),
    ("Throttled", "WasmrunError", TimeoutError, 6),
    ("FunctionError", "WasmrunError", None, None),
    ("GuestError", "FunctionError", None, 10),
    ("GuestExit", "FunctionError", None, 11),
    ("GuestTrap", "FunctionError", None, 12),
    ("TimedOut", "FunctionError", TimeoutError, 13),
    ("OutOfMemory", "FunctionError", None, 14),
    ("OutOfFuel", "FunctionError", None, 15),
    ("InvalidAnswer", "FunctionError", None, 16),
    ("ResultTooLarge", "FunctionError", None, 17),
    ("HostError", "WasmrunError", None, 70),
]
NAMES = [row[0] for row in TREE]
REPORT = Report(
    "id", "f", "$LATEST", "native", "cold", "GuestTrap", 0.1, 0.2, 0.0, 5, True, 65536, 2**27, False, 1, 2, 3
)  # fmt: skip


def descendants(cls: type) -> set[type]:
    found = set(cls.__subclasses__())
    return found.union(*(descendants(sub) for sub in found))


@pytest.mark.parametrize(("name", "parent", "also", "status"), TREE, ids=NAMES)
def test_error_has_its_place_in_the_tree(name: str, parent: str, also: type | None, status: int | None) -> None:
    """Users choose how wide to catch by these bases."""
    cls = getattr(errors, name)
    assert cls.__bases__ == ((getattr(errors, parent), also) if also else (getattr(errors, parent),))


def test_error_tree_has_no_other_class() -> None:
    """What other modules derive for their own use shows as the class that it is derived from."""
    own = {cls for cls in descendants(WasmrunError) if cls.__module__.startswith("wasmrun.")}
    assert {cls.__name__ for cls in own if cls.__module__ == "wasmrun.errors"} == set(NAMES)
    for cls in own:
        assert cls.__module__ == "wasmrun.errors" or (cls.__name__ not in wasmrun.__all__ and cls not in OUTCOMES)
    assert WasmrunError.__bases__ == (Exception,)


def test_error_drawing_shows_every_class_under_its_parent() -> None:
    """The tree in the module's docstring is the tree."""
    parents: list[str] = []
    drawn = {}
    for line in inspect.cleandoc(str(errors.__doc__)).splitlines():
        found = re.match(r"([│├└─ ]*)(\w+)", line)
        if found and hasattr(errors, found[2]):
            depth = len(found[1]) // 3
            parents[depth:] = [found[2]]
            drawn[found[2]] = parents[depth - 1] if depth else None
    assert drawn == {"WasmrunError": None, **{name: parent for name, parent, *_ in TREE}}


@pytest.mark.parametrize(("name", "status"), [(row[0], row[3]) for row in TREE if row[3]], ids=str)
def test_error_has_the_exit_status_of_the_design(name: str, status: int) -> None:
    """Scripts branch on these numbers."""
    assert OUTCOMES[getattr(errors, name)].exit_status == status


def test_outcome_table_has_a_row_for_every_class_that_is_raised() -> None:
    """Every class but the two that only group others, none twice, and no status is shared or 1."""
    leaves = {getattr(errors, name) for name, _, _, status in TREE if status}
    assert set(OUTCOMES) == leaves
    statuses = [row.exit_status for row in OUTCOMES.values()]
    assert len(set(statuses)) == len(statuses)
    assert not {0, 1, 130} & set(statuses)


def test_outcome_table_has_the_names_and_statuses_that_clients_know() -> None:
    """Lambda's own names where it has one; a function's own failure is HTTP 200, as the invocation worked."""
    assert {cls.__name__: tuple(row[1:]) for cls, row in OUTCOMES.items()} == {
        "InvalidEvent": ("InvalidRequestContentException", 400),
        "InvalidFunction": ("Runtime.InvalidEntrypoint", 502),
        "FunctionNotFound": ("ResourceNotFoundException", 404),
        "PayloadTooLarge": ("RequestTooLargeException", 413),
        "Throttled": ("TooManyRequestsException", 429),
        "GuestError": ("Unhandled", 200),
        "GuestExit": ("Runtime.ExitError", 200),
        "GuestTrap": ("Runtime.ExitError", 200),
        "TimedOut": ("Sandbox.Timedout", 200),
        "OutOfMemory": ("Runtime.OutOfMemory", 200),
        "OutOfFuel": ("Function.FuelExhausted", 200),
        "InvalidAnswer": ("Runtime.InvalidAnswer", 200),
        "ResultTooLarge": ("Function.ResponseSizeTooLarge", 200),
        "HostError": ("ServiceException", 500),
    }


def test_outcome_is_found_for_instances_subclasses_and_the_bare_base() -> None:
    """The nearest class counts; what has no row is our own failure."""

    class Stubborn(errors.OutOfFuel):
        """One of a user's own."""

    assert outcome(errors.OutOfFuel()) == outcome(errors.OutOfFuel) == outcome(Stubborn) == OUTCOMES[errors.OutOfFuel]
    assert outcome(WasmrunError("?")) == outcome(errors.FunctionError) == OUTCOMES[errors.HostError]
    assert isinstance(outcome(errors.HostError), Outcome)


@pytest.mark.parametrize("name", ["WasmrunError", *NAMES])
def test_error_docstring_is_its_default_message(name: str) -> None:
    """An error raised without words still says what happened."""
    cls = getattr(errors, name)
    summary = inspect.cleandoc(cls.__doc__).splitlines()[0]
    specific = {"GuestExit": "the program exited with status 1", "GuestTrap": "the function trapped: unknown"}
    error = cls()
    assert error.message == str(error) == specific.get(name, summary)


@pytest.mark.parametrize("name", ["WasmrunError", *NAMES])
def test_error_shows_its_message_and_nothing_else(name: str) -> None:
    """Not the repr, as KeyError does, and not an errno, as OSError does."""
    error = getattr(errors, name)("it's 'quoted'")
    assert str(error) == error.message == "it's 'quoted'"


@pytest.mark.parametrize("name", ["WasmrunError", *NAMES])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error_survives_pickling(name: str, protocol: int) -> None:
    """It crosses a process boundary with its class, its message and its attributes."""
    error = getattr(errors, name)("went wrong")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert (type(again), str(again), vars(again)) == (type(error), "went wrong", vars(error))


def test_function_error_survives_pickling_with_all_that_it_carries() -> None:
    """Type, stack, report and logs; kind, frames and status; notes that somebody added."""
    logs = (Log("warn", "low"), Log("info", "x"))
    trap = errors.GuestTrap("boom", kind="unreachable", frames=["f (function 1)", "function 2"])
    leave = errors.GuestExit(status=7, output=b"\xff")
    reported = errors.GuestError("bad input", type="ValueError", stack=["a", "b"])
    for error in (trap, leave, reported):
        error.report, error.logs = REPORT, logs
        error.add_note("seen on Tuesday")
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is type(error)
            assert vars(again) == vars(error)
            assert (str(again), again.report, again.logs) == (str(error), REPORT, logs)
    assert (trap.kind, trap.frames, trap.stack) == ("unreachable", trap.frames, trap.frames)
    assert trap.frames == ("f (function 1)", "function 2")
    assert (leave.status, leave.output, str(leave)) == (7, b"\xff", "the program exited with status 7")
    assert (reported.type, reported.stack) == ("ValueError", ("a", "b"))


def test_function_error_type_is_its_class_unless_the_guest_says_otherwise() -> None:
    """What Lambda calls errorType always has a value."""
    assert errors.OutOfFuel().type == "OutOfFuel"
    assert errors.GuestError("x", type="KeyError").type == "KeyError"
    assert errors.GuestTrap().type == "GuestTrap"


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")), st.integers(1, 50))
def test_printable_is_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    """Whatever a guest calls its functions, a terminal sees neither escapes nor a second line."""
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@given(st.text(st.characters(exclude_categories=("C", "Z"))))
def test_printable_leaves_printable_text_alone(text: str) -> None:
    """Only what is dangerous or too long is changed."""
    assert printable(text, max(1, len(text))) == text


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    """Colours, carriage returns, line separators, direction marks, half characters."""
    assert printable("\x1b[31mred\r\n") == "\\x1b[31mred\\r\\n"
    assert printable("a\u2028b\u202ec\ud800d\x00") == "a\\u2028b\\u202ec\\ud800d\\x00"


def test_printable_marks_the_cut() -> None:
    """The reader sees that something is missing, also where escapes made the text too long."""
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 301) == "x" * 299 + "…"
    assert printable("\n" * 90_000) == ("\\n" * 150)[:299] + "…"


def test_outcome_table_is_the_only_one() -> None:
    """No other module of the package writes exit statuses or Lambda's names down again."""
    names = {row.lambda_type for row in OUTCOMES.values() if "." in row.lambda_type}
    package = Path(str(errors.__file__)).parent
    for path in package.rglob("*.py"):
        if path.name != "errors.py":
            constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            assert not names & {value for value in constants if isinstance(value, str)}, path
