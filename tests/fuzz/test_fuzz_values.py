"""Made-up events, answers and frames: each ends in a value or a typed error, in bounded time."""

from __future__ import annotations

import pytest
import targets

import wasmrun

ANSWER = "answer"


def test_any_python_value_is_an_event_or_refused(either: targets.AnyExecutor) -> None:
    """By functions of every ABI, by its own error."""
    counts = targets.hunt(targets.Events(either), 120)
    assert counts["taken"]
    assert counts["InvalidEvent"]
    assert either.stats().pool.in_flight == 0


def test_any_bytes_are_an_answer_or_an_error(either: targets.AnyExecutor) -> None:
    """As the envelope that a guest answers with."""
    counts = targets.hunt(targets.Answers(either), 400)
    assert counts[ANSWER]
    assert counts["InvalidAnswer"]


def test_any_value_is_its_own_answer(either: targets.AnyExecutor) -> None:
    """Every value of plain types comes back as it went."""
    assert targets.hunt(targets.Values(either), 200)[ANSWER]


def test_any_output_is_an_answer_or_an_error(either: targets.AnyExecutor) -> None:
    """As what a command prints."""
    counts = targets.hunt(targets.Outputs(either), 150)
    assert counts[ANSWER]
    assert counts["InvalidAnswer"]


def test_any_place_is_an_answer_or_an_error(either: targets.AnyExecutor) -> None:
    """Exactly what lies in the memory and within the limit is read; the same for requests and lines of the log."""
    target = targets.Places(either)
    target.check((16, 256))
    counts = targets.hunt(target, 250)
    assert counts[ANSWER]
    assert counts["InvalidAnswer"]
    assert counts["ResultTooLarge"]


def test_any_bytes_are_a_request_or_refused(either: targets.AnyExecutor) -> None:
    """The guest reads why, and goes on."""
    counts = targets.hunt(targets.Requests(either), 200)
    assert counts[ANSWER]
    assert counts["refused"]


def test_any_bytes_are_frames_or_broken() -> None:
    """In whatever pieces they come."""
    counts = targets.hunt(targets.Frames(), 200)
    assert counts["BrokenFrame"]
    assert counts["Closed"]


def test_any_record_of_a_worker_is_right_or_broken() -> None:
    """A report, an error, logs and all else that is read of what a worker says."""
    counts = targets.hunt(targets.Records(), 800)
    assert counts["BrokenFrame"]
    assert counts[ANSWER]


@pytest.mark.parametrize("cls", wasmrun.errors.OUTCOMES)
def test_every_error_crosses_as_it_is(cls: type[wasmrun.WasmrunError]) -> None:
    """Its class, its message, and what else it keeps; a negative exit status, too."""
    error = cls("message", status=-1) if cls is wasmrun.GuestExit else cls("message")
    there = targets.wire.unpack_error(targets.wire.pack_error(error))
    assert type(there) is cls
    assert there.message == error.message
    assert getattr(there, "status", None) == getattr(error, "status", None)
