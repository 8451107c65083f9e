"""That guests run behind every wall as they do in front of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from walled import GUESTS, Inside

from wasmrun.hardening.resources import data_bytes

MIB = 1024 * 1024
SLACK = 64 * MIB
"""What a worker may hold beside its guest's memory."""


@pytest.fixture
def run(inside: Inside, prepared: Path) -> Callable[..., Any]:
    """What code says in a worker that has an executor, and the guests' texts in `seen`."""

    def run(code: str, **walls: Any) -> Any:
        walls.setdefault("readable", []).append(str(prepared))
        body = "".join(f"    {line}\n" for line in code.splitlines())
        return inside(
            f"with wasmrun.Executor(cache_dir=cache, max_sandboxes=4, threads=1) as executor:\n{body}",
            "import logging\nlogging.basicConfig()",
            names={"cache": str(prepared), "seen": GUESTS},
            **walls,
        )

    return run


def test_function_answers(run: Callable[..., Any]) -> None:
    """Its artifact was made by the parent; it is loaded from a directory that can only be read."""
    assert run("say(executor.invoke(wasmrun.Function(seen['echo']), [21]))") == 42


def test_function_answers_on_a_thread_of_the_executor(run: Callable[..., Any]) -> None:
    """Threads can be made behind the filter."""
    assert run("say(executor.submit(wasmrun.Function(seen['echo']), [21]).result())") == 42


def test_endless_loop_ends_in_time(run: Callable[..., Any]) -> None:
    """Ticks come. Without the keeper's, which are late, they are the timer's."""
    code = """
from wasmrun.keeper import Keeper
Keeper._doze = lambda self: self._rest(self.DOZING, 0.02)
function = wasmrun.Function(seen['spin'], timeout='100ms')
started = time.monotonic()
error = executor.run(function).error
say([type(error).__name__, time.monotonic() - started])
"""
    kind, seconds = run(code)
    assert kind == "TimedOut"
    assert 0.1 <= seconds < 0.4


def test_wasi_program_prints(run: Callable[..., Any]) -> None:
    """On a thread of the engine's runtime."""
    assert run("say(executor.invoke(wasmrun.Function(seen['print'])))") == 42


@pytest.mark.parametrize(
    ("guest", "grant", "status"), [("read", "rw", 0), ("read", "ro", 0), ("create", "rw", 0), ("create", "ro", 69)]
)
def test_wasi_program_has_its_directories_as_granted(
    guest: str, grant: str, status: int, run: Callable[..., Any], tmp_path: Path
) -> None:
    """The same from outside and from inside: read-only for the guest is read-only for its worker."""
    if guest == "read":
        (tmp_path / "f").write_text("text")
    directory = f"{tmp_path}::/data{':ro' if grant == 'ro' else ''}"
    code = f"""
error = executor.run(wasmrun.Function(seen[{guest!r}], dirs=[{directory!r}])).error
say(error.status if error else 0)
"""
    found = run(code, **{"readable" if grant == "ro" else "writable": [str(tmp_path)]})
    assert (found == 0) == (status == 0)
    assert (tmp_path / "f").exists() == (guest == "read" or status == 0)


def test_keeper_goes_its_rounds(run: Callable[..., Any]) -> None:
    """It asks the kernel for the machine's memory, and imports what it asks with, when it is behind the walls."""
    code = """
import logging
from wasmrun import keeper
keeper._LOOK_AROUND_SECONDS = 0.01
failures = []
logging.getLogger('wasmrun.keeper').addFilter(lambda record: failures.append(record.getMessage()))
assert 'psutil' not in sys.modules
end = time.monotonic() + 10
while 'psutil' not in sys.modules and time.monotonic() < end:
    executor.invoke(wasmrun.Function(seen['echo']), [1])
    time.sleep(0.01)
from wasmrun.core import Core
say(['psutil' in sys.modules, Core._is_short_of_memory(None) in (True, False), failures])
"""
    assert run(code) == [True, True, []]


@pytest.mark.parametrize("bomb", ["grow", "table", "flood"])
def test_worker_stays_within_the_memory_of_its_guest_and_64_mib(bomb: str, run: Callable[..., Any]) -> None:
    """However often a guest takes all that it can get, once the one before it is destroyed."""
    memory = 64 * MIB
    code = f"""
function = wasmrun.Function(seen[{bomb!r}], memory={memory}, timeout='20s', warm=0)
ends = []
for _ in range(4):
    ends.append(executor.run(function))
    while executor.stats().pool.spent: time.sleep(0.001)
peak = int(status('VmHWM').split()[0]) * 1024
say([peak, [end.value or type(end.error).__name__ for end in ends]])
"""
    peak, ends = run(code, data=data_bytes(memory, 4))
    assert len(set(map(str, ends))) == 1, "each got what the first one got"
    assert ends[0] == {"grow": memory // 65536 - 15, "table": 19901, "flood": "ResultTooLarge"}[bomb]
    assert peak <= memory + SLACK


def test_bound_on_memory_refuses_growth_to_the_guest(run: Callable[..., Any]) -> None:
    """Where it is below the guest's own limit: the guest is told -1, as by its own."""
    code = "say(executor.invoke(wasmrun.Function(seen['grow'], memory='512MiB', timeout='20s')))"
    assert 0 < run(code, data=200 * MIB) < 200 * MIB // 65536
