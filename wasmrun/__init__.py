"""Run functions compiled to WebAssembly, each event in its own sandbox.

import wasmrun

resize = wasmrun.Function("resize.wasm", memory="64MiB", timeout="2s")
with wasmrun.Executor() as executor:
    executor.invoke(resize, {"width": 64})
"""

from __future__ import annotations

__version__ = "0.1.0"

# As in `typing`, which takes longer to load than all of this: the command line must be quick to learn of Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing

    from wasmrun.errors import (
        FunctionError as FunctionError,
    )
    from wasmrun.errors import (
        FunctionNotFound as FunctionNotFound,
    )
    from wasmrun.errors import (
        GuestError as GuestError,
    )
    from wasmrun.errors import (
        GuestExit as GuestExit,
    )
    from wasmrun.errors import (
        GuestTrap as GuestTrap,
    )
    from wasmrun.errors import (
        HostError as HostError,
    )
    from wasmrun.errors import (
        InvalidAnswer as InvalidAnswer,
    )
    from wasmrun.errors import (
        InvalidEvent as InvalidEvent,
    )
    from wasmrun.errors import (
        InvalidFunction as InvalidFunction,
    )
    from wasmrun.errors import (
        OutOfFuel as OutOfFuel,
    )
    from wasmrun.errors import (
        OutOfMemory as OutOfMemory,
    )
    from wasmrun.errors import (
        PayloadTooLarge as PayloadTooLarge,
    )
    from wasmrun.errors import (
        ResultTooLarge as ResultTooLarge,
    )
    from wasmrun.errors import (
        Throttled as Throttled,
    )
    from wasmrun.errors import (
        TimedOut as TimedOut,
    )
    from wasmrun.errors import (
        WasmrunError as WasmrunError,
    )
    from wasmrun.executor import Executor as Executor
    from wasmrun.executor import Loaded as Loaded
    from wasmrun.executor import Stats as Stats
    from wasmrun.function import Directory as Directory
    from wasmrun.function import Function as Function
    from wasmrun.function import Grants as Grants
    from wasmrun.futures import Future as Future
    from wasmrun.invocation import Context as Context
    from wasmrun.invocation import HttpCall as HttpCall
    from wasmrun.invocation import Log as Log
    from wasmrun.invocation import Report as Report
    from wasmrun.invocation import Result as Result
    from wasmrun.limits import Limits as Limits
    from wasmrun.machine.compiler import CompileLimits as CompileLimits
    from wasmrun.machine.inspection import Inspection as Inspection
    from wasmrun.machine.loader import Compiled as Compiled
    from wasmrun.manifest import from_manifest as from_manifest
    from wasmrun.processes.executor import ProcessExecutor as ProcessExecutor
    from wasmrun.processes.executor import ProcessStats as ProcessStats

_HOMES = {
    "wasmrun.errors": (
        "FunctionError", "FunctionNotFound", "GuestError", "GuestExit", "GuestTrap", "HostError", "InvalidAnswer",
        "InvalidEvent", "InvalidFunction", "OutOfFuel", "OutOfMemory", "PayloadTooLarge", "ResultTooLarge",
        "Throttled", "TimedOut", "WasmrunError",
    ),
    "wasmrun.executor": ("Executor", "Loaded", "Stats"),
    "wasmrun.function": ("Directory", "Function", "Grants"),
    "wasmrun.futures": ("Future",),
    "wasmrun.invocation": ("Context", "HttpCall", "Log", "Report", "Result"),
    "wasmrun.limits": ("Limits",),
    "wasmrun.machine.compiler": ("CompileLimits",),
    "wasmrun.machine.inspection": ("Inspection",),
    "wasmrun.machine.loader": ("Compiled",),
    "wasmrun.manifest": ("from_manifest",),
    "wasmrun.processes.executor": ("ProcessExecutor", "ProcessStats"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", "invoke", *sorted(_HOME)]  # noqa: PLE0604  # the names are computed, and tested


def __getattr__(name: str) -> typing.Any:
    # Names are found when they are first used: a program that only parses limits, or the child that
    # compiles, does not load the engine.
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'wasmrun' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


def invoke(module: typing.Any, event: typing.Any = {}, **settings: typing.Any) -> typing.Any:  # noqa: B006  # never changed
    """Run *module* once on *event*, with an executor of its own; *settings* are those of `Function`.

    Raises as `Executor.invoke` does. For more than one event, make an `Executor`.
    """
    from wasmrun.executor import Executor
    from wasmrun.function import Function

    function = module if isinstance(module, Function) else Function(module, **{"warm": 0, **settings})
    with Executor(threads=1, max_sandboxes=8) as executor:
        return executor.invoke(function, event)
