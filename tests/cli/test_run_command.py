"""`wasmrun run`: the answer on standard output, everything else on standard error."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import msgpack
import programs
import pytest
from programs import ECHO, WORDS

from wasmrun.invocation import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]
    Wat = Callable[..., str]

LOG = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'


def answers(wat: Wat, value: Any) -> str:
    """A native guest that answers *value*."""
    return wat(data=b"\x92\x00" + (value if isinstance(value, bytes) else msgpack.packb(value)))


def logs(wat: Wat, text: bytes, level: int = 2, then: str = "(call $pack (i32.const 16) (i32.const 3))") -> str:
    """A native guest that logs *text*, and then answers True."""
    handler = f"(call $log (i32.const {level}) (i32.const 19) (i32.const {len(text)})) {then}"
    return wat(handler, imports=LOG, data=b"\x92\x00\xc3" + text)


def test_run_prints_what_a_program_wrote_before_its_exit_status(run: Run, save: Save) -> None:
    """As a shell would show it; in JSON it is a part of the error."""
    guest = save(programs.prints(b"no\xff\n", then="(call $exit (i32.const 3))"))
    done = run("run", guest, "--report", "none")
    assert (done.status, done.output) == (11, b"no\xff\n")
    assert done.err == "wasmrun: GuestExit: the program exited with status 3\n"
    shown = run("run", guest, "--json").json
    assert (shown["value"], shown["error"]["status"], shown["error"]["output"]) == (
        None,
        3,
        "no\N{REPLACEMENT CHARACTER}\n",
    )


# The event


def test_run_answers_a_request(run: Run, save: Save, tmp_path: Path) -> None:
    """With `--abi wagi`: the event is a request, the answer a response, and `--raw` has no meaning."""
    guest, event = (
        save(programs.prints(b"Status: 404\nContent-Type: text/plain\n\nnobody\n")),
        tmp_path / "request.json",
    )
    event.write_text('{"version": "2.0", "rawPath": "/nobody"}')
    response = {
        "statusCode": 404,
        "headers": {"content-type": "text/plain"},
        "body": "nobody\n",
        "isBase64Encoded": False,
    }
    assert run("run", guest, "--abi", "wagi", "--event", f"@{event}").json == response
    assert run("run", guest, "--abi", "wagi", "--json").json["value"] == response
    done = run("run", guest, "--abi", "wagi", "--event", '{"rawPath": "/%00"}')
    assert (done.status, done.out) == (2, "")
    assert "rawPath has a NUL" in done.err
    done = run("run", save(programs.prints(b"nothing")), "--abi", "wagi")
    assert (done.status, done.out) == (16, "")
    done = run("run", guest, "--abi", "wagi", "--raw")
    assert done.status == 3
    assert "a WAGI program takes requests" in done.err
    assert "ABI       wagi: named by the function" in run("inspect", guest, "--abi", "wagi").out


def test_run_takes_the_event_as_json_text(run: Run) -> None:
    """`--event JSON`, and its short form."""
    assert json.loads(run("run", WORDS, "--event", '"one two"').out)["words"] == 2
    assert json.loads(run("run", WORDS, "-e", '{"text": "one two three", "top": 0}').out)["words"] == 3


def test_run_takes_the_event_from_a_file(run: Run, tmp_path: Path) -> None:
    """`--event @FILE`, UTF-8 with or without a byte order mark."""
    event = tmp_path / "event.json"
    for mark in (b"", b"\xef\xbb\xbf"):
        event.write_bytes(mark + '"über alles"'.encode())
        assert run("run", ECHO, "--event", f"@{event}").out == '"über alles"\n'


def test_run_takes_the_event_from_standard_input(start: Run) -> None:
    """`--event -`."""
    assert start("run", ECHO, "--event", "-", stdin=b'{"a": [1]}').out == '{"a": [1]}\n'


@pytest.mark.parametrize(("module", "shown"), [(ECHO, "{}\n"), (programs.CAT, "{}")], ids=["native", "command"])
def test_run_without_an_event_gives_an_empty_object(module: Any, shown: str, run: Run, save: Save) -> None:
    """A function that takes JSON is never without an event."""
    path = module if module == ECHO else save(module)
    assert run("run", path).out == shown


def test_run_of_numbers_takes_a_list(run: Run, save: Save) -> None:
    """The plain ABI, from the text format."""
    assert run("run", save(programs.ADD), "--entry", "add", "--event", "[1, 2]").out == "3\n"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("{", "the event is not JSON: .+ line 1 column 2"),
        ("", "the event is not JSON: .+ line 1 column 1"),
        ("NaN", "the event is not JSON: NaN is not JSON"),
        ("[1] 2", "the event is not JSON: Extra data"),
        ("[" * 100_000, "the event is not JSON: it is nested too deep"),
        ("9" * 5_000, "the event is not JSON: .+ digits"),
        (r'"\ud800"', "the event cannot be encoded as MessagePack"),
        ("1" + "0" * 30, "the event cannot be encoded as MessagePack"),
    ],
    ids=["cut", "empty", "NaN", "two", "nested", "digits", "surrogate", "large number"],
)
def test_run_says_what_is_wrong_with_an_event(event: str, reason: str, run: Run, tmp_path: Path) -> None:
    """An event that cannot be given is a usage error, in one line, and nothing runs."""
    file = tmp_path / "event.json"
    file.write_text(event)
    done = run("run", ECHO, "--event", f"@{file}")
    assert (done.status, done.output) == (2, b"")
    assert re.fullmatch(f"wasmrun: InvalidEvent: {reason}.*\n", done.err)


@pytest.mark.parametrize("form", ["plain", "--json"])
def test_run_checks_the_event_of_a_command(form: str, run: Run, save: Save) -> None:
    """A program would see the text as it stands; what is not JSON never gets there."""
    done = run("run", save(programs.CAT), "--event", "{", *([form] if form == "--json" else []))
    assert done.status == 2
    assert (done.json["error"]["class"] if form == "--json" else done.err[:22]) in (
        "InvalidEvent",
        "wasmrun: InvalidEvent:",
    )


# The answer


def test_run_prints_the_answer_alone_on_standard_output(run: Run) -> None:
    """One line of JSON; the report goes to standard error."""
    done = run("run", ECHO, "--event", '{"b": [1, 2.5, null, true, "é→"], "a": {}}')
    assert done.status == 0
    assert done.out == '{"b": [1, 2.5, null, true, "é→"], "a": {}}\n'
    assert done.err.startswith("REPORT RequestId: ")
    assert done.err.count("\n") == 1


def test_run_keeps_integers_exact(run: Run, wat: Wat, save: Save) -> None:
    """Those that floats could not hold, on the way in and on the way out."""
    numbers = [2**64 - 1, -(2**63), 2**53 + 1, 0.1]
    assert json.loads(run("run", ECHO, "--event", json.dumps(numbers)).out) == numbers
    done = run("run", save(answers(wat, numbers)), "--json")
    assert done.json["value"] == numbers


def test_run_prints_bytes_as_base64(run: Run, wat: Wat, save: Save) -> None:
    """Wherever they are in the answer."""
    guest = save(answers(wat, {"picture": b"\x00\xff"}))
    assert run("run", guest).out == '{"picture": "AP8="}\n'
    assert run("run", guest, "--json").json["value"] == {"picture": base64.b64encode(b"\x00\xff").decode()}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (msgpack.packb({1: 2}), "the answer is not MessagePack that can be read"),
        (msgpack.packb({b"k": 2}), "the answer is not MessagePack that can be read"),
        (msgpack.packb([float("nan")]), "the answer cannot be written as JSON: .*not JSON compliant"),
        (msgpack.packb(float("inf")), "the answer cannot be written as JSON: .*not JSON compliant"),
    ],
    ids=["number as key", "bytes as key", "NaN", "infinity"],
)
def test_run_refuses_answers_that_json_has_no_form_for(
    answer: bytes, reason: str, run: Run, wat: Wat, save: Save
) -> None:
    """The exit status, the message and the report agree."""
    guest = save(answers(wat, answer))
    done = run("run", guest)
    assert (done.status, done.output) == (16, b"")
    error, report = done.err.splitlines()
    assert re.fullmatch(f"wasmrun: InvalidAnswer: {reason}.*", error)
    assert "\tStatus: InvalidAnswer\t" in report
    shown = run("run", guest, "--json")
    assert shown.status == 16
    assert shown.json["value"] is None
    assert shown.json["error"]["class"] == shown.json["report"]["status"] == "InvalidAnswer"


def test_run_refuses_a_number_that_is_none(run: Run, save: Save) -> None:
    """NaN from a function of numbers."""
    done = run("run", save(programs.NAN))
    assert (done.status, done.output) == (16, b"")
    assert "wasmrun: InvalidAnswer: the answer cannot be written as JSON" in done.err


def test_run_prints_what_a_command_prints(run: Run, save: Save) -> None:
    """As it stands: JSON is not written anew, text is not quoted, no line is ended, and bytes need not be UTF-8."""
    for output in (b'{ "a":1 }\n', b"plain text", b"\xff\x00\n\n", b"1e999", b""):
        done = run("run", save(programs.prints(output)), "--report", "none")
        assert done == (0, output, "")


@pytest.mark.parametrize(
    ("output", "value"),
    [(b'{ "a":1 }\n', {"a": 1}), (b"plain text", "plain text"), (b"", None), (rb'"\ud800"', "\ud800")],
    ids=["JSON", "text", "nothing", "surrogate"],
)
def test_run_with_json_reads_what_a_command_prints(output: bytes, value: Any, run: Run, save: Save) -> None:
    """`--json` needs a value: the JSON, else the text."""
    assert run("run", save(programs.prints(output)), "--json").json["value"] == value


def test_run_with_json_refuses_output_that_is_no_text(run: Run, save: Save) -> None:
    """The error says how to take it."""
    done = run("run", save(programs.prints(b"\xff")), "--json")
    assert done.status == 16
    assert "--raw" in done.json["error"]["message"]


def test_run_never_fails_at_the_depth_of_an_answer(run: Run, save: Save) -> None:
    """Near the depth at which Python gives up there is an answer or an error, with `--json` too."""
    guest = save(programs.CAT)
    seen = set()
    for depth in range(800, 1_000, 4):
        done = run("run", guest, "--json", "--event", "[" * depth + "]" * depth)
        seen.add(done.status)
        assert (done.json["error"] is None) == (done.status == 0)
    assert seen <= {0, 2, 16}
    assert 0 in seen


def test_run_escapes_what_a_terminal_would_obey(run: Run) -> None:
    """In the answer's JSON, C1 control characters as well as C0; the value stays the same."""
    text = "\x1b[31m \x7f \x9b31m \x85"
    done = run("run", ECHO, "--event", json.dumps(text), "--report", "none")
    assert done.out.rstrip("\n").isprintable()
    assert json.loads(done.out) == text


