"""Bays: long payloads arrive as they were, whoever writes to the shared memory meanwhile, and where there is none."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wasmrun
from wasmrun.processes import process
from wasmrun.processes.bay import BAY_BYTES, map_bay, new_bay
from wasmrun.processes.frames import BrokenFrame, Channel, Closed

MOST = 16 << 20
IN_BAY = 1 << 31
SIZES = (0, 1, 64 * 1024 - 1, 64 * 1024, 1 << 20, BAY_BYTES - 1, BAY_BYTES)

ECHO = """(module (memory (export "memory") 200)
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "echo_raw") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))"""

ASKS_AT_START = """(module (import "wasmrun" "ask" (func $ask (param i32 i32) (result i64)))
  (memory (export "memory") 200)
  (global $next (mut i32) (i32.const 4000000))
  (data (i32.const 1024) "\\c6\\00\\03\\0d\\40")
  (func (export "wasmrun_alloc") (param i32) (result i32)
    (global.get $next) (global.set $next (i32.add (global.get $next) (local.get 0))))
  (func (export "wasmrun_init")
    (memory.fill (i32.const 1029) (i32.const 0x61) (i32.const 200000))
    (drop (call $ask (i32.const 1024) (i32.const 200005))))
  (func (export "echo_raw") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))"""
"""Sends 200,000 bytes to the host while it is prepared, and gets as many back."""


class Ends:
    """Two channels with a bay between them, and the bay itself."""

    def __init__(self, *, lends: bool = False) -> None:
        mine, other = socket.socketpair()
        descriptor = new_bay()
        self.memory = map_bay(descriptor)
        self.here = Channel(mine, MOST, 0.5, map_bay(descriptor))
        self.there = Channel(other, MOST, 0.5, map_bay(descriptor), lends=lends)
        os.close(descriptor)

    def close(self) -> None:
        self.here.close()
        self.there.socket.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two channels."""
    pair = Ends()
    yield pair
    pair.close()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(SIZES) | st.integers(0, 300_000), min_size=1, max_size=5))
def test_payloads_of_any_size_arrive(sizes: list[int]) -> None:
    """Through the bay and beside it, in turn, in both directions."""
    pair = Ends()
    try:
        for size in sizes:
            payload = os.urandom(1) * size
            pair.here.send(["a", size], payload)
            assert pair.there.receive() == (["a", size], payload)
            pair.there.send(["b"], payload)
            assert pair.here.receive() == (["b"], payload)
    finally:
        pair.close()


def test_what_was_received_stays_as_it_was(ends: Ends) -> None:
    """Whoever shares the memory may go on writing to it."""
    ends.here.send(["a"], b"x" * 100_000)
    _, payload = ends.there.receive()
    ends.memory[:100_000] = b"y" * 100_000
    assert payload == b"x" * 100_000


def test_what_is_lent_lies_in_the_bay() -> None:
    """It is not copied."""
    pair = Ends(lends=True)
    pair.here.send(["a"], b"x" * 100_000)
    _, payload = pair.there.receive()
    assert type(payload) is memoryview
    pair.memory[:1] = b"y"
    assert bytes(payload[:2]) == b"yx"
    payload.release()
    pair.close()


@pytest.mark.parametrize("length", [BAY_BYTES + 1, MOST + 1, IN_BAY - 1])
def test_payload_beyond_the_bay_is_refused(ends: Ends, length: int) -> None:
    """What is said to lie there has to have room there."""
    ends.here.socket.sendall(struct.pack("!II", 3, IN_BAY | length) + b"\x91\xa1a")
    with pytest.raises(BrokenFrame, match="are allowed"):
        ends.there.receive()


def test_payload_over_the_limit_is_refused(ends: Ends) -> None:
    """The bay is no way around it."""
    ends.there.most_payload = 99_999
    ends.here.send(["a"], b"x" * 100_000)
    with pytest.raises(BrokenFrame, match="99999 are allowed"):
        ends.there.receive()


