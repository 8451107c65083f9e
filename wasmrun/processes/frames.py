"""Frames: one message and one payload, over a Unix socket between an executor and its worker.

A frame is two lengths of 4 bytes, big-endian, then a MessagePack array of that length, then bytes that are
passed on as they stand. A long payload may lie in memory that both ends share (`wasmrun.processes.bay`) instead: the
highest bit of its length says so. Both ends bound what they accept, because both may be lied to: a worker runs
hostile code.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import time
from typing import Any

from wasmrun.machine import messages

_LENGTHS = struct.Struct("!II")
_HEAD = _LENGTHS.size
_BUFFER = 64 * 1024
_SOCKET_BUFFER = 1 << 20
_BRISK_SECONDS = 100e-6
"""A frame that came sooner than this after it was waited for lets the next one be waited for without sleeping.

Putting a thread to sleep and waking it takes 20 to 40 µs on an idle processor, as much as all the rest of a small
event. So where frames follow one another closely, whoever waits stays awake for about as long as that; where they do not, nobody
does, and no processor time is spent.
"""

_JOINED = 16 * 1024
"""A payload up to this size is sent in one piece with its message; a longer one is not copied for that."""

_IN_BAY = 1 << 31
"""The bit of a payload's length that says that it is in the bay. No payload is as long."""

_LEAST_IN_BAY = 64 * 1024
"""A payload from this size on goes by the bay. Below, a socket's buffer takes it in one piece."""

MOST_MESSAGE = 1 << 20
"""Bytes of a message that carries nothing of a guest's: more than a report or a shape needs."""

_blank = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ctypes.cast(ctypes.pythonapi.PyBytes_FromStringAndSize, ctypes.c_void_p).value or 0
)
"""Bytes that hold whatever was in their memory before; for a null pointer and a length."""
_BYTES_AT = bytes.__basicsize__ - 1
"""Where the contents of a bytes object begin: its last field, which counts the final NUL."""


class BrokenFrame(Exception):
    """What arrived is no frame, or one that is too large; nothing that follows it can be read."""


class Closed(Exception):
    """The other end is gone."""


