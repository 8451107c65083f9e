"""The child in which a start-up is run to be captured: a program of its own, bounded by the kernel, behind walls.

Run as ``python -I -S child.py JOB`` with the module on standard input. Standard output gets one line of JSON,
``{"logs": …, "depends_on": …, "walls": …}`` and then the new module, or ``{"error": …, "is_host": …}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

_THREAD_BYTES = 16 * 1024 * 1024
_ANSWER_BYTES = 1024 * 1024
"""What the child writes beside the module, at most."""


def main() -> None:
    """Do the one job that the command line describes."""
    job = json.loads(sys.argv[1])
    sys.path[:0] = job["paths"]
    # Everything that is ever needed, before the walls.
    from wasmrun.errors import HostError, WasmrunError
    from wasmrun.hardening.order import harden
    from wasmrun.hardening.wall import Walls
    from wasmrun.machine import compile_child
    from wasmrun.machine.abi import command, native, plain
    from wasmrun.machine.snapshot.capture import capture, function_of, room
    from wasmrun.machine.threads import guest_stack

    del command, native, plain
    compile_child.bound({**job, "address_space": room(job["address_space"])})
    source = sys.stdin.buffer.read()
    function = function_of(job)
    answer: dict[str, Any] = {}
    module = b""
    walls: list[str] = []

    def work() -> None:
        nonlocal answer, module
        try:
            binary = compile_child.read(job, source)
            taken = capture(function, binary)
            module = taken.module
            answer = {"logs": taken.logs, "depends_on": taken.depends_on, "walls": walls}
        except (ValueError, MemoryError, WasmrunError) as error:
            answer = {"error": str(error) or type(error).__name__, "is_host": isinstance(error, HostError)}

    try:
        dirs = job["function"]["dirs"]
        found = harden(
            Walls(
                parent=os.getppid(),
                file_size=job["module_bytes"] + _ANSWER_BYTES,
                readable=tuple(host for host, _, _ in dirs),
                # Beside what compiling takes: the compiler's threads have stacks, one for each processor.
                data=job["address_space"] + job["function"]["memory"] + (os.cpu_count() or 1) * _THREAD_BYTES,
            )
        )
        walls += [wall.name for wall in found if wall.is_up]
        # Not on the main thread, whose stack is the caller's choice.
        with guest_stack():
            worker = threading.Thread(target=work)
            worker.start()
        worker.join()
    except HostError as error:
        answer = {"error": str(error), "is_host": True}
    with os.fdopen(1, "wb", closefd=False) as out:
        out.write(json.dumps(answer).encode() + b"\n")
        out.write(module)
    # Tearing the engine down would only take time.
    os._exit(0)


if __name__ == "__main__":
    main()
