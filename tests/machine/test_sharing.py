"""Functions with the same code share one loaded module, for as long as one of them holds it, and no longer."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import wasmrun
from wasmrun.limits import KIB
from wasmrun.machine.compiler import CompileLimits, compile_module
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.hotpath import check_kind
from wasmrun.machine.loader import Loader
from wasmrun.machine.module import load_bytes
from wasmrun.machine.record import RECORD_WORDS
from wasmrun.machine.sharing import SharedModules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.module import Module

CODE = '(module (func (export "five") (result i32) (i32.const 5)))'
MANY = 8


def one() -> wasmrun.Function:
    """A function of its own, with the code that all have."""
    return wasmrun.Function(CODE, name=f"function-{os.urandom(4).hex()}")


@pytest.fixture
def fresh(tmp_path: Path) -> Loader:
    """A loader on a directory of its own."""
    return Loader(tmp_path / "cache", CompileLimits())


class Loads:
    """Loads of code that is in no file, counted: what is given to `SharedModules.take`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._facts, self._artifact = compile_module(
            CODE.encode(), is_text=True, module_bytes=len(CODE), settings=engine.settings, limits=CompileLimits()
        )
        self.count = 0

    def __call__(self) -> Module | Component:
        """Load the code anew."""
        self.count += 1
        return load_bytes(self._engine, self._artifact, self._facts)


@pytest.fixture
def loads(engine: Engine) -> Loads:
    """Counts loads."""
    return Loads(engine)


