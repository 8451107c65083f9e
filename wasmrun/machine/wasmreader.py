"""The reader: WebAssembly's binary format, part by part. Nothing is read past the end that it was given."""

from __future__ import annotations

import re

INDEX = re.compile(rb"[\x80-\xff]{0,4}[\0-\x7f]")
VALUE_TYPE = re.compile(rb"[\x63\x64][\x80-\xff]{0,4}[\0-\x7f]|.", re.DOTALL)
# global.get, i32.const, i64.const, ref.null and ref.func; f32.const; f64.const; sums and products; v128.const
CONSTANT = re.compile(
    rb"(?:[\x23\x41\x42\xd0\xd2][\x80-\xff]{0,9}[\0-\x7f]|\x43.{4}|\x44.{8}|[\x6a-\x6c\x7c-\x7e]|\xfd\x0c.{16}){0,100}"
    rb"\x0b",
    re.DOTALL,
)


class Reader:
    """What stands in *data* from byte *at* on, part by part, up to byte *end*."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def byte(self) -> int:
        """The next byte."""
        if self.at >= self.end:
            raise ValueError(f"truncated: it ends at byte {self.end}, where more was to come")
        self.at += 1
        return self.data[self.at - 1]

    def number(self, most_bytes: int = 5) -> int:
        """An unsigned LEB128 number: 32 bits have at most 5 bytes, 64 bits 10."""
        value = shift = 0
        for at in range(self.at, self.at + most_bytes):
            if at >= self.end:
                raise ValueError(f"truncated: a number at byte {self.at} does not end")
            byte = self.data[at]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                self.at = at + 1
                return value
        raise ValueError(f"malformed: the number at byte {self.at} is too long")

    def skip(self, part: re.Pattern[bytes]) -> bytes:
        """What *part* matches here."""
        found = part.match(self.data, self.at, self.end)
        if found is None:
            raise ValueError(f"malformed or truncated: byte {self.at} cannot be read")
        self.at = found.end()
        return found[0]

    def take(self, length: int) -> bytes:
        """The next *length* bytes."""
        if length > self.end - self.at:
            raise ValueError(f"truncated: {length} bytes at byte {self.at} do not fit in what is left")
        self.at += length
        return self.data[self.at - length : self.at]
