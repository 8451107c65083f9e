"""``wasmrun bench --fuel-profile``: the fuel that the events of a corpus need."""

from __future__ import annotations

from typing import Any

from wasmrun.bench import drawing, fuel_drawing
from wasmrun.bench.budget import EXIT_STATUS
from wasmrun.bench.corpus import CorpusUnreadable, Entry, read_corpus
from wasmrun.bench.environment import versions
from wasmrun.bench.fuel import Baseline, Needs, find_needs, pack, read_baseline, regression
from wasmrun.bench.record import Unreadable, to_bytes, write_whole
from wasmrun.cli.inputs import Misuse, event_for, make_function
from wasmrun.cli.output import print_json
from wasmrun.cli.progress import progress
from wasmrun.errors import printable
from wasmrun.executor import Executor


def profile(
    module: str,
    settings: dict[str, Any],
    *,
    events: str,
    baseline: str | None,
    save: str | None,
    as_json: bool,
    cache_dir: str | None,
) -> int:
    """Run each event of *events*, and tell what it needed; the exit status."""
    function = make_function(module, settings, warm=0)
    if not function.is_metered:
        raise Misuse("--fuel-profile: with --fuel none nothing is counted")
    before = None if baseline is None else _baseline(baseline)
    entries = _entries(events)
    with (
        Executor(threads=1, max_sandboxes=16, cache_dir=cache_dir) as executor,
        progress(len(entries), as_json) as advance,
    ):
        loaded = executor.load(function)
        needs = find_needs(
            executor, function, entries, lambda data: event_for(data, is_raw=loaded.is_raw), lambda: advance(1)
        )
    if save is not None:
        try:
            write_whole(save, to_bytes(pack(needs)))
        except OSError as error:
            raise Misuse(f"--save: {printable(save)} cannot be written: {error.strerror}") from None
    return _tell(needs, before, function.event_bytes, as_json=as_json)


def _baseline(path: str) -> Baseline:
    try:
        return read_baseline(path)
    except Unreadable as error:
        raise Misuse(f"--fuel-baseline: {printable(path)} is no saved fuel profile: {error}") from None


def _entries(path: str) -> list[Entry]:
    try:
        entries = list(read_corpus(path))
    except CorpusUnreadable as error:
        raise Misuse(f"--fuel-profile: {printable(path)}: {error}") from None
    if not entries:
        raise Misuse(f"--fuel-profile: {printable(path)} has no events")
    return entries


def _tell(needs: Needs, before: Baseline | None, event_bytes: int, *, as_json: bool) -> int:
    found = None if before is None else regression(needs, before)
    if as_json:
        print_json({**needs.as_dict(), "baseline": None if found is None else found.as_dict()})
    else:
        console = drawing.new_console()
        fuel_drawing.draw_needs(console, needs, event_bytes)
        if found is not None:
            fuel_drawing.draw_regression(console, found, versions())
    if found is not None and found.is_broken:
        return EXIT_STATUS
    # What was answered is told; that not all was, is the status.
    return next((one.status for one in needs.failed), 0)
