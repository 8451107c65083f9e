"""The table of options: each spelled once. Both parsers are made from it, click's and the quick one.

What describes a function comes from the settings of its dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable

from wasmrun.function import ABIS, Function, Grants
from wasmrun.hints import Any, NamedTuple
from wasmrun.limits import FUEL_PER_SECOND, LEAST_FUEL, Limits
from wasmrun.settings import Setting, settings_of
from wasmrun.units import format_size

_FIRST = ("entry", "abi", "raw", "snapshot", "memory", "timeout", "fuel", "env", "dirs", "http", "http_networks")
_FLAGS = {"dirs": "--dir", "http_networks": "--http-network", "args": "ARGS", "module": "MODULE"}
_NOT_HERE = ("imports", "http_secrets")  # the latter: a command line is no place for one


class Option(NamedTuple):
    """One option: the parameter that it fills, how it is written, and what it may be given.

    A switch is on or off. A repeated option gives a tuple of its values, every other one its last value
    or *default*.
    """

    name: str
    flag: str
    help: str
    metavar: str | None = None
    short: str | None = None
    default: str | bool | tuple[str, ...] | None = None
    choices: tuple[str, ...] | None = None
    is_directory: bool = False

    @property
    def is_switch(self) -> bool:
        """Whether the option takes no value."""
        return self.default is False

    @property
    def is_repeated(self) -> bool:
        """Whether each value counts, not only the last one."""
        return self.default == ()

    @property
    def flags(self) -> tuple[str, ...]:
        """Every way to write it."""
        return (self.flag,) if self.short is None else (self.flag, self.short)

    @property
    def variable(self) -> str:
        """The variable of the environment that it can also come from."""
        return "WASMRUN_" + self.flag[2:].upper().replace("-", "_")


def flag_of(name: str) -> str:
    """How the setting *name* is written on a command line."""
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def _function_options() -> tuple[Option, ...]:
    settings = settings_of(Function)
    names = [name for cls in (Limits, Grants) for name in settings_of(cls)]
    rest = [name for name in names if name not in (*_FIRST, *_NOT_HERE)]
    return tuple(_option(name, settings[name]) for name in (*_FIRST, *rest))


def _option(name: str, setting: Setting[Any, Any]) -> Option:
    meaning = setting.help + _note(name, setting)
    if setting.default is False:
        return Option(name, flag_of(name), meaning, default=False)
    if name == "abi":
        return Option(name, flag_of(name), meaning, choices=ABIS)
    return Option(name, flag_of(name), meaning, setting.metavar, default=() if setting.default == () else None)


def _note(name: str, setting: Setting[Any, Any]) -> str:
    if name == "fuel":
        shown = f"{FUEL_PER_SECOND:.0e} for a second of timeout, at least {LEAST_FUEL:.0e}"
        return f"  [default: {shown.replace('e+0', 'e').replace('e+', 'e')}]"
    if setting.default == ():
        return "  [may be repeated]"
    if not setting.default:
        return ""
    formats: dict[str, Callable[[Any], str]] = {"SIZE": format_size, "TIME": "{:g}s".format}
    shown = formats.get(setting.metavar, str)(setting.default)
    return f"  [default: {shown.replace(' ', '')}]"


FUNCTION = _function_options()
"""Limits, grants and entry of a function."""

EVENT = Option(
    "event",
    "--event",
    "The event: JSON text, a file, or standard input. Without it: {}.",
    "JSON|@FILE|-",
    short="-e",
)

REPORT = Option(
    "report_form",
    "--report",
    "Form of the report on standard error.  [default: text]",
    default="text",
    choices=("text", "json", "none"),
)

JSON = Option("as_json", "--json", "Print one JSON object to standard output.", default=False)

CACHE_DIR = Option(
    "cache_dir",
    "--cache-dir",
    "Directory of compiled modules.  [default: wasmrun in the user's cache directory]",
    "DIR",
    is_directory=True,
)

OUTPUT = Option(
    "output",
    "--output",
    "File to write, or - for standard output.  [default: MODULE with the ending .snapshot.wasm or .profile.json]",
    "FILE",
    short="-o",
)

MANIFEST = Option("manifest", "--manifest", "Extism manifest of the plug-in, in the place of MODULE.", "FILE")

DURATION = Option(
    "duration",
    "--duration",
    "Time to measure for: at most for each kind of start and each load; a profiled event is run again until then.  [default: 1s]",
    "TIME",
    default="1s",
)

INTERVAL = Option("interval", "--interval", "Time between two samples.  [default: 1ms]", "TIME", default="1ms")

BENCH = (
    DURATION,
    Option(
        "concurrency",
        "--concurrency",
        "Threads that send events under load; none for no load.  [default: 1]",
        "N[,N]|none",
        default="1",
    ),
    Option(
        "rate",
        "--rate",
        "Events a second of the open loop, or a share of what the closed one does; none for no open loop.  [default: 50%]",
        "N|P%|none",
        default="50%",
    ),
    Option("processes", "--processes", "Measure in worker processes, too.", default=False),
    Option(
        "compare_with",
        "--compare",
        "Module to compare with, measured in turns with MODULE, or a file that --save has written.  [may be repeated]",
        "OTHER",
        default=(),
    ),
    Option(
        "budgets",
        "--budget",
        "Figure that must be kept, such as 'warm.p99<200us'; else the exit status is 20.  [may be repeated]",
        "NAME.FIGURE<BOUND",
        default=(),
    ),
    Option("save", "--save", "File for every sample, with versions, machine and settings.", "FILE"),
    Option("plot", "--plot", "File for a drawing of it, SVG or PNG; needs matplotlib: wasmrun[plot].", "FILE.svg|png"),
    Option(
        "fuel_profile",
        "--fuel-profile",
        "Tell the fuel that events need instead: a file with one a line, or a directory with one a file.",
        "EVENTS",
    ),
    Option(
        "fuel_baseline",
        "--fuel-baseline",
        "What --save kept of a fuel profile; the exit status is 20 where an event needs more now.",
        "FILE",
    ),
)
"""What `wasmrun bench` has beside the options of a function, and two counts."""

RUN = (EVENT, MANIFEST, *FUNCTION, REPORT, JSON, CACHE_DIR)
"""The options of `wasmrun run`."""