# Bytes


def test_run_raw_passes_bytes_to_a_handler_as_they_stand(start: Run) -> None:
    """Neither is JSON."""
    done = start("run", ECHO, "--raw", "--event", "-", "--report", "none", stdin=b"\x00\xff{")
    assert done == (0, b"\x00\xff{", "")


def test_run_raw_passes_bytes_to_a_command_as_they_stand(start: Run, save: Save) -> None:
    """Its standard input need not be JSON."""
    done = start("run", save(programs.CAT), "--raw", "--event", "-", "--report", "none", stdin=b"\xff\x00")
    assert done == (0, b"\xff\x00", "")


@pytest.mark.parametrize("guest", ["native", "command"])
def test_run_raw_without_an_event_gives_nothing(guest: str, run: Run, save: Save) -> None:
    """Not an empty object."""
    path = ECHO if guest == "native" else save(programs.CAT)
    assert run("run", path, "--raw", "--report", "none") == (0, b"", "")


def test_run_takes_a_raw_entry_without_being_told(run: Run) -> None:
    """The entry's name says it."""
    done = run("run", ECHO, "--entry", "wasmrun_handle_raw", "--event", "no JSON", "--report", "none")
    assert done.out == "no JSON"


def test_run_with_json_shows_a_raw_answer(run: Run) -> None:
    """A raw entry's own JSON, else base64; with `--raw`, always base64."""
    raw = ("run", ECHO, "--entry", "wasmrun_handle_raw", "--json")
    assert run(*raw, "--event", "[1]").json["value"] == [1]
    assert run(*raw, "--event", "no JSON").json["value"] == base64.b64encode(b"no JSON").decode()
    assert run(*raw, "--raw", "--event", "[1]").json["value"] == base64.b64encode(b"[1]").decode()


