"""The linker of a component: functions of the host, each behind the same guard, and preview 2."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator

from wasmrun.errors import GuestTrap, HostError, printable
from wasmrun.hints import Any
from wasmrun.machine import capi
from wasmrun.machine.components import binding, values
from wasmrun.machine.components.binding import addressof
from wasmrun.machine.engine import Engine
from wasmrun.machine.hostcalls import CALL_FUEL, NoFuel
from wasmrun.machine.instance import Instance

Body = Callable[[Instance, int, int], None]
"""Takes the instance, and where its arguments and its result are. May raise what ends the guest."""

Drop = Callable[[Instance, int], None]
"""Takes the instance, and the number of a resource that is gone."""


class Linker:
    """What one component may import, being put together. Keeps what the engine only borrows."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pointer: int = binding.linker_new(engine.pointer)
        self._callbacks: list[Any] = []

    def define(self, place: str, name: str, body: Body, takes: tuple[int, ...], *, gives: bool = True) -> None:
        """Offer *body*, guarded, as the function *name* of the instance *place*; with no place, as one by itself.

        *takes* are the kinds of its arguments; it *gives* a result or none.
        """
        guarded = _guard(self.engine, body, f"{place}.{name}", takes, int(gives))
        callback = binding.HostCallback(self.engine.crossings.entry(guarded, "error"))
        self._callbacks.append(callback)
        text = name.encode()
        with self._at(place) as at:
            self._check(binding.place_add_function(at, text, len(text), callback, None, None), place, name)

    def define_resource(self, place: str, name: str, number: int, drop: Drop) -> None:
        """Offer a kind of resource of the host's own; *drop* hears of each that a guest lets go."""
        callback = binding.DropCallback(self.engine.crossings.entry(_guard_drop(self.engine, drop), "error"))
        self._callbacks.append(callback)
        text = name.encode()
        type_ = binding.resource_type_new(number)
        try:
            with self._at(place) as at:
                error = binding.place_add_resource(at, text, len(text), type_, callback, None, None)
                self._check(error, place, name)
        finally:
            binding.resource_type_delete(type_)

    def define_wasi(self) -> None:
        """Offer preview 2 as the engine has it; what is defined later replaces functions of it."""
        error = binding.linker_add_wasi(self.pointer)
        if error:
            raise HostError(f"WASI cannot be offered: {capi.take_error(error)}")
        # What replaces nothing would be offered beside the engine's own, which would then be taken.
        with self._at(f"wasi:io/poll@{binding.WASI_VERSION}") as at:
            error = binding.place_add_function(at, b"poll", 4, binding.HostCallback(_never), None, None)
        if not error:
            raise HostError(f"this engine's preview 2 is another one than {binding.WASI_VERSION}")
        capi.error_delete(error)
        binding.linker_allow_shadowing(self.pointer, True)

    def _check(self, error: int | None, place: str, name: str) -> None:
        if error:
            raise HostError(f"the import {place}.{name} cannot be offered: {capi.take_error(error)}")

    @contextlib.contextmanager
    def _at(self, place: str) -> Iterator[int]:
        root: int = binding.linker_root(self.pointer)
        inner = ctypes.c_void_p()
        try:
            if not place:
                yield root
                return
            text = place.encode()
            self._check(binding.place_add(root, text, len(text), addressof(inner)), place, "")
            yield inner.value or 0
        finally:
            if inner.value:
                binding.place_delete(inner.value)
            binding.place_delete(root)

    def close(self) -> None:
        """Free the linker; its callbacks live as long as this object."""
        pointer, self.pointer = self.pointer, 0
        if pointer:
            binding.linker_delete(pointer)


def _never(*_: int) -> int:
    """Stands where nothing may be put."""
    return capi.error_new(b"not here") or 0


def _guard(engine: Engine, body: Body, name: str, takes: tuple[int, ...], gives: int) -> Callable[..., int]:
    live = engine.live
    wanted = (takes, gives)

    def call(_data: int, context: int, _type: int, arguments: int, count: int, results: int, result_count: int) -> int:
        # As for modules: charged, its sandbox found by the store, ended when its time is over, and never raising.
        instance = None
        try:
            instance = live.get(context)
            if instance is None:  # a store that nobody knows
                raise NoFuel
            if not instance.charge(CALL_FUEL):
                raise NoFuel
            # A function of ours has the type that the component declares, even in the place of one of the engine's.
            if (values.kinds(arguments, count), result_count) != wanted:
                raise GuestTrap(
                    f"the component declares {printable(name)} with other types than it has", kind="host call"
                )
            body(instance, arguments, results)
            if instance.stop is None and time.monotonic_ns() >= instance.deadline_ns:
                instance.stop = "deadline"
            if instance.stop is None:
                return 0
        except NoFuel:
            pass  # none is left, and that is what the failure is told by
        except BaseException as error:
            if instance is None:
                engine.crossings.put_raised(error)
            else:
                instance.fault = error
        return capi.error_new(b"stopped") or 0

    return call


def _guard_drop(engine: Engine, drop: Drop) -> Callable[[int, int, int], int]:
    live = engine.live

    def call(_data: int, context: int, number: int) -> int:
        instance = None
        try:
            instance = live.get(context)
            if instance is not None:
                drop(instance, number)
        except BaseException as error:
            if instance is None:
                engine.crossings.put_raised(error)
            else:
                instance.fault = error
            return capi.error_new(b"stopped") or 0
        return 0

    return call
