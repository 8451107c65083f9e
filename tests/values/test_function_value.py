"""A function is a value: frozen, comparable, hashable, picklable, and checked when it is made."""

from __future__ import annotations

import copy
import dataclasses
import operator
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmrun
from wasmrun.errors import InvalidFunction
from wasmrun.function import ABIS, Directory, Function, Grants, parse_directory
from wasmrun.limits import Limits

WAT = '(module (func (export "f")))'
CHANGES: dict[str, Any] = {
    "module": "other.wasm",
    "name": "other",
    "tenant": "acme",
    "version": "7",
    "entry": "go",
    "abi": "plain",
    "args": ("-v",),
    "warm": 5,
    "concurrency": 3,
    "reuse": True,
    "snapshot": True,
    "raw": True,
    "env": {"A": "b"},
    "dirs": ("/tmp::/t",),
    "config": {"k": "v"},
    "imports": {"now": operator.neg},
    "http": ("a.test",),
    "http_networks": ("10.0.0.0/8",),
    "http_secrets": {"a.test": {"X-Key": "hidden"}},
    "http_requests": 5,
    "http_bytes": 5,
    "memory": "1MiB",
    "timeout": "1s",
    "init_timeout": "1s",
    "fuel": None,
    "stack": "128KiB",
    "table_elements": 5,
    "event_bytes": 5,
    "result_bytes": 5,
    "var_bytes": 5,
    "log_bytes": 5,
    "module_bytes": 50,
}


def test_function_defaults_are_the_designs() -> None:
    """Nothing granted, one sandbox warm, no limit on concurrency, every event in its own sandbox."""
    function = Function("a.wasm")
    assert (function.env, function.dirs, function.imports, function.args) == ((), (), (), ())
    assert (function.entry, function.abi, function.warm, function.concurrency) == (None, None, 1, None)
    assert (function.reuse, function.raw, function.version) == (False, False, "$LATEST")
    for field in dataclasses.fields(Limits):
        assert getattr(function, field.name) == getattr(Limits(), field.name)


def test_function_takes_its_module_by_position_and_the_rest_by_name() -> None:
    """A path first, as everywhere in the documentation."""
    assert Function("a.wasm").module == Function(module="a.wasm").module == "a.wasm"
    with pytest.raises(TypeError):
        Function("a.wasm", "name")  # type: ignore[misc]
    with pytest.raises(TypeError, match="module"):
        Function()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("module", "held", "is_text"),
    [
        ("dir/a.wasm", "dir/a.wasm", False),
        (Path("dir") / "a.wat", os.path.join("dir", "a.wat"), False),
        (Path("(1).wasm"), os.path.join(".", "(1).wasm"), False),
        (b"\0asm", b"\0asm", False),
        (WAT, WAT, True),
        ("\n  ;; a comment\n" + WAT, "\n  ;; a comment\n" + WAT, True),
        ("(; odd ;)(module)", "(; odd ;)(module)", True),
    ],
    ids=["path", "Path", "Path that looks like WAT", "bytes", "wat", "comment", "block comment"],
)
def test_function_module_is_a_path_bytes_or_text(module: Any, held: str | bytes, is_text: bool) -> None:
    """Text starts with a parenthesis or a comment; no path that anybody types does."""
    function = Function(module)
    assert (function.module, function.is_text) == (held, is_text)


@pytest.mark.parametrize("module", ["", b"", None, 5, bytearray(b"\0asm"), ["a.wasm"]], ids=repr)
def test_function_module_refuses_everything_else(module: Any) -> None:
    """Also what would be no module at all."""
    with pytest.raises(InvalidFunction, match="module: must be a path, bytes or WAT text"):
        Function(module)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dir/resize.wasm", "resize"),
        (Path("resize.min.wasm"), "resize.min"),
        (b"\0asm", "function"),
        (WAT, "function"),
        ("dir/.wasm", ".wasm"),
        ("a\nb.wasm", "function"),
        ("x" * 256 + ".wasm", "x" * 256),
        ("x" * 257 + ".wasm", "function"),
        ("dir/", "function"),
    ],
)
def test_function_name_comes_from_the_file(module: Any, name: str) -> None:
    """Unless that is no name that could be shown."""
    assert Function(module).name == Function(module).label == name
    assert Function(module, name="mine").label == "mine"


@pytest.mark.parametrize("field", ["name", "version", "entry"])
@pytest.mark.parametrize("value", ["", "a\nb", "\x1b[1m", "x" * 257, 5, b"x"], ids=repr)
def test_function_names_are_short_printable_text(field: str, value: Any) -> None:
    """They go into logs, headers and the guest's context."""
    with pytest.raises(InvalidFunction, match=f"{field}: must be 1 to 256 printable characters"):
        Function("a.wasm", **{field: value})


def test_function_abi_is_one_of_those_there_are() -> None:
    """The error lists them."""
    for abi in ABIS:
        assert Function("a.wasm", abi=abi).abi == abi
    with pytest.raises(InvalidFunction, match=f"abi: must be one of {', '.join(ABIS)}, not 'cgi'"):
        Function("a.wasm", abi="cgi")


