"""Frames: whatever is sent arrives, however it is cut; whatever is none is refused, and never hangs."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmrun.processes.frames import MOST_MESSAGE, BrokenFrame, Channel, Closed

MOST = 1 << 20

words = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | words | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)
messages = st.builds(lambda word, rest: [word, *rest], words, st.lists(values, max_size=4))
payloads = st.binary(max_size=200) | st.integers(0, 200_000).map(lambda size: os.urandom(1) * size)


def frame(message: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("!II", len(message), len(payload)) + message + payload


def pair(*, turn: float | None = 0.02, most: int = MOST) -> tuple[Channel, socket.socket]:
    """A channel, and the bare socket at its other end."""
    mine, other = socket.socketpair()
    return Channel(mine, most, turn), other


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """The same for one test."""
    channel, other = pair()
    with other:
        yield channel, other
        channel.close()


def feed(other: socket.socket, pieces: list[bytes]) -> threading.Thread:
    """Send *pieces* from a thread of its own: a socket holds only so much."""

    def send() -> None:
        for piece in pieces:
            other.sendall(piece)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def receive(channel: Channel) -> tuple[list[Any], bytes]:
    """The next frame, in as many turns as it takes."""
    until = time.monotonic() + 10
    while True:
        try:
            return channel.receive()
        except TimeoutError:
            assert time.monotonic() < until


@settings(deadline=None)
@given(st.lists(st.tuples(messages, payloads), max_size=5))
def test_frames_come_back_as_they_went(frames: list[tuple[list[Any], bytes]]) -> None:
    """From one channel to another, in their order, large ones and small ones in turn."""
    channel, other = pair()
    sender = Channel(other, MOST)

    def send() -> None:
        for message, payload in frames:
            sender.send(message, payload)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for message, payload in frames:
            assert receive(channel) == (message, payload)
    finally:
        thread.join(10)
        channel.close()
        sender.close()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(messages, payloads), min_size=1, max_size=3), st.lists(st.integers(1, 70_000), max_size=20))
def test_frames_may_come_in_any_pieces(frames: list[tuple[list[Any], bytes]], sizes: list[int]) -> None:
    """Cut anywhere: inside of the lengths, the message, the payload; or several at once."""
    data = b"".join(frame(msgpack.packb(message), payload) for message, payload in frames)
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    channel, other = pair()
    thread = feed(other, [piece for piece in [*pieces, data] if piece])
    try:
        for message, payload in frames:
            assert receive(channel) == (message, payload)
    finally:
        thread.join(10)
        channel.close()
        other.close()


def test_frame_that_comes_byte_by_byte_is_complete_in_the_end(ends: tuple[Channel, socket.socket]) -> None:
    """What had arrived before a time-out is kept."""
    channel, other = ends
    for byte in frame(msgpack.packb(["a", 1]), b"xyz")[:-1]:
        other.send(bytes([byte]))
        with pytest.raises(TimeoutError):
            channel.receive()
    other.send(b"z")
    assert channel.receive() == (["a", 1], b"xyz")


def test_receiving_takes_no_longer_than_a_turn(ends: tuple[Channel, socket.socket]) -> None:
    """Although bytes keep coming."""
    channel, other = ends
    is_over = threading.Event()

    def trickle() -> None:
        other.sendall(struct.pack("!II", 100_000, 0))
        while not is_over.wait(0.002):
            other.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive()
    assert time.monotonic() - started < 0.5
    is_over.set()
    thread.join(10)


@pytest.mark.parametrize(
    "lengths", [(MOST_MESSAGE + 1, 0), (1, MOST + 1), (2**32 - 1, 2**32 - 1), (0, 2**32 - 1), (2**31, 0)]
)
def test_frame_that_is_too_large_is_refused(ends: tuple[Channel, socket.socket], lengths: tuple[int, int]) -> None:
    """By its lengths, before there is room made for it."""
    channel, other = ends
    other.sendall(struct.pack("!II", *lengths))
    with pytest.raises(BrokenFrame, match="are allowed"):
        channel.receive()


def test_frame_of_the_largest_size_is_taken(ends: tuple[Channel, socket.socket]) -> None:
    """Message and payload."""
    channel, other = ends
    message = msgpack.packb(["a", b"m" * (MOST_MESSAGE - 100)])
    thread = feed(other, [frame(message, b"p" * MOST)])
    assert receive(channel) == (["a", b"m" * (MOST_MESSAGE - 100)], b"p" * MOST)
    thread.join(10)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\xc1", b"\x91", b"\xc0", b"\x90", b"\x91\x01", b"\x91\xc0", b"\x81\xa1a\x01", b"\xa1a", b"\x91\xc4\x01a",
        b"\x91\xa1a\x00", b"\x91\xa1\xff", b"\xd6\xff\0\0\0\0", b"\x92\xa1a\x81\xc4\x01a\x01", b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000 + b"\x90",
    ],
)  # fmt: skip
def test_message_that_is_none_is_refused(ends: tuple[Channel, socket.socket], message: bytes) -> None:
    """A message is a list with a word in front."""
    channel, other = ends
    other.sendall(frame(message))
    with pytest.raises(BrokenFrame):
        channel.receive()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_is_refused_or_incomplete(data: bytes) -> None:
    """Whatever comes: a frame, a `BrokenFrame`, or the news that the rest is missing."""
    channel, other = pair()
    try:
        other.sendall(data)
        other.close()
        for _ in range(len(data) + 1):
            try:
                message, _ = channel.receive()
            except (BrokenFrame, Closed):
                break
            assert type(message) is list
        else:
            raise AssertionError("more frames than bytes")
    finally:
        channel.close()


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_end_of_the_other_end_is_noticed_anywhere(size: int) -> None:
    """At the border of a frame, and at each place inside of one."""
    whole = frame(msgpack.packb(["word", list(range(10))]), b"p" * size)
    for cut in [*range(min(len(whole), 60)), len(whole) // 2, len(whole) - 1]:
        channel, other = pair()
        other.sendall(whole[:cut])
        other.close()
        with pytest.raises(Closed):
            channel.receive()
        channel.close()


def test_end_after_a_frame_does_not_hide_it(ends: tuple[Channel, socket.socket]) -> None:
    """First what was said, then the end."""
    channel, other = ends
    other.sendall(frame(msgpack.packb(["a"])) + frame(msgpack.packb(["b"])) + b"\0")
    other.shutdown(socket.SHUT_WR)
    assert channel.receive() == (["a"], b"")
    assert channel.has_more
    assert channel.receive() == (["b"], b"")
    with pytest.raises(Closed):
        channel.receive()


def test_sending_to_who_is_gone_is_closed(ends: tuple[Channel, socket.socket]) -> None:
    """No signal, no other error."""
    channel, other = ends
    other.close()
    with pytest.raises(Closed):
        for _ in range(3):
            channel.send(["a"], b"x")


def test_sending_to_who_does_not_listen_ends_at_its_time(ends: tuple[Channel, socket.socket]) -> None:
    """Not when the other end sees fit."""
    channel, _ = ends
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.send(["a"], b"x" * (8 << 20), until=started + 0.05)
    assert time.monotonic() - started < 1


def test_closing_may_be_repeated(ends: tuple[Channel, socket.socket]) -> None:
    """And what is closed is closed."""
    channel, _ = ends
    channel.close()
    channel.close()
    with pytest.raises(Closed):
        channel.receive()
    with pytest.raises(Closed):
        channel.send(["a"])
