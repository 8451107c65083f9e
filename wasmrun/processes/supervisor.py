"""The supervisor: one thread that starts the workers of an executor, listens to them, and buries them.

Workers die with the thread that started them, which the kernel sees to; so it is one for all of them, and it
ends last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any

from wasmrun.errors import HostError, printable
from wasmrun.processes import wire
from wasmrun.processes.crew import LOOK_SECONDS, Crew, CrewSettings
from wasmrun.processes.frames import BrokenFrame, Closed
from wasmrun.processes.placement import Place
from wasmrun.processes.process import WorkerProcess

_log = logging.getLogger("wasmrun.processes")

_TURN_SECONDS = 0.02
_END_SECONDS = 10.0
_MOST_SAID = 1000
"""Messages that a worker may have for the supervisor between two looks around; it has hardly any."""
_SHOWN = 2_000
_UNFIT = "it was not fit to serve"


class Supervisor:
    """Watches a crew of its own, from now until `close`.

    *job* is what a worker is told at its start, by its place. *serve* answers host functions that a start-up
    calls while no event waits for it; it must not wait for anything. Raises `OSError` or `RuntimeError` where
    there are no descriptors or no thread for it.
    """

    def __init__(
        self,
        settings: CrewSettings,
        job: Callable[[Place | None], dict[str, Any]],
        serve: Callable[[WorkerProcess, int, str, bytes], None],
    ) -> None:
        self._job = job
        self._serve = serve
        self._selector = selectors.DefaultSelector()
        try:
            self._bell, self._ringer = os.pipe()
        except OSError:
            self._selector.close()
            raise
        os.set_blocking(self._ringer, False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._ended = threading.Event()
        self._pid = os.getpid()
        self.crew = Crew(settings, self._ring)
        threading.Thread(target=self._watch, name="wasmrun-supervisor", daemon=True).start()

    def count(self, seconds: float) -> list[list[int]]:
        """The counters of every worker's pool, of those that answer within *seconds*."""
        workers = self.crew.workers()
        for worker in workers:
            worker.counted = None
            try:
                with worker.talking:
                    worker.control.send(["count"], until=time.monotonic() + seconds)
            except (Closed, TimeoutError):
                worker.counted = []
        return self.crew.wait_for_counts(workers, seconds)

    def close(self, patience: float | None = None) -> bool:
        """Wait for the events that workers have, at most *patience* seconds, then end them all; whether all had ended.

        Harmless when repeated, and in a forked child.
        """
        if os.getpid() != self._pid:
            return True
        has_ended = self.crew.close(patience)
        self._ended.wait(_END_SECONDS)
        for worker in self.crew.abandon():
            worker.bury()
        for descriptor in (self._bell, self._ringer):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._bell = self._ringer = -1
        return has_ended

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already, or nobody listens any more
            os.write(self._ringer, b"!")

    def _watch(self) -> None:
        crew = self.crew
        looked = time.monotonic()
        try:
            while not crew.is_over:
                try:
                    self._start_wanted()
                    for key, _ in self._selector.select(_TURN_SECONDS if crew.is_short else LOOK_SECONDS):
                        if key.data is None:
                            os.read(self._bell, 4096)
                        else:
                            key.data()
                    if time.monotonic() - looked >= LOOK_SECONDS:
                        looked = time.monotonic()
                        crew.look_around()
                    for worker in crew.take_dead():
                        worker.bury()
                except Exception:
                    # Without a supervisor no worker would ever be replaced.
                    _log.exception("a round of the supervisor failed")
                    time.sleep(_TURN_SECONDS)
        finally:
            self._selector.close()
            self._ended.set()

    def _start_wanted(self) -> None:
        while (wanted := self.crew.next_start()) is not None:
            number, place = wanted
            own = place if place is not None and place.dirs else None
            try:
                worker = WorkerProcess(number, own, self._job(place), self.crew.settings.lanes)
            except (HostError, OSError) as error:
                self._give_up(error if isinstance(error, HostError) else HostError(f"no worker: {error}"), place)
                return
            self.crew.started(worker)
            for file, act in (
                (worker.handle, self._gone),
                (worker.control.socket, self._listen),
                (worker.service.socket, self._attend),
            ):
                self._selector.register(file, selectors.EVENT_READ, lambda act=act, worker=worker: act(worker))

    def _give_up(self, error: HostError, place: Place | None) -> None:
        _log.warning("%s", error)
        self.crew.failed(error, place)

    def _listen(self, worker: WorkerProcess) -> None:
        # What came together with a message shows at no socket any more.
        while self._heard(worker) and worker.control.has_more:
            pass

    def _heard(self, worker: WorkerProcess) -> bool:
        """Take one message of *worker*; whether there was one."""
        try:
            message, _ = worker.control.receive()
            worker.said += 1
            if worker.said > _MOST_SAID:
                raise BrokenFrame(f"more than {_MOST_SAID} messages a second")
            what, *details = message
            if what == "ready" and len(details) == 2 and type(details[1]) is list and not worker.is_ready:
                worker.walls = tuple((str(w[0]), bool(w[1]), str(w[2]), str(w[3])) for w in details[1])
                self.crew.is_now_ready(worker)
            elif what == "unfit" and not worker.is_ready:
                error = wire.unpack_error(details[0])
                worker.kill(_UNFIT)
                self._give_up(HostError(f"a worker process is not fit to serve: {error.message}"), worker.place)
            elif what == "log" and [type(detail) for detail in details] == [str, int, str]:
                # Only loggers that there are: a logger is never freed.
                known = details[0].startswith("wasmrun") and details[0] in logging.root.manager.loggerDict
                logger = logging.getLogger(details[0] if known else "wasmrun")
                logger.log(min(details[1], logging.WARNING), "worker %d: %s", worker.pid, printable(details[2], _SHOWN))
            elif what == "counted":
                self.crew.counted(worker, list(wire.unpack_pool(details[0])[:-1]))
            else:
                raise BrokenFrame(f"{printable(what, _SHOWN)!r} at the wrong time")
        except TimeoutError:
            pass  # the rest of it is still to come
        except Closed:
            worker.hang_up()
            self._forget(worker.control.socket)
        except (BrokenFrame, LookupError, TypeError, ValueError) as error:
            worker.kill(f"it broke the protocol: {error}")
        else:
            return True
        return False

    def _attend(self, worker: WorkerProcess) -> None:
        while self._asked(worker) and worker.service.has_more:
            pass

    def _asked(self, worker: WorkerProcess) -> bool:
        """Take one call of the host by *worker*; whether there was one."""
        try:
            message, request = worker.service.receive()
            if message[0] != "serve" or [type(part) for part in message] != [str, int, str]:
                raise BrokenFrame(f"{printable(message[0], _SHOWN)!r} where a host call belongs")
            if worker.is_asking:
                raise BrokenFrame("a host call before the reply to the last one")
            worker.is_asking = True
            self._serve(worker, message[1], message[2], request)
        except TimeoutError:
            pass  # as above
        except Closed:
            self._forget(worker.service.socket)
        except BrokenFrame as error:
            worker.kill(f"it broke the protocol: {error}")
        else:
            return True
        return False

    def _gone(self, worker: WorkerProcess) -> None:
        """A worker has ended: whoever talks with it learns it from its lane; it is replaced here."""
        for file in (worker.handle, worker.control.socket, worker.service.socket):
            self._forget(file)
        if not self.crew.died(worker):
            return
        _log.warning("worker %d %s", worker.pid, worker.epitaph())
        if not worker.is_ready and worker.killed_for != _UNFIT:
            end = f"was killed: {worker.killed_for}" if worker.killed_for else f"{worker.epitaph()} before it was ready"
            self._give_up(HostError(f"a worker process {end}"), worker.place)

    def _forget(self, file: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(file)