@pytest.mark.parametrize("value", [0, -1, "0", 1.5, "many", True])
def test_function_concurrency_is_at_least_one_or_none(value: Any) -> None:
    """A function that no event may run is a mistake."""
    with pytest.raises(InvalidFunction, match="concurrency: must be"):
        Function("a.wasm", concurrency=value)


def test_function_concurrency_is_read_from_text() -> None:
    """As the command line gives it."""
    assert Function("a.wasm", concurrency="3").concurrency == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "value"), [("warm", -1), ("warm", 20_001), ("reuse", 1), ("raw", "yes")])
def test_function_refuses_a_bad_value_by_name(field: str, value: Any) -> None:
    """The rest of its own settings."""
    with pytest.raises(InvalidFunction, match=f"^{field}: must be"):
        Function("a.wasm", **{field: value})


@pytest.mark.parametrize("given", [{"A": "1", "B": "x=y"}, ["A=1", "B=x=y"], [("A", "1"), ("B", "x=y")]])
def test_env_is_read_from_a_map_lines_or_pairs(given: Any) -> None:
    """Only the first equals sign separates."""
    assert Function("a.wasm", env=given).env == (("A", "1"), ("B", "x=y"))


@pytest.mark.parametrize(
    "given",
    [["A"], "A=1", {"": "x"}, ["=x"], {"A=B": "x"}, {"A": "\0"}, {"A\0": "x"}, {"A": 5}, {5: "A"}, [5],
     [("A", "b", "c")],
     {"A": "\udcff"}, {"\ud800": "x"}],
    ids=repr,
)  # fmt: skip
def test_env_refuses_what_is_no_variable(given: Any) -> None:
    """Among them what UTF-8 cannot write: it would fail when the sandbox is made."""
    with pytest.raises(InvalidFunction, match=r"^env: "):
        Function("a.wasm", env=given)


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("/data::/in", Directory("/data", "/in", True)),
        ("/data::/in:ro", Directory("/data", "/in", False)),
        ("/data/../x::.", Directory("/x", ".", True)),
        ("/a:b::/c:d", Directory("/a:b", "/c:d", True)),
        (Directory("/data", "in", False), Directory("/data", "in", False)),
    ],
)
def test_directory_is_read_from_text_and_written_back(text: Any, directory: Directory) -> None:
    """HOST::GUEST, with :ro for one that cannot be written to."""
    assert parse_directory(text) == directory == parse_directory(str(directory))


def test_directory_of_the_host_is_made_absolute() -> None:
    """So that it stays the same when the program changes its own."""
    assert parse_directory("data::/d").host == os.path.join(os.getcwd(), "data")


@pytest.mark.parametrize(
    "given", ["", "/a", "::", "/a::", "::/a", "/a:ro", "/a:::ro", "/a\0::/b", "/a::/b\0", "/a::\udcff", 5, None]
)
def test_directory_refuses_what_is_no_grant(given: Any) -> None:
    """Also through a function, which names the setting."""
    with pytest.raises(ValueError, match="write HOST::GUEST or HOST::GUEST:ro"):
        parse_directory(given)
    with pytest.raises(InvalidFunction, match=r"^dirs: "):
        Function("a.wasm", dirs=[given])


def test_dirs_are_read_from_one_or_many() -> None:
    """One text is one directory, not a list of letters."""
    one = Directory("/a", "/b", True)
    assert Function("a.wasm", dirs="/a::/b").dirs == (one,)
    assert Function("a.wasm", dirs=[one, "/c::/d:ro"]).dirs == (one, Directory("/c", "/d", False))


def test_args_are_a_sequence_of_texts() -> None:
    """Kept as a tuple."""
    assert Function("a.wasm", args=iter(["-v", ""])).args == ("-v", "")


@pytest.mark.parametrize("given", ["-v", ["a\0"], [5], 5, ["\udcff"]], ids=repr)
def test_args_refuse_what_is_none(given: Any) -> None:
    """One text is not a list of letters; what UTF-8 cannot write fails here, not in the sandbox."""
    with pytest.raises(InvalidFunction, match=r"^args: "):
        Function("a.wasm", args=given)


