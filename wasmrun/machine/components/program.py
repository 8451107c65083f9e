"""The program of a component: its imports checked and linked, ready to be instantiated."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable, Mapping

from wasmrun.errors import InvalidFunction, printable
from wasmrun.function import Function
from wasmrun.machine import capi, wasi
from wasmrun.machine.abi.base import Abi
from wasmrun.machine.abi.component import ComponentAbi
from wasmrun.machine.components import binding, failing, hostcalls
from wasmrun.machine.components import wasi as preview2
from wasmrun.machine.components.link import Link, Offered
from wasmrun.machine.components.loaded import Component
from wasmrun.machine.engine import Engine
from wasmrun.machine.hostcalls import Exchange, refusal
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import PAGE
from wasmrun.machine.program import BaseProgram, Detected, check_directories
from wasmrun.units import format_size

_OWN = re.compile(r"wasmrun:function/(logger|http)@1\.\d+\.\d+(\..+)?")
HOST_FUNCTION = re.compile(r"func\([a-z][a-z0-9-]*: string\) -> result<string, string>", re.IGNORECASE)
"""The type of host functions; the parameter may have any name."""

PROXY = re.compile(r"wasi:http/incoming-handler@0\.2\.\d+")
"""The export of components that answer HTTP requests."""


_MOST_VERSIONS = 10
"""Versions of one interface of WASI that a component may import: each is linked by itself."""


def check(function: Function, component: Component, exchanges: Mapping[str, Exchange] | None = None) -> Offered:
    """What *component* imports besides WASI, once it is sure that all of it is granted, and that it fits.

    Raises `InvalidFunction`.
    """
    offered = _check_imports(function, component, exchanges or {})
    _check_versions(component)
    _check_sizes(function, component)
    check_directories(function)
    return offered


def needs(function: Function, component: Component) -> tuple[str, ...]:
    """What *component* imports beyond what every function has."""
    is_wasi = preview2.is_wasi if _is_for_events(function, component) else is_offered
    return tuple(name for name, type_ in component.imports.items() if not _is_free(name, type_, is_wasi))


def _is_free(name: str, type_: str, is_wasi: Callable[[str], bool]) -> bool:
    if type_ == "instance":
        return is_wasi(name) or not name.startswith("wasi:")
    own = _OWN.fullmatch(name)
    return own is not None and own[1] == "logger"


def _check_imports(function: Function, component: Component, exchanges: Mapping[str, Exchange]) -> Offered:
    granted = {name for name, _ in function.imports}
    offered: Offered = {}
    refused: list[str] = []
    is_wasi = preview2.is_wasi if _is_for_events(function, component) else is_offered
    for name, type_ in component.imports.items():
        own = _OWN.fullmatch(name)
        if type_ == "instance":
            # Of every other instance, each function is looked at by itself.
            if name.startswith("wasi:") and not is_wasi(name):
                refused.append(name)
        elif own is not None and own[2]:
            call = own[1] + own[2]
            _check_type(name, type_, hostcalls.TYPES.get(call))
            if call == hostcalls.LOGGER:
                offered[name] = hostcalls.log
            elif function.http:
                offered[name] = hostcalls.http_request(exchanges.get("http_request", _nobody))
            else:
                refused.append(name)
        elif name in granted:
            if not HOST_FUNCTION.fullmatch(type_):
                raise InvalidFunction(
                    f"the import {printable(name)} must be func(request: string) -> result<string, string>, not "
                    f"{printable(type_)}"
                )
            offered[name] = hostcalls.message(exchanges.get(name, _nobody))
        else:
            refused.append(name)
    if refused:
        raise InvalidFunction(_refusal(refused))
    return offered


def _check_versions(component: Component) -> None:
    versions = Counter(
        name.partition("@")[0]
        for name, type_ in component.imports.items()
        if type_ == "instance" and name[:5] == "wasi:"
    )
    for interface, count in versions.items():
        if count > _MOST_VERSIONS:
            raise InvalidFunction(
                f"the component imports {count} versions of {printable(interface)}; at most {_MOST_VERSIONS} are linked"
            )


def is_offered(name: str) -> bool:
    """Whether the imported instance of this *name* is one that components of wasi:http/proxy have."""
    from wasmrun.machine.proxy.world import RESOURCES  # for the few that are such components

    interface, _, version = name.partition("@")
    return interface in RESOURCES and re.fullmatch(r"0\.2\.\d+", version) is not None


def _check_type(name: str, type_: str, wanted: str | None) -> None:
    if type_ != wanted:
        raise InvalidFunction(
            f"the import {printable(name)} must be {wanted}, not {printable(type_)}"
            if wanted
            else f"the import {printable(name)} is nothing that wasmrun has; it has {', '.join(hostcalls.TYPES)}"
        )


def _refusal(refused: list[str]) -> str:
    shown = ", ".join(printable(name, 100) for name in refused[:10])
    more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
    hint = "; grant host functions with imports={name: function}"
    if any(_is_http(name) for name in refused):
        hint = "; grant HTTP requests with http=['HOST'] (--http HOST)"
    elif any(name.startswith("wasi:http/") for name in refused):
        hint = "; HTTP requests are made with wasmrun:function/http"
    elif any(name.startswith("wasi:") for name in refused):
        hint = "; of WASI there is preview 2, without HTTP"
    return f"the component imports what it is not granted: {shown}{more}{hint}"


def _check_sizes(function: Function, component: Component) -> None:
    facts = component.facts
    needed = facts.memory_pages * PAGE
    if needed > function.memory:
        raise InvalidFunction(
            f"the component starts with {format_size(needed)} of memory, more than its limit of "
            f"{format_size(function.memory)}; build it with less, or raise `memory`"
        )
    if facts.table_elements > function.table_elements:
        raise InvalidFunction(
            f"a table of the component starts with {facts.table_elements} elements, more than its limit of "
            f"{function.table_elements}; build it with less, or raise `table_elements`"
        )


def _is_http(name: str) -> bool:
    own = _OWN.fullmatch(name)
    return own is not None and own[1] == "http"


def _nobody(_instance: Instance, _request: bytes) -> bytes:
    """Stands where a program is made without its host functions, to be looked at."""
    return refusal("nobody answers this here")


class ComponentProgram(BaseProgram):
    """What sandboxes of a component are made from. Close it when none is left."""

    def __init__(
        self,
        function: Function,
        engine: Engine,
        component: Component,
        streams: wasi.Streams,
        exchanges: Mapping[str, Exchange] | None = None,
        adapt: Callable[[Abi, bool], Abi] | None = None,
    ) -> None:
        super().__init__(function, engine, component, streams, exchanges)
        self.component = component
        self.detected = detect(function, component)
        is_proxy = self.detected.abi == "wasi-http"
        offered = check(function, component, self.exchanges)
        self.has_http = bool(function.http) and (is_proxy or any(_is_http(name) for name in offered))
        self.uses_wasi = not is_proxy and any(name.startswith("wasi:") for name in component.imports)
        facts = component.facts
        # The engine's limit is one for each memory, a function's one for all.
        memories = max(facts.memories, 1)
        self.memory_bytes = facts.memory_pages * PAGE
        room = engine.settings.room
        self.store_limits = (
            function.memory // memories, function.table_elements, room.core_instances, room.tables, facts.memories,
        )  # fmt: skip
        self.abi: Abi = make_abi(function, component)
        self.is_raw = self.abi.is_raw
        self.link: Link | None = None
        try:
            if is_proxy:
                from wasmrun.machine.proxy.link import ProxyLink

                exchange = self.exchanges.get("http_request", _nobody) if self.has_http else None
                self.link = ProxyLink(engine, component, offered, exchange)
            else:
                self.link = Link(engine, component, offered, has_wasi=self.uses_wasi)
            self.runs_at_start = bool(self.abi.start_up) or self._runs_code_to_instantiate(self.link)
            self._make_plan()
            if adapt is not None:
                self.abi = adapt(self.abi, self.runs_at_start)
        except BaseException:
            self.close()
            raise

    def _runs_code_to_instantiate(self, link: Link) -> bool:
        """Whether that runs code of the guest, or what the engine compiled segments to.

        Tried in a store where no code gets further than to show that it is there. Raises `InvalidFunction` for a
        component that cannot be instantiated at all.
        """
        looks: list[int] = []

        def look(*_: int) -> int:
            looks.append(1)
            return capi.error_new(b"stopped") or 0

        callback = capi.LookCallback(look)
        out = (ctypes.c_uint64 * 3)()
        at = ctypes.addressof(out)
        with self.engine.spare:
            store = capi.store_new(self.engine.pointer, None, None)
            capi.store_limiter(store, *self.store_limits)
            context = capi.store_context(store)
            capi.store_look(store, ctypes.cast(callback, ctypes.c_void_p).value, None, None)
            if self.fuel:
                capi.set_fuel(context, 1)
            capi.set_wasi(context, capi.wasi_new())  # a call of it without this ends the process
            error = binding.instantiate(link.pointer, context, link.component, at)
            cause = printable(capi.take_cause(error)) if error else ""
            if self.fuel:
                capi.get_fuel(context, at + 16)
            capi.store_delete(store)
        has_run = bool(looks) or (bool(self.fuel) and not out[2])
        if error and not has_run:
            raise failing.refusal(cause)
        return has_run

    def close(self) -> None:
        """Free the linked program and its component. Harmless when repeated."""
        if self.link is not None:
            self.link.close()
        self.component.close()


def detect(function: Function, component: Component) -> Detected:
    """The ABI of a component. Raises `InvalidFunction` where *function* names one that is not a component's."""
    if function.abi not in (None, "component", "wasi-http"):
        raise InvalidFunction(f"it is a component, and not a module for the ABI {function.abi!r}; leave `abi` out")
    handler = _proxy_handler(component)
    if function.abi == "wasi-http" and handler is None:
        raise InvalidFunction("the component exports no wasi:http/incoming-handler@0.2; leave `abi` out (--abi)")
    if function.abi is not None:
        return Detected(function.abi, "named by the function")
    if not _is_for_events(function, component):
        return Detected("wasi-http", f"it exports {handler}")
    return Detected("component", "it is a component")


def _proxy_handler(component: Component) -> str | None:
    return next((name for name in component.exports if PROXY.fullmatch(name)), None)


def _is_for_events(function: Function, component: Component) -> bool:
    """Whether the component takes events as they are, and not as HTTP requests."""
    handler = _proxy_handler(component)
    is_named = function.abi == "component" or (
        function.abi is None and (function.entry or "handle") in component.exports
    )
    return is_named or handler is None


def make_abi(function: Function, component: Component) -> Abi:
    """The guest ABI for *function*. Raises `InvalidFunction` where *component* cannot serve it."""
    if _is_for_events(function, component):
        return ComponentAbi(function, component)
    from wasmrun.machine.abi.wasi_http import WasiHttp  # for the few that are such components

    return WasiHttp(function, component, _proxy_handler(component) or "")
