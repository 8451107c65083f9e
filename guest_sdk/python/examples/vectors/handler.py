"""What guest_sdk/vectors/README.md asks of a language. The event is ``[entry, event]``: a component has one handler."""

import struct

import wasmrun

STARTS = []


def init() -> None:
    STARTS.append(1)


def handle(event: list, context: wasmrun.Context) -> object:
    entry, event = event
    return ENTRIES[entry](event, context)


def show_context(_event: object, context: wasmrun.Context) -> dict:
    return {name: getattr(context, name) for name in wasmrun.Context.__slots__}


def fail(event: dict, _context: wasmrun.Context) -> None:
    raise wasmrun.Fail(event["type"], event["message"], event["stack"])


def write_logs(lines: list, _context: wasmrun.Context) -> None:
    for level, text in lines:
        wasmrun.log(wasmrun.LEVELS[level], text)


def fetch(event: dict, _context: wasmrun.Context) -> dict:
    response = wasmrun.http_request(event["url"], method=event["method"], headers=event["headers"], body=event["body"])
    return {"status": response.status, "headers": response.headers, "body": response.body}


def shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return "0x" + struct.pack(">d", value).hex()
        case str():
            return '"' + "".join(map(escaped, value)) + '"'
        case list():
            return f"[{','.join(map(shown, value))}]"
        case dict():
            return f"{{{','.join(f'{shown(key)}:{shown(value[key])}' for key in sorted(value, key=str.encode))}}}"
    raise TypeError(type(value).__name__)


def escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if letter < " " else f"\\{letter}" if letter in '"\\' else letter


ENTRIES = {
    "echo": lambda event, _context: event,
    "show_event": lambda event, _context: shown(event),
    "show_context": show_context,
    "fail": fail,
    "write_logs": write_logs,
    "count_starts": lambda _event, _context: len(STARTS),
    "fetch": fetch,
    "ask": lambda event, _context: wasmrun.call("ask", event),
}