# Logs


def test_run_prints_logs_before_the_answer_and_the_report_after_it(start: Run, wat: Wat, save: Save) -> None:
    """Where both streams go to one place, they are in order."""
    done = start("run", save(logs(wat, b"working")), stderr=-2)
    log, answer, report = done.out.splitlines()
    assert (log, answer) == ("INFO  working", "true")
    assert report.startswith("REPORT ")


@pytest.mark.parametrize(
    ("level", "shown"), [(0, "TRACE "), (1, "DEBUG "), (2, "INFO  "), (3, "WARN  "), (4, "ERROR ")]
)
def test_run_prints_the_level_of_a_log_line(level: int, shown: str, run: Run, wat: Wat, save: Save) -> None:
    """In one column."""
    assert run("run", save(logs(wat, b"text", level)), "--report", "none").err == f"{shown}text\n"


def test_run_escapes_logs(run: Run, wat: Wat, save: Save) -> None:
    """A guest can neither colour a terminal nor forge a line."""
    text = b"\x1b[31mred\nREPORT forged\r\xc2\x9b \xff"
    done = run("run", save(logs(wat, text)), "--report", "none")
    assert done.err == "INFO  \\x1b[31mred\\nREPORT forged\\r\\x9b \ufffd\n"


def test_run_prints_the_standard_error_of_a_command_as_logs(run: Run, save: Save) -> None:
    """A line each."""
    done = run("run", save(programs.prints(b"one\ntwo\x07", fd=2)), "--report", "none")
    assert (done.output, done.err) == (b"", "INFO  one\nINFO  two\\x07\n")


