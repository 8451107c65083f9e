"""Limits: what one sandbox may use, and how large what goes in and out of it may be."""

from __future__ import annotations

from wasmrun.dataclass import dataclass
from wasmrun.hints import TYPE_CHECKING
from wasmrun.settings import Frozen, Setting, count, duration, size, whole
from wasmrun.units import format_size, parse_size

if TYPE_CHECKING:
    from datetime import timedelta

KIB = 1024
MIB = 1024 * KIB

STACKS = (128 * KIB, 256 * KIB, 512 * KIB, 1 * MIB)
"""The stack sizes that there are engines for: a guest's stack size belongs to its engine."""

MOST_TABLE_ELEMENTS = 20_000
"""The largest table that there is room for in an engine's pool."""

FUEL_PER_SECOND = 7_000_000_000
LEAST_FUEL = 20_000_000_000


class _AutoFuel(int):
    """Fuel that follows from the timeout: a copy with another timeout gets fuel to match."""


def _parse_fuel(value: float | str | None) -> int | str | None:
    if isinstance(value, _AutoFuel):
        return "auto"
    if value is None or value == "auto":
        return value
    if isinstance(value, str) and value.lower() == "none":
        return None
    fuel = whole(value)
    if not 0 < fuel < 2**63:
        raise ValueError(f"must be a whole number above 0, or none, not {value!r}")
    return fuel


def _parse_stack(value: int | str) -> int:
    wanted = parse_size(value)
    for stack in STACKS:
        if wanted <= stack:
            return stack
    raise ValueError(f"must be at most {format_size(STACKS[-1])}, not {value!r}")


@dataclass(kw_only=True)
class Limits(Frozen):
    """What a sandbox may use. Sizes in bytes, durations in seconds, both also as text ("64MiB", "2s").

    ``fuel`` None compiles without metering; "auto" is 7e9 for each second of ``timeout``, at least
    20e9. ``stack`` is rounded up to one of 128 KiB, 256 KiB, 512 KiB and 1 MiB. A bad value raises
    `InvalidFunction` that names the setting.
    """

    memory: Setting[int, int | str] = size(128 * MIB, "Linear memory that the function may have.", most=4096 * MIB)
    timeout: Setting[float, float | str | timedelta] = duration(3.0, "Time that one event may take.")
    init_timeout: Setting[float, float | str | timedelta] = duration(10.0, "Time that preparing a sandbox may take.")
    fuel: Setting[int | str | None, int | float | str | None] = Setting(
        "auto", _parse_fuel, "Instructions that one event may execute, or 'none' for no metering.", "N|none"
    )
    stack: Setting[int, int | str] = Setting(512 * KIB, _parse_stack, "Stack of the guest.", "SIZE")
    table_elements: Setting[int, int] = count(
        MOST_TABLE_ELEMENTS, "Elements that the function's table may have.", most=MOST_TABLE_ELEMENTS
    )
    event_bytes: Setting[int, int | str] = size(6 * MIB, "Size of an event, encoded.", most=1024 * MIB)
    result_bytes: Setting[int, int | str] = size(6 * MIB, "Size of an answer, encoded.", most=1024 * MIB)
    var_bytes: Setting[int, int | str] = size(1 * MIB, "Size of an Extism plug-in's variables.", most=1024 * MIB)
    log_bytes: Setting[int, int | str] = size(256 * KIB, "Log that is kept of one event; the rest is cut.")
    module_bytes: Setting[int, int | str] = size(50 * MIB, "Size of the module.", least=8)

    def __post_init__(self) -> None:
        if self.fuel == "auto":
            self.__dict__["fuel"] = _AutoFuel(max(LEAST_FUEL, int(FUEL_PER_SECOND * self.timeout)))

    @property
    def is_metered(self) -> bool:
        """Whether the function's instructions are counted."""
        return self.fuel is not None

    @property
    def fuel_limit(self) -> int:
        """Fuel of one event; 0 where nothing is metered."""
        return int(self.fuel or 0)
