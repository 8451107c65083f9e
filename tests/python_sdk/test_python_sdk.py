"""Functions in Python: what is reported, logged, renewed and found; the examples; what the README shows."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from conftest import Call

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "python"

Make = Callable[..., wasmrun.Function]


def refusal(call: Call, do: str, event: Any = None) -> wasmrun.GuestError:
    with pytest.raises(wasmrun.GuestError) as caught:
        call(do, event)
    return caught.value


# ---- what is reported


@pytest.mark.parametrize(
    ("which", "type", "message"),
    [
        ("own", "Teapot", "short and stout"),
        ("nothing", "Teapot", "Teapot"),
        ("mute", "Mute", "(its text could not be made)"),
        ("system exit", "SystemExit", "3"),
        ("keyboard", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("half", "ValueError", "?"),
        ("fail", "NotFound", "no such user"),
        ("numbers", "5", "None"),
    ],
)
def test_exception_is_reported_by_its_class_and_text(call: Call, which: str, type: str, message: str) -> None:
    """With its frames, innermost first, as files of the project; none of the SDK's own."""
    error = refusal(call, "raises", which)
    assert (error.type, error.message) == (type, message)
    assert [re.sub(r"\d+", "N", frame) for frame in error.stack] == [
        "raises.<locals>.deeper (handler.py:N)",
        "raises (handler.py:N)",
        "handle (handler.py:N)",
    ]


def test_fail_has_the_stack_that_it_is_given(call: Call) -> None:
    """As texts."""
    assert list(refusal(call, "raises", "fail with a stack").stack) == ["a.py:3", "5"]


def test_endless_recursion_is_reported_with_the_innermost_frames(call: Call) -> None:
    """Not with all thousand of them."""
    error = refusal(call, "recurses")
    assert error.type == "RecursionError"
    assert len(error.stack) == 50


def test_memory_that_is_missing_is_out_of_memory(call: Call) -> None:
    """Where Python found out, and where somebody raised it."""
    for do, event in (("raises", "memory"), ("fills", 500)):
        with pytest.raises(wasmrun.OutOfMemory):
            call(do, event, memory="64MiB")
    assert call("fills", 2, memory="64MiB") == 2


def test_import_that_comes_too_late_says_when_its_time_was(call: Call) -> None:
    """There are no files in a sandbox."""
    error = refusal(call, "imports")
    assert error.type == "ModuleNotFoundError"
    assert error.message.endswith("write imports at the top of a file")


def test_endless_loop_runs_out_of_fuel_or_time(call: Call) -> None:
    """As in any language."""
    with pytest.raises(wasmrun.OutOfFuel):
        call("spins", fuel=50_000_000)
    with pytest.raises(wasmrun.TimedOut):
        call("spins", fuel=10**15, timeout="100ms")


# ---- answers


def test_bytes_in_an_answer_are_base64(call: Call) -> None:
    """Of any kind that has bytes."""
    assert call("answers", "bytes") == {"a": ["AP8=", "Yg==", "Yw=="]}


def test_keys_of_an_answer_become_texts(call: Call) -> None:
    """As the json module makes them."""
    assert call("answers", "keys") == {"1": 2, "null": 3, "2.5": 4}


def test_text_of_an_answer_may_hold_any_character(call: Call) -> None:
    """NUL, what JavaScript takes for a line's end, and what takes four bytes."""
    assert call("answers", "text") == "ü\0\U0001f600\u2028"


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("set", "set is no kind of value that JSON has"),
        ("ring", "Circular reference"),
        ("nan", "JSON"),
        ("infinity", "JSON"),
        ("half", "half of a surrogate pair"),
        ("huge", "4300 digits"),
    ],
)
def test_answer_that_json_cannot_have_is_reported(call: Call, which: str, reason: str) -> None:
    """And says why."""
    error = refusal(call, "answers", which)
    assert error.type == "InvalidAnswer"
    assert reason in error.message


# ---- the log


def test_logging_print_and_log_come_to_the_log(executor: wasmrun.Executor, make: Make) -> None:
    """In order, at their levels; the root logger is at INFO; what was logged at build time is not told again."""
    result = executor.run(make(), {"do": "logs", "event": None})
    assert result.error is None
    logged = [(log.level, log.message) for log in result.logs]
    assert logged[:5] == [("debug", "one 1"), ("info", "two"), ("warn", "three"), ("error", "four"), ("error", "five")]
    assert logged[-4:] == [("trace", "six"), ("info", "half ?"), ("info", "printed"), ("info", "not ended")]
    assert "TypeError: %d format: a real number is required, not str" in {message for _, message in logged}


def test_level_that_there_is_not_is_an_error(call: Call) -> None:
    """Which names those that there are."""
    assert "trace, debug, info, warn, error" in refusal(call, "wrong_level", "fatal").message


# ---- what differs from sandbox to sandbox, and what does not


def test_random_numbers_differ_and_hashes_do_not(call: Call) -> None:
    """From sandbox to sandbox: random's own generator too, before `resume` runs."""
    one, two = call("differs"), call("differs")
    assert one[1] == two[1], "of the build"
    assert one[5] == two[5], "hashes are those of the build"
    for place in (0, 2, 3, 4):
        assert one[place] != two[place]
    assert len({*one[2], one[0], one[1]}) == 3, "resume ran once, after the seed was renewed"


