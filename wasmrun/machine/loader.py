"""The loader: from a function's code to a module in an engine, through the artifact cache."""

from __future__ import annotations

import os
import re
import threading
from _blake2 import blake2b  # hashlib's own; why not from there: see artifacts

from wasmrun.errors import HostError, InvalidFunction, printable
from wasmrun.function import Function
from wasmrun.hints import TYPE_CHECKING, NamedTuple
from wasmrun.logger import Logger
from wasmrun.machine import capi
from wasmrun.machine.artifacts import Artifact, ArtifactCache, CacheUnusable
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import Facts, is_component, is_wasm
from wasmrun.machine.module import Module, load_artifact, load_bytes
from wasmrun.machine.sharing import SharedModules
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.machine.compiler import CompileLimits
    from wasmrun.machine.components.loaded import Component

_log = Logger("wasmrun.loader")


_MOST_REFUSED = 10_000
_NO_SNAPSHOT = (
    "a component cannot be started ahead (snapshot=True): what its instances hold cannot be read; most tools that make "
    "components from interpreted languages do so when they build"
)
_FRONT_BYTES = 256 * 1024
_COMPONENT_TEXT = rb"(?:\s|;;[^\n]*\n|\(;.*?;\))*+\(\s*component\b"
"""How a component begins that is written as text. A pattern that is rarely needed, and so not compiled yet."""


class Compiled(NamedTuple):
    """An artifact in the cache: its key, whether it was there before, its size."""

    key: str
    was_cached: bool
    artifact_bytes: int


class Prepared(NamedTuple):
    """An artifact that another process may load: from the cache by its key, or, where that has none, from its bytes."""

    key: str
    facts: Facts
    artifact: bytes


