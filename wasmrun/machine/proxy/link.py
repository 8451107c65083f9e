"""The link of a proxy component: what it imports, offered under the versions that it names, and nothing of the engine's WASI.

Resources have one type wherever they are used. So an interface that only uses a stream is ours as soon as streams are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmrun.errors import InvalidFunction, printable
from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.components.link import Link, Offered
from wasmrun.machine.components.linker import Body, Linker
from wasmrun.machine.proxy import world
from wasmrun.machine.proxy.carriers import SIZE, words_at
from wasmrun.machine.proxy.host import Host

if TYPE_CHECKING:
    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.engine import Engine
    from wasmrun.machine.hostcalls import Exchange
    from wasmrun.machine.instance import Instance


class ProxyLink(Link):
    """A proxy component with its imports resolved; *exchange* answers its HTTP requests, where it may make any."""

    def __init__(self, engine: Engine, component: Component, offered: Offered, exchange: Exchange | None) -> None:
        super().__init__(engine, component, offered, has_wasi=False)
        self._exchange = exchange
        for name in component.imports:
            _define(self._linker, name)
        error = binding.linker_stub(self._linker.pointer, component.pointer)
        if error:
            self.close()
            raise InvalidFunction(f"the component's imports cannot be satisfied: {printable(capi.take_error(error))}")

    def instantiate(self, instance: Instance) -> int:
        """Put the component into *instance*'s store; start functions run. Raises what the guest's failure is."""
        instance.proxy = Host(instance, self._exchange)
        return super().instantiate(instance)


def _define(linker: Linker, name: str) -> None:
    interface = name.partition("@")[0]
    for resource, kind in world.RESOURCES.get(interface, {}).items():
        linker.define_resource(name, resource, kind.TYPE, _drop)  # type: ignore[attr-defined]
    for (where, function), offered in world.IMPORTS.items():
        if where == interface:
            takes = tuple(carrier.kind for carrier in offered.params)
            linker.define(name, function, _body(offered), takes, gives=offered.result is not None)


def _drop(instance: Instance, number: int) -> None:
    instance.proxy.table.drop(number)


def _body(offered: world.Import) -> Body:
    params, result, body = offered
    count = len(params)

    def call(instance: Instance, arguments: int, results: int) -> None:
        host = instance.proxy
        words = words_at(arguments, count)
        given = [carrier.read(host, words, at * SIZE) for at, carrier in enumerate(params)]
        value = body(host, *given)
        if result is not None:
            result.write(host, words_at(results, 1), 0, value)

    return call
