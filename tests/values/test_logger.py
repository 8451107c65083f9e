"""A logger that is looked up late is `logging`'s own in all that it does."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from wasmrun.logger import Logger


def test_logger_is_the_one_of_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """Records carry its name and the line that logged, and levels and handlers are those that were set."""
    caplog.set_level(logging.INFO, logger="wasmrun.some.part")
    log = Logger("wasmrun.some.part")
    log.debug("not %s", "this")
    log.warning("but %s", "that")
    [record] = caplog.records
    assert (record.name, record.getMessage(), record.filename) == ("wasmrun.some.part", "but that", "test_logger.py")
    assert record.funcName == "test_logger_is_the_one_of_its_name"
    assert log.isEnabledFor(logging.INFO)
    assert log.getEffectiveLevel() == logging.INFO


def test_logger_tells_of_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback."""
    try:
        raise ValueError("an example")
    except ValueError:
        Logger("wasmrun.some.part").exception("failed")
    assert caplog.records[0].exc_info is not None
    assert "ValueError: an example" in caplog.text


def test_logging_is_loaded_with_the_first_record() -> None:
    """And written where the standard library writes what no handler wants."""
    script = """
import sys
from wasmrun.logger import Logger
log = Logger("wasmrun.some.part")
assert "logging" not in sys.modules
log.warning("told")
assert "logging" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "told\n")
