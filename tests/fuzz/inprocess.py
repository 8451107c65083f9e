"""In process: an `Executor` in a process of its own, so that whoever gives it modules sees a crash of the engine.

``python inprocess.py CACHE_DIR``: a line ``NUMBER ENTRY SNAPSHOT PATH`` in, a line with the verdict out.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import verdicts

import wasmrun


class Crashed(Exception):
    """The process that ran the module has ended."""


class InProcess:
    """Owns that process, and starts another one after a crash."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._process: subprocess.Popen[str] | None = None

    def judge(self, number: int, entry: str | None, path: Path, *, snapshot: bool = False) -> str:
        """The verdict of the module in *path*. Raises `Crashed`."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self._cache_dir)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{number} {entry or '-'} {int(snapshot)} {path}\n")
            answer = process.stdout.readline().rstrip("\n")
        except BrokenPipeError:
            answer = ""
        if answer:
            return answer
        self._process = None
        said = process.communicate()[1]
        raise Crashed(f"status {process.returncode}: {said[-2_000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    """Judge module after module, until there is no more input."""
    with wasmrun.Executor(cache_dir=sys.argv[1], max_sandboxes=10) as executor:
        for line in sys.stdin:
            number, entry, snapshot, path = line.rstrip("\n").split(" ", 3)
            module = Path(path).read_bytes()
            function = verdicts.given(module, None if entry == "-" else entry, int(number), snapshot=snapshot == "1")
            try:
                verdict = verdicts.judge(executor, function)
            except Exception as error:
                verdict = f"WRONG {type(error).__name__}: {error!s}".replace("\n", " ")
            print(verdict, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "execution"))
    main()
