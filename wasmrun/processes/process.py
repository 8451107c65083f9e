"""A worker process, seen from its executor: started, talked to over its lanes, killed."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any, NamedTuple

from wasmrun.errors import HostError, printable
from wasmrun.hardening.cgroup import MemoryGroup
from wasmrun.hardening.wall import Missing
from wasmrun.machine import capi
from wasmrun.machine.abi.base import Codec, Shape
from wasmrun.processes.bay import map_bay, new_bay
from wasmrun.processes.frames import MOST_MESSAGE, Channel
from wasmrun.processes.placement import Place

TURN_SECONDS = 0.015
"""How soon whoever listens to a worker notices that it is to stop."""

_SHOWN = 600

_LAST_SECONDS = 0.1
"""How long a worker may take to end after it has hung up, so that it can be told how it did."""


class Lane:
    """One connection to a worker, for one event at a time."""

    def __init__(self, worker: WorkerProcess, number: int, sock: socket.socket, bay: mmap.mmap | None) -> None:
        self.worker = worker
        self.number = number
        self.channel = Channel(sock, 0, TURN_SECONDS, bay)
        self.turn = 0


class Known(NamedTuple):
    """A function as a worker knows it: how it is called there, and what encodes its events.

    By each worker's own word: one that lies harms only those whom it serves.
    """

    shape: Shape
    codec: Codec


class WorkerProcess:
    """A worker from its start to its end. What it is used for, the crew decides, under its lock.

    ``known`` holds the functions that it has, by the executor's number. Raises `HostError` where it cannot be started.
    """

    def __init__(self, number: int, place: Place | None, job: dict[str, Any], lanes: int) -> None:
        self.number = number
        self.place = place
        self.is_ready = False
        self.meant_for: Place | None = None
        """The place of the event that it was started for."""
        self.is_leaving = False
        self.is_retiring = False
        """Whether it gets no more events, and goes with its last one."""
        self.is_dead = False
        self.uses = 0
        self.started = time.monotonic()
        self.idle_since = self.placed = self.started
        self.loading = threading.Lock()
        """Held while a function is shipped there: once a worker."""
        self.known: dict[int, Known] = {}
        self.walls: tuple[tuple[str, bool, str, str], ...] = ()
        self.counted: list[int] | None = None
        self.is_asking = False
        """Whether a host call of a start-up is being answered: it has one at a time."""
        self.said = 0
        """Messages to the supervisor since its last look around."""
        self.killed_for = ""
        """Why the executor killed it, where it did."""
        ends: list[socket.socket] = []
        theirs: list[socket.socket] = []
        bays: list[int] = []
        mapped: list[mmap.mmap] = []
        self._log: IO[bytes] | None = None
        self._group: MemoryGroup | None = None
        started = contextlib.ExitStack()
        try:
            for _ in range(lanes + 2):
                mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                ends.append(mine)
                started.callback(mine.close)
                theirs.append(other)
            # Without one, a lane's long payloads go through its socket, which takes longer.
            with contextlib.suppress(OSError):
                for _ in range(lanes):
                    bays.append(new_bay())
                    mapped.append(map_bay(bays[-1]))
            # A full disk: what it says at its end is not seen, it works all the same.
            with contextlib.suppress(OSError):
                self._log = tempfile.TemporaryFile()  # noqa: SIM115  # kept as long as the process
                started.callback(self._log.close)
            control, service, *rest = (other.fileno() for other in theirs)
            walls = job["walls"]
            if walls is not None and walls["data"] is not None:
                # Best where the kernel counts what is resident; beside it, and elsewhere, it counts what could be.
                with contextlib.suppress(Missing, OSError):
                    self._group = MemoryGroup(walls["data"])
            if walls is not None:
                walls = {
                    **walls,
                    "cgroup": self._group.path if self._group is not None else None,
                    "parent": job["parent"],
                    "keep": [0, 1, 2, control, service, *rest],
                }
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", _CHILD, json.dumps(
                    {
                        **job, "walls": walls, "paths": _paths(), "control": control, "service": service, "lanes": rest,
                        "bays": bays[: len(mapped)],
                    }
                )],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log if self._log is not None else subprocess.DEVNULL,
                env={},
                pass_fds=[control, service, *rest, *bays],
                process_group=0,  # Ctrl-C in a terminal is for the program
            )  # fmt: skip
            started.callback(self._process.wait)
            started.callback(self._process.kill)
            # Signals and news of its end by descriptor: a number may be another process's by then.
            self.handle = os.pidfd_open(self._process.pid)
            started.pop_all()
        except OSError as error:
            started.close()
            raise HostError(
                f"no worker process can be started: {error}; raise the limits on descriptors and processes "
                "(ulimit -n, ulimit -u), or lower `processes`"
            ) from error
        finally:
            for sock in theirs:
                sock.close()
            for descriptor in bays:
                os.close(descriptor)
        self.pid = self._process.pid
        self.control = Channel(ends[0], 0, TURN_SECONDS)
        self.talking = threading.Lock()
        """Held while something is sent over ``control``."""
        self.service = Channel(ends[1], MOST_MESSAGE, TURN_SECONDS)
        self.lanes = [
            Lane(self, at, sock, mapped[at] if at < len(mapped) else None) for at, sock in enumerate(ends[2:])
        ]
        self.free = list(self.lanes)

    @property
    def is_wanted(self) -> bool:
        """Whether it is to stay."""
        return not (self.is_leaving or self.killed_for or self._process.returncode is not None)

    @property
    def may_serve(self) -> bool:
        """Whether it may get an event."""
        return self.is_ready and self.is_wanted and not self.is_retiring

    @property
    def in_flight(self) -> int:
        """Events that it has now."""
        return len(self.lanes) - len(self.free)

    def kill(self, why: str) -> None:
        """End it at once; *why* is what an event that it still has is told. Harmless when repeated."""
        self.killed_for = self.killed_for or why
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def hang_up(self) -> None:
        """Give it up, whose connection broke: it has ended by itself, or is ended now."""
        try:
            self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill("it hung up, and lived on")

    def resident_bytes(self) -> int | None:
        """How much memory it has resident; None where that cannot be known."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return None

    def epitaph(self) -> str:
        """Why it was killed, else how it ended, and the end of what it said to stderr; once it has ended."""
        if self.killed_for:
            return f"was killed because {self.killed_for}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_SECONDS)
        status = self._process.returncode
        if status is None:
            how = "does not answer any more"
        elif status < 0:
            with contextlib.suppress(ValueError):
                status = signal.Signals(-status).name
            how = f"was ended by {status}"
        else:
            how = f"ended with status {status}"
        said = ""
        if self._log is not None:
            with contextlib.suppress(OSError, ValueError):
                self._log.seek(0, os.SEEK_END)
                self._log.seek(max(0, self._log.tell() - _SHOWN))
                said = printable(self._log.read().decode("utf-8", "replace").strip(), _SHOWN)
        return f"{how}{f', saying: {said}' if said else ''}"

    def bury(self) -> None:
        """Let go of everything that belonged to it. It has ended, or is killed here."""
        self.kill(self.killed_for or "it is not needed any more")
        for channel in (self.control, self.service, *(lane.channel for lane in self.lanes)):
            channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        with contextlib.suppress(OSError):
            os.close(self.handle)
        if self._log is not None:
            self._log.close()
        self._leave_group()

    def _leave_group(self) -> None:
        if self._group is not None:
            with contextlib.suppress(OSError):  # the kernel has not buried it yet; an empty group costs little
                self._group.close()


_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")


def _paths() -> list[str]:
    """Where the child finds this package, and those that it needs: it looks nowhere else."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = [here, os.path.dirname(os.path.dirname(os.path.dirname(capi.LIBRARY_PATH)))]
    for name in ("msgpack", "psutil", "pyseccomp"):
        module = sys.modules.get(name)
        place = getattr(module, "__file__", None) or _find(name)
        if place:
            directory = (
                os.path.dirname(os.path.dirname(place)) if place.endswith("__init__.py") else os.path.dirname(place)
            )
            if directory not in found:
                found.append(directory)
    return found


def _find(name: str) -> str | None:
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec(name)
    return None if spec is None else spec.origin
