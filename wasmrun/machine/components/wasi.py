"""WASI preview 2 for a component: the engine's own, but for what waits, and for sockets.

The engine's waiting ends when it is over, not when the guest's time is. So everything that can be waited for is
ours, as are all functions that give something to wait for: clocks are slept for as in preview 1, and the engine is
asked again and again whether a stream is ready. Output that a guest
does not flush is written by another thread, perhaps when the sandbox is gone: each write is told by a token that is
not used again.
"""

from __future__ import annotations

import errno
import re
import time

from wasmrun.errors import GuestTrap
from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine import capi, wasi
from wasmrun.machine.components import binding, values
from wasmrun.machine.components.linker import Body, Linker
from wasmrun.machine.components.waiting import Asking, Waiter
from wasmrun.machine.instance import Instance

if TYPE_CHECKING:
    from wasmrun.machine.engine import Engine

_INTERFACES = (
    "cli/environment", "cli/exit", "cli/stdin", "cli/stdout", "cli/stderr",
    "cli/terminal-input", "cli/terminal-output", "cli/terminal-stdin", "cli/terminal-stdout", "cli/terminal-stderr",
    "clocks/monotonic-clock", "clocks/wall-clock", "filesystem/preopens", "filesystem/types",
    "io/error", "io/poll", "io/streams", "random/insecure", "random/insecure-seed", "random/random",
    "sockets/instance-network", "sockets/ip-name-lookup", "sockets/network", "sockets/tcp",
    "sockets/tcp-create-socket", "sockets/udp", "sockets/udp-create-socket",
)  # fmt: skip
_WASI = re.compile(rf"wasi:({'|'.join(_INTERFACES)})@0\.2\.\d+")

_POLLABLE = 1
"""The engine's number for our kind of resource."""
_RESOURCE = binding.RESOURCE
_READY = 0
"""What is always ready: what tells of sockets, of which there are none."""
_NAP_NS = 200_000
_LONGEST_NAP_NS = 10_000_000
"""How long nobody asks whether a stream is ready."""
_MOST_POLLABLES = 10_000
_MOST_POLLED = 4096
_MOST_NUMBER = 0xFFFFFFFF

_CONTEXT_BITS = 44  # an address has 48, and the last 4 are 0
_GENERATIONS = 1 << (64 - _CONTEXT_BITS)


def is_wasi(instance: str) -> bool:
    """Whether the imported *instance* is one of preview 2 that every component has."""
    return _WASI.fullmatch(instance) is not None


class Streams(wasi.Streams):
    """The callback through which components write, on whatever thread and however late."""

    def __init__(self, engine: Engine) -> None:
        live = engine.live
        self._generation = 0
        self.waiter = Waiter(engine)

        def write(token: int, data: int, length: int) -> int:
            try:
                instance = live.get((token & ((1 << _CONTEXT_BITS) - 1)) << 4)
                # Not of the sandbox that is there now: it is gone, and so is its log.
                if instance is not None and instance.wasi_token == token:
                    instance.log().write(capi.string_at(data, length))
                return length
            except BaseException:  # a panic of the runtime's thread is all that raising would give
                return -errno.EIO

        self.output = self.log = capi.OutputCallback(engine.crossings.entry(write, "count"))

    def close(self) -> None:
        """Free what was made for guests that wait."""
        self.waiter.close()

    def token(self, instance: Instance) -> int:
        """By what writes of *instance* are known."""
        self._generation = (self._generation + 1) % _GENERATIONS
        instance.wasi_token = self._generation << _CONTEXT_BITS | instance.context >> 4
        return instance.wasi_token


class Pollables:
    """What one guest can wait for: clocks, each with when it comes due on the host's monotonic clock, and streams."""

    __slots__ = ("asking", "due", "last")

    def __init__(self) -> None:
        self.due: dict[int, int] = {}
        self.asking: Asking | None = None
        self.last = _READY

    def add(self, due: int) -> int:
        """The number of a new one; a stream's is never due."""
        if len(self.due) >= _MOST_POLLABLES:
            raise GuestTrap(f"the function waits for more than {_MOST_POLLABLES} things at once", kind="host call")
        self.last = self.last % _MOST_NUMBER + 1
        while self.last in self.due:
            self.last = self.last % _MOST_NUMBER + 1
        self.due[self.last] = due
        return self.last

    def drop(self, instance: Instance, number: int) -> None:
        """Forget the one of this *number*."""
        self.due.pop(number, None)
        if self.asking is not None:
            self.asking.drop(instance, number)

    def is_stream(self, number: int) -> bool:
        """Whether the engine knows when the one of this *number* is ready."""
        return self.asking is not None and number in self.asking.handles

    def is_ready(self, instance: Instance, number: int, now: int) -> bool:
        """Whether the one of this *number* is ready."""
        if self.asking is not None and number in self.asking.handles:
            return self.asking.is_ready(instance, number)
        return self.due.get(number, 0) <= now


