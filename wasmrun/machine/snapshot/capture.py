"""The capture: a module's start-up is run once, here, and the module that begins after it."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, NamedTuple

from wasmrun.errors import FunctionError, InvalidFunction
from wasmrun.function import Directory, Function
from wasmrun.invocation import Log
from wasmrun.limits import KIB, STACKS
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine, address_space
from wasmrun.machine.facts import Facts
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import ExternType, Module
from wasmrun.machine.program import detect
from wasmrun.machine.record import RECORD_WORDS
from wasmrun.machine.snapshot import contents
from wasmrun.machine.snapshot.contents import Contents
from wasmrun.machine.snapshot.copy import Copy, make_copy
from wasmrun.machine.snapshot.rewrite import RESUME, rewrite
from wasmrun.machine.snapshot.startup import StartUp
from wasmrun.machine.snapshot.state import read_state
from wasmrun.machine.wasmfile import scan

_MOST_LOGS = 64 * KIB
_RESUME_TYPE = ExternType("function", (), ())


class Captured(NamedTuple):
    """The new module, what the start-up logged, and on what it depends that is not the same each time."""

    module: bytes
    logs: list[tuple[str, str]]
    depends_on: list[str]


def room(needed: int) -> int:
    """The address space of a process that captures, where compiling may take as much as is *needed*."""
    return needed + address_space(8)


def function_of(job: dict[str, Any]) -> Function:
    """The function that a job describes; nobody answers what it asks the host."""
    settings = dict(job["function"])
    # Told on one line, which has an end.
    settings["log_bytes"] = min(settings["log_bytes"], _MOST_LOGS)
    settings["env"] = [tuple(pair) for pair in settings["env"]]
    # Read-only: whatever they are, nothing is written to them here.
    settings["dirs"] = [Directory(host, guest, False) for host, guest, _ in settings["dirs"]]
    settings["imports"] = dict.fromkeys(settings["imports"], _nobody)
    return Function(b"\0asm", **settings)


def _nobody(_value: Any) -> None:
    """Stands for a host function."""


def capture(function: Function, module: bytes) -> Captured:
    """The snapshot of *module* after the start-up that it has as *function*.

    Raises `InvalidFunction` or `ValueError` where it cannot be captured, `HostError` where this process cannot.
    """
    facts = scan(module)
    # Code that is not optimised needs more stack: whatever the function has, this is the most there is.
    engine = Engine(EngineSettings(STACKS[-1], function.is_metered, is_hasty=True), 1, RECORD_WORDS)
    try:
        engine.ticker.start()
        if error := capi.module_validate(engine.pointer, module, len(module)):
            raise ValueError(f"not a valid module: {capi.take_error(error)}")
        found = contents.read(module)
        copy = make_copy(found)
        loaded = load_copy(engine, copy, facts)
        with contextlib.closing(loaded):
            _check_abi(detect(function, loaded).abi)
            with contextlib.closing(StartUp(function, engine, loaded)) as start_up:
                return _capture(start_up, found, copy)
    finally:
        engine.close()


def load_copy(engine: Engine, copy: Copy, facts: Facts) -> Module:
    """A *copy* in *engine*, as what it is a copy of: what was added must not be taken for the function's own."""
    pointer = ctypes.c_void_p()
    if error := capi.module_new(engine.pointer, copy.module, len(copy.module), capi.addressof(pointer)):
        raise ValueError(f"it cannot be looked into: {capi.take_error(error)}")
    module = Module(engine, pointer.value or 0, facts, 0)
    module.exports = {name: type_ for name, type_ in module.exports.items() if not name.startswith(copy.prefix)}
    return module


def _check_abi(abi: str) -> None:
    if abi == "command":
        raise InvalidFunction("a command starts when its event is there; it has no start-up that could be captured")
    if abi not in ("native", "plain"):
        raise InvalidFunction(f"there are no snapshots of functions of the {abi} ABI")


def _capture(start_up: StartUp, found: Contents, copy: Copy) -> Captured:
    function, abi = start_up.function, start_up.abi
    instance = Instance(start_up)
    try:
        try:
            start_up.run(instance)
        except FunctionError as failed:
            raise InvalidFunction(f"its start-up failed: {type(failed).__name__}: {failed.message}") from failed
        depends_on = sorted(start_up.depends_on)
        resumes = _check_resume(start_up.module, depends_on)
        state = read_state(instance, found, copy, function.module_bytes)
        logs = [(log.level, log.message) for log in _logs(instance)]
    finally:
        instance.delete()
    # Where a new sandbox would run its start-up, it resumes.
    resume_as = b"wasmrun_init" if abi.name == "native" else b"_initialize"
    written = rewrite(found, state, frozenset((*abi.start_up, *([resume_as] if resumes else []))), resume_as)
    if len(written) > function.module_bytes:
        raise ValueError(f"its snapshot has {len(written)} bytes; at most {function.module_bytes} are allowed")
    return Captured(written, logs, depends_on)


def _check_resume(module: Module, depends_on: list[str]) -> bool:
    """Whether a sandbox resumes, which it must where its start-up *depends_on* what differs each time."""
    found = module.exports.get(RESUME.decode())
    if found is not None and found != _RESUME_TYPE:
        raise InvalidFunction(f"the export 'wasmrun_resume' must be () -> (), not {found}")
    if depends_on and found is None:
        raise InvalidFunction(
            f"its start-up reads {' and '.join(depends_on)}, which would be the same in every sandbox; export "
            "wasmrun_resume(), which is called in each of them, and renew there what was made of it"
        )
    return found is not None


def _logs(instance: Instance) -> tuple[Log, ...]:
    book = instance.logbook
    if book is None:
        return ()
    book.flush()
    return tuple(book.entries)
