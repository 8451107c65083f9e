"""A run: one event, its answer on standard output, everything else on standard error.

Nothing here needs click, which takes longer to load than a function takes to run.
"""

from __future__ import annotations

import json

from wasmrun.cli.inputs import event_for, event_text, make_function, parse_event, read_event
from wasmrun.cli.output import print_bytes, print_json, print_text, say, tell
from wasmrun.errors import FunctionError, GuestExit, GuestTrap, InvalidAnswer, WasmrunError, outcome, printable
from wasmrun.hints import Any
from wasmrun.invocation import Log, Report, Result
from wasmrun.jsontext import from_json, to_json
from wasmrun.single import Single


def run(
    module: str,
    event: str | None,
    report_form: str,
    as_json: bool,
    cache_dir: str | None,
    args: tuple[str, ...],
    **settings: Any,
) -> int:
    """Run *module* once on *event*; the exit status. Raises `Misuse` and `WasmrunError`."""
    function = make_function(module, settings, args=args, warm=0)
    data = read_event(event_text(event, module))
    single = Single(cache_dir)
    try:
        program = single.load(function)
        if program.detected.abi in ("command", "extism") and not function.raw and not as_json:
            # What these answer is shown as it stands, JSON or not; so it is not decoded.
            parse_event(data, "; --raw gives it to the function as it stands")
            function = make_function(module, settings | {"raw": True}, args=args, warm=0)
            program = single.load(function)
            value: Any = data if data is not None else b"{}"
        else:
            value = event_for(data, is_raw=program.abi.is_raw)
        result = single.run(function, value)
        return _show(result, program.abi.is_raw, report_form, as_json, wants_bytes=function.raw)
    except WasmrunError as error:
        if as_json:
            print_json({"value": None, "error": _error(error), "report": None, "logs": []})
            return outcome(error).exit_status
        raise
    finally:
        # Nobody waits for the rest: the process ends with the command.
        single.close()


def _show(result: Result, is_raw: bool, report_form: str, as_json: bool, *, wants_bytes: bool) -> int:
    error: WasmrunError | None = result.error
    text = ""
    if error is None and (as_json or not is_raw):
        try:
            text = to_json(_json_value(result.value) if is_raw and not wants_bytes else result.value)
        except ValueError as reason:
            error = InvalidAnswer(f"the answer cannot be written as JSON: {reason}")
            # The record is the one of an answer; at this door there is none.
            result = result._replace(report=result.report._replace(status=type(error).__name__))
    if as_json:
        _show_json(text, error, result)
    else:
        _show_text(text, error, result, report_form, is_raw)
    return 0 if error is None else outcome(error).exit_status


def _show_json(text: str, error: WasmrunError | None, result: Result) -> None:
    rest = {
        "error": None if error is None else _error(error),
        "report": result.report.as_dict(),
        "logs": [log._asdict() for log in result.logs],
    }
    # The answer's own text: whatever could be written once is not written again, one level deeper.
    print_text('{"value": ' + (text or "null") + ", " + json.dumps(rest, ensure_ascii=False)[1:])


def _show_text(text: str, error: WasmrunError | None, result: Result, report_form: str, is_raw: bool) -> None:
    for log in result.logs:
        tell(_log_line(log))
    if error is not None:
        if isinstance(error, GuestExit):
            print_bytes(error.output)
        say(error)
    elif is_raw:
        print_bytes(result.value)
    else:
        print_text(text)
    _show_report(result.report, report_form)


def _show_report(report: Report, form: str) -> None:
    if form == "text":
        tell(str(report))
    elif form == "json":
        tell(json.dumps(report.as_dict()))


def _log_line(log: Log) -> str:
    return f"{log.level.upper():5} {printable(log.message, 10_000)}"


def _json_value(answer: bytes) -> Any:
    """A raw answer as JSON has it: its own JSON, else base64."""
    try:
        return from_json(answer)
    except ValueError:
        return answer


def _error(error: WasmrunError) -> dict[str, Any]:
    shown: dict[str, Any] = {"class": type(error).__name__, "message": error.message}
    if isinstance(error, FunctionError):
        shown |= {"type": error.type, "stack": list(error.stack)}
    if isinstance(error, GuestTrap):
        shown["kind"] = error.kind
    if isinstance(error, GuestExit):
        shown |= {"status": error.status, "output": error.output.decode(errors="replace")}
    return shown
