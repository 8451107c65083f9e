"""Components of wasi:http/proxy that do their worst: by calls that no honest one makes."""

from __future__ import annotations

import pytest
from lowered import proxy, times

import wasmrun
from wasmrun.base_executor import BaseExecutor


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
