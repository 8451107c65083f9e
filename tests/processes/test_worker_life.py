"""Workers come and go: they die, are worn, are cut off from the cache; what an executor promises stays."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import kit
import pytest
from kit import Gate, eventually, is_alive

import wasmrun
from wasmrun.machine.artifacts import ArtifactCache

Make = Any
SLOW = b"\x80\x96\x98\x00"
"""Ten million turns for `spin_raw`."""


def number(answer: bytes) -> int:
    return int.from_bytes(answer, "little")


def serving(executor: wasmrun.ProcessExecutor) -> list[int]:
    """The process ids of the workers that serve, once all are there."""
    eventually(lambda: len(executor.walls()) == executor._settings.processes)
    return list(executor.walls())


def test_worker_that_dies_is_replaced_soon(make: Make) -> None:
    """Within half a second."""
    executor = make()
    [pid] = serving(executor)
    executor.invoke(kit.pure(), b"x")
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: list(executor.walls()) not in ([], [pid]))  # noqa: B023  # it ends in this turn
        seconds.append(time.monotonic() - started)
        [pid] = executor.walls()
        assert executor.invoke(kit.pure(), b"x") == b"x"
    assert min(seconds) < 0.5
    assert executor.stats().workers.died == 3


def test_event_whose_worker_dies_is_a_host_error(own: wasmrun.ProcessExecutor, gate: Gate) -> None:
    """At once, with how the worker ended; neighbours notice nothing."""
    pids = serving(own)
    held = own.submit(kit.asking(gate, timeout=20), b"\xc0")
    gate.wait_for(1)
    [busy] = [worker for worker in own._supervisor.crew.workers() if worker.in_flight]
    answers = []
    thread = threading.Thread(target=lambda: answers.append(own.invoke(kit.pure("spin_raw"), SLOW)))
    thread.start()
    started = time.monotonic()
    os.kill(busy.pid, signal.SIGKILL)
    gate.opened.set()
    error = held.exception(20)
    assert time.monotonic() - started < 1
    assert isinstance(error, wasmrun.HostError)
    assert "was ended by SIGKILL" in str(error)
    assert "may have run in part" in str(error)
    thread.join(20)
    assert answers == [b""]
    assert busy.pid in pids


def test_event_is_run_again_if_that_was_asked_for(make: Make) -> None:
    """Once: where its worker dies a second time, that is its error."""
    executor = make(at_least_once=True)
    asked: list[int] = []

    def die(times: int) -> int:
        asked.append(times)
        if len(asked) <= times:
            os.kill(executor._supervisor.crew._workers[max(executor._supervisor.crew._workers)].pid, signal.SIGKILL)
            threading.Event().wait(0.2)
        return len(asked)

    assert executor.invoke(kit.asking(die), b"\x01") == b"\x92\x00\x02"
    asked.clear()
    with pytest.raises(wasmrun.HostError, match="worker process"):
        executor.invoke(kit.asking(die), b"\x09")
    assert len(asked) == 2
    assert executor.invoke(kit.pure(), b"x") == b"x"


def test_worker_is_replaced_after_its_uses(make: Make) -> None:
    """And nobody has to wait for longer than that takes."""
    executor = make(max_uses=5)
    events = [str(at).encode() for at in range(12)]
    assert [executor.invoke(kit.pure(), event) for event in events] == events
    assert executor.stats().workers.replaced == 2


def test_worker_is_replaced_at_its_age(make: Make) -> None:
    """Although it idles."""
    executor = make(max_age=0.5)
    [pid] = serving(executor)
    eventually(lambda: not is_alive(pid))
    assert executor.invoke(kit.pure(), b"x") == b"x"


def test_worker_is_replaced_for_its_memory(make: Make, wat: Any) -> None:
    """When it has no event."""
    executor = make(max_memory="1MiB")
    [pid] = serving(executor)
    assert executor.invoke(kit.pure(), b"x") == b"x"
    eventually(lambda: not is_alive(pid))


def test_tenants_never_share_a_worker(own: wasmrun.ProcessExecutor) -> None:
    """A worker that has served one is replaced before it serves another."""
    served: dict[int, set[str | None]] = {}
    hand = own._supervisor.crew._hand

    def noted(worker: Any, client: Any, place: Any) -> Any:
        served.setdefault(worker.pid, set()).add(place.tenant)
        return hand(worker, client, place)

    own._supervisor.crew._hand = noted  # type: ignore[method-assign]
    for tenant in ("a", "b", None, "c", "a"):
        for _ in range(3):
            assert own.invoke(kit.pure("count_raw", reuse=True), b"", tenant=tenant)
    assert all(len(tenants) == 1 for tenants in served.values())
    assert {tenant for tenants in served.values() for tenant in tenants} == {"a", "b", "c", None}


def test_tenant_has_no_more_events_at_once_than_it_may(make: Make, gate: Gate) -> None:
    """With an error that says so; other tenants are served."""
    executor = make(processes=3, tenant_concurrency=1, wait=0.3)
    held = executor.submit(kit.asking(gate, timeout=20), b"\xc0", tenant="a")
    gate.wait_for(1)
    with pytest.raises(wasmrun.Throttled, match="the tenant has reached its concurrency of 1"):
        executor.invoke(kit.pure(), b"", tenant="a")
    assert executor.invoke(kit.pure(), b"x", tenant="b") == b"x"
    gate.opened.set()
    held.result(20)
    assert executor.invoke(kit.pure(), b"x", tenant="a") == b"x"


@pytest.mark.parametrize("threads", [1, 2])
def test_tenant_is_served_beside_a_flood(make: Make, threads: int) -> None:
    """With workers that never idle."""
    executor = make(threads=threads, wait=30)
    function = kit.pure("spin_raw")
    flood = [executor.submit(function, SLOW, tenant="flood") for _ in range(200)]
    eventually(lambda: executor.stats().workers.waiting)
    assert executor.invoke(kit.pure(), b"x", tenant="quiet") == b"x"
    assert not all(future.done() for future in flood)
    for future in flood:
        future.cancel()


def test_host_function_has_a_time_of_its_own(make: Make, gate: Gate) -> None:
    """It is told to nobody but the guest; if that gives up for it, the caller hears of the host's failure."""
    executor = make(host_timeout=0.05)
    started = time.monotonic()
    reply = executor.invoke(kit.asking(gate, timeout=20), b"\xc0")
    assert b"did not answer in time" in reply
    ask = "(call $call (local.get 0) (local.get 1)))"
    function = wasmrun.Function(
        kit.HOST.replace(ask, f"(drop {ask[:-1]}) unreachable)", 1), entry="ask_raw", imports={"call": gate}, warm=0
    )
    with pytest.raises(wasmrun.HostError, match="the host function 'call' did not answer in time"):
        executor.invoke(function, b"\xc0")
    assert time.monotonic() - started < 2
    gate.opened.set()


