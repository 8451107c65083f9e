"""`python -m benchmarks all | NAME... [--quick | --full] [--json]`; `soak`, `page` and `ratios` have options of their own."""

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from .effort import Effort
from .figures import Answer, Note
from .report import Lines, Table

NAMES = (
    "floor", "hotpath", "starts", "rivals", "isolation", "payload", "module_size", "pool", "throughput", "neighbours", "process",
    "memory", "functions", "snapshot", "extism", "components", "python", "million",
)  # fmt: skip


class Question(Protocol):
    """What each benchmark's module has; its docstring is the question."""

    __doc__: str | None
    CAVEATS: tuple[str, ...]

    def measure(self, effort: Effort) -> Iterator[Answer]:
        """Measure, and give answers as they are ready."""


def main() -> None:
    """Measure what the command line asks for."""
    if sys.argv[1:2] == ["soak"]:
        from .soak import main as soak  # the others can be measured where wasmrun cannot be imported

        soak(sys.argv[2:])
        return
    if sys.argv[1:2] == ["page"]:
        from .page import main as page  # what only writes loads nothing that measures

        page(sys.argv[2:])
        return
    if sys.argv[1:2] == ["ratios"]:
        from .ratios import main as ratios  # as above

        ratios(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What wasmrun costs, beside its floor and its rivals."
    )
    parser.add_argument(
        "names", nargs="+", choices=("all", *NAMES), metavar="NAME", help=f"all, or any of {', '.join(NAMES)}"
    )
    efforts = parser.add_mutually_exclusive_group()
    efforts.add_argument(
        "--quick", dest="effort", action="store_const", const=Effort.QUICK, help="fewer events and rounds"
    )
    efforts.add_argument("--full", dest="effort", action="store_const", const=Effort.FULL, help="more of them")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of tables")
    options = parser.parse_args()
    report = Lines() if options.json else Table()
    effort = options.effort or Effort.NORMAL
    report.begin(effort)
    failed: list[str] = []
    for name in NAMES if "all" in options.names else options.names:
        # Imported when its turn comes: the floor can be measured where wasmrun cannot be imported.
        question = cast("Question", importlib.import_module(f".{name}", __package__))
        answers = _answers(question, effort, lambda name=name: failed.append(name))
        report.answer(name, question.__doc__ or name, question.CAVEATS, answers)
    if failed:
        sys.exit(f"ended early: {', '.join(failed)}")


def _answers(question: Question, effort: Effort, fail: Callable[[], object]) -> Iterator[Answer]:
    """What there is to say, and why it ends where something fails: the other questions are asked all the same."""
    try:
        yield from question.measure(effort)
    except Exception as error:
        fail()
        text = "".join(c if c.isprintable() else " " for c in f"{type(error).__name__}: {error}")
        yield Note(f"ended early: {text}")
        traceback.print_exc()


if __name__ == "__main__":
    main()
