"""Records: what is saved can be read, and what is read may be anything."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from bench_kit import samples
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.bench import record as module
from wasmrun.bench.environment import versions
from wasmrun.bench.measuring import Plan
from wasmrun.bench.record import Unreadable, read_record, record, to_bytes, write_whole
from wasmrun.bench.samples import Load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench_kit import Make


@pytest.fixture
def whole(measured: Make) -> dict[str, Any]:
    """A record of one function, as an object."""
    load = samples("open", 10, count=3, place="processes", load=Load(2, 10.0, 20.0, 1, 5, None))
    return json.loads(to_bytes(record([measured(cold=5, init=1, loads=(load,))], {"cold": 3})))  # type: ignore[no-any-return]


def test_record_has_every_sample_and_what_it_depends_on(measured: Make, tmp_path: Path) -> None:
    """In the order of measuring, with versions, machine and settings; and is what was measured when read."""
    load = samples("closed", 10, count=3, load=Load(1, 10.0, warm_share=0.5))
    found = measured("[red]f", cold=5, steady_call=2, loads=(load,))._replace(notes=("reused: it takes one",))
    packed = record([found], {"cold": 1_000})
    assert set(packed) == {"format", "version", "made", "versions", "machine", "settings", "functions"}
    assert set(packed["versions"]) == {"wasmrun", "engine", "python", "hotpath"}
    assert set(packed["machine"]) == {"system", "machine", "processor", "processors", "load"}
    path = tmp_path / "saved.json"
    write_whole(str(path), to_bytes(packed))
    (again,) = read_record(str(path)).found
    assert again.as_dict() == found.as_dict()
    for key in ("cold", "steady_call", "closed@1"):
        one, other = again.of(key), found.of(key)
        assert one is not None
        assert other is not None
        assert one.nanoseconds == other.nanoseconds
        assert one.load == other.load


def test_record_tells_what_was_not_the_same(whole: dict[str, Any], tmp_path: Path) -> None:
    """Versions, machine and settings; not how much was measured, nor how busy the machine was."""
    whole["versions"]["engine"] = "49.0\x1b[31m"
    whole["machine"]["load"] += 5
    whole["settings"] |= {"event": '{"n": 1}', "memory": "64MiB", "cold": 9, "fuel": None}
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(whole))
    found = read_record(str(path))
    engine, *rest = found.unlike({"event": '{"n": 2}', "warm": 5})
    assert re.fullmatch(r"engine 49\.0\S*31m, now [\d.]+", engine)
    assert engine.isprintable()
    assert rest == ['event {"n": 1}, now {"n": 2}', "memory 64MiB, now not given"]
    whole["versions"] = versions()
    path.write_text(json.dumps(whole))
    assert read_record(str(path)).unlike({"event": '{"n": 1}', "memory": "64MiB"}) == ()
    assert set(Plan._fields) < set(module._OF_THE_MEASURING)


def test_record_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nothing is left beside it."""
    path = tmp_path / "saved.json"
    write_whole(str(path), b"one")
    write_whole(str(path), b"two")
    with pytest.raises(OSError, match="directory"):
        write_whole(str(tmp_path / "gone" / "saved.json"), b"x")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("saved.json", b"two")]


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(whole: Any) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for parent in parents:
            whole = whole[parent]
        whole[last] = value

    return change


WRONG = {
    "format": "something else", "version": 2, "functions": [], "functions.0": 5, "functions.0.function": "",
    "functions.0.abi": None, "functions.0.notes": "none", "functions.0.samples": {}, "functions.0.samples.0": [],
    "functions.0.samples.0.key": "k" * 500, "functions.0.samples.0.name": "hot", "functions.0.samples.0.place": "moon",
    "functions.0.samples.0.nanoseconds": [], "functions.0.samples.1.nanoseconds": [1, -1],
    "functions.0.samples.1.key": "init", "functions.0.samples.2.load": None,
    "functions.0.samples.2.load.rate": "fast", "functions.0.samples.2.load.more": 1,
    "functions.0.samples.2.load.concurrency": True, "functions.0.samples.2.load.rate ": 1,
    "functions.0.samples.2.load.unsent": None, "functions.0.samples.2.load.asked": 5, "versions": 5, "machine": None,
    "settings": {str(number): 1 for number in range(200)},
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG)
def test_record_that_is_wrong_is_refused(path: str, whole: dict[str, Any], tmp_path: Path) -> None:
    """By name, in one line."""
    file = tmp_path / "saved.json"
    file.write_text(json.dumps(whole))
    assert len(read_record(str(file)).found) == 1
    if path == "functions.0.samples.1.key":
        whole["functions"][0]["samples"].append(whole["functions"][0]["samples"][0])
    else:
        _set(path, WRONG[path])(whole)
    file.write_text(json.dumps(whole))
    with pytest.raises(Unreadable) as raised:
        read_record(str(file))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("value", [True, 1.5, "1", None, 10**16, [1]])
def test_record_with_a_sample_that_is_no_duration_is_refused(value: Any, whole: dict[str, Any], tmp_path: Path) -> None:
    """Nor is one of a million years."""
    whole["functions"][0]["samples"][0]["nanoseconds"][7] = value
    file = tmp_path / "saved.json"
    file.write_text(json.dumps(whole))
    with pytest.raises(Unreadable, match="nanoseconds"):
        read_record(str(file))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}', b"{}"], ids=repr
)
def test_record_that_is_no_record_is_refused(data: bytes, tmp_path: Path) -> None:
    """Whatever it is."""
    file = tmp_path / "saved.json"
    file.write_bytes(data)
    with pytest.raises(Unreadable):
        read_record(str(file))


@given(st.binary(max_size=200))
def test_record_of_any_bytes_is_refused(data: bytes) -> None:
    """With the one error that there is for it."""
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with pytest.raises(Unreadable):
            read_record(file.name)


def test_record_that_is_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that has none."""
    with pytest.raises(Unreadable, match="more than 64 MiB"):
        read_record("/dev/zero")
    with pytest.raises(Unreadable, match="cannot be read: Is a directory"):
        read_record(str(tmp_path))
    with pytest.raises(Unreadable, match="cannot be read"):
        read_record("a\0b")
    assert module.MOST_BYTES == 64 * 2**20
