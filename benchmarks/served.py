"""A contestant in a process of its own: a command goes in as one line, one line of JSON comes back."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

REPOSITORY = Path(__file__).parent.parent


class Served:
    """Owns the process; leaving the block ends it, by end of input.

    `environment` is the whole of it, where given; `errors` is a file for what it says on standard error.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, errors: IO[str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=REPOSITORY,
            env=environment, stderr=errors,
        )  # fmt: skip

    def ask(self, line: str) -> dict[str, Any]:
        """Send one command and wait for its answer. Raises RuntimeError where the process ended instead."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended; `hear` says how
            self._process.stdin.write(line + "\n")
        return self.hear()

    def hear(self, seconds: float | None = None) -> dict[str, Any]:
        """Wait for a line that nobody asked for; after `seconds` the process is killed. Raises RuntimeError as `ask`."""
        assert self._process.stdout is not None
        killer = threading.Timer(seconds or 0, self._process.kill)
        if seconds is not None:
            killer.start()
        answer = self._process.stdout.readline()
        killer.cancel()
        if not answer:
            raise RuntimeError(f"the process ended with status {self._process.wait()}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
