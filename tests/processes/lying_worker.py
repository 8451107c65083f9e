"""The beginning of a worker program that lies: what it needs to speak, and what an honest one would say."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

job = json.loads(sys.argv[1])
sys.path[:0] = job["paths"]

from wasmrun.processes.frames import Channel, Closed  # noqa: E402  # the paths are known only now


def _channel(descriptor: int) -> Channel:
    return Channel(socket.socket(fileno=descriptor), 1 << 32)


control, service, lane = (_channel(number) for number in (job["control"], job["service"], job["lanes"][0]))
SHAPE = ["plain", "it says so", "f", False, [], ["i32"], False]
REPORT = [
    "its own id", "its own name", "9", "plain", "cold", "success", 0.001, None, 0.0, 5, True, 65536, 1, False, 0, 16, 0, [],
]  # fmt: skip
SEVEN = struct.pack("<i12x", 7)
FAILED = ["GuestTrap", "it trapped", {"kind": "unreachable", "frames": []}]


def report(**changes: Any) -> list[Any]:
    """A report with some fields of it changed."""
    names = (
        "request_id", "function", "version", "abi", "start", "status", "duration", "init_duration", "pool_wait", "fuel_used",
        "fuel_exact", "memory_bytes", "memory_limit_bytes", "memory_near_limit", "event_bytes", "result_bytes", "log_bytes", "http",
    )  # fmt: skip
    return [changes.get(name, value) for name, value in zip(names, REPORT, strict=True)]


def ready() -> None:
    """Say so, as an honest worker does."""
    control.send(["ready", 0.02, []])


def write(data: bytes) -> None:
    """Bytes that need not be a frame."""
    lane.socket.sendall(data)


def for_ever(act: Callable[[], object], seconds: float = 30.0) -> None:
    """Do it until the executor has had enough."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        act()


def wait() -> None:
    """Say nothing more."""
    while control.socket.recv(4096):
        pass
    os._exit(0)


def serve(run: Callable[[list[Any]], object], shape: list[Any] = SHAPE) -> None:
    """Be ready, load whatever comes, and do *run* with each event."""
    ready()
    while True:
        message, _ = lane.receive()
        if message[0] == "load":
            lane.send(["loaded", shape])
        elif message[0] == "run":
            run(message)


def main(act: Callable[[], object]) -> None:
    """Do *act* to the end of the executor."""
    try:
        act()
        wait()
    except (Closed, OSError):
        os._exit(0)
