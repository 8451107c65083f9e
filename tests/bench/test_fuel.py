"""Fuel of a corpus: every event by name, nothing lost, and what it needed before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmrun
from wasmrun.bench import corpus
from wasmrun.bench.corpus import CorpusUnreadable, Entry, read_corpus
from wasmrun.bench.fuel import FORMAT, Baseline, Need, Needs, find_needs, pack, read_baseline, regression, round_up
from wasmrun.bench.record import Unreadable, to_bytes, write_whole

if TYPE_CHECKING:
    from pathlib import Path

COUNT_DOWN = wasmrun.Function(
    """(module (func (export "f") (param i32) (result i32)
         (if (i32.eq (local.get 0) (i32.const 13)) (then unreachable))
         (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (i32.gt_s (local.get 0) (i32.const 0))))
         (local.get 0)))""",
    name="down",
)
"""Needs as much fuel as its number is large, and does not like 13."""

UNSTEADY = wasmrun.Function(
    """(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
         (memory (export "memory") 1)
         (func (export "f") (result i32) (local i32)
           (drop (call $random (i32.const 0) (i32.const 2)))
           (local.set 0 (i32.load16_u (i32.const 0)))
           (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (i32.gt_s (local.get 0) (i32.const 0))))
           (i32.const 1)))""",
    abi="plain",
)
"""Needs as much as chance has it."""


def events(*numbers: object) -> list[Entry]:
    """A corpus of one number an event; a text is no JSON."""
    return [Entry(f"e:{at}", str(number).encode()) for at, number in enumerate(numbers, 1)]


# Corpora


def test_corpus_of_lines_names_each_by_its_number(tmp_path: Path) -> None:
    """Empty lines are none, and the last one needs no end."""
    path = tmp_path / "ev\x1bents.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\n  \n[2]\n{bad\n3')
    assert list(read_corpus(str(path))) == [
        Entry("ev\\x1bents.jsonl:1", b'{"a": 1}'),
        Entry("ev\\x1bents.jsonl:4", b"[2]"),
        Entry("ev\\x1bents.jsonl:5", b"{bad"),
        Entry("ev\\x1bents.jsonl:6", b"3"),
    ]


def test_corpus_of_files_is_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Whatever is no file, or hidden, is no event."""
    for name in ("b.json", "a.json", ".hidden"):
        (tmp_path / name).write_text(f'"{name}"')
    (tmp_path / "directory").mkdir()
    assert list(read_corpus(str(tmp_path))) == [Entry("a.json", b'"a.json"'), Entry("b.json", b'"b.json"')]


def test_corpus_with_a_line_that_is_too_long_has_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file of lines, and in a directory."""
    monkeypatch.setattr(corpus, "MOST_BYTES", 10)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"1\n" + b"2" * 35 + b"\n3\n" + b"4" * 35)
    assert [(one.name, one.data) for one in read_corpus(str(path))] == [
        ("events.jsonl:1", b"1"), ("events.jsonl:2", None), ("events.jsonl:3", b"3"), ("events.jsonl:4", None),
    ]  # fmt: skip
    (found,) = read_corpus(str(tmp_path))
    assert found.data is None
    assert found.problem.startswith("it has more than")


@pytest.mark.parametrize("path", ["gone.jsonl", "a\0b"])
def test_corpus_that_cannot_be_read_says_why(path: str) -> None:
    """With one error."""
    with pytest.raises(CorpusUnreadable, match="it cannot be read"):
        list(read_corpus(path))


def test_corpus_without_end_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before memory does."""
    monkeypatch.setattr(corpus, "_MOST_EVENTS", 3)
    path = tmp_path / "events.jsonl"
    path.write_text("1\n2\n3\n4\n")
    with pytest.raises(CorpusUnreadable, match="more than 3 events"):
        list(read_corpus(str(path)))


# Needs


def test_needs_are_exact_and_those_that_fail_are_named(executor: wasmrun.Executor) -> None:
    """A line that is no JSON, an event that traps, one that does not fit: each by its name, and all others are there."""
    entries = [*events(100, "{", 200, 13, '"x"', 300), Entry("e:7", None, "it is too large")]
    needs = find_needs(executor, COUNT_DOWN, entries, json_or_error)
    fuel = [one.fuel for one in needs.events]
    assert [one is None for one in fuel] == [False, True, False, True, True, False, True]
    assert fuel[2] - fuel[0] == fuel[5] - fuel[2] > 100  # type: ignore[operator]
    assert all(one.is_steady for one in needs.answered)
    assert [(one.name, one.error.partition(":")[0], one.status) for one in needs.failed] == [
        ("e:2", "InvalidEvent", 2),
        ("e:4", "GuestTrap", 12),
        ("e:5", "InvalidEvent", 2),
        ("e:7", "it is too large", 2),
    ]
    again = find_needs(executor, COUNT_DOWN, entries, json_or_error)
    assert again == needs


def json_or_error(data: bytes) -> Any:
    """As the command line reads events."""
    from wasmrun.cli.inputs import parse_event

    return parse_event(data)


