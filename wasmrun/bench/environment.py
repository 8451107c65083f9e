"""The environment: the versions and the machine that figures depend on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from wasmrun import __version__
from wasmrun.machine import capi
from wasmrun.machine.hotpath import check_kind, choose


def versions() -> dict[str, str]:
    """Of what was measured, and of what measured it; and which hot path that took."""
    package = os.path.basename(os.path.dirname(os.path.dirname(capi.LIBRARY_PATH)))
    return {
        "wasmrun": __version__,
        "engine": metadata.version(package),
        "python": platform.python_version(),
        "hotpath": choose(check_kind(os.environ)),
    }


def machine() -> dict[str, Any]:
    """What it was measured on. ``load`` is how many threads wanted a processor during the last minute."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith(("model name", "Model"))]
    except OSError:
        names = []
    return names[0] if names else "unknown"