def test_host_function_that_hangs_ends_with_the_event(make: Make, gate: Gate) -> None:
    """The event is over at its own time; the executor serves on."""
    executor = make()
    started = time.monotonic()
    with pytest.raises(wasmrun.TimedOut):
        executor.invoke(kit.asking(gate, "nag_raw", timeout=0.2), b"\xc0")
    assert time.monotonic() - started < 0.2 + 0.25
    gate.opened.set()
    assert executor.invoke(kit.pure(), b"x") == b"x"


def test_cache_may_be_emptied_meanwhile(tmp_path: Path) -> None:
    """By `wasmrun cache clear`, say: what workers have they keep, what they lack is compiled again."""
    with wasmrun.ProcessExecutor(cache_dir=tmp_path / "cache", processes=1) as executor:
        first, second = kit.pure(), kit.pure("context")
        assert executor.invoke(first, b"x") == b"x"
        executor.compile(second)
        ArtifactCache(str(tmp_path / "cache")).clear()
        assert executor.invoke(first, b"x") == b"x"
        assert executor.invoke(second, 1)[0] == 1
        [pid] = serving(executor)
        ArtifactCache(str(tmp_path / "cache")).clear()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: list(executor.walls()) not in ([], [pid]))
        assert executor.invoke(first, b"x") == b"x"
        assert executor.invoke(second, 1)[0] == 1