class Loader:
    """Loads modules for one executor. Without a usable directory it compiles anew each time, and says so once."""

    def __init__(self, cache_dir: str | os.PathLike[str], limits: CompileLimits | None) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._library: str | None = None
        self._processor = b""
        self.cache: ArtifactCache | None = None
        self.reason = ""
        """Why there is no cache."""
        self._refused: dict[str, str] = {}
        try:
            self.cache = ArtifactCache(cache_dir)
        except CacheUnusable as error:
            self.reason = str(error)
            _log.warning("%s", error)
        self._modules = SharedModules(self.cache)

    def load(self, engine: Engine, function: Function) -> Module | Component:
        """The module of *function* in *engine*, which others with the same code share. Raises `InvalidFunction` or `HostError`."""
        source, is_text = read_source(function)
        key = self.key(source, engine.settings, _start(function))

        def load() -> Module | Component:
            return self._load(engine, function, key, source, is_text=is_text)

        module = self._modules.take(engine, key, load)
        try:
            _check_size(function, module.facts)
        except InvalidFunction:
            module.close()
            raise
        return module

    def _load(
        self, engine: Engine, function: Function, key: str, source: bytes, *, is_text: bool
    ) -> Module | Component:
        module = self._from_cache(engine, function, key)
        if module is not None:
            return module
        facts, artifact = self._compile(function, engine.settings, key, source, is_text=is_text)
        if self.cache is not None and self.cache.store(key, function.label, len(source), facts, artifact):
            module = self._from_cache(engine, function, key)
            if module is not None:
                return module
        return load_bytes(engine, artifact, facts)

    def compile(self, function: Function, settings: EngineSettings) -> Compiled:
        """See to it that the artifact of *function* is in the cache. Raises `HostError` where there is none."""
        if self.cache is None:
            raise HostError(self.reason)
        source, is_text = read_source(function)
        key = self.key(source, settings, _start(function))
        found = self._find(function, key)
        if found is not None:
            size = os.fstat(found.descriptor).st_size
            os.close(found.descriptor)
            return Compiled(key, True, size)
        facts, artifact = self._compile(function, settings, key, source, is_text=is_text)
        if not self.cache.store(key, function.label, len(source), facts, artifact):
            raise HostError(f"the artifact cannot be stored in {self.cache.directory}; is the disk full?")
        return Compiled(key, False, len(artifact))

    def compile_parts(self, function: Function) -> Compiled:
        """As `compile`, with what is loaded beside *function*; what is told is the function's own."""
        own, *_ = [self.compile(part, settings) for part, settings in _parts(function)]
        return own

    def prepare(self, function: Function, settings: EngineSettings) -> Prepared:
        """The artifact of *function*, for another process to load. Raises `InvalidFunction` or `HostError`."""
        source, is_text = read_source(function)
        key = self.key(source, settings, _start(function))
        found = self._find(function, key)
        if found is not None:
            os.close(found.descriptor)
            return Prepared(key, found.facts, b"")
        facts, artifact = self._compile(function, settings, key, source, is_text=is_text)
        is_stored = self.cache is not None and self.cache.store(key, function.label, len(source), facts, artifact)
        return Prepared(key, facts, b"" if is_stored else artifact)

    def has(self, function: Function, settings: EngineSettings) -> bool:
        """Whether the artifact of *function* is in the cache. Raises `InvalidFunction` where it cannot be read."""
        source, _ = read_source(function)
        found = self._find(function, self.key(source, settings, _start(function)))
        if found is not None:
            os.close(found.descriptor)
        return found is not None

    def has_parts(self, function: Function) -> bool:
        """As `has`, with what is loaded beside *function*."""
        return all(self.has(part, settings) for part, settings in _parts(function))

    def _compile(
        self, function: Function, settings: EngineSettings, key: str, source: bytes, *, is_text: bool
    ) -> tuple[Facts, bytes]:
        # What is refused depends on the function's own limit, too.
        refusal = f"{key} {function.module_bytes}"
        if refusal in self._refused:
            # A bomb is given its 30 seconds once, not at every event.
            raise InvalidFunction(self._refused[refusal])
        # Imported here, because a function whose artifact is cached needs no compiler.
        from wasmrun.machine.compiler import CompileLimits, compile_module

        limits = self._limits or CompileLimits()
        try:
            if function.snapshot and settings.has_components:
                raise InvalidFunction(_NO_SNAPSHOT)
            if function.snapshot:
                source, is_text = self._snapshot(function, source, limits, is_text=is_text), False
            return compile_module(
                source, is_text=is_text, module_bytes=function.module_bytes, settings=settings, limits=limits
            )
        except InvalidFunction as error:
            if len(self._refused) < _MOST_REFUSED:
                self._refused[refusal] = error.message
            raise

    def _snapshot(self, function: Function, source: bytes, limits: CompileLimits, *, is_text: bool) -> bytes:
        from wasmrun.machine.snapshot.taking import take  # for the few functions that want it

        taken = take(function, source, is_text=is_text, limits=limits)
        for log in taken.logs:
            _log.info("the start-up of %s logged (%s): %s", function.label, log.level, printable(log.message))
        return taken.module

    def _find(self, function: Function, key: str) -> Artifact | None:
        found = self.cache.open(key) if self.cache is not None else None
        if found is not None:
            try:
                _check_size(function, found.facts)
            except InvalidFunction:
                os.close(found.descriptor)
                raise
        return found

    def _from_cache(self, engine: Engine, function: Function, key: str) -> Module | Component | None:
        found = self._find(function, key)
        return None if found is None else load_artifact(engine, found)

    def key(self, source: bytes, settings: EngineSettings, start: str = "") -> str:
        """The artifact's key: the module, everything that its compiled form depends on, and the compiler itself.

        *start* is what the state depends on that it begins with, where that is not the module's own.
        """
        digest = blake2b(source, digest_size=32)
        digest.update(settings.describe().encode())
        digest.update(start.encode())
        # A cache may be shared by machines, or travel in a container's image.
        # Read once: the kernel makes it anew for each reader, which takes longer than the rest of a load.
        self._processor = self._processor or _processor()
        digest.update(self._processor)
        # What is kept beside the code is part of it: another version of wasmrun keeps other facts.
        digest.update(",".join(Facts._fields).encode())
        digest.update(self._library_digest().encode())
        return digest.hexdigest()

    def _library_digest(self) -> str:
        with self._lock:
            if self._library is None:
                status = os.stat(capi.LIBRARY_PATH)
                # Hashing 29 MB at every start would cost as much as starting; the file's identity tells
                # whether the digest that was remembered is still its own.
                name = f"library-{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
                self._library = self.cache.recall(name) if self.cache is not None else None
                if self._library is None:
                    import hashlib  # with OpenSSL, and only the first run with this library needs it

                    try:
                        with open(capi.LIBRARY_PATH, "rb") as file:
                            self._library = hashlib.file_digest(file, "sha256").hexdigest()
                    except OSError as error:
                        raise HostError(f"the engine's library cannot be read: {error}") from error
                    if self.cache is not None:
                        self.cache.remember(name, self._library)
            return self._library


