"""The native program `floor.c`: built with the machine's C compiler, run beside the rest."""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from .guests import echo, label
from .rounds import BURST, Round
from .served import Served

_SOURCE = Path(__file__).with_name("floor.c")


class Floor:
    """The program, running with one guest; its rounds answer microseconds per event."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def fresh(self, events: int) -> float:
        """A sandbox for each event."""
        return self._ask(f"fresh {events}")

    def warm(self, burst: int, bursts: int) -> float:
        """Hand-outs of ready sandboxes, without their preparation and their end."""
        return self._ask(f"warm {burst} {bursts}")

    def _ask(self, command: str) -> float:
        return float(self._served.ask(command)["ns_per_event"]) / 1000


def compiler() -> str | None:
    """The machine's C compiler."""
    return shutil.which("cc") or shutil.which("gcc")


@contextmanager
def floor_rounds(sizes: Sequence[int]) -> Iterator[dict[str, Round]]:
    """The floor's rounds by name, for guests of each of `sizes` in pages; none where the machine has no C compiler.

    The program is built in a temporary directory, and runs once for each size until the block ends.
    """
    found = compiler()
    if found is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="wasmrun-floor-") as directory, ExitStack() as running:
        program = Path(directory) / "floor"
        subprocess.run([found, "-std=c11", "-O2", "-o", program, _SOURCE, "-ldl"], check=True)
        rounds: dict[str, Round] = {}
        for pages in sizes:
            guest = program.with_name(f"echo-{pages}.wat")
            guest.write_text(echo(pages))
            command = [str(program), str(_library()), str(guest), str(guest.with_suffix(".cwasm"))]
            floor = Floor(running.enter_context(Served(command)))
            rounds[label("floor, fresh", pages)] = partial(floor.fresh, 1500)
            rounds[label("floor, warm", pages)] = partial(floor.warm, BURST, 30)
            rounds[label("floor, warm, bursts of 500", pages)] = partial(floor.warm, 500, 3)
        yield rounds


def _library() -> Path:
    # Found without importing the package, as wasmrun finds it.
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise RuntimeError("the wasmtime package is not installed")
    return next(Path(spec.origin).parent.glob("*/_libwasmtime.*"))
