"""What does an event cost by other means: engines' own classes, Extism, Wasmer, Capsule, processes, a plain call?"""

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.effort import Effort
from benchmarks.figures import Answer, Note
from benchmarks.guests import SMALL
from benchmarks.kinds import HOTPATH, KINDS
from benchmarks.native import floor_rounds
from benchmarks.rounds import Round, interleave
from benchmarks.served import Served

from .environments import HERE, interpreter, pinned

CAVEATS = (
    "Each rival runs in a process and an environment of its own, all of them take turns, and each echoes 64 bytes.",
    "They do not promise the same. Fuel, deadline and limit on memory: the floor, wasmrun and wasmtime-py, for each event.",
    "Extism has the deadline and the limit on memory, and no fuel. Wasmer's SDK has a deadline alone, and brings WASI.",
    "Capsule has fuel; its worker is a process, and it writes a log of all tasks into a database, as it does always.",
    "multiprocessing, subprocess and a plain call have no limits, and a warm worker has what earlier events left behind.",
    "So have Extism's plug-in, reused, and what is in the file system of Wasmer's sandbox, kept for many commands.",
    "wasmrun's workers are hardened with every wall that the machine has.",
    "A warm figure is the hand-out: sandboxes are prepared before a burst of 48 and deleted after it, off the clock.",
    "wasmrun refills and deletes in the background meanwhile, which takes time from the burst; the rivals do none.",
    "A ratio is over wasmrun's nearest way, by the compiled hot path where there is one.",
    "A rival that cannot be installed or does not run is left out, and the reason is said.",
)
_START_SECONDS = 120
"""For a program's start and a first, uncounted round of all its ways."""


@dataclasses.dataclass(frozen=True)
class Rival:
    """A program `benchmarks.rivals.NAME`, the guest in text form that it is given, and targets of its ways' ratios."""

    name: str
    guest: Path | None = None
    targets: tuple[tuple[str, str], ...] = ()


RIVALS = (
    Rival("wasmtime_py", None, (("warm", "≥ 20"), ("pooling, warm", "≥ 20"))),
    Rival("extism", HERE.parent / "echo_plugin.wat", (("new", "≥ 25"), ("reused", "≥ 4"))),
    Rival("wasmer_sdk", HERE / "wasmer_sdk" / "echo.wat"),
    Rival("capsule_run", HERE / "capsule_run" / "echo.wat"),
    Rival("python"),
)


def measure(effort: Effort) -> Iterator[Answer]:
    """All contestants in one run, then the ratios between them."""
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-")))
        contestants: dict[str, Round] = dict(running.enter_context(floor_rounds((SMALL,))))
        ours: list[str] = []
        ratios: list[tuple[str, str, str]] = []
        for kind in KINDS:
            environment = {**os.environ, HOTPATH: kind}
            found = _start(Rival("wasmrun"), directory, running, environment)
            if isinstance(found, str):
                yield Note(f"wasmrun {kind} is left out: {found}")
                continue
            ours.append(f"wasmrun {kind}")
            contestants.update((f"wasmrun {kind}, {name}", run) for name, (run, _) in found.items())
        for rival in RIVALS:
            title = rival.name.replace("_", "-")
            found = _start(rival, directory, running)
            if isinstance(found, str):
                yield Note(f"{title} is left out: {found}")
                continue
            if pinned(rival.name):
                yield Note(f"{title} is {', '.join(pinned(rival.name))}")
            for name, (run, beside) in found.items():
                contestants[f"{title}, {name}"] = run
                if ours:
                    ratios.append((f"{title}, {name}", f"{ours[0]}, {beside}", dict(rival.targets).get(name, "")))
        costs = interleave(contestants, effort.pick(7, 31, 101))
    yield from (costs.cost(name) for name in contestants)
    for over, under, target in ratios:
        if target:
            yield from costs.both_ratios(over, under, target)
        else:
            yield costs.ratio(over, under)


def _start(
    rival: Rival, directory: Path, running: ExitStack, environment: dict[str, str] | None = None
) -> dict[str, tuple[Round, str]] | str:
    """A rival's rounds and what is beside each, by way; where it is left out, why."""
    python = interpreter(rival.name)
    if isinstance(python, str):
        return python
    command = [str(python), "-m", f"{__name__}.{rival.name}"]
    if rival.guest is not None:
        command.append(str(_assembled(rival.guest, directory / f"{rival.name}.wasm")))
    errors = running.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115  # the block is the caller's
    served = running.enter_context(Served(command, environment, errors))
    try:
        said = served.hear(_START_SECONDS)
    except RuntimeError as error:
        errors.seek(0)
        return f"{error}: {(errors.read().strip().splitlines() or ['it said nothing'])[-1]}"
    if "unavailable" in said:
        return str(said["unavailable"])
    return {
        name: (partial(_ask, served, f"{way['events']} {name}"), way["beside"]) for name, way in said["ways"].items()
    }


def _ask(served: Served, line: str) -> float:
    return float(served.ask(line)["us_each"])


def _assembled(text: Path, module: Path) -> Path:
    import wasmtime  # not where a rival's program imports this package

    module.write_bytes(wasmtime.wat2wasm(text.read_text()))
    return module