def _check_size(function: Function, facts: Facts) -> None:
    # Text whose binary another function was allowed: what is refused must not depend on what is cached or loaded.
    if facts.module_bytes > function.module_bytes:
        raise InvalidFunction(
            f"the module has {format_size(facts.module_bytes)} as a binary, more than its limit of "
            f"{format_size(function.module_bytes)}; make it smaller, or raise `module_bytes`"
        )


def _parts(function: Function) -> list[tuple[Function, EngineSettings]]:
    """*function* and what is loaded beside it, each with its engine: an Extism plug-in has a kernel."""
    form = form_of(function)
    settings = settings_for(function, form)
    if form != "plugin":
        return [(function, settings)]
    from wasmrun.machine.kernel import kernel_for  # few programs run plug-ins

    return [(function, settings), (kernel_for(function), settings)]


def _start(function: Function) -> str:
    """What sandboxes of *function* start with, beside its code."""
    if not function.snapshot:
        return ""
    from wasmrun.machine.snapshot.taking import describe  # for the few functions that want it

    return describe(function)


def _processor() -> bytes:
    """What the kernel says that this machine's processors can do: compiled code uses all of it."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            lines = file.read(4096).splitlines()  # the first processor's
    except OSError:
        lines = []
    return b"\n".join(line for line in lines if line.startswith((b"flags", b"Features")))


def read_source(function: Function) -> tuple[bytes, bool]:
    """The bytes of a function's code, and whether they are WAT. Raises `InvalidFunction`."""
    module = function.module
    if isinstance(module, bytes):
        source = module
    elif function.is_text:
        source = str(module).encode(errors="surrogatepass")  # the compiler says what is wrong with it
    else:
        source = _read_file(os.fspath(module), function.module_bytes)
    if len(source) > function.module_bytes:
        raise InvalidFunction(
            f"the module has {format_size(len(source))}, more than its limit of {format_size(function.module_bytes)}; "
            "make it smaller, or raise `module_bytes`"
        )
    if not source:
        raise InvalidFunction("the module is empty")
    return source, not is_wasm(source) and source.lstrip().startswith((b"(", b";;"))


def form_of(function: Function) -> str:
    """What is to be known of *function* before it is loaded: "component", "plugin" (of Extism), or "module".

    An engine has room for one of these in each of its slots. Imports are at the front of a module.
    """
    if function.abi == "extism":
        return "plugin"
    module = function.module
    if isinstance(module, bytes) or function.is_text:
        source = module if isinstance(module, bytes) else module.encode(errors="surrogatepass")
    else:
        source = _read_file(module, _FRONT_BYTES)
    if function.abi in ("component", "wasi-http") or is_component(source) or _is_component_text(source):
        return "component"
    return "plugin" if function.abi is None and b"extism:host/" in source else "module"


def _is_component_text(source: bytes) -> bool:
    return not is_wasm(source) and re.match(_COMPONENT_TEXT, source, re.DOTALL) is not None


def settings_for(function: Function, form: str | None = None) -> EngineSettings:
    """The engine that *function* needs; *form* where it is known what it is."""
    form = form or form_of(function)
    return EngineSettings(
        function.stack, function.is_metered, has_kernels=form == "plugin", has_components=form == "component"
    )


def _read_file(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        raise InvalidFunction(f"there is no module {printable(path)}") from None
    except (OSError, ValueError) as error:
        raise InvalidFunction(f"the module {printable(path)} cannot be read: {error}") from None
