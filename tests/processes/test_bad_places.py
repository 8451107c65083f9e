"""Executors in places that lack what they need: full disks, no /proc, few descriptors. It works, or says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun.processes import process

PROGRAM = """
import json, os, resource, sys, tempfile, wasmrun
seven = wasmrun.Function('(module (func (export "f") (result i32) (i32.const 7)))')
settings = json.loads(sys.argv[1])
def run():
    try:
        with wasmrun.ProcessExecutor(processes=1, wait=10, **settings) as executor:
            return executor.invoke(seven)
    except wasmrun.WasmrunError as error:
        return [isinstance(error, wasmrun.HostError), str(error)]
"""


def said(code: str, **settings: Any) -> Any:
    """What a program of its own says, in which *code* runs."""
    done = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}\n{textwrap.dedent(code)}", json.dumps(settings)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_executor_works_where_no_file_can_grow(cache_dir: Path) -> None:
    """A full disk: what was compiled before serves, and what workers say at their end is not seen."""
    code = """
        run()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        answer = run()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        print(json.dumps(answer))
    """
    assert said(code, cache_dir=str(cache_dir)) == 7


def test_executor_that_cannot_compile_for_want_of_disk_says_so(cache_dir: Path) -> None:
    """What is not in the cache yet takes files to compile."""
    code = """
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        answer = run()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        print(json.dumps(answer))
    """
    is_host_error, message = said(code, cache_dir=str(cache_dir / "other"))
    assert is_host_error
    assert "compile" in message


@pytest.mark.parametrize("place", ["/nowhere", "/proc"])
def test_executor_works_where_temporary_files_cannot_be_made(place: str, cache_dir: Path) -> None:
    """Compiled before, for the compiler needs some; workers need none."""
    code = f"""
        run()
        tempfile.tempdir = {place!r}
        print(json.dumps(run()))
    """
    assert said(code, cache_dir=str(cache_dir)) == 7


def test_executor_without_a_cache_sends_what_it_compiled(tmp_path: Path) -> None:
    """Where no directory can be written to, each program compiles for itself."""
    (tmp_path / "file").write_text("")
    assert said("print(json.dumps(run()))", cache_dir=str(tmp_path / "file" / "cache")) == 7


def test_executor_with_few_descriptors_says_what_to_raise(cache_dir: Path) -> None:
    """At any number of them, it works or the error has the remedy; nothing is left open."""
    code = """
        run()
        import hashlib, random, subprocess, tempfile, wasmrun.machine.compiler  # where Python itself needs no more files
        found, hard = [], resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        for more in range(0, 34, 1):
            before = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + more, hard))
            answer = run()
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            found.append([answer, len(os.listdir("/proc/self/fd")) - before])
            if answer == 7:
                break
        print(json.dumps(found))
    """
    found = said(code, cache_dir=str(cache_dir))
    assert found[-1][0] == 7, found
    for answer, left in found[:-1]:
        assert answer[0] is True, answer
        assert "descriptors" in answer[1] or "open files" in answer[1], answer
        assert left <= 0, answer
    assert len(found) > 5


def test_executor_without_proc_has_no_hardened_workers(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that it is to be mounted; without hardening, workers need none."""
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, sys\n"
        "sys.path[:0] = json.loads(sys.argv[1])['paths']\n"
        "from wasmrun.processes import child\n"
        "def refuse(call):\n"
        "    def looked(path, *rest, **more):\n"
        "        if str(path).startswith('/proc'):\n"
        "            raise FileNotFoundError(2, 'No such file or directory', path)\n"
        "        return call(path, *rest, **more)\n"
        "    return looked\n"
        "import builtins\n"
        "os.listdir, os.open, builtins.open = refuse(os.listdir), refuse(os.open), refuse(open)\n"
        "child.main()\n"
    )
    monkeypatch.setattr(process, "_CHILD", str(program))
    seven = wasmrun.Function('(module (func (export "f") (result i32) (i32.const 7)))')
    with (
        wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir) as executor,
        pytest.raises(wasmrun.HostError, match=r"not fit to serve.*/proc.*mount it"),
    ):
        executor.invoke(seven)
    with wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir, hardening="off", max_memory="1GiB") as executor:
        assert executor.invoke(seven) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 0}, "processes must be a whole number of at least 1, not 0"),
        ({"processes": -1}, "processes"),
        ({"processes": 1.0}, "processes"),
        ({"processes": True}, "processes"),
        ({"threads": 0}, "threads"),
        ({"max_sandboxes": 0}, "max_sandboxes"),
        ({"max_sandboxes": 1, "threads": 2}, "max_sandboxes must be from 2"),
        ({"tenant_concurrency": 0}, "tenant_concurrency"),
        ({"max_uses": 0}, "max_uses"),
        ({"hardening": "on"}, "hardening must be 'auto', 'off', or names of walls"),
        ({"hardening": ["moat"]}, "hardening.*seccomp.*moat"),
        ({"wait": -1}, "must"),
        ({"max_age": "soon"}, "duration"),
        ({"max_memory": "lots"}, "size"),
        ({"host_timeout": -1}, "must"),
    ],
    ids=str,
)
def test_setting_that_cannot_be_is_refused(settings: dict[str, Any], message: str, cache_dir: Path) -> None:
    """At once, by its name, before any process is started."""
    with pytest.raises(ValueError, match=message):
        wasmrun.ProcessExecutor(cache_dir=cache_dir, **settings)


def test_program_that_cannot_be_run_is_a_host_error(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that is gone: the error says that no worker can be started."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir) as executor,
        pytest.raises(wasmrun.HostError, match="/nowhere/python"),
    ):
        executor.invoke(wasmrun.Function('(module (func (export "f") (result i32) (i32.const 7)))'))
