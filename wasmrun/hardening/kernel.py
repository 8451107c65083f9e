"""The calls of the kernel that Python has no name for."""

from __future__ import annotations

import ctypes
import os


def call(name: str, *arguments: int | None) -> int:
    """What the C library's function *name* answers; raises `OSError` where that is -1.

    Arguments are passed as 64 bits each, and None as a null pointer.
    """
    function = ctypes.CDLL(None, use_errno=True)[name]
    function.restype = ctypes.c_long
    answer: int = function(*(None if argument is None else ctypes.c_ulong(argument) for argument in arguments))
    # Functions that return a C int leave the upper half of the register undefined.
    if ctypes.c_int(answer).value == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def prctl(option: int, argument: int) -> None:
    """Set an attribute of this process. Raises `OSError`."""
    call("prctl", option, argument, 0, 0, 0)