class Channel:
    """One end of a stream of frames. One thread at a time sends, and one receives.

    *most_payload* bounds what is received, and ``most_message`` the message before it. `receive` may be called
    again after a `TimeoutError`: what had arrived until then is kept. With *turn_seconds*, that comes after so
    long at the latest: what it costs to bound a wait is then paid once, and not at every frame. *bay* is the memory
    that both ends share, if any; with it, they must speak in turn. With *lends*, a payload in it is given as it
    lies there: a `memoryview` that holds until this end's next turn is over, for whoever trusts the other end.
    """

    def __init__(
        self,
        sock: socket.socket,
        most_payload: int,
        turn_seconds: float | None = None,
        bay: mmap.mmap | None = None,
        *,
        lends: bool = False,
    ) -> None:
        self.socket = sock
        self._bay = bay
        self._bay_bytes = 0 if bay is None else len(bay)
        self._lent = memoryview(bay) if bay is not None and lends else None
        self.most_payload = most_payload
        self.most_message = MOST_MESSAGE
        sock.setblocking(True)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        if turn_seconds is not None:
            turn = struct.pack("@ll", 0, int(turn_seconds * 1e6))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, turn)
        self._turn_seconds = turn_seconds
        # When the call of `receive` that goes on first listened; 0.0 while it has not.
        self._began = 0.0
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._end = 0
        self._lengths = (0, 0)
        # How much of the bay is the payload of that frame.
        self._in_bay = 0
        # Of a frame that is larger than the buffer: its message, its payload, and how much of that is there.
        self._message = b""
        self._large: bytes | None = None
        self._rest = memoryview(b"")
        self._at = 0
        self._is_brisk = False
        # With one processor, whoever stays awake only keeps the other end from working.
        self._may_stay_awake = len(os.sched_getaffinity(0)) > 1

    def send(self, message: list[Any], payload: bytes = b"", until: float | None = None) -> None:
        """Send one frame. Raises `Closed`, and `TimeoutError` where it is not taken until *until* (monotonic)."""
        packed = messages.encode(message)
        length = len(payload)
        if _LEAST_IN_BAY <= length <= self._bay_bytes and self._bay is not None:
            try:
                self._bay[:length] = payload
            except ValueError as error:  # it was closed
                raise Closed(str(error)) from None
            length |= _IN_BAY
            payload = b""
        head = _LENGTHS.pack(len(packed), length) + packed
        left = [memoryview(head + payload)] if len(payload) <= _JOINED else [memoryview(head), memoryview(payload)]
        while left:
            try:
                sent = self.socket.sendmsg(left)
            except BlockingIOError:
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError from None
                continue
            except OSError as error:
                raise Closed(str(error)) from None
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]

    def receive(self) -> tuple[list[Any], Any]:
        """The next frame: its message and its payload.

        Raises `Closed`, `BrokenFrame`, and `TimeoutError` where it is not complete when the channel's turn is over.
        """
        self._began = 0.0
        if self._large is None and not self._fill():
            size, payload = self._lengths
            at, end = _HEAD + size, _HEAD + size + payload
            message = bytes(self._view[_HEAD:at])
            data: bytes | memoryview = bytes(self._view[at:end])
            if self._in_bay and self._bay is not None:
                try:
                    data = (self._lent or self._bay)[: self._in_bay]
                except ValueError as error:  # it was closed
                    raise Closed(str(error)) from None
            # What follows is the beginning of the next frame; hardly ever there is any.
            rest = self._end - end
            if rest:
                self._view[:rest] = bytes(self._view[end : self._end])
            self._end = rest
            return _parse(message), data
        while self._at < self._lengths[1]:
            self._at += self._receive_into(self._rest[self._at :])
        message, data = self._message, self._large or b""
        self._large, self._rest, self._end = None, memoryview(b""), 0
        return _parse(message), data

    @property
    def has_more(self) -> bool:
        """Whether something has been received that was not given yet: a frame, or its beginning."""
        return self._end > 0

    def _fill(self) -> bool:
        """Read until a whole frame is in the buffer; True where it is too large for that, and goes its own way."""
        while True:
            if self._end >= _HEAD:
                size, payload = _LENGTHS.unpack_from(self._buffer)
                self._in_bay = payload & ~_IN_BAY if payload & _IN_BAY else 0
                most = self.most_payload
                if payload & _IN_BAY:
                    payload, most = 0, min(most, self._bay_bytes)
                if size > self.most_message or max(payload, self._in_bay) > most:
                    raise BrokenFrame(
                        f"a frame of {size} + {payload or self._in_bay} bytes; {self.most_message} + {most} are allowed"
                    )
                self._lengths = size, payload
                total = _HEAD + size + payload
                if self._end >= total:
                    return False
                if _HEAD + size > len(self._buffer):
                    self._grow(_HEAD + size + _BUFFER)
                if total > len(self._buffer) and self._end >= _HEAD + size:
                    self._begin_large(size, payload)
                    return True
            self._end += self._receive_into(self._view[self._end :])

    def _grow(self, size: int) -> None:
        """Make room for a long message. For good: where one came, another will."""
        buffer = bytearray(size)
        buffer[: self._end] = self._view[: self._end]
        self._buffer, self._view = buffer, memoryview(buffer)

    def _begin_large(self, size: int, payload: int) -> None:
        """Go on with a payload that is received where it stays, and not copied once more."""
        at = _HEAD + size
        self._message = bytes(self._view[_HEAD:at])
        self._large = _blank(None, payload)
        # Bytes may be written to until somebody has seen them, which is what C code does with them, too.
        self._rest = memoryview((ctypes.c_char * payload).from_address(id(self._large) + _BYTES_AT)).cast("B")
        self._at = self._end - at
        self._rest[: self._at] = self._view[at : self._end]

    def _receive_into(self, view: memoryview) -> int:
        started = time.perf_counter()
        if not self._began:
            self._began = started
        elif self._turn_seconds is not None and started - self._began >= self._turn_seconds:
            # The socket's own bound begins anew with every byte, which whoever sends one at a time knows.
            raise TimeoutError
        count = -1
        try:
            if self._is_brisk:
                count = self._receive_awake(view, started + _BRISK_SECONDS)
            if count < 0:
                count = self.socket.recv_into(view)
            self._is_brisk = self._may_stay_awake and time.perf_counter() - started < _BRISK_SECONDS
        except BlockingIOError:
            self._is_brisk = False
            raise TimeoutError from None
        except OSError as error:
            raise Closed(str(error)) from None
        if not count:
            raise Closed("the other end closed the connection")
        return count

    def _receive_awake(self, view: memoryview, until: float) -> int:
        """Ask again and again until *until*; -1 where nothing came."""
        receive = self.socket.recv_into
        while True:
            try:
                return receive(view, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if time.perf_counter() >= until:
                    return -1

    def close(self) -> None:
        """Close this end. Harmless when repeated."""
        self.socket.close()
        if self._bay is not None:
            self._bay.close()


def _parse(data: bytes) -> list[Any]:
    try:
        message = messages.decode(data)
    except ValueError as error:
        raise BrokenFrame(f"a message that cannot be read: {error}") from None
    if type(message) is not list or not message or type(message[0]) is not str:
        raise BrokenFrame("a message that is no list with a word in front")
    return message
