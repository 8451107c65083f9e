"""Many functions with the same code: they share what is loaded, and nothing that is a function's own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from kit import eventually

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wasmrun.base_executor import BaseExecutor

MANY = 20
MORE_THAN_A_WORKER_HAS_DESCRIPTORS = 300
GROW = '(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))'
COMPONENT = """(component
  (core module $m
    (memory (export "memory") 1)
    (data (i32.const 16) "\\00\\00\\00\\00\\20\\00\\00\\00\\01\\00\\00\\00")
    (data (i32.const 32) "7")
    (func (export "alloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "handle") (param i32 i32 i32 i32) (result i32) (i32.const 16)))
  (core instance $i (instantiate $m))
  (func (export "handle") (param "event" string) (param "context" string) (result (result string (error string)))
    (canon lift (core func $i "handle") (memory (core memory $i "memory")) (realloc (core func $i "alloc")))))"""
PLUGIN = """(module
  (import "extism:host/env" "input_offset" (func $offset (result i64)))
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (func (export "run") (result i32) (call $output (call $offset) (call $length)) (i32.const 0)))"""
STARTED = """(module (memory (export "memory") 1)
  (func (export "wasmrun_init") (i32.store8 (i32.const 16) (i32.const 1)))
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 1))))"""


@pytest.fixture(params=["threads", "processes"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseExecutor]:
    """An executor of each kind, with a cache of its own."""
    if request.param == "threads":
        with wasmrun.Executor(cache_dir=tmp_path, max_sandboxes=50) as executor:
            yield executor
    else:
        with wasmrun.ProcessExecutor(cache_dir=tmp_path, processes=1, max_sandboxes=50) as executor:
            yield executor


@pytest.fixture
def local(make: Callable[..., wasmrun.Executor], tmp_path: Path) -> wasmrun.Executor:
    """One in this process, with a cache of its own."""
    return make(cache_dir=tmp_path)


def loads(directory: Path) -> int:
    """How many artifacts of *directory* this process has mapped: the engine keeps a descriptor of each."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of the listing itself
            continue
        found += target.startswith(f"{directory}/") and ".cwasm" in target
    return found


def named(number: int, module: str = GROW, **settings: Any) -> wasmrun.Function:
    """A function like others, but for its name."""
    return wasmrun.Function(module, name=f"function-{number}", **{"warm": 0, **settings})


def test_functions_with_the_same_code_are_one_load(local: wasmrun.Executor, tmp_path: Path) -> None:
    """Until the last of them is unloaded; each of them works as long as it is there itself."""
    functions = [named(number, entry="grow") for number in range(MANY)]
    for function in functions:
        assert local.invoke(function, [1]) == 1
    assert loads(tmp_path) == 1
    while functions:
        assert local.unload(functions.pop(0))
        if functions:
            assert loads(tmp_path) == 1
        for function in functions[:2]:
            assert local.invoke(function, [1]) == 1
    eventually(lambda: not loads(tmp_path))  # once its last sandbox is destroyed
    assert local.invoke(named(0, entry="grow"), [1]) == 1
    assert loads(tmp_path) == 1


def test_end_of_an_executor_frees_what_its_functions_share(make: Callable[..., Any], tmp_path: Path) -> None:
    """Also where none was unloaded."""
    with make(cache_dir=tmp_path) as executor:
        for number in range(MANY):
            executor.invoke(named(number, entry="grow"), [1])
        assert loads(tmp_path) == 1
    assert loads(tmp_path) == 0


def test_first_events_at_once_are_one_load(local: wasmrun.Executor, tmp_path: Path) -> None:
    """Functions that nobody has loaded, each on a thread of its own."""
    functions = [named(number, entry="grow") for number in range(MANY)]
    with ThreadPoolExecutor(MANY) as threads:
        assert list(threads.map(lambda function: local.invoke(function, [1]), functions)) == [1] * MANY
    assert loads(tmp_path) == 1


def test_loading_and_unloading_at_once(local: wasmrun.Executor, tmp_path: Path) -> None:
    """Each thread has its own function come and go, while the others' share its code."""

    def work(number: int) -> None:
        function = named(number, entry="grow")
        for _ in range(30):
            assert local.invoke(function, [1]) == 1
            assert local.unload(function)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    eventually(lambda: not loads(tmp_path))


def test_function_that_is_refused_lets_go(local: wasmrun.Executor, tmp_path: Path) -> None:
    """Of what others go on with, and of what nobody else has."""
    for is_shared in (True, False):
        kept = named(0, entry="grow")
        if is_shared:
            local.invoke(kept, [1])
        for number in range(1, 4):
            with pytest.raises(wasmrun.InvalidFunction):
                local.invoke(named(number, entry="shrink"), [1])
            with pytest.raises(wasmrun.InvalidFunction):
                local.invoke(named(number, entry="grow", memory="32KiB"), [1])
        if is_shared:
            assert loads(tmp_path) == 1
            assert local.invoke(kept, [1]) == 1
            assert local.unload(kept)
        eventually(lambda: not loads(tmp_path))


