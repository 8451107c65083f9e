"""Components of wasi:http/proxy that do their worst: by calls that no honest one makes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lowered import proxy, times

import wasmrun
from wasmrun.base_executor import BaseExecutor
from wasmrun.machine.proxy.host import Host
from wasmrun.machine.proxy.resources import Arrived


def test_result_that_there_is_no_handle_for_is_not_written(executor: BaseExecutor) -> None:
    """It stands where a text stood a call ago: what was to be freed with it would be that text, again."""
    code = proxy(
        times(998, "(local.set $handle (call $fields))")
        + "(drop (call $has (local.get $handle) (i32.const 0) (i32.const 900)))"
        "(call $from-list (i32.const 0) (i32.const 0) (i32.const 64))",
        *("fields", "has", "from-list"),
    )
    for _ in range(5):
        with pytest.raises(wasmrun.GuestTrap, match="more than 1000 handles"):
            executor.invoke(wasmrun.Function(code), {})


MIB = 1 << 20
CHUNK = 65_536
REQUEST = "(local.set $handle (call $request (call $fields)))"
OPEN = (
    "(call $body (local.get $handle) (i32.const 0)) (call $stream (i32.load (i32.const 4)) (i32.const 16)) "
    "(local.set $handle (i32.load (i32.const 20)))"
)
"""A request; its body, and the stream by which it is written."""
FILL = f"""(local.set $at (i32.const {MIB // CHUNK})) (loop $fill (call $zeroes (local.get $handle) (i64.const {CHUNK}) (i32.const 32))
  (local.set $at (i32.sub (local.get $at) (i32.const 1))) (br_if $fill (local.get $at)))"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            proxy(
                times(
                    10,
                    f"{REQUEST} (drop (call $target (local.get $handle) (i32.const 1) (i32.const 8) (i32.const 130000)))",
                ),
                *("fields", "request", "target"),
            ),
            "holds headers and lines of requests of more than 1 MiB",
        ),
        (
            proxy(times(3, REQUEST + OPEN + FILL), *("fields", "request", "body", "stream", "zeroes")),
            "holds bodies of more than 2 MiB",
        ),
        (
            proxy("(call $from-list (i32.const 8) (i32.const 32769) (i32.const 0))", "from-list", pages=16),
            "gave a list of 32769; at most 32768 are taken",
        ),
        (
            proxy("(call $poll (i32.const 8) (i32.const 32769) (i32.const 0))", "poll", pages=16),
            "unknown handle|a list of 32769",
        ),
    ],
    ids=["lines", "bodies", "entries", "pollables"],
)
def test_what_the_host_holds_for_a_guest_is_bounded(executor: BaseExecutor, code: str, message: str) -> None:
    """However many requests it makes of which each has what one may have."""
    function = wasmrun.Function(code, event_bytes="1MiB", result_bytes="1MiB")
    with pytest.raises(wasmrun.GuestTrap, match=message):
        executor.invoke(function, {})


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What goes by itself goes at once, and what is in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(kind: type) -> list[Any]:
    """The objects of it that there are."""
    return [found for found in gc.get_objects() if type(found) is kind]


@pytest.mark.usefixtures("no_collector")
def test_bodies_go_with_their_event_and_hosts_with_their_sandbox(cache_dir: Path) -> None:
    """Not when somebody collects: a hundred events would have a hundred bodies by then."""
    function = wasmrun.Function(proxy("(drop (call $fields))", "fields"), warm=0)
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        for _ in range(10):
            with pytest.raises(wasmrun.InvalidAnswer):
                executor.invoke(function, {"body": "x" * 1_000_000})
        assert not alive(Arrived)
    # Other executors have theirs.
    assert not [host for host in alive(Host) if host.instance.program.function is function]
