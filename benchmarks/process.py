"""What does a whole process cost: `wasmrun run` of a small module that was compiled before?"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import wasmtime

from .effort import Effort
from .figures import Figure
from .guests import PAYLOAD, echo
from .rounds import interleave
from .subject import command_environment, command_line

CAVEATS = (
    "From fork to exit, output to a pipe; a first, discarded run compiles the module and everybody's bytecode.",
    "'import wasmtime' does nothing more: it compiles and runs no module.",
)


def measure(effort: Effort) -> Iterator[Figure]:
    """Three commands in turn."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as directory:
        place = Path(directory)
        module, event = place / "echo.wasm", place / "event"
        module.write_bytes(wasmtime.wat2wasm(echo()))
        event.write_bytes(PAYLOAD)
        environment = command_environment(place)

        def run(command: Sequence[str], expected: bytes) -> float:
            began = time.perf_counter()
            answer = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
            )
            spent = time.perf_counter() - began
            if answer.stdout != expected:
                raise RuntimeError(f"{command} answered {answer.stdout!r}")
            return spent * 1000

        contestants = {
            "wasmrun run": partial(run, command_line(module, event), PAYLOAD),
            "import wasmtime": partial(run, [sys.executable, "-c", "import wasmtime"], b""),
            "python alone": partial(run, [sys.executable, "-c", "pass"], b""),
        }
        costs = interleave(contestants, effort.pick(15, 25, 51), "ms")
    yield from (costs.cost(name) for name in contestants)
    yield from costs.both_ratios("wasmrun run", "import wasmtime", "≤ 0.8")