def test_look_at_a_module_that_is_loaded(local: wasmrun.Executor, tmp_path: Path) -> None:
    """It is shared as well, and afterwards as it was."""
    function = named(0, entry="grow")
    local.inspect(function)
    assert loads(tmp_path) == 0
    local.invoke(function, [1])
    local.inspect(named(1, entry="grow"))
    assert loads(tmp_path) == 1
    assert local.invoke(function, [1]) == 1


@pytest.mark.parametrize(
    ("module", "event", "answer", "settings", "count"),
    [(COMPONENT, None, 7, {}, 1), (PLUGIN, b"x", b"x", {"raw": True}, 2), (STARTED, b"", b"\1", {"snapshot": True}, 1)],
    ids=["component", "plugin-and-its-kernel", "snapshot"],
)
def test_other_kinds_of_code_are_shared_too(
    local: wasmrun.Executor, tmp_path: Path, module: str, event: Any, answer: Any, settings: dict[str, Any], count: int
) -> None:
    """Components, plug-ins of Extism with their kernel, and snapshots."""
    # Of the same name: that is something which the start-up of a snapshot can see.
    functions = [named(0, module, log_bytes=1000 + number, **settings) for number in range(3)]
    for function in functions:
        assert local.invoke(function, event) == answer
    assert loads(tmp_path) == count
    assert local.unload(functions[0])
    assert [local.invoke(function, event) for function in functions[1:]] == [answer] * 2


def test_snapshot_and_what_it_is_of_are_different_code(local: wasmrun.Executor, tmp_path: Path) -> None:
    """One begins where the other's start-up ends; and where that saw something else, it is another one again."""
    kinds: list[dict[str, Any]] = [{}, {"snapshot": True}, {"snapshot": True, "env": {"A": "1"}}]
    for number, settings in enumerate(kinds):
        assert local.invoke(named(number, STARTED, **settings), b"") == b"\1"
        assert loads(tmp_path) == number + 1


def test_engines_with_other_settings_load_for_themselves(local: wasmrun.Executor, tmp_path: Path) -> None:
    """Code is compiled for a stack size and for metering."""
    kinds: list[dict[str, Any]] = [{}, {"fuel": None}, {"stack": "128KiB"}]
    for number, settings in enumerate(kinds):
        assert local.invoke(named(number, entry="grow", **settings), [1]) == 1
        assert loads(tmp_path) == number + 1


def test_settings_are_each_functions_own(either: BaseExecutor, wat: Callable[..., str]) -> None:
    """Limits, grants and host functions: the code is all that is shared."""
    small, large = (named(0, entry="grow", memory=memory) for memory in ("128KiB", "1MiB"))
    poor = named(1, entry="grow", fuel=1)
    assert (either.invoke(small, [8]), either.invoke(large, [8])) == (-1, 1)
    with pytest.raises(wasmrun.OutOfFuel):
        either.invoke(poor, [1])
    assert either.invoke(large, [8]) == 1
    asking = wat(
        "(call $who (local.get $ptr) (local.get $len))",
        imports='(import "wasmrun" "who" (func $who (param i32 i32) (result i64)))',
    )
    for number in range(3):
        function = named(number, asking, imports={"who": lambda _, number=number: number})
        assert either.invoke(function) == number
    with pytest.raises(wasmrun.InvalidFunction, match=r"wasmrun\.who"):
        either.invoke(named(4, asking))


def test_worker_serves_more_functions_than_it_may_have_descriptors(tmp_path: Path) -> None:
    """It loads their code once."""
    with wasmrun.ProcessExecutor(cache_dir=tmp_path, processes=1) as executor:
        for number in range(MORE_THAN_A_WORKER_HAS_DESCRIPTORS):
            assert executor.invoke(named(number, entry="grow"), [1]) == 1


def test_worker_shares_code_that_it_was_sent(tmp_path: Path) -> None:
    """Where there is no cache, each function comes with its code; one that goes leaves it to the others."""
    (tmp_path / "file").touch()
    functions = [named(number, entry="grow") for number in range(3)]
    with wasmrun.ProcessExecutor(cache_dir=tmp_path / "file", processes=1) as executor:
        for function in functions:
            assert executor.invoke(function, [1]) == 1
        assert executor.unload(functions.pop(0))
        for function in functions:
            assert executor.invoke(function, [1]) == 1