class Unhashable:
    """Something that can be called, but not told apart."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize(
    "given",
    [{"f": 5}, {5: print}, {"log": print}, {"http_request": print}, {"f": Unhashable()}, ["f"], 5],
    ids=lambda value: str(value)[:20],
)
def test_imports_refuse_what_cannot_be_offered(given: Any) -> None:
    """What cannot be called, and the names that the ABI has already."""
    with pytest.raises(InvalidFunction, match=r"^imports: "):
        Function("a.wasm", imports=given)


def test_imports_keep_names_and_functions() -> None:
    """As pairs, in their order."""
    assert Function("a.wasm", imports={"b": max, "a": min}).imports == (("b", max), ("a", min))


def test_changes_below_name_every_field() -> None:
    """What the tests of equality and replacing go through is complete."""
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Function)}


@pytest.mark.parametrize("field", CHANGES)
def test_function_differs_in_every_field(field: str) -> None:
    """Two that differ in anything are different functions, and equal settings are one."""
    function = Function(**{"module": "a.wasm", field: CHANGES[field]})
    same = Function(**{"module": "a.wasm", field: CHANGES[field]})
    assert function == same
    assert hash(function) == hash(same)
    assert function != Function("a.wasm")
    assert len({function, same, Function("a.wasm")}) == 2


@pytest.mark.parametrize("field", CHANGES)
def test_function_replaced_in_one_field_keeps_the_others(field: str) -> None:
    """`dataclasses.replace` is how a variant is made; parsed values are taken back as they are."""
    everything = Function(**{**CHANGES, "fuel": 5000})
    assert dataclasses.replace(everything) == everything
    plain = Function("b.wat", name="plain", fuel=7)  # what follows from other fields would follow them
    variant = dataclasses.replace(everything, **{field: getattr(plain, field)})
    for item in dataclasses.fields(Function):
        expected = plain if item.name == field else everything
        assert getattr(variant, item.name) == getattr(expected, item.name)


def test_function_name_follows_the_module_unless_it_was_given() -> None:
    """Also through copies: a variant with another module is not shown under the first one's name."""
    function = Function("a.wasm")
    for same in (function, pickle.loads(pickle.dumps(function)), copy.copy(function), dataclasses.replace(function)):
        assert same.name == "a"
        assert dataclasses.replace(same, module="b.wasm").name == "b"
        assert dataclasses.replace(same, module=WAT).name == "function"
        assert dataclasses.replace(same, name="mine", module="b.wasm").name == "mine"
    named = Function("a.wasm", name="a")
    assert named == function
    assert dataclasses.replace(named, module="b.wasm").name == "a"
    assert dataclasses.replace(named, module="b.wasm", name=None).name == "b"


def test_function_equals_nothing_else() -> None:
    """Neither its path nor its limits."""
    function = Function("a.wasm")
    assert function == function  # what is tested
    assert function != "a.wasm"
    assert function != Limits()
    assert Function(b"(module)") != Function("(module)")


@pytest.mark.parametrize("field", CHANGES)
def test_function_is_frozen(field: str) -> None:
    """Executors keep it as a key, threads share it."""
    function = Function("a.wasm")
    before = getattr(function, field)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(function, field, CHANGES[field])
    with pytest.raises(AttributeError):
        delattr(function, field)
    assert getattr(function, field) is before


@pytest.mark.parametrize("value", [Function("a.wasm"), Limits(), Grants()], ids=lambda value: type(value).__name__)
def test_function_takes_no_attribute_that_there_is_not(value: Any) -> None:
    """A slip of the pen after it was made is not ignored either; nor can its limits and grants be added to."""
    for name in ("memroy", "_key", "label", "__dict__"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(value, name, 1)
    assert not hasattr(value, "memroy")


def test_function_is_not_called() -> None:
    """An executor runs it."""
    assert not callable(Function("a.wasm"))


def test_function_survives_pickling_and_copying() -> None:
    """Equal, and found in a dictionary by the copy."""
    function = Function(**CHANGES)
    for again in (pickle.loads(pickle.dumps(function)), copy.copy(function), copy.deepcopy(function)):
        assert again == function
        assert {function: "found"}[again] == "found"


def test_function_survives_pickling_to_a_process_with_other_hashes() -> None:
    """Hashes of text differ from process to process; the function finds itself there nevertheless."""
    check = (
        "import pickle, sys, wasmrun; function = pickle.load(sys.stdin.buffer); "
        "print({wasmrun.Function('a.wasm', entry='go'): 'found'}[function])"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", check],
            input=pickle.dumps(Function("a.wasm", entry="go")),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"found\n"


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (Function("a.wasm"), "Function('a.wasm', name='a')"),
        (Function(b"\0" * 50_000), "Function(<50000 bytes>, name='function')"),
        (Function(WAT + " " * 5000), "Function(<5028 bytes>, name='function')"),
        (Function("a.wasm", memory="1MiB", reuse=True), "Function('a.wasm', memory=1048576, name='a', reuse=True)"),
    ],
    ids=["path", "bytes", "text", "settings"],
)
def test_function_repr_is_short(function: Function, shown: str) -> None:
    """The module's name or size, and what was changed."""
    assert repr(function) == shown


@given(
    st.dictionaries(
        st.sampled_from(sorted(CHANGES)),
        st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text() | st.integers()),
    )
)
def test_function_refuses_with_one_kind_of_error(settings: dict[str, Any]) -> None:
    """Whatever it is given: a function that can be hashed, or InvalidFunction that names a setting."""
    try:
        function = Function(**{"module": "a.wasm", **settings})
    except InvalidFunction as error:
        named = error.message.split(":")[0]
    else:
        assert hash(function) == hash(dataclasses.replace(function))
        return
    assert named in CHANGES


def test_function_is_the_packages_own() -> None:
    """One class, wherever it is taken from."""
    assert wasmrun.Function is Function
    assert wasmrun.Directory is Directory
