"""The start-up that is to be captured: what it may call, and what it was seen to depend on.

What a start-up changes outside of its own sandbox would be missing in every sandbox that is made from the snapshot,
and what it was told there would be the same in all of them. So calls of the host are refused, but for those that
only write to the log, and those that tell what is the same each time. Clocks and random bytes are given, and noted.
"""

from __future__ import annotations

import os
import time
from typing import Any

from wasmrun.errors import GuestTrap, InvalidFunction, printable
from wasmrun.function import Function
from wasmrun.machine import wasi
from wasmrun.machine.engine import Engine
from wasmrun.machine.hostcalls import Body, Exchange
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import ExternType, Module
from wasmrun.machine.program import HTTP_REQUEST, Program

CLOCK, RANDOM = "a clock", "random bytes"

_SAME_EACH_TIME = frozenset(
    (
        "args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "fd_prestat_get", "fd_prestat_dir_name",
        "fd_fdstat_get", "fd_write", "fd_read", "fd_seek", "fd_tell", "sched_yield", "clock_res_get", "proc_exit",
    )
)  # fmt: skip
"""Of WASI, what leaves nothing behind: no file is open but the standard streams and the granted directories."""
_CLOCK_TYPE = ExternType("function", ("i32", "i64", "i32"), ("i32",))
_RANDOM_TYPE = ExternType("function", ("i32", "i32"), ("i32",))
_NUMBERS = frozenset(("i32", "i64", "f32", "f64"))
_EINVAL = 28  # WASI's own number
_MASK32 = 0xFFFFFFFF


class StartUp(Program):
    """A program whose start-up is captured. ``depends_on`` is what it was told that is not the same each time."""

    def __init__(self, function: Function, engine: Engine, module: Module) -> None:
        self.depends_on: set[str] = set()
        names = [name for name, _ in function.imports] + ([HTTP_REQUEST[1]] if function.http else [])
        streams = wasi.Streams(engine)
        super().__init__(function, engine, module, streams, {name: _refused_exchange(name) for name in names})

    def _link(self, offered: dict[tuple[str, str], tuple[ExternType, Body]]) -> None:
        for item in self.module.imports:
            if item.module != wasi.MODULE or item.name in _SAME_EACH_TIME:
                continue
            if {*item.type.params, *item.type.results} <= _NUMBERS:
                offered[item.module, item.name] = (item.type, _refused_call(item.name))
        offered[wasi.MODULE, "poll_oneoff"] = (wasi.POLL, self._poll)
        offered[wasi.MODULE, "clock_time_get"] = (_CLOCK_TYPE, self._clock_time_get)
        offered[wasi.MODULE, "random_get"] = (_RANDOM_TYPE, self._random_get)
        super()._link(offered)

    def run(self, instance: Instance) -> None:
        """Bring *instance* up, as a sandbox is prepared. Raises what the start-up did wrong."""
        function = self.function
        instance.timeout_name = "init_timeout"
        instance.arm(self.fuel, self.init_timeout_ns)
        if self.uses_wasi:
            args = (function.label, *function.args)
            wasi.configure(instance, self.streams, args=args, env=function.env, dirs=function.dirs)
        instance.instantiate()
        self.abi.prepare(instance)

    def _poll(self, instance: Instance, words: Any) -> int | None:
        self.depends_on.add(CLOCK)  # by when it goes on
        return wasi.poll_oneoff(instance, words)

    def _clock_time_get(self, instance: Instance, words: Any) -> int:
        self.depends_on.add(CLOCK)
        match words[0] & _MASK32:
            case 0:
                now = time.time_ns()
            case 1:
                now = time.monotonic_ns() - instance.wasi_start_ns
            case _:
                return _EINVAL
        pointer = words[4] & _MASK32
        _check_place(instance, pointer, 8)
        instance.write(pointer, now.to_bytes(8, "little"))
        return 0

    def _random_get(self, instance: Instance, words: Any) -> int:
        self.depends_on.add(RANDOM)
        pointer, length = words[0] & _MASK32, words[2] & _MASK32
        instance.charge(length)
        _check_place(instance, pointer, length)
        instance.write(pointer, os.urandom(length))
        return 0


def _check_place(instance: Instance, pointer: int, length: int) -> None:
    if not instance.holds(pointer, length):
        raise GuestTrap("the function gave WASI addresses outside its memory", kind="memory out of bounds")


def _refused_call(name: str) -> Body:
    def refuse(_instance: Instance, _words: Any) -> int | None:
        raise InvalidFunction(
            f"its start-up calls {printable(name)} of WASI, and what that does would be missing in sandboxes that are "
            "made from a snapshot; do it at the first event"
        )

    return refuse


def _refused_exchange(name: str) -> Exchange:
    def refuse(_instance: Instance, _request: bytes) -> bytes:
        raise InvalidFunction(
            f"its start-up calls the host's {printable(name)}, and what that does would be missing in sandboxes that "
            "are made from a snapshot; call it at the first event"
        )

    return refuse