@pytest.mark.filterwarnings("default")
def test_cache_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    """Code is sent to each worker."""
    (tmp_path / "file").write_text("no directory")
    with wasmrun.ProcessExecutor(cache_dir=tmp_path / "file" / "cache", processes=2) as executor:
        functions = [kit.pure(), kit.pure("context"), kit.pure(fuel=None)]
        for _ in range(2):
            assert executor.invoke(functions[0], b"x") == b"x"
            assert executor.invoke(functions[1], 1)[0] == 1
            assert executor.invoke(functions[2], b"y") == b"y"
        killed = serving(executor)[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in serving(executor))  # or it may still be given an event
        assert list(executor.map(functions[0], [b"x"] * 20)) == [b"x"] * 20


def test_directory_that_vanishes_fails_its_own_function_only(own: wasmrun.ProcessExecutor, tmp_path: Path) -> None:
    """No worker can be started for it; there are as many for others as before."""
    (tmp_path / "gone").mkdir()
    function = wasmrun.Function(kit.COMMAND, dirs=[f"{tmp_path / 'gone'}::/data"], warm=0)
    assert own.invoke(function, {}) == [1]
    assert own.invoke(kit.pure(), b"x", tenant="other") == b"x"
    assert own.invoke(kit.pure(), b"x", tenant="another") == b"x"
    (tmp_path / "gone").rmdir()
    with pytest.raises((wasmrun.HostError, wasmrun.InvalidFunction)):
        own.invoke(wasmrun.Function(kit.COMMAND, dirs=[f"{tmp_path / 'gone'}::/data"], warm=0, tenant="x"), {})
    assert list(own.map(kit.pure(), [b"x"] * 50)) == [b"x"] * 50
    assert len(serving(own)) == 2


def test_forgotten_executor_warns_and_ends_its_workers(cache_dir: Path) -> None:
    """When it is collected, like a forgotten file."""
    before = set(threading.enumerate())
    executor = wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=2)
    executor.invoke(kit.asking(lambda _: None), b"\xc0")
    pids = serving(executor)
    with pytest.warns(ResourceWarning, match="was not shut down"):
        del executor
        gc.collect()
    eventually(lambda: not any(is_alive(pid) for pid in pids))
    eventually(
        lambda: not [one for one in {*threading.enumerate()} - before if one.name.startswith("wasmrun-supervisor")]
    )


def test_shutdown_leaves_nothing(make: Make) -> None:
    """No process, no thread, no descriptor."""
    make().shutdown()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    executor = make(processes=2)
    executor.invoke(kit.asking(lambda _: None), b"\xc0")
    executor.submit(kit.pure(), b"x").result(20)
    pids = serving(executor)
    executor.shutdown()
    assert not any(is_alive(pid) for pid in pids)
    assert len(os.listdir("/proc/self/fd")) == before
    eventually(lambda: threading.active_count() == threads)


@pytest.mark.parametrize(
    "settings",
    [
        {"processes": 0}, {"processes": -1}, {"processes": 1.5}, {"threads": 0}, {"tenant_concurrency": 0},
        {"max_uses": 0}, {"max_sandboxes": 0}, {"wait": "soon"}, {"hardening": "wood"}, {"hardening": ["wood"]},
        {"max_age": "old"}, {"max_memory": "much"}, {"host_timeout": -1},
    ],
    ids=repr,
)  # fmt: skip
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    """Before anything is made of them."""
    with pytest.raises(ValueError):  # each has a text of its own
        wasmrun.ProcessExecutor(**settings)


def test_executor_that_was_not_used_may_be_forgotten() -> None:
    """It holds nothing. Warnings are errors here."""
    executor = wasmrun.ProcessExecutor()
    del executor
    gc.collect()
