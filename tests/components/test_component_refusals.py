"""What cannot run as a component is refused before anything runs, by name, and with what to change."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from lifted import component
from preview2 import wasi_component

import wasmrun
from wasmrun.base_executor import BaseExecutor
from wasmrun.machine import capi
from wasmrun.machine.components.file import scan_component
from wasmrun.machine.facts import Facts

TEXTS = '(param "request" string) (result (result string (error string)))'


def binary(code: str) -> bytes:
    """The component of WAT as it stands in a file."""
    vec = capi.ByteVec()
    source = code.encode()
    assert not capi.wat2wasm(source, len(source), capi.addressof(vec))
    data = capi.string_at(vec.data, vec.size)
    capi.byte_vec_delete(capi.addressof(vec))
    return data


def importing(*items: str) -> str:
    """A component that imports *items* beside what it needs."""
    return component(imports=" ".join(f"(import {item})" for item in items))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "(component)",
            "the export 'handle' is missing; it must be func.event: string.* world wasmrun:function/function",
        ),
        (
            component().replace('(export "handle" (func $handle))', '(export "serve" (func $handle))'),
            "'handle' is missing.*it exports serve: name one with --entry",
        ),
        (
            component(
                functions='(func (export "begin") (result i32) (i32.const 0))',
                exports='(func $init (result u32) (canon lift (core func $i "begin"))) (export "init" (func $init))',
            ),
            r"the export 'init' must be func\(\), not func\(\) -> u32",
        ),
        (importing('"lookup" (func)'), "not granted: lookup; grant host functions"),
        (importing('"db" (instance (export "get" (func)) (export "put" (func)))'), "not granted: db.get, db.put;"),
        (importing('"db" (instance (export "row" (type (sub resource))))'), "not granted: db.row"),
        (importing('"m" (core module)'), "the module cannot be used: not a valid component|not granted: m"),
        (importing('"r" (type (sub resource))'), "not granted: r;"),
        (
            importing(f'"wasmrun:function/http@1.0.0" (instance (export "request" (func {TEXTS})))'),
            "not granted: wasmrun:function/http@1.0.0.request; grant HTTP requests with http=",
        ),
        (
            importing('"wasi:http/outgoing-handler@0.2.0" (instance)'),
            "not granted: wasi:http/outgoing-handler@0.2.0; HTTP requests are made with wasmrun:function/http",
        ),
        (importing('"wasi:keyvalue/store@0.2.0" (instance)'), "of WASI there is preview 2, without HTTP"),
        (
            importing('"wasi:cli/stdout@0.3.0" (instance)'),
            "not granted: wasi:cli/stdout@0.3.0; of WASI there is preview 2",
        ),
        (
            importing('"wasmrun:function/logger@1.0.0" (instance (export "log" (func (param "a" string))))'),
            r"logger@1.0.0.log must be func\(level: enum, message: string\), not func\(a: string\)",
        ),
        (
            importing('"wasmrun:function/logger@1.0.0" (instance (export "flush" (func)))'),
            "flush is nothing that wasmrun has; it has logger.log, http.request",
        ),
        (
            importing('"wasmrun:function/logger@2.0.0" (instance (export "log" (func)))'),
            "not granted: wasmrun:function/logger@2",
        ),
        (
            importing('"wasi:cli/stdout@0.2.0" (instance (export "get-stdout" (func (result string))))'),
            "cannot be instantiated: .*",
        ),
        (
            importing(*(f'"wasi:cli/exit@0.2.{at}" (instance)' for at in range(11))),
            "imports 11 versions of wasi:cli/exit; at most 10 are linked",
        ),
        (
            importing('"wasi:cli/stdout@0.2.0" (instance (export "get-all" (func)))'),
            "cannot be instantiated: .*",
        ),
    ],
)
def test_component_is_refused_by_name(threads: wasmrun.Executor, code: str, message: str) -> None:
    """For what it imports, or does not export."""
    with pytest.raises(wasmrun.InvalidFunction, match=message) as caught:
        threads.invoke(wasmrun.Function(code), 1)
    assert caught.value.message.isprintable()


def test_wrong_type_of_the_handler_is_told(executor: BaseExecutor) -> None:
    """Both that it has and that it should have."""
    code = """(component
      (core module $m (memory (export "memory") 1) (func (export "handle") (param i32 i32) (result i32) (i32.const 8))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8)))
      (core instance $i (instantiate $m)) (alias core export $i "memory" (core memory $l))
      (func (export "handle") (param "event" string) (result string)
        (canon lift (core func $i "handle") (memory $l) (realloc (core func $i "realloc")))))"""
    with pytest.raises(
        wasmrun.InvalidFunction,
        match=r"'handle' must be func\(event: string, context: string\) -> result<string, string>, "
        r"not func\(event: string\) -> string; build the component for the world",
    ):
        executor.invoke(wasmrun.Function(code), 1)


def test_component_and_module_are_not_taken_for_each_other(executor: BaseExecutor) -> None:
    """Where `abi` says the other."""
    for abi in ("native", "command", "plain", "extism"):
        with pytest.raises(wasmrun.InvalidFunction, match="component"):
            executor.invoke(wasmrun.Function(component(), abi=abi), 1)
    with pytest.raises(wasmrun.InvalidFunction, match="a module, and not a component"):
        executor.invoke(wasmrun.Function('(module (func (export "f")))', abi="component"), 1)
    assert executor.invoke(wasmrun.Function(component(), abi="component"), 1) == 1


@pytest.mark.parametrize("start", ["", " \n", ";; a comment\n", "(; one\n;)", ";; (module\n(; (component ;) "])
def test_component_is_known_by_its_text(executor: BaseExecutor, start: str) -> None:
    """Behind comments and spaces, too."""
    code = start + component()
    function = wasmrun.Function(code) if code.startswith(("(", ";")) else wasmrun.Function(code.encode())
    assert executor.invoke(function, 1) == 1


def test_component_whose_text_hides_it_says_what_to_do(executor: BaseExecutor) -> None:
    """Comments in comments are not read that far."""
    code = "(; (; ;) ;)" + component()
    with pytest.raises(wasmrun.InvalidFunction, match="name its ABI"):
        executor.invoke(wasmrun.Function(code), 1)
    assert executor.invoke(wasmrun.Function(code, abi="component"), 1) == 1


def test_snapshot_of_a_component_is_refused_with_the_reason(executor: BaseExecutor) -> None:
    """Before anything runs."""
    with pytest.raises(wasmrun.InvalidFunction, match="what its instances hold cannot be read"):
        executor.invoke(wasmrun.Function(component(), snapshot=True), 1)


def test_names_of_a_component_cannot_write_to_a_terminal(threads: wasmrun.Executor) -> None:
    """The engine takes no such names."""
    data = binary(importing('"aaaa" (func)')).replace(b"aaaa", b"a\x1b[m")
    with pytest.raises(wasmrun.InvalidFunction) as caught:
        threads.invoke(wasmrun.Function(data), 1)
    assert caught.value.message.isprintable()


def test_inspection_tells_what_a_component_is(executor: BaseExecutor) -> None:
    """Its functions with their types; of WASI the instances; what it would need."""
    found = executor.inspect(wasmrun.Function(importing('"db" (instance (export "get" (func (param "a" u8))))')))
    assert (found.abi, found.kind, found.reason, found.entry) == ("component", "text", "it is a component", None)
    assert found.problem is not None
    assert found.needs == ("db.get",)
    assert ("db.get", "func(a: u8)") in found.imports
    assert found.exports == (("handle", "func(event: string, context: string) -> result<string, string>"),)
    found = executor.inspect(wasmrun.Function(binary(wasi_component("(i32.const 8)"))))
    assert (found.kind, found.problem, found.needs, found.uses_wasi) == ("component", None, (), True)
    assert ("wasi:io/poll@0.2.0", "instance") in found.imports
    assert (found.entry, found.functions, found.memory_bytes) == ("handle", 2, 2 * 65536)


def scanned(data: bytes) -> Facts | None:
    """The facts of *data*, None where it is refused as it should be."""
    try:
        return scan_component(data)
    except ValueError:
        return None


def test_scan_ends_well_whatever_the_bytes() -> None:
    """Cut anywhere, and with any byte changed."""
    data = binary(wasi_component("(i32.const 8)"))
    facts = scan_component(data)
    assert (facts.memories, facts.memory_pages, facts.tables, facts.functions) == (1, 2, 0, 2)
    assert facts.is_component
    for end in range(len(data)):
        scanned(data[:end])
    some = random.Random(5)
    for _ in range(5_000):
        changed = bytearray(data)
        for _ in range(some.randint(1, 4)):
            changed[some.randrange(8, len(data))] = some.randrange(256)
        scanned(bytes(changed))


@pytest.mark.parametrize("seed", range(30))
def test_damaged_component_is_refused_and_kills_nobody(threads: wasmrun.Executor, seed: int) -> None:
    """Or it works; nothing else happens."""
    some = random.Random(seed)
    data = bytearray(binary(component()))
    for _ in range(some.randint(1, 3)):
        data[some.randrange(8, len(data))] = some.randrange(256)
    try:
        threads.invoke(wasmrun.Function(bytes(data), timeout="1s", warm=0), 1)
    except (wasmrun.InvalidFunction, wasmrun.FunctionError) as error:
        assert str(error).isprintable()  # noqa: PT017  # either is fine
    assert threads.invoke(wasmrun.Function(component()), 1) == 1


def test_scan_counts_what_is_instantiated() -> None:
    """Through components in components, and what they take from outside."""
    module = "(module (memory 2) (table 3 funcref))"
    code = f"""(component
      (core module $unused (memory 100))
      (core {module.replace("(module", "module $m", 1)[:-1]})
      (component $c (alias outer 1 $m (core module $n)) (core instance (instantiate $n)) (core instance (instantiate $n)))
      (instance (instantiate $c)) (core instance (instantiate $m)))"""
    facts = scan_component(binary(code))
    assert (facts.memories, facts.memory_pages, facts.tables, facts.table_elements) == (3, 6, 3, 3)


def test_module_is_no_component() -> None:
    """The header says so."""
    with pytest.raises(ValueError, match="a module, and not a component"):
        scan_component(b"\0asm\1\0\0\0")


def test_modules_need_nothing_of_components(tmp_path: Path) -> None:
    """Whoever runs modules only loads none of it."""
    program = (
        "import sys, wasmrun\n"
        f"with wasmrun.Executor(cache_dir={str(tmp_path)!r}) as executor:\n"
        "    executor.invoke(wasmrun.Function('(module (func (export \"f\") (result i32) (i32.const 1)))'))\n"
        "print([name for name in sys.modules if 'component' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def exporting(instance: str, *items: str) -> str:
    """A component that exports an *instance* of these *items*; a whole component is in it as $inner, for its handler."""
    inner = component().replace("(component", "(component $inner", 1)
    exports = " ".join(f"(export {item})" for item in items)
    return f"""(component {inner} (type $t u32) (instance $i (instantiate $inner))
      (instance $exported {exports}) (export "{instance}" (instance $exported)))"""


PROXY = "wasi:http/incoming-handler@0.2.0"
OF_ITS_OWN = f"""(component
  (component $inner
    (type $own (resource (rep i32))) (export $own' "request" (type $own))
    (core module $m (func (export "handle") (param i32 i32))) (core instance $i (instantiate $m))
    (func (export "handle") (param "request" (own $own')) (param "response-out" (own $own'))
      (canon lift (core func $i "handle"))))
  (instance $i (instantiate $inner)) (export "{PROXY}" (instance $i)))"""


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (exporting(PROXY), wasmrun.InvalidFunction, "incoming-handler@0.2.0.handle is missing"),
        (exporting(PROXY, '"handle" (type $t)'), wasmrun.InvalidFunction, "handle is missing"),
        (
            exporting(PROXY, '"handle" (func $i "handle")'),
            wasmrun.InvalidFunction,
            r"handle must be func\(request: own, response-out: own\), not func\(event: string",
        ),
        (OF_ITS_OWN, wasmrun.InvalidAnswer, "mismatched resource types"),
    ],
)
def test_handler_of_requests_that_is_none_is_refused(
    executor: BaseExecutor, code: str, error: type[wasmrun.WasmrunError], message: str
) -> None:
    """An instance of that name may have anything in it."""
    with pytest.raises(error, match=message):
        executor.invoke(wasmrun.Function(code), {"version": "2.0"})


def test_exports_of_the_world_of_wasi_are_told(threads: wasmrun.Executor) -> None:
    """With their types."""
    found = threads.inspect(wasmrun.Function(exporting(PROXY, '"handle" (func $i "handle")')))
    assert [name for name, _ in found.exports] == [PROXY, f"{PROXY}.handle"]
