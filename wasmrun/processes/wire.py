"""What crosses between an executor and its workers, as MessagePack: functions, errors, reports, logs.

The executor believes nothing that a worker says: every value that comes from one is checked here, and what
is not as it must be is a `BrokenFrame`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from wasmrun.errors import (
    OUTCOMES,
    FunctionError,
    GuestExit,
    GuestTrap,
    WasmrunError,
    printable,
)
from wasmrun.function import ABIS, Directory, Function
from wasmrun.invocation import LEVELS, Log, Report
from wasmrun.machine.abi.base import Shape
from wasmrun.machine.inspection import Inspection
from wasmrun.processes.frames import BrokenFrame
from wasmrun.shelf import PoolStats

_KEPT = ("module", "imports", "http", "http_networks", "http_secrets")
"""What of a function stays with the executor: its code goes as an artifact, what serves it runs here."""

_STARTS = ("cold", "warm", "reused", "snapshot")
_CLASSES = {cls.__name__: cls for cls in OUTCOMES}
_MOST_NUMBER = 1 << 63


def pack_function(function: Function) -> dict[str, Any]:
    """Everything that a worker has to know of *function* but its code."""
    settings = {item.name: getattr(function, item.name) for item in fields(function) if item.name not in _KEPT}
    return {
        **settings,
        "imports": [name for name, _ in function.imports],
        # Whether is all that a worker needs to know: what may be asked for is for the executor to judge.
        "http": ["*"] if function.http else [],
    }


def unpack_function(packed: dict[str, Any], key: str, serve: Any) -> Function:
    """The function that a worker runs: its code is the artifact *key*, its host functions are *serve*'s, by name."""
    settings: dict[str, Any] = {**packed, "env": [tuple(pair) for pair in packed["env"]]}
    settings["config"] = [tuple(pair) for pair in packed["config"]]
    settings["dirs"] = [Directory(*item) for item in settings["dirs"]]
    settings["imports"] = {name: serve(name) for name in settings["imports"]}
    return Function(key.encode(), **settings)


def pack_error(error: WasmrunError) -> list[Any]:
    """*error* as the name of its class, its message, and what else its class keeps."""
    more: dict[str, Any] = {}
    if isinstance(error, GuestTrap):
        more = {"kind": error.kind, "frames": list(error.frames)}
    elif isinstance(error, GuestExit):
        more = {"status": error.status, "output": error.output}
    elif isinstance(error, FunctionError):
        more = {"type": error.type, "stack": list(error.stack)}
    name = next(cls.__name__ for cls in type(error).__mro__ if cls in OUTCOMES)
    return [name, _sendable(error.message), _sendable(more)]


def unpack_error(packed: object) -> WasmrunError:
    """The error in *packed*."""
    name, message, more = _list(packed, str, str, dict)
    cls = _CLASSES.get(name)
    if cls is None:
        raise BrokenFrame("an error of no known class")
    if issubclass(cls, GuestTrap):
        return cls(message, kind=_text(more.get("kind")), frames=_texts(more.get("frames")))
    if issubclass(cls, GuestExit):
        return cls(message, status=_status(more.get("status")), output=_bytes(more.get("output")))
    if issubclass(cls, FunctionError):
        return cls(message, type=_text(more.get("type")), stack=_texts(more.get("stack")))
    return cls(message)


def _sendable(value: Any) -> Any:
    """*value* with what UTF-8 cannot write replaced: a guest may name itself so."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_sendable(item) for item in value]
    return {key: _sendable(item) for key, item in value.items()} if isinstance(value, dict) else value


def pack_report(report: Report) -> list[Any]:
    """*report* as its fields. What the executor knows better, it fills in itself."""
    return [*report._replace(http=())]


def unpack_report(packed: object, function: Function, request_id: str) -> Report:
    """The report in *packed*, of an event of *function*; names and limits are the executor's own."""
    report = Report(*_list(packed, *[object] * len(Report._fields)))
    for value in (report.duration, report.pool_wait, 0.0 if report.init_duration is None else report.init_duration):
        if type(value) not in (int, float) or not 0 <= value < _MOST_NUMBER:
            raise BrokenFrame("a report with an impossible time")
    fuel = 0 if report.fuel_used is None else report.fuel_used
    for size in (report.memory_bytes, report.event_bytes, report.result_bytes, report.log_bytes, fuel):
        _number(size)
    if report.start not in _STARTS or type(report.fuel_exact) is not bool:
        raise BrokenFrame("a report of an unknown kind of start")
    if _text(report.status) != "success" and report.status not in _CLASSES:
        raise BrokenFrame("a report with an unknown status")
    if type(report.memory_near_limit) is not bool:
        raise BrokenFrame("a report that says nothing about memory")
    return report._replace(
        request_id=request_id,
        function=function.label,
        version=str(function.version),
        abi=_abi(report.abi),
        memory_limit_bytes=function.memory,
        fuel_used=report.fuel_used if function.is_metered else None,
        http=(),
    )


