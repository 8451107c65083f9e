"""Sharing: functions with the same code have one loaded module in an engine, however many they are.

Each load costs a mapping of the artifact's file and a descriptor of it. A function's own are its linked imports only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine.artifacts import ArtifactCache
from wasmrun.machine.engine import Engine
from wasmrun.machine.module import Module

if TYPE_CHECKING:
    from wasmrun.machine.components.loaded import Component

_Place = tuple[Engine, str]


class _Loaded:
    """Code that is loaded once, and how many hold it."""

    __slots__ = ("code", "holders", "place")

    def __init__(self, place: _Place, code: Module | Component) -> None:
        self.place = place
        self.code = code
        self.holders = 1


class SharedModules:
    """What is loaded, by engine and artifact. *cache* is where artifacts are mapped from, if there is one."""

    def __init__(self, cache: ArtifactCache | None) -> None:
        self._cache = cache
        # Guards everything below. Never held while something is loaded, freed, or looked up on disk.
        self._changed = threading.Condition(threading.Lock())
        self._claimed: set[_Place] = set()
        self._loaded: dict[_Place, _Loaded] = {}

    def take(self, engine: Engine, key: str, load: Callable[[], Module | Component]) -> Module | Component:
        """The artifact *key* in *engine*: what another function holds, or what *load* gives.

        It is the caller's to close, and freed with the last one. Who wants what is just being loaded, waits for it.
        """
        place = engine, key
        with self._claim(place):
            found = self._hold(place)
            if found is not None and not self._is_intact(found):
                self._let_go(found)
                found = None
            if found is None:
                found = _Loaded(place, load())
                with self._changed:
                    # Those who hold what was here before go on with it.
                    self._loaded[place] = found
            return found.code.held(lambda: self._let_go(found))

    def _is_intact(self, loaded: _Loaded) -> bool:
        """Whether the file that it is mapped from is the one that was checked. A change of it would show in memory."""
        file = loaded.code.file
        return file is None or (self._cache is not None and self._cache.identity(loaded.place[1]) == file)

    def _hold(self, place: _Place) -> _Loaded | None:
        with self._changed:
            found = self._loaded.get(place)
            if found is not None:
                found.holders += 1
            return found

    def _let_go(self, loaded: _Loaded) -> None:
        with self._changed:
            loaded.holders -= 1
            if loaded.holders:
                return
            if self._loaded.get(loaded.place) is loaded:
                del self._loaded[loaded.place]
        loaded.code.close()

    @contextlib.contextmanager
    def _claim(self, place: _Place) -> Iterator[None]:
        """One at a time loads what belongs to *place*; nobody else waits."""
        with self._changed:
            self._changed.wait_for(lambda: place not in self._claimed)
            self._claimed.add(place)
        try:
            yield
        finally:
            with self._changed:
                self._claimed.discard(place)
                self._changed.notify_all()
