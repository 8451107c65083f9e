"""Plug-ins answer here what they answer in Extism's own runtime, which runs beside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from extism_kit import ECHO, PLUGINS, A, B, Either, oracle, plugin

import wasmrun

pytest.importorskip("extism", reason="Extism's own runtime is an extra: pip install extism")

KERNEL = plugin(
    echo=ECHO,
    part="(call $output_set (i64.add (call $input_offset) (i64.const 1)) (i64.const 2))",
    nothing="(call $output_set (i64.const 0) (i64.const 0))",
    silent="",
    words="(call $say (i64.add (call $input_load_u64 (i64.const 0)) (call $input_load_u64 (i64.const 1))))",
    past_input="(call $say (call $input_load_u64 (call $input_length)))",
    byte_past_input="(call $say (i64.extend_i32_u (call $input_load_u8 (i64.const 1000000))))",
    length_of_input="(call $say (call $length (call $input_offset)))",
    length_inside="(call $say (call $length (i64.add (call $input_offset) (i64.const 1))))",
    length_of_garbage="(call $say (i64.add (call $length (i64.const -1)) (call $length (i64.const 77777))))",
    length_of_nothing="(call $say (call $length_unsafe (i64.const 0)))",
    free_input="(call $free (call $input_offset)) (call $say (call $input_length))",
    free_twice=f"(local.set $a (call $text {A})) (call $free (local.get $a)) (call $free (local.get $a)) (call $say {B})",
    free_garbage=f"(call $free (i64.const -1)) (call $free (i64.const 1)) (call $say {A})",
    after_free=f"(local.set $a (call $text {A})) (call $free (local.get $a)) (call $say (call $length (local.get $a)))",
    load_far="(call $say (i64.add (call $load_u64 (i64.const 0xffffffffff)) (call $load_u64 (i64.const -1))))",
    load_byte_far="(call $say (i64.extend_i32_u (call $load_u8 (i64.const 0x7fffffff))))",
    store_far="(call $store_u64 (i64.const 0x7fffffff) (i64.const 1)) (call $store_u8 (i64.const -1) (i32.const 1))",
    store_at_nothing="(call $store_u64 (i64.const 0) (i64.const 1)) (call $say (call $load_u64 (i64.const 0)))",
    alloc_nothing="(call $say (call $alloc (i64.const 0)))",
    alloc_all="(call $say (call $alloc (i64.const 0x100000000000)))",
    log_nothing="(call $log_info (i64.const 0))",
    log_garbage="(call $log_error (i64.const 12345))",
    log_takes_it=f"(local.set $a (call $text {A})) (call $log_warn (local.get $a)) (call $say (call $length (local.get $a)))",
    config=f"(local.set $a (call $config_get (call $text {A}))) (call $output_set (local.get $a) (call $length (local.get $a)))",
    config_missing=f"(call $say (call $config_get (call $text {B})))",
    config_of_nothing="(call $say (call $config_get (i64.const 0)))",
    var=f"(call $var_set (call $text {A}) (call $text {B})) (local.set $a (call $var_get (call $text {A})))"
    "(call $output_set (local.get $a) (call $length (local.get $a)))",
    var_missing=f"(call $say (call $var_get (call $text {A})))",
    var_removed=f"(call $var_set (call $text {A}) (call $text {B})) (call $var_set (call $text {A}) (i64.const 0))"
    f"(call $say (call $var_get (call $text {A})))",
    var_replaced=f"(call $var_set (call $text {A}) (call $text {B})) (call $var_set (call $text {A}) (call $text {A}))"
    f"(call $say (call $load_u64 (call $var_get (call $text {A}))))",
    var_of_nothing=f"(call $var_set (i64.const 0) (call $text {B})) (call $say (call $load_u64 (call $var_get (i64.const 0))))",
    var_takes_both=f"(local.set $a (call $text {A})) (local.set $b (call $text {B})) (call $var_set (local.get $a) (local.get $b))"
    "(call $say (i64.add (call $length (local.get $a)) (call $length (local.get $b))))",
    status_before="(call $say (i64.extend_i32_u (call $http_status_code)))",
    error=f"(call $error_set (call $text {A})) (return (i32.const 3))",
    error_and_0=f"(call $error_set (call $text {A})) {ECHO}",
    error_taken_back=f"(call $error_set (call $text {A})) (call $error_set (i64.const 0)) {ECHO}",
    error_then_reset=f"(call $error_set (call $text {A})) (call $reset) (call $say {B})",
)


@pytest.mark.parametrize("entry", re.findall(r"func \$(\w+) \(export", KERNEL))
def test_kernel_answers_as_that_of_extism(executor: Either, entry: str) -> None:
    """Function by function, with handles that are none and places that are not there, too."""
    config = {"A" * 8: "a value"}
    wanted = oracle(KERNEL, entry, b"some input", config=config)
    result = executor.run(wasmrun.Function(KERNEL, entry=entry, raw=True, config=config), b"some input")
    got = result.value if result.error is None else result.error.message
    assert got == wanted


def test_oracle_says_the_same_of_codes_and_traps(local: wasmrun.Executor) -> None:
    """In other words: a code without a text, a trap, and a function that does not fit."""
    source = plugin(
        code="(return (i32.const -5))",
        trap="unreachable",
        config="(drop (call $config_get (i64.const 12345)))",
        var=f"(call $var_set (i64.const -1) (call $text {B}))",
        value=f"(call $var_set (call $text {B}) (i64.const 12345))",
        get="(drop (call $var_get (i64.const 1)))",
    )
    for entry, theirs, ours in (
        *(
            (entry, "wasm backtrace", "the plug-in gave a handle that is none")
            for entry in ("config", "var", "value", "get")
        ),
        ("code", "Error code: -5", "the plug-in returned -5, and said nothing of why"),
        ("trap", "wasm backtrace", "the function trapped: unreachable"),
    ):
        assert theirs in str(oracle(source, entry, b""))
        with pytest.raises(wasmrun.FunctionError, match=ours):
            local.invoke(wasmrun.Function(source, entry=entry))


EVENTS = (b"", b"a", b"hello world", "Grüße, Jürgen".encode(), b"x" * 10_000, bytes(range(1, 128)))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("count_vowels", "count_vowels"),
        ("count_vowels", "fail"),
        *(("echo", entry) for entry in ("reverse", "grow_var", "configured", "warn")),
    ],
)
def test_real_plug_ins_answer_as_in_extism(executor: Either, name: str, entry: str) -> None:
    """One of Extism's AssemblyScript PDK, and one in C on WASI."""
    source = (PLUGINS / f"{name}.wasm").read_bytes()
    config = {"a": "value of a", "vowels": "xyz"}
    function = wasmrun.Function(source, entry=entry, raw=True, config=config)
    for event in EVENTS:
        wanted = oracle(source, entry, event, config=config)
        result = executor.run(function, event)
        assert (result.value if result.error is None else result.error.message) == wanted, event