@pytest.fixture
def others() -> Iterator[Callable[[EngineSettings], Engine]]:
    """Makes engines, and closes them."""
    made: list[Engine] = []

    def make(settings: EngineSettings) -> Engine:
        made.append(Engine(settings, 2, RECORD_WORDS, check_kind(os.environ)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def file_of(directory: str) -> str:
    """The one artifact in *directory*."""
    [name] = [name for name in os.listdir(directory) if name.endswith(".cwasm")]
    return os.path.join(directory, name)


def mappings(path: str) -> int:
    """How many descriptors this process has of the file at *path*: the engine keeps one for each load."""
    file = os.stat(path)
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.path.samestat(os.stat(f"/proc/self/fd/{name}"), file)
        except OSError:  # that of the listing itself
            continue
    return found


def directory_of(loader: Loader) -> str:
    """Where *loader* keeps artifacts."""
    assert loader.cache is not None
    return loader.cache.directory


def test_functions_with_the_same_code_are_one_load(fresh: Loader, engine: Engine) -> None:
    """One mapping and one descriptor, however many; each closes what it has, and the last one frees it."""
    modules = [fresh.load(engine, one()) for _ in range(MANY)]
    path = file_of(directory_of(fresh))
    assert len({module.pointer for module in modules}) == 1
    assert mappings(path) == 1
    for module in modules[:-1]:
        module.close()
        module.close()  # harmless: it lets go of nothing that others hold
        assert not module.pointer
    assert mappings(path) == 1
    assert modules[-1].pointer
    modules[-1].close()
    assert mappings(path) == 0


def test_what_was_freed_is_loaded_anew(fresh: Loader, engine: Engine) -> None:
    """After the last one, nothing is left to share."""
    for _ in range(3):
        module = fresh.load(engine, one())
        assert mappings(file_of(directory_of(fresh))) == 1
        module.close()
        assert mappings(file_of(directory_of(fresh))) == 0


def test_other_code_is_another_load(fresh: Loader, engine: Engine) -> None:
    """Were it by a constant only."""
    first = fresh.load(engine, one())
    other = fresh.load(engine, wasmrun.Function(CODE.replace("5", "6")))
    assert first.pointer != other.pointer
    first.close()
    other.close()


def test_file_that_has_other_code_meanwhile_is_another_load(fresh: Loader, engine: Engine, tmp_path: Path) -> None:
    """A function is what its file holds when it is loaded."""
    path = tmp_path / "module.wat"
    path.write_text(CODE)
    first = fresh.load(engine, wasmrun.Function(path))
    path.write_text(CODE.replace("five", "six"))
    second = fresh.load(engine, wasmrun.Function(path, name="second"))
    assert (list(first.exports), list(second.exports)) == (["five"], ["six"])
    first.close()
    second.close()


def test_engines_share_nothing(fresh: Loader, others: Callable[[EngineSettings], Engine]) -> None:
    """Code is compiled for a stack size and for metering, and belongs to one engine even where these are the same."""
    kinds = [(512, True), (512, True), (512, False), (128, True)]
    modules = [
        fresh.load(others(EngineSettings(stack * KIB, is_metered)), wasmrun.Function(CODE))
        for stack, is_metered in kinds
    ]
    assert len({module.pointer for module in modules}) == len(kinds)
    for module in modules:
        module.close()


def test_loads_at_once_are_one(loads: Loads, engine: Engine) -> None:
    """Whoever comes while it is being loaded waits for it, and for nothing else."""
    shared = SharedModules(None)
    begun, go_on = threading.Event(), threading.Event()
    taken: list[Module | Component] = []

    def load() -> Module | Component:
        begun.set()
        assert go_on.wait(30)
        return loads()

    threads = [threading.Thread(target=lambda: taken.append(shared.take(engine, "a", load))) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    shared.take(engine, "b", loads).close()  # another one meanwhile
    go_on.set()
    for thread in threads:
        thread.join()
    assert loads.count == 2
    assert len({module.pointer for module in taken}) == 1
    for module in taken:
        module.close()


def test_load_that_fails_leaves_nothing(loads: Loads, engine: Engine) -> None:
    """Each that wants it hears why, or does better."""
    shared = SharedModules(None)

    def fail() -> Module | Component:
        raise wasmrun.InvalidFunction("no")

    for _ in range(2):
        with pytest.raises(wasmrun.InvalidFunction, match="no"):
            shared.take(engine, "a", fail)
    shared.take(engine, "a", loads).close()
    assert loads.count == 1


def test_loads_and_closes_of_many_threads(fresh: Loader, engine: Engine) -> None:
    """What a thread holds stays, and nothing stays in the end."""
    wrong: list[object] = []

    def work() -> None:
        try:
            for _ in range(200):
                module = fresh.load(engine, one())
                if list(module.exports) != ["five"] or not module.pointer:
                    wrong.append(module)
                module.close()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert mappings(file_of(directory_of(fresh))) == 0


def spoil(path: str) -> None:
    """Change a bit where the file is, with its times as they were, until the kernel's clock has noticed."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        data = file.read()
        while os.stat(path).st_ctime_ns == before.st_ctime_ns:
            file.seek(len(data) // 2)
            file.write(bytes([data[len(data) // 2] ^ 1]))
            file.flush()
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: str) -> None:
    """Put another file there, with the same bytes."""
    with open(path, "rb") as file, open(f"{path}.new", "wb") as other:
        other.write(file.read())
    os.replace(f"{path}.new", path)


@pytest.mark.parametrize("change", [spoil, replace, os.unlink])
def test_artifact_that_changed_since_is_not_shared(
    fresh: Loader, engine: Engine, change: Callable[[str], None]
) -> None:
    """Who comes later gets code that was checked as it is now; what others hold they keep, and free."""
    first = fresh.load(engine, one())
    path = file_of(directory_of(fresh))
    kept = os.open(path, os.O_RDONLY)
    old = f"/proc/self/fd/{kept}"
    change(path)
    second, third = fresh.load(engine, one()), fresh.load(engine, one())
    assert second.pointer != first.pointer
    assert second.pointer == third.pointer
    assert list(second.exports) == ["five"]
    assert not os.path.samestat(os.stat(path), os.stat(old)) or change is not spoil
    first.close()
    assert mappings(old) == 1  # the test's own
    fourth = fresh.load(engine, one())
    assert fourth.pointer == second.pointer
    assert mappings(path) == 1
    fourth.close()
    second.close()
    third.close()
    assert mappings(path) == 0
    os.close(kept)


def test_code_that_is_in_no_file_is_shared(tmp_path: Path, engine: Engine) -> None:
    """Where there is no cache, it is compiled once for all that use it at the same time."""
    (tmp_path / "file").touch()
    loader = Loader(tmp_path / "file", CompileLimits())
    modules = [loader.load(engine, one()) for _ in range(2)]
    assert modules[0].pointer == modules[1].pointer
    for module in modules:
        module.close()


def test_limit_on_the_binary_of_a_text_holds_for_what_is_loaded(fresh: Loader, engine: Engine) -> None:
    """Who was allowed less is refused, and the other goes on with it."""
    large, small = wasmrun.Function("(module (func))"), wasmrun.Function("(module (func))", module_bytes=20)
    module = fresh.load(engine, large)
    with pytest.raises(wasmrun.InvalidFunction, match="as a binary"):
        fresh.load(engine, small)
    assert mappings(file_of(directory_of(fresh))) == 1
    module.close()
    assert mappings(file_of(directory_of(fresh))) == 0
