"""Manifests: what a file says becomes the settings of a function, and what cannot be honoured is refused by name."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from extism_kit import ECHO, PLUGINS, A, plugin

import wasmrun
from wasmrun import cli

ECHOED = (PLUGINS / "echo.wasm").read_bytes()
SHA = hashlib.sha256(ECHOED).hexdigest()


def write(tmp_path: Path, **manifest: Any) -> Path:
    """A manifest of the C plug-in, which lies beside it."""
    (tmp_path / "echo.wasm").write_bytes(ECHOED)
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"wasm": [{"path": "echo.wasm"}], **manifest}))
    return path


def test_manifest_becomes_settings(tmp_path: Path, local: wasmrun.Executor) -> None:
    """All of it."""
    path = write(
        tmp_path,
        memory={"max_pages": 20, "max_http_response_bytes": 1000, "max_var_bytes": 100},
        config={"k": "v"},
        allowed_hosts=["api.example.com", "*.example.org"],
        allowed_paths={".": "/here", "ro:/usr": "/usr"},
        timeout_ms=1500,
    )
    function = wasmrun.from_manifest(path, entry="configured")
    assert (function.memory, function.http_bytes, function.var_bytes, function.timeout) == (20 * 65_536, 1000, 100, 1.5)
    assert [str(rule) for rule in function.http] == [
        f"{scheme}://{host}" for host in ("api.example.com", "*.example.org") for scheme in ("https", "http")
    ]
    assert [str(item) for item in function.dirs] == [f"{tmp_path}::/here", "/usr::/usr:ro"]
    assert (function.label, function.config) == ("echo", (("k", "v"),))
    assert local.invoke(function, b"k") == "v"


def test_settings_win_over_a_manifest(tmp_path: Path) -> None:
    """Whoever calls has the last word."""
    function = wasmrun.from_manifest(write(tmp_path, timeout_ms=5), timeout="1s", name="mine")
    assert (function.timeout, function.label) == (1.0, "mine")


@pytest.mark.parametrize("wasm", [{"path": "echo.wasm"}, {"data": base64.b64encode(ECHOED).decode()}])
def test_checksum_is_checked(tmp_path: Path, local: wasmrun.Executor, wasm: dict[str, str]) -> None:
    """And what was checked is what runs."""
    path = write(tmp_path, wasm=[{**wasm, "hash": SHA.upper(), "name": "main"}])
    function = wasmrun.from_manifest(path, entry="reverse", raw=True)
    (tmp_path / "echo.wasm").write_bytes(b"something else")
    assert (function.label, local.invoke(function, b"abc")) == ("main", b"cba")
    path = write(tmp_path, wasm=[{**wasm, "hash": "00" * 32}])
    with pytest.raises(wasmrun.InvalidFunction, match=rf"wasm\[0\]\.hash is 0000.*, and the module's is {SHA}"):
        wasmrun.from_manifest(path)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ([], "it must be a JSON object"),
        ({}, '"wasm" must be a list with one module'),
        ({"wasm": []}, '"wasm" must be a list with one module'),
        ({"wasm": [{"path": "a"}, {"path": "b"}]}, "has 2 modules: they are not linked when a plug-in is loaded"),
        ({"wasm": [{"url": "https://a.test/x.wasm"}]}, "nothing is downloaded"),
        ({"wasm": [{}]}, 'must have a "path" or "data"'),
        ({"wasm": ["x"]}, r"wasm\[0\] must be a JSON object"),
        ({"wasm": [{"data": "?"}]}, "must be base64"),
        ({"wasm": [{"data": 5}]}, "must be base64"),
        ({"wasm": [{"path": "none.wasm", "hash": "00"}]}, "cannot be read: No such file"),
        ({"wasm": [{"path": "x", "hash": 5}]}, '"name" and "hash" must be text'),
        ({"wasm": [{"path": "x"}], "memorry": {}}, "it has the key 'memorry', which is none of wasm, memory"),
        ({"wasm": [{"path": "x"}], "memory": {"max": 5}}, "memory has the key 'max'"),
        (
            {"wasm": [{"path": "x"}], "memory": {"max_pages": 0}},
            "memory.max_pages must be a whole number of at least 1",
        ),
        ({"wasm": [{"path": "x"}], "timeout_ms": 1.5}, "timeout_ms must be a whole number"),
        ({"wasm": [{"path": "x"}], "config": {"a": 5}}, "config must be a JSON object of texts"),
        ({"wasm": [{"path": "x"}], "allowed_hosts": ["api-?.test"]}, "'api-\\?.test' is neither a host, nor"),
        ({"wasm": [{"path": "x"}], "allowed_hosts": [5]}, "5 is neither a host"),
        ({"wasm": [{"path": "x"}], "allowed_hosts": ["127.0.0.1"]}, "grant it with http_networks"),
        ({"wasm": [{"path": "x"}], "allowed_paths": {"ro:": "/x"}}, "must be paths"),
    ],
)
def test_manifest_that_cannot_be_honoured_is_refused(tmp_path: Path, manifest: Any, words: str) -> None:
    """With the name of what is wrong."""
    path = tmp_path / "m.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(wasmrun.InvalidFunction, match=words):
        wasmrun.from_manifest(path)


def test_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    """No file, no JSON."""
    path = tmp_path / "m.json"
    with pytest.raises(wasmrun.InvalidFunction, match=r"m.json cannot be read: No such file"):
        wasmrun.from_manifest(path)
    path.write_text("wasm = []")
    with pytest.raises(wasmrun.InvalidFunction, match=r"the manifest .*m.json: Expecting value"):
        wasmrun.from_manifest(path)


def test_manifest_runs_from_a_shell(tmp_path: Path) -> None:
    """In the place of a module; what the plug-in answers is printed as it stands, and its error has its status."""

    def run(*args: Any) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "wasmrun", "run", *args], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    path = write(tmp_path, config={"k": "v"})
    assert run("--manifest", path, "--entry", "reverse", "--event", '"ab"')[:2] == (0, '"ba"')
    status, _, said = run("--manifest", path, "--entry", "configured", "--event", "1")
    assert (status, said.splitlines()[0]) == (10, "wasmrun: GuestError: not configured")
    assert run("--manifest", path, "--entry", "configured", "--event", "1", "--config", "1=one")[:2] == (0, "one")
    assert run("--manifest", tmp_path / "none.json")[0] == 3
    status, _, said = run("x.wasm", "--manifest", path)
    assert status == 2
    assert "--manifest: it names the module; leave MODULE out" in said


def test_manifest_is_taken_by_every_command_that_looks_at_a_function(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`compile` does all that the first run would have to, kernel included; `bench` takes it beside modules."""
    path, cache = write(tmp_path, config={"k": "v"}), ["--cache-dir", str(tmp_path)]

    def run(*args: Any) -> dict[str, Any]:
        assert cli.status_of([*map(str, args), *cache, "--json"]) == 0
        found: dict[str, Any] = json.loads(capfdbinary.readouterr().out)
        return found

    function = wasmrun.from_manifest(path, entry="reverse")
    with wasmrun.Executor(cache_dir=tmp_path) as executor:
        assert not executor.is_compiled(function)
        assert run("compile", "--manifest", path)["was_cached"] is False
        assert executor.is_compiled(function)
        assert run("compile", "--manifest", path)["was_cached"] is True
        names = {item["name"] for item in run("cache", "list")["artifacts"]}
        assert names == {"echo", "extism-kernel"}
        (tmp_path / "m.json").write_text("{}")
        assert executor.invoke(function, "ab") == "ba"
    path = write(tmp_path, config={"k": "v"})
    found = run("inspect", "--manifest", path, "--entry", "reverse")
    assert (found["abi"], found["entry"], found["problem"]) == ("extism", "reverse", None)
    few = ["--cold", "2", "--warm", "2", "--event", '"ab"', "--duration", "10ms"]
    measured = run("bench", "--manifest", path, "--entry", "reverse", *few)["functions"]
    assert [item["function"] for item in measured] == ["echo"]