def pack_logs(logs: tuple[Log, ...]) -> list[Any]:
    """*logs* as pairs of level and text."""
    return [[LEVELS.index(level), _sendable(text)] for level, text in logs]


def unpack_logs(packed: object) -> tuple[Log, ...]:
    """The logs in *packed*."""
    if type(packed) is not list:
        raise BrokenFrame("a log that is no list")
    found = []
    for item in packed:
        level, text = _list(item, int, str)
        if not 0 <= level < len(LEVELS):
            raise BrokenFrame("a log of no known level")
        found.append(Log(LEVELS[level], text))
    return tuple(found)


def unpack_shape(packed: object) -> Shape:
    """How a function is called, as the worker that loaded it says."""
    abi, reason, entry, is_raw, params, results, runs_at_start = _list(packed, str, str, str, bool, list, list, bool)
    kinds = ("i32", "i64", "f32", "f64")
    if not all(kind in kinds for kind in (*params, *results)):
        raise BrokenFrame("a function of no known shape")
    return Shape(_abi(abi), printable(reason), entry, is_raw, tuple(params), tuple(results), runs_at_start)


def unpack_inspection(packed: object) -> Inspection:
    """What a worker found in a module; only shown, never acted upon."""
    found = Inspection(*_list(packed, *[object] * len(Inspection._fields)))
    for text in (found.abi, found.entry, found.problem):
        if text is not None:
            _text(text)
    for number in (found.functions, found.module_bytes, found.artifact_bytes, found.memory_bytes):
        _number(number)
    if found.memory_maximum_bytes is not None:
        _number(found.memory_maximum_bytes)
    return found._replace(
        reason=_text(found.reason), is_raw=bool(found.is_raw), uses_wasi=bool(found.uses_wasi),
        has_start=bool(found.has_start), needs=tuple(_texts(found.needs)), imports=_pairs(found.imports),
        exports=_pairs(found.exports), kind="module", made_by=(), made_for=None,
    )  # fmt: skip


def unpack_pool(packed: object) -> PoolStats:
    """The counters of a worker's pool, without those of each function."""
    numbers = _list(packed, *[int] * (len(PoolStats._fields) - 1))
    return PoolStats._make([*map(_number, numbers), {}])


def _list(value: object, *types: type) -> list[Any]:
    if type(value) is not list or len(value) != len(types):
        raise BrokenFrame("a record with too much in it, or too little")
    for item, kind in zip(value, types, strict=True):
        if kind is not object and type(item) is not kind:
            raise BrokenFrame(f"a {type(item).__name__} where a {kind.__name__} belongs")
    return value


def unpack_count(packed: object) -> int:
    """How many of something a worker has."""
    return _number(packed)


def _abi(value: object) -> str:
    if value not in ABIS:
        raise BrokenFrame("an ABI that there is not")
    return _text(value)


def _text(value: object) -> str:
    if type(value) is not str:
        raise BrokenFrame("no text where a text belongs")
    return value


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise BrokenFrame("no bytes where bytes belong")
    return value


def _texts(value: object) -> list[str]:
    if type(value) is not list:
        raise BrokenFrame("no list where a list of texts belongs")
    return [_text(item) for item in value]


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    if type(value) is not list:
        raise BrokenFrame("no list where a list of pairs belongs")
    return tuple((name, kind) for name, kind in (_list(pair, str, str) for pair in value))


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST_NUMBER:
        raise BrokenFrame("a number that is none, or too large")
    return value


def _status(value: object) -> int:
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise BrokenFrame("an exit status that is none")
    return value
