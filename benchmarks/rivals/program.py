"""A rival's program: it says which ways it has to run an event, then what an event costs in one, a line of JSON each.

The line that nobody asked for comes first: `{"ways": {NAME: {"events": N, "beside": NAME}}}`, or `{"unavailable": TEXT}`. Each line
`EVENTS NAME` is then answered with `{"us_each": COST}`.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run an event. `run` takes a number of events, and answers microseconds for each.

    `events` are enough for a round; `beside` is the way of wasmrun that does the most like it.
    """

    run: Callable[[int], float]
    events: int
    beside: str


def serve(make: Callable[[], Mapping[str, Way]]) -> None:
    """Make the ways, try each once, and answer until the input ends. What `make` raises is why there are none."""
    # What a library prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        ways = make()
        for way in ways.values():
            way.run(way.events)
    except Exception as error:  # whatever it is, this rival is left out for it
        text = f"{type(error).__name__}: {error}"
        say({"unavailable": text})
        return
    say({"ways": {name: {"events": way.events, "beside": way.beside} for name, way in ways.items()}})
    for line in sys.stdin:
        events, _, name = line.strip().partition(" ")
        say({"us_each": ways[name].run(int(events))})


def checked(call: Callable[[], bytes], event: bytes) -> Callable[[], bytes]:
    """`call`, after it has answered `event`. Raises RuntimeError where it does not."""
    answer = call()
    if answer != event:
        raise RuntimeError(f"answered {answer!r}, not its event")
    return call
