"""Address space: a pool that has no room for it is an error, where the engine alone would abort the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIB = 1024**3


def child(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run *program* in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_pool_without_address_space_is_an_error(cache_dir: Path, wat: Callable[..., str]) -> None:
    """Under RLIMIT_AS the error names the setting; a pool that fits works, in the same process, after the error."""
    ran = child(
        """
        import resource, sys, wasmrun
        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
        function = wasmrun.Function(sys.argv[1], warm=0)
        for _ in range(2):
            with wasmrun.Executor(cache_dir=sys.argv[2], max_sandboxes=1000) as executor:
                for _ in range(2):
                    try:
                        executor.invoke(function, None)
                    except wasmrun.HostError as error:
                        print(error)
        with wasmrun.Executor(cache_dir=sys.argv[2], max_sandboxes=1) as executor:
            print(executor.invoke(function, None))
        """,
        wat(), str(cache_dir), str(16 * GIB),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    *errors, answer = ran.stdout.splitlines()
    assert answer == "True"
    assert len(errors) == 4
    assert all("no address space for 1000 sandboxes" in error and "lower max_sandboxes" in error for error in errors)


@pytest.mark.parametrize("sandboxes", [1, 8])
def test_a_limit_on_address_space_of_any_size_is_no_abort(
    sandboxes: int, cache_dir: Path, wat: Callable[..., str]
) -> None:
    """Just too little, just enough, and all between: every limit gives an answer or the error, and never a signal."""
    ran = child(
        """
        import os, resource, sys, wasmrun
        from wasmrun.executor import Executor
        guest, cache, sandboxes = sys.argv[1], sys.argv[2], int(sys.argv[3])
        for quarters in range(sandboxes * 16, (sandboxes + 3) * 18):
            child = os.fork()
            if child:
                print(quarters, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
                continue
            limit = quarters << 28
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = 9
            try:
                with Executor(cache_dir=cache, max_sandboxes=sandboxes) as executor:
                    status = 0 if executor.invoke(wasmrun.Function(guest, warm=0), None) is True else 8
            except wasmrun.HostError as error:
                status = 7 if "max_sandboxes" in str(error) else 6
            finally:
                os._exit(status)
        """,
        wat(), str(cache_dir), str(sandboxes),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    statuses = [int(line.split()[1]) for line in ran.stdout.splitlines()]
    assert set(statuses) == {0, 7}, ran.stdout
    assert statuses == sorted(statuses, reverse=True)
