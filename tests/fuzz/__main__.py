"""`python tests/fuzz --target modules|snapshots|events|answers|frames|plugins|components [--minutes N | --count N] [--from N] [--save DIR]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE.parent / name) for name in ("fuzz", "execution", "components", "wasi_http", "extism", ".")]

_SAY_SECONDS = 60.0


def main() -> int:
    """Fuzz what the command line asks for; the status is 1 where something was found."""
    parser = argparse.ArgumentParser(
        prog="python tests/fuzz", description="Made-up input for wasmrun: each is to end in a value or a typed error."
    )
    parser.add_argument(
        "--target",
        required=True,
        choices=("modules", "snapshots", "events", "answers", "frames", "plugins", "components"),
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--count", type=int, help="so many inputs, however long that takes")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="N", help="the number of the first input")
    parser.add_argument(
        "--save", type=Path, default=Path("found"), metavar="DIR", help="where modules that are found go"
    )
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60 if options.count is None else float("inf")
    last = sys.maxsize if options.count is None else options.first + options.count

    def numbers() -> Iterator[int]:
        number, said = options.first, time.monotonic()
        while number < last and time.monotonic() < until:
            yield number
            number += 1
            if time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                print(f"… {number - options.first} inputs", file=sys.stderr, flush=True)

    if options.target in ("modules", "snapshots"):
        return _modules(numbers(), options.save, snapshot=options.target == "snapshots")
    return _values(options.target, numbers())


def _modules(numbers: Iterator[int], saved: Path, *, snapshot: bool) -> int:
    import modules  # on the path since a moment ago

    with tempfile.TemporaryDirectory(prefix="wasmrun-fuzz-") as directory:
        target = modules.Modules(Path(directory), saved, snapshot=snapshot)
        try:
            for number in numbers:
                target.try_one(number)
        except KeyboardInterrupt:
            pass
        finally:
            target.close()
    print("made", dict(target.made.most_common()))
    for executor, counts in target.counts.items():
        print(executor, dict(counts.most_common()))
    print(f"slowest {target.slowest:.2f} s")
    for path, wrong in target.found:
        print(f"FOUND {path} {wrong}")
    return 1 if target.found else 0


def _values(name: str, numbers: Iterator[int]) -> int:
    import hunting  # as above

    counts = hunting.hunt_for(name, numbers)
    print(name, dict(counts.most_common()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