def define(linker: Linker) -> None:
    """Offer preview 2."""
    linker.define_wasi()
    version = binding.WASI_VERSION
    poll, clock = f"wasi:io/poll@{version}", f"wasi:clocks/monotonic-clock@{version}"
    linker.define_resource(poll, "pollable", _POLLABLE, _drop)
    linker.define(poll, "[method]pollable.ready", _is_ready, (_RESOURCE,))
    linker.define(poll, "[method]pollable.block", _block, (_RESOURCE,), gives=False)
    linker.define(poll, "poll", _poll, (binding.LIST,))
    linker.define(clock, "subscribe-duration", _subscribe_duration, (binding.U64,))
    linker.define(clock, "subscribe-instant", _subscribe_instant, (binding.U64,))
    for kind in ("input-stream", "output-stream"):
        linker.define(f"wasi:io/streams@{version}", f"[method]{kind}.subscribe", _subscribe_stream(kind), (_RESOURCE,))
    for interface, resources in (
        ("sockets/tcp", ("tcp-socket",)),
        ("sockets/udp", ("udp-socket", "incoming-datagram-stream", "outgoing-datagram-stream")),
        ("sockets/ip-name-lookup", ("resolve-address-stream",)),
    ):
        for resource in resources:
            linker.define(
                f"wasi:{interface}@{version}", f"[method]{resource}.subscribe", _subscribe_ready, (_RESOURCE,)
            )
    for interface, name, body, takes in (
        ("tcp-create-socket", "create-tcp-socket", _deny, (binding.ENUM,)),
        ("udp-create-socket", "create-udp-socket", _deny, (binding.ENUM,)),
        ("ip-name-lookup", "resolve-addresses", _deny_name, (_RESOURCE, binding.STRING)),
    ):
        linker.define(f"wasi:sockets/{interface}@{version}", name, body, takes)


def _drop(instance: Instance, number: int) -> None:
    instance.pollables.drop(instance, number)


def _is_ready(instance: Instance, arguments: int, result: int) -> None:
    number = values.resource_at(instance.context, arguments)
    value = binding.Value.from_address(result)
    value.first = instance.pollables.is_ready(instance, number, time.monotonic_ns())
    value.kind = binding.BOOL


def _block(instance: Instance, arguments: int, _result: int) -> None:
    _wait(instance, [values.resource_at(instance.context, arguments)])


def _poll(instance: Instance, arguments: int, result: int) -> None:
    """``poll``: the indexes of what is ready, after a wait for the first where nothing is."""
    items = values.items_of(arguments)
    if not items or len(items) > _MOST_POLLED:
        raise GuestTrap(
            f"the function polls {len(items)} things; from 1 to {_MOST_POLLED} are allowed", kind="host call"
        )
    instance.charge(80 * len(items))
    ready = _wait(instance, [values.resource_at(instance.context, address) for address in items])
    values.put_numbers(result, ready)


def _wait(instance: Instance, numbers: list[int]) -> list[int]:
    """Where in *numbers* is what is ready; none where the guest was stopped, or its time is over, which the guard ends."""
    pollables = instance.pollables
    streams = {number for number in numbers if pollables.is_stream(number)}
    first = min((pollables.due.get(number, 0) for number in numbers if number not in streams), default=None)
    nap = _NAP_NS
    while True:
        now = time.monotonic_ns()
        ready = [at for at, number in enumerate(numbers) if pollables.is_ready(instance, number, now)]
        if ready:
            return ready
        until = now + nap if first is None else min(first, now + nap) if streams else first
        if not wasi.sleep(instance, until):
            return []
        nap = min(2 * nap, _LONGEST_NAP_NS)


def _subscribe_duration(instance: Instance, arguments: int, result: int) -> None:
    due = time.monotonic_ns() + binding.Value.from_address(arguments).first
    values.put_resource(instance.context, result, instance.pollables.add(due), _POLLABLE)


def _subscribe_instant(instance: Instance, arguments: int, result: int) -> None:
    # The guest's monotonic clock starts with its WASI.
    due = instance.wasi_start_ns + binding.Value.from_address(arguments).first
    values.put_resource(instance.context, result, instance.pollables.add(due), _POLLABLE)


def _subscribe_stream(kind: str) -> Body:
    def subscribe(instance: Instance, arguments: int, result: int) -> None:
        pollables = instance.pollables
        if pollables.asking is None:
            streams = instance.program.streams
            pollables.asking = Asking(streams.waiter, instance)  # type: ignore[attr-defined]  # those of components
        number = pollables.add(0)
        pollables.asking.watch(instance, number, kind, binding.Value.from_address(arguments).first)
        values.drop_borrowed(instance.context, arguments)
        values.put_resource(instance.context, result, number, _POLLABLE)

    return subscribe


def _subscribe_ready(instance: Instance, arguments: int, result: int) -> None:
    values.drop_borrowed(instance.context, arguments)
    values.put_resource(instance.context, result, _READY, _POLLABLE)


def _deny(_instance: Instance, _arguments: int, result: int) -> None:
    values.put_error_case(result, b"access-denied")


def _deny_name(instance: Instance, arguments: int, result: int) -> None:
    values.drop_borrowed(instance.context, arguments)
    _deny(instance, arguments, result)
