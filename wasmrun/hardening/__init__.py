"""The hardening of one worker process: walls that it puts up around itself, before it runs a guest.

`harden` puts them up, `probe` tells which of them this machine offers. A wall is never taken down again.
"""

from __future__ import annotations

from wasmrun.hardening.cgroup import MemoryGroup
from wasmrun.hardening.order import harden
from wasmrun.hardening.resources import data_bytes
from wasmrun.hardening.trial import probe
from wasmrun.hardening.wall import NAMES, Wall, Walls

__all__ = ["NAMES", "MemoryGroup", "Wall", "Walls", "data_bytes", "harden", "probe"]
