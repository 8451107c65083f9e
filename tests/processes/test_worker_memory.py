"""How much memory a worker may have, whatever its guests want."""

from __future__ import annotations

from pathlib import Path

import pytest

import wasmrun

MIB = 1 << 20
HUNGRY = """(module
  (memory (export "memory") 1)
  (func (export "grow") (result i32)
    (local $pages i32)
    (loop $again
      (if (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))
        (then
          (memory.fill
            (i32.mul (i32.sub (memory.size) (i32.const 16)) (i32.const 65536)) (i32.const 1) (i32.const 1048576))
          (br $again))))
    (memory.size)))"""
"""Takes a megabyte at a time, and writes to it, until there is none; answers with its pages."""


def peak(pid: int) -> int:
    """The most that a process had resident, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def test_memory_limit_of_a_worker_bounds_its_guests(cache_dir: Path) -> None:
    """A guest that may have more by its own limit gets no more than its worker may; the worker serves on."""
    hungry = wasmrun.Function(HUNGRY, memory="1GiB", warm=0)
    modest = wasmrun.Function('(module (func (export "one") (result i32) (i32.const 1)))', warm=0)
    limit = 320 * MIB
    with wasmrun.ProcessExecutor(processes=1, max_sandboxes=4, memory_limit=limit, cache_dir=cache_dir) as executor:
        pages = executor.invoke(hungry)
        assert 100 * MIB < pages * 65536 < limit
        assert executor.invoke(modest) == 1
        [pid] = executor.walls()
        assert peak(pid) < limit


def test_memory_limit_that_no_worker_can_live_in_is_refused(cache_dir: Path) -> None:
    """At once, with what it takes."""
    with pytest.raises(ValueError, match=r"memory_limit must be at least 1\d\d(\.\d)? MiB for 100 sandboxes"):
        wasmrun.ProcessExecutor(memory_limit="64MiB", cache_dir=cache_dir)
    with pytest.raises(ValueError, match="needs hardening"):
        wasmrun.ProcessExecutor(memory_limit="1GiB", hardening="off", cache_dir=cache_dir)
