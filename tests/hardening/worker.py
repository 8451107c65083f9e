"""A worker: hardens itself, then does what a test says, and tells what came of it.

Run as ``python -I worker.py JOB``; JOB is ``{"walls": …, "before": …, "code": …}``. Both are Python: *before*
runs before the walls are up. What the code passes to `say` is the worker's one line on standard output.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import time
from collections.abc import Callable

import wasmrun
from wasmrun.hardening.order import harden
from wasmrun.hardening.wall import Walls


def failure(call: Callable[..., object], *arguments: object) -> str | None:
    """The name of the error that *call* ends with; None where it works."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None


def libc(name: str, *arguments: int) -> int:
    """A function of the C library. Raises `OSError` for -1."""
    function = ctypes.CDLL(None, use_errno=True)[name]
    answer: int = function(*arguments)
    if answer == -1:
        raise OSError(ctypes.get_errno(), name)
    return answer


def status(name: str, thread: str = "/proc/self") -> str:
    """A line of what the kernel tells of this process, or of a thread."""
    with open(f"{thread}/status") as file:
        return next(line.partition(":")[2].strip() for line in file if line.startswith(f"{name}:"))


def say(value: object) -> None:
    """The worker's answer."""
    os.write(1, json.dumps(value).encode() + b"\n")


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    names = {
        "ctypes": ctypes, "failure": failure, "json": json, "libc": libc, "os": os, "say": say, "status": status,
        "sys": sys, "time": time, "wasmrun": wasmrun, **job["names"],
    }  # fmt: skip
    exec(job["before"], names)
    walls = {"parent": os.getppid(), **job["walls"]}
    walls["required"] = frozenset(walls.get("required", ()))
    names["walls"] = harden(Walls(**walls))
    exec(job["code"], names)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
