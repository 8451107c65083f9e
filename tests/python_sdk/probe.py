"""What the tests have the SDK do. The event is ``{"do", "event"}``; ``do`` is an example's name, or a function here."""

import logging
import os
import random
import uuid
from pathlib import Path

import hello
import report
import vectors

import wasmrun

RESUMED = []
AT_BUILD = (random.random(), dict(os.environ))

logging.info("while it is built")
try:
    wasmrun.call("ask", 1)
except wasmrun.Fail as refused:
    TOO_EARLY = refused.type


def init():
    vectors.init()


def resume():
    RESUMED.append(random.random())


def handle(event, context):
    do, event = event["do"], event["event"]
    if do in EXAMPLES:
        return EXAMPLES[do].handle(event, context)
    return globals()[do](event)


EXAMPLES = {"hello": hello, "report": report, "vectors": vectors}


class Teapot(Exception):
    pass


class Mute(Exception):
    def __str__(self):
        raise ValueError("no text")


ERRORS = {
    "own": Teapot("short and stout"),
    "nothing": Teapot(),
    "mute": Mute(),
    "system exit": SystemExit(3),
    "keyboard": KeyboardInterrupt(),
    "memory": MemoryError(),
    "half": ValueError("\ud800"),
    "fail": wasmrun.Fail("NotFound", "no such user"),
    "fail with a stack": wasmrun.Fail("NotFound", "no such user", ["a.py:3", 5]),
    "numbers": wasmrun.Fail(5, None),
}


def raises(event):
    def deeper():
        raise ERRORS[event]

    deeper()


def recurses(event):
    return recurses(event)


def imports(_event):
    import colorsys

    return colorsys.ONE_THIRD


def answers(event):
    ring = []
    ring.append(ring)
    return {
        "bytes": {"a": [b"\x00\xff", bytearray(b"b"), memoryview(b"c")]},
        "set": {1},
        "ring": ring,
        "nan": float("nan"),
        "infinity": [-float("inf")],
        "half": "\ud800",
        "keys": {1: 2, None: 3, 2.5: 4},
        "huge": 10**5000,
        "text": "ü\0\U0001f600\u2028",
    }[event]


def logs(_event):
    logger = logging.getLogger("some.module")
    logger.setLevel(logging.DEBUG)
    logger.debug("one %s", 1)
    logger.info("two")
    logger.warning("three")
    logger.error("four")
    logger.critical("five")
    logging.debug("is not told")
    logger.info("bad %d", "format")
    wasmrun.log("trace", "six")
    wasmrun.log("info", "half \ud800")
    print("printed")
    print("not ended", end="")


def wrong_level(event):
    wasmrun.log(event, "x")


def differs(_event):
    return [random.random(), AT_BUILD[0], RESUMED, str(uuid.uuid4()), os.urandom(8).hex(), hash("x")]


def finds(_event):
    return [dict(os.environ), AT_BUILD[1], os.getenv("MODE")]


def reads(event):
    return Path(event).read_text()


def asked_too_early(_event):
    return TOO_EARLY


def calls(event):
    return wasmrun.call(*event)


def fills(event):
    return len([bytearray(1 << 20) for _ in range(event)])


def spins(_event):
    while True:
        pass
