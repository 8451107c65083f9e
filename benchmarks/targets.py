"""Targets: what a figure was hoped to be, as people write it, and whether it is."""

import re

_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
_AT_MOST = re.compile(rf"≤ ({_NUMBER})")
_AT_LEAST = re.compile(rf"≥ ({_NUMBER})")
_BETWEEN = re.compile(rf"({_NUMBER}) to ({_NUMBER})")
_EXACTLY = re.compile(_NUMBER)


def is_met(target: str, value: float) -> bool:
    """Whether `value` is "≤ 3", "≥ 3", "1 to 3" or "3", as `target` says. Raises ValueError where it says none of these."""
    if found := _AT_MOST.fullmatch(target):
        return value <= _number(found[1])
    if found := _AT_LEAST.fullmatch(target):
        return value >= _number(found[1])
    if found := _BETWEEN.fullmatch(target):
        return _number(found[1]) <= value <= _number(found[2])
    if _EXACTLY.fullmatch(target):
        return value == _number(target)
    raise ValueError(f"{target!r} is no target; write '≤ 3', '≥ 3', '1 to 3' or '3'")


def _number(text: str) -> float:
    return float(text.replace(",", ""))
