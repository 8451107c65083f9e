"""The native program `floor.c`: built with the machine's C compiler, run beside the rest."""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .guests import ECHO_PATH
from .rounds import BURST, Round
from .served import Served

_SOURCE = Path(__file__).with_name("floor.c")


class Native:
    """The running program; its rounds answer microseconds per event."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def fresh(self, events: int) -> float:
        """A sandbox for each event."""
        return self._ask(f"fresh {events}")

    def warm(self, burst: int, bursts: int) -> float:
        """Hand-outs of ready sandboxes, without their preparation and their end."""
        return self._ask(f"warm {burst} {bursts}")

    def rounds(self) -> dict[str, Round]:
        """The rounds of the floor, by name."""
        return {"floor, fresh": partial(self.fresh, 4000), "floor, warm": partial(self.warm, BURST, 100)}

    def _ask(self, command: str) -> float:
        return float(self._served.ask(command)["ns_per_event"]) / 1000


@contextmanager
def native() -> Iterator[Native | None]:
    """Build and start the program in a temporary directory; None where the machine has no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="wasmrun-floor-") as directory:
        program = Path(directory) / "floor"
        subprocess.run([compiler, "-std=c11", "-O2", "-o", program, _SOURCE, "-ldl"], check=True)
        with Served([str(program), str(_library()), str(ECHO_PATH)]) as served:
            yield Native(served)


def _library() -> Path:
    # Found without importing the package, as wasmrun finds it.
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise RuntimeError("the wasmtime package is not installed")
    return next(Path(spec.origin).parent.glob("*/_libwasmtime.*"))
