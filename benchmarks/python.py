"""What does a function in Python cost in a fresh sandbox, and in one that had events before?"""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import wasmrun
from wasmrun.projects.building import build
from wasmrun.projects.languages import LANGUAGES
from wasmrun.projects.project import read_project
from wasmrun.projects.recipe import ToolchainMissing
from wasmrun.projects.scaffold import make_project

from .effort import Effort
from .figures import Answer, Note
from .rounds import interleave, time_each

CAVEATS = (
    "The function is that of a new project: a component of 20 MB with CPython in it, whose imports were done when it was built.",
    "A fresh sandbox is made on its event's path: the component's instance, its `init` (new seeds and variables), and the event.",
    "Left out where componentize-py is missing: pip install 'wasmrun[python]'. Building and compiling, once, are not measured.",
)
_EVENT = {"name": "Ada"}


def measure(effort: Effort) -> Iterator[Answer]:
    """One function, with two lives."""
    with tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as name:
        place = Path(name) / "greeter"
        make_project(str(place), LANGUAGES["python"])
        try:
            module = build(read_project(str(place)), os.environ).module
        except ToolchainMissing as missing:
            yield Note(f"Python is left out: {missing.message}")
            return
        functions = {
            "fresh sandbox per event": wasmrun.Function(module, warm=0),
            "sandbox used again": wasmrun.Function(module, reuse=True),
        }
        limits = wasmrun.CompileLimits(cpu=300, wall=600)
        with wasmrun.Executor(cache_dir=Path(name) / "cache", threads=1, compile_limits=limits) as executor:
            for function in functions.values():
                executor.invoke(function, _EVENT)
            count = effort.pick(20, 100, 300)
            contestants = {
                name: partial(time_each, partial(executor.invoke, function, _EVENT), count)
                for name, function in functions.items()
            }
            costs = interleave(contestants, effort.pick(5, 11, 31))
    fresh, again = contestants
    yield costs.cost(fresh, "≤ 2,000")
    yield costs.cost(again)
    yield costs.ratio(fresh, again)