def test_compiled_kernel_needs_no_compiler(tmp_path: Path) -> None:
    """Neither in this process nor in workers."""
    function = wasmrun.from_manifest(write(tmp_path), entry="reverse")
    with wasmrun.ProcessExecutor(cache_dir=tmp_path, processes=1) as executor:
        assert not executor.is_compiled(function)
        executor.compile(function)
        assert executor.is_compiled(function)
        for artifact in tmp_path.glob("*kernel*"):
            artifact.unlink()
    with wasmrun.Executor(cache_dir=tmp_path, compile_limits=wasmrun.CompileLimits(cpu=0.001)) as executor:
        assert executor.invoke(function, "ab") == "ba"


def test_oracle_takes_the_same_manifest(tmp_path: Path) -> None:
    """Extism's runtime answers alike, with the paths as it wants them."""
    extism = pytest.importorskip("extism", reason="Extism's own runtime is an extra: pip install extism")
    source = plugin(
        run=ECHO,
        value=f"(local.set $a (call $config_get (call $text {A}))) (call $output_set (local.get $a) (call $length (local.get $a)))",
    )
    import wasmtime

    data = base64.b64encode(bytes(wasmtime.wat2wasm(source))).decode()
    manifest = {"wasm": [{"data": data}], "config": {"A" * 8: "x"}, "memory": {"max_pages": 40}, "timeout_ms": 1000}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(manifest))
    theirs = extism.Plugin(json.loads(path.read_text()))
    with wasmrun.Executor() as executor:
        for entry in ("run", "value"):
            ours = wasmrun.from_manifest(path, entry=entry, raw=True)
            assert executor.invoke(ours, b"event") == bytes(theirs.call(entry, b"event"))
