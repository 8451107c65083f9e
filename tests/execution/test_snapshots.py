"""Functions with ``snapshot=True``: the start-up runs once, and every executor starts its sandboxes after it."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wasmrun.base_executor import BaseExecutor

WASI = "wasi_snapshot_preview1"


def counting(more: str = "", imports: str = "", resume: str = "") -> str:
    """A guest that answers its 8 bytes at 16: how often it started, resumed, and had an event; and what *more* does."""
    step = "(i32.store8 (i32.const {0}) (i32.add (i32.load8_u (i32.const {0})) (i32.const 1)))"
    return f"""(module {imports} (memory (export "memory") 1)
      (func (export "wasmrun_init") {step.format(16)} {more})
      {f'(func (export "wasmrun_resume") {step.format(17)} {resume})' if resume else ""}
      (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) {step.format(18)}
        (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 8))))"""


PLAIN = counting()
LOGS = counting(
    "(call $log (i32.const 2) (i32.const 64) (i32.const 2))",
    '(import "wasmrun" "log" (func $log (param i32 i32 i32)))',
).replace("(func (export", '(data (i32.const 64) "up") (func (export', 1)
RANDOM = counting(
    "(drop (call $random (i32.const 20) (i32.const 4)))",
    f'(import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))',
    "(drop (call $random (i32.const 20) (i32.const 4)))",
)
ENVIRON = counting(
    "(drop (call $environ (i32.const 0) (i32.const 16)))",
    f'(import "{WASI}" "environ_get" (func $environ (param i32 i32) (result i32)))',
)


@pytest.fixture(params=["threads", "processes"])
def either(request: pytest.FixtureRequest, cache_dir: Path) -> Iterator[BaseExecutor]:
    """An executor of each kind."""
    if request.param == "threads":
        with wasmrun.Executor(cache_dir=cache_dir) as executor:
            yield executor
    else:
        with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1) as executor:
            yield executor


def function(module: str, **settings: Any) -> wasmrun.Function:
    """A function of a snapshot."""
    return wasmrun.Function(module, **{"warm": 0, "snapshot": True, **settings})


def test_every_event_finds_the_start_up_done(either: BaseExecutor) -> None:
    """Once, and nothing of the event before it."""
    for _ in range(3):
        result = either.run(function(PLAIN), b"")
        assert result.value == b"\1\0\1\0\0\0\0\0"
        assert result.report.start == "snapshot"
        assert result.report.init_duration is not None


def test_sandbox_from_the_pool_is_warm(either: BaseExecutor) -> None:
    """Wherever it came from: nobody waited for it."""
    warm = function(PLAIN, warm=1)
    assert either.prewarm(warm) == 1
    assert either.run(warm, b"").report.start == "warm"


def test_guests_resume_in_each_sandbox(either: BaseExecutor) -> None:
    """And so no two have the same seed."""
    answers = {either.invoke(function(RANDOM), b"") for _ in range(3)}
    assert {answer[:4] for answer in answers} == {b"\1\1\1\0"}
    assert len({answer[4:] for answer in answers}) == 3


def test_start_up_that_cannot_be_captured_is_the_function_s_error(either: BaseExecutor) -> None:
    """When it is loaded, each time, and run no more than once."""
    for _ in range(2):
        with pytest.raises(wasmrun.InvalidFunction, match="its start-up failed: GuestTrap"):
            either.invoke(function(counting("(unreachable)")), b"")


def test_what_the_start_up_sees_is_part_of_what_is_cached(either: BaseExecutor) -> None:
    """Another variable is another snapshot."""
    one = function(ENVIRON, env={"A": "b"})
    other = dataclasses.replace(one, env={"A": "c"})
    answers = [either.invoke(variant, b"") for variant in (one, other, one)]
    # The count of events is on top of the third letter.
    assert [answer[:2] + bytes((answer[2] - 1,)) for answer in answers] == [b"A=b", b"A=c", b"A=b"]


def test_snapshot_is_taken_once(cache_dir: Path) -> None:
    """The next executor finds it in the cache."""
    wanted = function(PLAIN, name="once")
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        executor.load(wanted)
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        assert executor.is_compiled(wanted)
        assert not executor.is_compiled(dataclasses.replace(wanted, args=("other",)))
        assert executor.is_compiled(dataclasses.replace(wanted, warm=7, concurrency=3))


def test_what_the_start_up_logs_is_logged(cache_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, by the program's own means; events have logs of their own."""
    with caplog.at_level(logging.INFO, "wasmrun"), wasmrun.Executor(cache_dir=cache_dir) as executor:
        result = executor.run(function(LOGS, name="talker"), b"")
    assert result.logs == ()
    assert "the start-up of talker logged (info): up" in caplog.text


def test_start_up_runs_behind_walls(cache_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those of a worker, as far as the machine has them; limits it has everywhere."""
    with caplog.at_level(logging.DEBUG, "wasmrun.snapshot"), wasmrun.Executor(cache_dir=cache_dir) as executor:
        executor.load(function(PLAIN, name="walled"))
    found = next(record.getMessage() for record in caplog.records if record.name == "wasmrun.snapshot")
    assert "the start-up of walled ran behind" in found
    assert "limits" in found


def test_function_with_reuse_starts_from_its_snapshot(either: BaseExecutor) -> None:
    """What one event leaves, the next one finds, as without a snapshot."""
    reused = function(PLAIN, reuse=True, warm=1)
    assert [either.invoke(reused, b"")[2] for _ in range(3)] == [1, 2, 3]