def test_variables_are_those_of_the_function(call: Call) -> None:
    """Nothing of the machine that built it, and nothing of the one that runs it."""
    found, at_build, mode = call("finds", env={"MODE": "fast"})
    assert (found, mode) == ({"MODE": "fast"}, "fast")
    assert all(name.startswith("PYTHON") for name in at_build)
    assert call("finds")[0] == {}


def test_granted_directory_is_read(call: Call, tmp_path: Path) -> None:
    """And no other one."""
    (tmp_path / "a.txt").write_text("here")
    assert call("reads", "/data/a.txt", dirs=[f"{tmp_path}::/data:ro"]) == "here"
    assert refusal(call, "reads", "/data/a.txt").type == "FileNotFoundError"


# ---- host functions


def test_host_function_is_called_by_its_name(call: Call) -> None:
    """With what JSON can carry, and gives back what it answers; what it raises is `Fail`."""
    assert call("calls", ["ask", {"a": [1, "ü"]}]) == {"a": [1, "ü"]}

    def refuse(_value: Any) -> None:
        raise LookupError("no such user")

    with pytest.raises(wasmrun.WasmrunError, match="no such user"):
        call("calls", ["ask", 1], imports={"ask": refuse})


def test_host_function_that_is_not_imported_says_how_it_would_be(call: Call) -> None:
    """With the line for function.wit."""
    error = refusal(call, "calls", ["look-up", 1])
    assert error.type == "NotImported"
    assert "import look-up: func(request: string) -> result<string, string>;" in error.message


def test_host_is_not_there_while_the_component_is_built(call: Call) -> None:
    """Lines of the log do not stop a build; a host function cannot be called."""
    assert call("asked_too_early") == "NoHost"


# ---- examples and README


def test_hello_says_what_an_event_needs(call: Call) -> None:
    """In the words of the other languages."""
    assert call("hello", {"name": "Ada"}) == {"hello": "Ada"}
    for event in ({"name": 5}, {}, "Ada", None):
        error = refusal(call, "hello", event)
        assert (error.type, error.message) == ("InvalidEvent", 'the event needs a string "name"')


def test_report_answers_its_sample(call: Call) -> None:
    """Exact decimals; quoted fields with commas."""
    event = json.loads((SDK / "examples" / "events" / "report.json").read_text(encoding="utf-8"))
    assert call("report", event) == {
        "rows": 5,
        "groups": [
            {"name": "London", "count": 3, "sum": "8.40", "mean": "2.80", "median": "2.40"},
            {"name": "Paris", "count": 2, "sum": "4.95", "mean": "2.48", "median": "2.475"},
        ],
    }
    assert call("report", {"csv": "", "group": "a", "value": "a"} | {"csv": "a\n"}) == {"rows": 0, "groups": []}


@pytest.mark.parametrize(
    ("event", "type", "reason"),
    [
        (None, "InvalidEvent", '"csv"'),
        ({"csv": "a,b\n"}, "InvalidEvent", '"group"'),
        ({"csv": "", "group": "a", "value": "b"}, "InvalidTable", "no column 'a'"),
        ({"csv": "a,b\nx,1\ny,one\n", "group": "a", "value": "b"}, "InvalidTable", "line 3: 'one' is no number"),
        ({"csv": "a,b\nx\n", "group": "a", "value": "b"}, "InvalidTable", "line 2: None is no number"),
        ({"csv": "a,b\nx,NaN\n", "group": "a", "value": "b"}, "InvalidTable", "'NaN' is no number"),
        ({"csv": "a,b\nx,1e999999\n", "group": "a", "value": "b"}, "InvalidTable", "is no number"),
        ({"csv": 'a,b\nx,"1"2\n', "group": "a", "value": "b"}, "InvalidTable", "after line 1: ',' expected"),
    ],
)
def test_report_refuses_other_events(call: Call, event: Any, type: str, reason: str) -> None:
    """Tables that are none, numbers that are none, or as long as memory is."""
    error = refusal(call, "report", event)
    assert error.type == type
    assert reason in error.message


def test_readme_shows_the_example_and_the_template() -> None:
    """Word for word."""
    readme = (SDK / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block
    template = Path(wasmrun.__file__).parent / "projects" / "templates" / "python"
    assert block[1] == (SDK / "examples" / "hello" / "handler.py").read_text(encoding="utf-8")
    assert block[1] == (template / "handler.py.in").read_text(encoding="utf-8")
    assert (SDK / "function.wit").read_text() == (template / "function.wit.in").read_text()


def test_build_builds_as_projects_are_built() -> None:
    """With the same world and modules; what is no directory name is a usage error."""
    built = runpy.run_path(str(SDK / "build.py"))
    own = built["command"](SDK / "examples" / "vectors", Path("x.wasm"))
    assert str(SDK / "examples" / "vectors" / "function.wit") in own
    assert str(SDK / "function.wit") in built["command"](SDK / "examples" / "hello", Path("x.wasm"))
    for option in ("-d", "-w", "-p", "componentize", "component", "-o"):
        assert option in own
    done = subprocess.run([sys.executable, SDK / "build.py", "-x"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_module_can_be_used_where_there_is_no_host() -> None:
    """A handler can be tried in any Python: lines of the log go to standard error, and requests say what is missing."""
    code = (
        f"import sys; sys.path.insert(0, {str(SDK)!r}); import wasmrun; wasmrun.log('info', 'a line');\n"
        "for ask in (lambda: wasmrun.call('db.get'), lambda: wasmrun.http_request('https://example.com')):\n"
        "    try: ask()\n"
        "    except wasmrun.Fail as error: print(error.type)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("NoHost\nNoHost\n", "INFO  a line\n")
