"""No worker outlives its executor's process, however that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

PARENT = """
    import json, os, signal, sys, threading, time, wasmrun
    if __name__ == "__main__":
        job = json.loads(sys.argv[1])
        spin = wasmrun.Function('(module (func (export "spin") (loop br 0)))', fuel=None, timeout=job["timeout"])
        executor = wasmrun.ProcessExecutor(processes=2, cache_dir=job["cache"], hardening=job["hardening"])
        # So that their events are with them as soon as they are in flight.
        while executor.prewarm(spin) < 2:
            time.sleep(0.01)
        futures = [executor.submit(spin) for _ in range(2)]
        while len(executor.walls()) < 2 or executor.stats().workers.in_flight < 2:
            time.sleep(0.01)
        pids = list(executor.walls())
        if job["stopped"]:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        print(json.dumps(pids), flush=True)
        {ending}
"""


@pytest.mark.parametrize("hardening", ["auto", "off"])
@pytest.mark.parametrize("stopped", [False, True], ids=["busy", "stopped"])
@pytest.mark.parametrize(
    "ending", ["time.sleep(60)", "os._exit(3)", "os.abort()", "raise SystemExit(3)"], ids=["killed", "exit", "abort", "end"]
)  # fmt: skip
def test_workers_do_not_outlive_their_executor(
    hardening: str, stopped: bool, ending: str, cache_dir: Path, tmp_path: Path
) -> None:
    """Not by a second, with guests that loop, and stopped by SIGSTOP, where nothing but the kernel can end them."""
    program = tmp_path / "parent.py"
    program.write_text(textwrap.dedent(PARENT).format(ending=ending))
    # The end of a program waits for what was submitted, as the standard library's executors have it.
    timeout = 1 if "SystemExit" in ending else 60
    job = json.dumps({"cache": str(cache_dir), "hardening": hardening, "stopped": stopped, "timeout": timeout})
    with subprocess.Popen([sys.executable, program, job], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        assert len(pids) == 2
        if "sleep" in ending:
            parent.send_signal(signal.SIGKILL)
        assert parent.wait(20)
        until = time.monotonic() + 1.0
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < until, "an orphan"
            time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process runs, or could."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_do_not_outlive_a_shutdown(cache_dir: Path) -> None:
    """Nor are they left to be waited for: no zombie stays."""
    import wasmrun

    with wasmrun.ProcessExecutor(processes=2, cache_dir=cache_dir) as executor:
        executor.invoke(wasmrun.Function('(module (func (export "f")))'))
        pids = list(executor.walls())
    assert pids
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