def test_plug_in_of_a_pdk_counts_vowels(executor: Either) -> None:
    """JSON comes back as its value, and what it logged is in the log."""
    function = wasmrun.Function(PLUGINS / "count_vowels.wasm", entry="count_vowels")
    result = executor.run(function, b"hello world")
    assert result.value == {"count": 3, "total": 3}
    assert [log.message for log in result.logs] == ["counted"]


def test_c_plug_in_is_what_its_source_says(tmp_path: Path, executor: Either) -> None:
    """Built anew it answers the same."""
    pytest.importorskip("ziglang", reason="the compiler is an extra: pip install 'wasmrun[c]'")
    built = tmp_path / "echo.wasm"
    flags = ["-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s", "-Wl,-z,stack-size=65536"]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, PLUGINS / "echo.c", "-o", built], check=True)

    def answers(module: Path) -> list[Any]:
        return [
            executor.invoke(wasmrun.Function(module, entry=entry), event)
            for entry in ("reverse", "grow_var")
            for event in EVENTS
        ]

    assert answers(built) == answers(PLUGINS / "echo.wasm")


def test_assemblyscript_plug_in_is_what_its_source_says(tmp_path: Path, executor: Either) -> None:
    """Where npm has put compiler and PDK: ``npm install assemblyscript @extism/as-pdk``."""
    modules = next(
        (at / "node_modules" for at in PLUGINS.parents if (at / "node_modules" / "@extism" / "as-pdk").is_dir()), None
    )
    if modules is None:
        pytest.skip("no @extism/as-pdk in a node_modules above this file")
    source = tmp_path / "count_vowels.ts"
    source.write_text((PLUGINS / "count_vowels.ts").read_text())
    (tmp_path / "node_modules").symlink_to(modules)
    flags = ["-O3z", "--runtime", "minimal", "--use", "abort=count_vowels/abort", "-o", "built.wasm"]
    subprocess.run([modules / ".bin" / "asc", source.name, *flags], check=True, cwd=tmp_path)
    built = wasmrun.Function(tmp_path / "built.wasm", entry="count_vowels")
    assert json.dumps(executor.invoke(built, b"aeiou")) == '{"count": 5, "total": 5}'
