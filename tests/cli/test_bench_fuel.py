"""`wasmrun bench --fuel-profile`: what events need, at a shell."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import programs
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]

EVENTS = "".join(json.dumps({"text": "word " * count}) + "\n" for count in range(1, 21))


def test_fuel_profile_prints_figures_and_a_limit(run: Run, save: Save) -> None:
    """With the events that need the most, and what a byte costs."""
    done = run("bench", programs.WORDS, "--fuel-profile", save(EVENTS, "events.jsonl"))
    assert (done.status, done.err) == (0, "")
    table, most, rest = done.out.split("\n\n")
    header, row = table.splitlines()
    assert header.split() == ["function", "events", "failed", "min", "p50", "p90", "p99", "max"]
    assert re.fullmatch(r"words +20 +0( +[\d,]+){5}", row)
    assert [line.split()[0] for line in most.splitlines()[1:]] == [f"events.jsonl:{at}" for at in range(20, 15, -1)]
    assert re.search(r"^by size: [\d.,]+ for a byte of the event, and -?[\d,]+, which accounts for 100% ", rest)
    limit = int(re.search(r"--fuel (\d+),", rest)[1])  # type: ignore[index]
    most_fuel = int(row.split()[-1].replace(",", ""))
    assert 2 * most_fuel <= limit <= 2.2 * most_fuel
    # Not to the unit: the limit is a number in the event's context, which takes more bytes where it is larger.
    command = ("run", programs.WORDS, "--event", EVENTS.splitlines()[-1], "--report", "none")
    assert run(*command, "--fuel", limit).status == 0
    assert run(*command, "--fuel", most_fuel - 1_000).status == 15


def test_fuel_profile_with_a_bad_line_tells_all_others(run: Run, save: Save) -> None:
    """And names it by its number; the status is that of what is wrong with it."""
    path = save(EVENTS.replace('{"text": "word word "}', "{bad"), "events.jsonl")
    done = run("bench", programs.WORDS, "--fuel-profile", path)
    assert done.status == 2
    assert re.search(r"^words +19 +1 ", done.out, re.MULTILINE)
    assert "not answered: events.jsonl:2: InvalidEvent: the event is not JSON" in done.out
    done = run("bench", programs.WORDS, "--fuel-profile", save('{"text": 5}\n', "bad.jsonl"))
    assert done.status == 10
    assert "no event was answered: there is nothing to go by" in done.out


def test_fuel_baseline_fails_where_an_event_needs_more(run: Run, save: Save, tmp_path: Path) -> None:
    """By one; with the status that a broken budget has. It passes where nothing changed."""
    events, saved = save(EVENTS, "events.jsonl"), tmp_path / "fuel.json"
    command = ("bench", programs.WORDS, "--fuel-profile", events)
    assert run(*command, "--save", saved).status == 0
    done = run(*command, "--fuel-baseline", saved)
    assert (done.status, done.out.splitlines()[-1]) == (0, "no event needs another amount of fuel than before")
    whole = json.loads(saved.read_bytes())
    whole["events"][4]["fuel"] -= 1
    whole["events"][5]["fuel"] += 7
    whole["events"][6]["digest"] = "another"
    whole["versions"]["engine"] = "0.1"
    saved.write_text(json.dumps(whole))
    done = run(*command, "--fuel-baseline", saved)
    assert done.status == 20
    assert re.search(r"^more fuel than before: events\.jsonl:5: [\d,]+, now [\d,]+ \(\+1\)$", done.out, re.MULTILINE)
    assert re.search(r"^less fuel than before: save it again: events\.jsonl:6: .*\(-7\)$", done.out, re.MULTILINE)
    assert "not in the baseline: events.jsonl:7\nin the baseline alone: events.jsonl:7\n" in done.out
    assert "the baseline was made with wasmrun 0.1.0, engine 0.1, " in done.out
    done = run(*command, "--fuel-baseline", saved, "--json")
    assert (done.status, done.json["baseline"]["is_broken"]) == (20, True)


def test_fuel_profile_lists_no_more_than_one_can_read(run: Run, save: Save) -> None:
    """And says how many more there are."""
    done = run("bench", programs.WORDS, "--fuel-profile", save("{\n" * 50, "events.jsonl"))
    assert done.out.count("not answered: ") == 21
    assert "not answered: 30 more (--json has all)" in done.out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--fuel", "none"), "--fuel-profile: with --fuel none nothing is counted"),
        (("--event", "{}"), "--event: it has no meaning with --fuel-profile"),
        (("--budget", "warm.p50<1s"), "--budget: it has no meaning"),
        (("--compare", "x"), "--compare: it has no meaning"),
        (("--plot", "x.svg"), "--plot: it has no meaning"),
        ((programs.ECHO,), "--fuel-profile: it is for one MODULE"),
        (("--fuel-baseline", "gone.json"), "--fuel-baseline: gone.json is no saved fuel profile: it cannot be read"),
        (("--save", "gone/x.json"), "--save: gone/x.json cannot be written"),
    ],
)
def test_fuel_profile_refuses_what_means_nothing(options: tuple[object, ...], error: str, run: Run, save: Save) -> None:
    """By name."""
    done = run("bench", programs.WORDS, "--fuel-profile", save('{"text": ""}', "events.jsonl"), *options)
    assert (done.status, done.output) == (2, b"")
    assert error in done.err


def test_fuel_profile_without_a_module_is_a_mistake(run: Run, save: Save) -> None:
    """As `bench` without one is; a manifest names one."""
    events = save('"x"\n', "events.jsonl")
    done = run("bench", "--fuel-profile", events)
    assert (done.status, "Missing argument 'MODULE'." in done.err) == (2, True)
    done = run("bench", "--manifest", "gone.json", "--fuel-profile", events)
    assert (done.status, "gone.json" in done.err) == (3, True)


def test_fuel_baseline_of_other_events_fails(run: Run, save: Save, tmp_path: Path) -> None:
    """A build must not pass because nothing was compared."""
    saved = tmp_path / "fuel.json"
    command = ("bench", programs.WORDS, "--fuel-profile")
    assert run(*command, save('{"text": "a"}\n', "before.jsonl"), "--save", saved).status == 0
    done = run(*command, save('{"text": "b"}\n', "now.jsonl"), "--fuel-baseline", saved)
    assert done.status == 20
    assert done.out.splitlines()[-1] == "no event of the baseline is in the corpus: nothing could be compared"


def test_fuel_profile_without_events_says_so(run: Run, save: Save, tmp_path: Path) -> None:
    """A file that is not there, and one with nothing in it; and a baseline alone is for nothing."""
    done = run("bench", programs.WORDS, "--fuel-profile", "gone.jsonl")
    assert (done.status, "gone.jsonl: it cannot be read: No such file" in done.err) == (2, True)
    done = run("bench", programs.WORDS, "--fuel-profile", save("\n", "empty.jsonl"))
    assert (done.status, "empty.jsonl has no events" in done.err) == (2, True)
    done = run("bench", programs.WORDS, "--fuel-baseline", "x.json")
    assert (done.status, "--fuel-baseline: it is for --fuel-profile" in done.err) == (2, True)