def test_run_prints_logs_of_a_function_that_failed(run: Run, wat: Wat, save: Save) -> None:
    """They are what one wants to see then."""
    done = run("run", save(logs(wat, b"going down", 4, then="unreachable")), "--report", "none")
    assert done.status == 12
    log, error = done.err.splitlines()[:2]
    assert log == "ERROR going down"
    assert error.startswith("wasmrun: GuestTrap: ")


# Errors


def test_run_prints_an_error_of_the_function_in_its_words(run: Run, wat: Wat, save: Save) -> None:
    """Class, type, message and stack, escaped."""
    error = {"type": "Bad\x1b[0m", "message": "went\nwrong", "stack": ["main\t1", "start"]}
    done = run("run", save(wat(data=msgpack.packb([1, error]))), "--report", "none")
    assert (done.status, done.output) == (10, b"")
    assert done.err == "wasmrun: GuestError: Bad\\x1b[0m: went\\nwrong\n  at main\\t1\n  at start\n"


def test_run_names_a_file_that_is_missing(run: Run) -> None:
    """It is not a usage error: the command line is right."""
    done = run("run", "nowhere/gone.wasm")
    assert done == (3, b"", "wasmrun: InvalidFunction: there is no module nowhere/gone.wasm\n")


def test_run_takes_the_text_format_whatever_the_file_is_called(run: Run, save: Save) -> None:
    """A module is known by what it holds."""
    assert run("run", save(programs.ADD, "add.wasm"), "--event", "[1, 2]").out == "3\n"


def test_run_takes_a_file_whatever_its_name_looks_like(
    run: Run, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODULE is always a file, never the text of a module."""
    monkeypatch.chdir(tmp_path)
    save(programs.ADD, "(1).wat")
    done = run("run", "(1).wat", "--event", "[1, 2]", "--json").json
    assert (done["value"], done["report"]["function"]) == (3, "(1)")
    assert run("run", programs.ADD, "--event", "[1, 2]").status == 3


# The report


def test_run_prints_the_report_as_text(run: Run) -> None:
    """Lambda's line, with fields added, on one line."""
    done = run("run", ECHO, "--event", "1")
    fields = dict(field.split(": ", 1) for field in done.err.removeprefix("REPORT ").rstrip("\n").split("\t"))
    assert list(fields)[:5] == ["RequestId", "Duration", "Billed Duration", "Memory Size", "Max Memory Used"]
    assert fields["Status"] == "success"
    assert fields["Start"] == "cold"
    assert int(fields["Fuel"]) > 0


def test_run_prints_the_report_as_json(run: Run) -> None:
    """Every field of `Report`, on standard error."""
    done = run("run", ECHO, "--event", "1", "--report", "json")
    report = json.loads(done.err)
    assert tuple(report) == Report._fields
    assert (report["function"], report["status"], report["event_bytes"] > 0) == ("echo", "success", True)
    assert done.out == "1\n"


def test_run_prints_no_report_when_none_is_wanted(run: Run) -> None:
    """Standard error stays empty."""
    assert run("run", ECHO, "--event", "1", "--report", "none") == (0, b"1\n", "")


# --json


def test_run_with_json_prints_one_object(run: Run, wat: Wat, save: Save) -> None:
    """Value, error, report and logs; standard error stays empty."""
    done = run("run", save(logs(wat, b"a \x1b")), "--json")
    assert (done.status, done.err) == (0, "")
    shown = done.json
    assert list(shown) == ["value", "error", "report", "logs"]
    assert (shown["value"], shown["error"]) == (True, None)
    assert shown["logs"] == [{"level": "info", "message": "a \x1b"}]
    assert tuple(shown["report"]) == Report._fields
    assert shown["report"]["status"] == "success"


def test_run_with_json_gives_the_stack_of_an_error(run: Run, wat: Wat, save: Save) -> None:
    """The guest's own words, as they came."""
    error = {"type": "Bad", "message": "wrong\n", "stack": ["main", "start"]}
    shown = run("run", save(wat(data=msgpack.packb([1, error]))), "--json").json["error"]
    assert shown == {"class": "GuestError", "type": "Bad", "message": "wrong\n", "stack": ["main", "start"]}