def test_bay_where_there_is_none_is_refused() -> None:
    """As a payload that is too long."""
    mine, other = socket.socketpair()
    channel = Channel(mine, MOST, 0.5)
    with other:
        other.sendall(struct.pack("!II", 3, IN_BAY | 1) + b"\x91\xa1a")
        with pytest.raises(BrokenFrame, match="are allowed"):
            channel.receive()
    channel.close()


def test_empty_payload_may_lie_in_the_bay(ends: Ends) -> None:
    """Nobody sends one, and nobody is harmed."""
    ends.here.socket.sendall(struct.pack("!II", 3, IN_BAY) + msgpack.packb(["a"]))
    assert ends.there.receive() == (["a"], b"")


def test_closed_bay_is_a_closed_channel(ends: Ends) -> None:
    """For whoever still has something to say, or to hear."""
    ends.here.send(["a"], b"x" * 100_000)
    assert ends.there._bay is not None
    ends.there._bay.close()
    with pytest.raises(Closed):
        ends.there.receive()
    with pytest.raises(Closed):
        ends.there.send(["a"], b"x" * 100_000)


def test_nobody_can_make_a_bay_shorter() -> None:
    """Reading what is not there any more would end the process."""
    descriptor = new_bay()
    for size in (0, BAY_BYTES - 4096, BAY_BYTES + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(descriptor)


@pytest.mark.parametrize("size", [64 * 1024, 1 << 20, 6 << 20, BAY_BYTES, BAY_BYTES + 1])
def test_events_and_answers_of_any_size(make: Any, size: int) -> None:
    """By the bay up to its size, by the socket beyond."""
    echo = wasmrun.Function(ECHO, entry="echo_raw", event_bytes="10MiB", result_bytes="10MiB")
    event = os.urandom(1024) * (size // 1024) + b"x" * (size % 1024)
    executor = make()
    for _ in range(2):
        assert executor.invoke(echo, event) == event


def test_no_bay_can_be_had(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets do as well."""

    def fail() -> int:
        raise OSError("no memory file")

    monkeypatch.setattr(process, "new_bay", fail)
    echo = wasmrun.Function(ECHO, entry="echo_raw")
    event = os.urandom(1024) * 1024
    assert make(processes=2, threads=2).invoke(echo, event) == event


def test_bay_that_cannot_be_mapped(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lane has one, the second has none, and both serve."""
    mapped: list[mmap.mmap] = []

    def once(descriptor: int) -> mmap.mmap:
        if mapped:
            raise OSError("no address space")
        mapped.append(map_bay(descriptor))
        return mapped[0]

    monkeypatch.setattr(process, "map_bay", once)
    echo = wasmrun.Function(ECHO, entry="echo_raw")
    event = os.urandom(1024) * 1024
    executor = make(threads=2)
    futures = [executor.submit(echo, event) for _ in range(20)]
    assert all(future.result() == event for future in futures)


@pytest.mark.parametrize("warm", [0, 1])
def test_start_up_that_asks_the_host_leaves_the_event_alone(make: Any, warm: int) -> None:
    """Its request and the reply go by the bay that the event lies in."""
    asked: list[int] = []

    def ask(value: bytes) -> bytes:
        asked.append(len(value))
        return b"b" * len(value)

    function = wasmrun.Function(ASKS_AT_START, entry="echo_raw", imports={"ask": ask}, warm=warm)
    executor = make()
    for letter in (b"e", b"f"):
        assert executor.invoke(function, letter * 300_000) == letter * 300_000
    assert set(asked) == {200_000}


def test_command_gets_a_long_event(make: Any) -> None:
    """Its standard input is made of bytes."""
    cat = wasmrun.Function(
        """(module (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 4)
          (func (export "_start")
            (loop $again
              (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
              (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
              (i32.store (i32.const 4) (i32.load (i32.const 8)))
              (if (i32.load (i32.const 8)) (then
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))) (br $again))))))""",
        raw=True,
    )
    event = os.urandom(1024) * 300
    assert make().invoke(cat, event) == event