def test_needs_of_a_function_that_differs_each_time_are_told_apart(executor: wasmrun.Executor) -> None:
    """They are in no baseline."""
    found = [find_needs(executor, UNSTEADY, events("[]"), json_or_error).events[0] for _ in range(8)]
    unsteady = [one for one in found if not one.is_steady]
    assert len(unsteady) >= 7  # one of 65,536 pairs is alike
    assert all(one.other is not None and one.fuel is not None and one.other < one.fuel for one in unsteady)
    assert pack(Needs("f", (unsteady[0],)))["events"] == []


def test_needs_of_a_function_that_cannot_be_run_are_its_error(executor: wasmrun.Executor) -> None:
    """Not one for each event."""
    with pytest.raises(wasmrun.InvalidFunction):
        find_needs(executor, wasmrun.Function('(module (import "a" "b" (func)))'), events(1), json_or_error)


def test_needs_propose_a_limit_with_headroom() -> None:
    """Twice the most, in two digits."""
    needs = Needs("f", (Need("a", "a", 10, 1_234), Need("b", "b", 20, 5_678), Need("c", "c", 5, None, error="x")))
    assert needs.proposed == 12_000
    assert Needs("f", ()).proposed is None
    assert needs.as_dict()["fuel"] == {"min": 1_234, "p50": 1_234, "p90": 5_678, "p99": 5_678, "max": 5_678}
    assert Needs("f", needs.events[2:]).as_dict()["fuel"] is None


@given(st.integers(0, 10**30))
def test_limit_is_rounded_up(number: int) -> None:
    """Never down, and by less than a tenth."""
    rounded = round_up(number)
    assert number <= rounded <= number * 1.1
    assert len(str(rounded).rstrip("0")) <= 2


def test_needs_have_a_line_where_size_decides() -> None:
    """And none where it does not, or where events of more bytes need less."""
    line = Needs("f", tuple(Need("e", str(at), at, 50 + 3 * at) for at in range(9))).line
    assert line is not None
    assert (line.base, line.slope) == (pytest.approx(50), pytest.approx(3))
    assert Needs("f", tuple(Need("e", str(at), at, at * 37 % 11) for at in range(40))).line is None
    assert Needs("f", tuple(Need("e", str(at), at, 500 - at) for at in range(9))).line is None


# Baselines


def needs_of(**fuel: int | None) -> Needs:
    """What events of one letter need."""
    return Needs("f", tuple(Need(name, name, 1, value) for name, value in fuel.items()))


def test_baseline_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """By the digests of events."""
    path = tmp_path / "fuel.json"
    write_whole(str(path), to_bytes(pack(needs_of(a=5, b=None, c=2**63 - 1))))
    baseline = read_baseline(str(path))
    assert baseline.fuel == {"a": 5, "c": 2**63 - 1}
    assert baseline.names == {"a": "a", "c": "c"}
    assert set(baseline.versions) == {"wasmrun", "engine", "python", "hotpath"}
    assert regression(needs_of(a=5, c=2**63 - 1), baseline) == (2, (), (), (), baseline.versions)


def test_regression_is_one_more() -> None:
    """No tolerance: fuel is exact. What fails now is worse, too; what is new, gone or better is said."""
    baseline = Baseline({"a": 5, "b": 5, "c": 5, "d": 5}, {name: name for name in "abcd"}, {})
    found = regression(needs_of(a=6, b=4, c=5, e=9, f=None), baseline)
    assert [(change.name, change.is_worse) for change in found.changes] == [("a", True), ("b", False)]
    assert (found.compared, found.added, found.gone, found.is_broken) == (3, ("e",), ("d",), True)
    assert not regression(needs_of(a=5, b=4, c=5, d=5), baseline).is_broken
    assert regression(needs_of(a=None), baseline).is_broken
    assert regression(needs_of(e=5), baseline).is_broken
    assert not regression(needs_of(a=5, e=5), baseline).is_broken


@pytest.mark.parametrize(
    "change",
    [
        {"format": "wasmrun benchmark"}, {"version": 2}, {"versions": []}, {"events": {}}, {"events": [5]},
        {"events": [{"name": "a", "digest": "a"}]}, {"events": [{"name": "a", "digest": "a", "fuel": True}]},
        {"events": [{"name": "a", "digest": "a", "fuel": -1}]}, {"events": [{"name": "a", "digest": "a", "fuel": 2**63}]},
        {"events": [{"name": "", "digest": "a", "fuel": 1}]}, {"events": [{"name": "a", "digest": [], "fuel": 1}]},
        {"events": [{"name": "a" * 2_000, "digest": "a", "fuel": 1}]},
    ],
    ids=str,
)  # fmt: skip
def test_baseline_that_is_wrong_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    """It may come from anywhere."""
    path = tmp_path / "fuel.json"
    whole = pack(needs_of(a=5))
    assert whole["format"] == FORMAT
    path.write_text(json.dumps(whole | change))
    with pytest.raises(Unreadable):
        read_baseline(str(path))
