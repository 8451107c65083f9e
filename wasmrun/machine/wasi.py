"""WASI preview 1 for one sandbox: nothing granted by default, output captured and capped, sleep bounded."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time

from wasmrun.errors import GuestExit, GuestTrap, HostError
from wasmrun.hints import TYPE_CHECKING, Any
from wasmrun.machine import capi
from wasmrun.machine.module import ExternType

if TYPE_CHECKING:
    from wasmrun.function import Directory
    from wasmrun.machine.engine import Engine
    from wasmrun.machine.instance import Instance

MODULE = "wasi_snapshot_preview1"
POLL = ExternType("function", ("i32", "i32", "i32", "i32"), ("i32",))
EXIT = ExternType("function", ("i32",), ())

_SUBSCRIPTION = struct.Struct("<QB7xI4xQQH6x")
_EVENT = struct.Struct("<QHB5xQH6x")
_CLOCK, _WRITE = 0, 2
_MOST_SUBSCRIPTIONS = 4096
_REALTIME, _MONOTONIC = 0, 1
_EINVAL = 28  # WASI's own number
_NAP_NS = 10_000_000


class Output:
    """What a command wrote to its standard output, up to a limit."""

    __slots__ = ("data", "is_over", "limit")

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.limit = limit
        self.is_over = False


class Streams:
    """The callbacks through which the guests of one engine write; each write finds its own sandbox."""

    def __init__(self, engine: Engine) -> None:
        live = engine.live

        def write_output(context: int, data: int, length: int) -> int:
            try:
                instance = live[context]
                output = instance.output
                if output is None:
                    instance.log().write(capi.string_at(data, length))
                elif output.is_over or len(output.data) + length > output.limit:
                    output.is_over = True
                    instance.stop = instance.stop or "output"
                    return -errno.EFBIG
                else:
                    output.data += capi.string_at(data, length)
                return length
            except BaseException:  # a panic of the runtime's thread is all that raising would give
                return -errno.EIO

        def write_log(context: int, data: int, length: int) -> int:
            try:
                live[context].log().write(capi.string_at(data, length))
                return length
            except BaseException:  # as above
                return -errno.EIO

        self.output = capi.OutputCallback(engine.crossings.entry(write_output, "count"))
        self.log = capi.OutputCallback(engine.crossings.entry(write_log, "count"))

    def close(self) -> None:
        """Free what is the engine's, which is nothing."""

    def token(self, instance: Instance) -> int:
        """By what writes of *instance* are known."""
        return instance.context


def configure(
    instance: Instance,
    streams: Streams,
    *,
    args: tuple[str, ...],
    env: tuple[tuple[str, str], ...],
    dirs: tuple[Directory, ...],
    stdin: bytes = b"",
) -> None:
    """Give *instance* its WASI: these arguments, variables and directories, and nothing else.

    Raises `HostError` where a directory cannot be opened.
    """
    config = capi.wasi_new()
    try:
        _fill(config, args, env, dirs)
        if stdin:
            vec = capi.ByteVec()
            capi.byte_vec_new(capi.addressof(vec), len(stdin), stdin)
            capi.wasi_stdin(config, capi.addressof(vec))
        token = streams.token(instance)
        capi.wasi_stdout(config, streams.output, token, None)
        capi.wasi_stderr(config, streams.log, token, None)
    except BaseException:
        capi.wasi_delete(config)
        raise
    error = capi.set_wasi(instance.context, config)
    if error:
        raise HostError(f"WASI cannot be set up: {capi.take_error(error)}")
    instance.wasi_start_ns = time.monotonic_ns()


def _fill(config: int, args: tuple[str, ...], env: tuple[tuple[str, str], ...], dirs: tuple[Directory, ...]) -> None:
    texts = _texts(args)
    if not capi.wasi_argv(config, len(args), capi.addressof(texts)):
        raise HostError("the arguments are not text that WASI takes")
    if env:
        names, values = _texts(name for name, _ in env), _texts(value for _, value in env)
        if not capi.wasi_env(config, len(env), capi.addressof(names), capi.addressof(values)):
            raise HostError("the environment is not text that WASI takes")
    for directory in dirs:
        opened = capi.wasi_preopen(config, os.fsencode(directory.host), directory.guest.encode(), directory.writable)
        if not opened:
            raise HostError(f"the granted directory {directory.host} cannot be opened; does it exist?")


def _texts(texts: Any) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(encoded))(*encoded)


def proc_exit(_instance: Instance, words: Any) -> None:
    """``proc_exit`` with whatever status; the engine's own takes those from 126 on for a host call that failed."""
    raise GuestExit(status=ctypes.c_int32(words[0]).value)


def poll_oneoff(instance: Instance, words: Any) -> int:
    """``poll_oneoff`` that cannot outlast the deadline: the engine's own sleep is not interrupted by epochs.

    Files and the standard streams are always ready, as they are for the engine.
    """
    source, target, count, out = (words[i] & 0xFFFFFFFF for i in (0, 2, 4, 6))
    if not count:
        return _EINVAL
    if count > _MOST_SUBSCRIPTIONS:
        raise GuestTrap(
            f"the function polls {count} subscriptions; at most {_MOST_SUBSCRIPTIONS} are allowed", kind="host call"
        )
    if not (instance.holds(source, 48 * count) and instance.holds(target, 32 * count) and instance.holds(out, 4)):
        raise GuestTrap("the function gave poll_oneoff addresses outside its memory", kind="memory out of bounds")
    instance.charge(80 * count)
    data = instance.read(source, 48 * count)
    now = time.monotonic_ns()
    ready: list[tuple[int, int]] = []
    waiting: list[tuple[int, int]] = []
    for userdata, tag, clock, timeout, _precision, flags in _SUBSCRIPTION.iter_unpack(data):
        if tag > _WRITE or (tag == _CLOCK and (clock > _MONOTONIC or flags > 1)):
            return _EINVAL  # as the engine's own does: nothing is waited for, and nothing told
        if tag == _CLOCK:
            waiting.append((_due(instance, now, clock, timeout, flags), userdata))
        else:
            ready.append((userdata, tag))
    if not ready:
        due = min(waiting)[0]
        if not sleep(instance, due):
            return 0  # the guard ends the guest: it was stopped, or its time is over
        now = max(due, time.monotonic_ns())
    ready += [(userdata, _CLOCK) for at, userdata in waiting if at <= now]
    events = b"".join(_EVENT.pack(userdata, 0, tag, int(tag != _CLOCK), 0) for userdata, tag in ready)
    instance.write(target, events)
    instance.write(out, len(ready).to_bytes(4, "little"))
    return 0


def _due(instance: Instance, now: int, clock: int, timeout: int, flags: int) -> int:
    """When a subscription to a clock comes due, on the host's monotonic clock."""
    if not flags & 1:
        return now + timeout
    if clock == _MONOTONIC:
        return instance.wasi_start_ns + timeout  # the guest's monotonic clock starts with its WASI
    return now + timeout - time.time_ns()


def sleep(instance: Instance, until: int) -> bool:
    """Sleep until then; False where the guest was stopped, or its deadline came first."""
    while True:
        now = time.monotonic_ns()
        if instance.stop is not None or now >= instance.deadline_ns:
            return False
        if now >= until:
            return True
        # Naps, because cancelling only sets a flag.
        time.sleep(min(until - now, instance.deadline_ns - now, _NAP_NS) / 1e9)
