"""What this machine offers of the walls, found out by putting them up around a child that does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from wasmrun.errors import HostError
from wasmrun.hardening.cgroup import MemoryGroup
from wasmrun.hardening.order import harden
from wasmrun.hardening.wall import Missing, Wall, Walls

_PATIENCE_SECONDS = 20.0
_GROUP_MEMORY = 256 * 1024 * 1024
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from wasmrun.hardening import trial; trial.child()"


def probe() -> tuple[Wall, ...]:
    """Each wall as a worker started from here would have it. The calling process stays as it is.

    Raises `HostError` where the child did not come back, or could not see its own files.
    """
    try:
        group, why = MemoryGroup(_GROUP_MEMORY), None
    except Missing as missing:
        group, why = None, missing
    try:
        found = _run(group.path if group is not None else None)
    finally:
        if group is not None:
            group.close()
    if why is None:
        return found
    return tuple(Wall(wall.name, False, why.detail, why.remedy) if wall.name == "cgroup" else wall for wall in found)


def _run(group: str | None) -> tuple[Wall, ...]:
    job = {"parent": os.getpid(), "cgroup": group}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path), json.dumps(job)],
            stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=_PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise HostError(f"a process that hardened itself did not end in {_PATIENCE_SECONDS:.0f} s") from None
    except OSError as error:
        raise HostError(f"no child process to try the walls in: {error}") from error
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode != 0:
        raise HostError(
            f"a process that hardened itself ended with {done.returncode}: {said[-1] if said else 'no word'}"
        )
    return tuple(Wall(*fields) for fields in json.loads(done.stdout))


def child() -> None:
    """What the child does: harden itself, and tell."""
    job = json.loads(sys.argv[2])
    print(json.dumps(harden(Walls(parent=job["parent"], cgroup=job["cgroup"]))), flush=True)
    os._exit(0)
