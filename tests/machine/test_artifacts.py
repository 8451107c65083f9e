"""Artifacts are native code: what is not exactly what was stored here is compiled again, and never loaded."""

from __future__ import annotations

import itertools
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import wasmrun
from wasmrun.limits import KIB
from wasmrun.machine.artifacts import ArtifactCache, CacheUnusable, default_directory
from wasmrun.machine.compiler import CompileLimits, compile_module
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.facts import Facts
from wasmrun.machine.loader import Loader
from wasmrun.machine.wasmfile import scan

FUNCTION = wasmrun.Function('(module (func (export "five") (result i32) (i32.const 5)))')
OTHER = wasmrun.Function('(module (func (export "six") (result i32) (i32.const 6)))')
FACTS = scan(b"\0asm\1\0\0\0")
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture(scope="module")
def compiled() -> tuple[Facts, bytes]:
    """What the compiler makes of FUNCTION."""
    settings = EngineSettings(512 * KIB, True)
    source = str(FUNCTION.module).encode()
    return compile_module(source, is_text=True, module_bytes=1000, settings=settings, limits=CompileLimits())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that nobody has used for artifacts."""
    return tmp_path / "cache"


@pytest.fixture
def filled(directory: Path, engine: Engine, compiled: tuple[Facts, bytes]) -> tuple[Path, Path]:
    """A directory with the artifact of FUNCTION as a loader keeps it there: its two files."""
    loader = Loader(directory, CompileLimits())
    key = loader.key(str(FUNCTION.module).encode(), engine.settings)
    assert loader.cache is not None
    loader.cache.store(key, "five", 60, *compiled)
    return directory / f"{key}.cwasm", directory / f"{key}.tag"


def exports(directory: Path, engine: Engine, function: wasmrun.Function = FUNCTION) -> list[str]:
    """What a new loader on *directory* loads."""
    module = Loader(directory, CompileLimits()).load(engine, function)
    names = list(module.exports)
    module.close()
    return names


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], int]:
    """How many modules were compiled since the test began: the children are counted by a wrapper of the interpreter."""
    wrapper, journal = tmp_path / "python", tmp_path / "journal"
    wrapper.write_text(f'#!/bin/sh\necho >> {journal}\nexec {sys.executable} "$@"\n')
    wrapper.chmod(stat.S_IRWXU)
    journal.touch()
    monkeypatch.setattr(sys, "executable", str(wrapper))
    return lambda: len(journal.read_text())


def test_artifact_is_compiled_once_for_all_processes(
    directory: Path, engine: Engine, compilations: Callable[[], int]
) -> None:
    """The first loader compiles, those after it find the artifact."""
    for _ in range(3):
        assert exports(directory, engine) == ["five"]
    assert compilations() == 1
    assert exports(directory, engine, OTHER) == ["six"]
    assert compilations() == 2


@pytest.mark.parametrize("which", [0, 1], ids=["code", "tag"])
@pytest.mark.parametrize("where", [0.0, 0.01, 0.3, 0.5, 0.75, 0.999])
def test_artifact_with_a_flipped_bit_is_compiled_again_and_never_loaded(
    directory: Path,
    engine: Engine,
    filled: tuple[Path, Path],
    compilations: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
    which: int,
    where: float,
) -> None:
    """Anywhere in the code or in its tag: a log line, a new artifact, and the right answer."""
    path = filled[which]
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 0x10
    path.write_bytes(data)
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"artifact {filled[0].stem} does not match its tag and is compiled again"
    ]
    assert path.read_bytes() != data
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1


@pytest.mark.parametrize("which", [0, 1], ids=["code", "tag"])
@pytest.mark.parametrize("length", [0, 1, 64, -1])
def test_artifact_that_was_cut_is_compiled_again(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int], which: int, length: int
) -> None:
    """As a full disk or a power cut leaves it."""
    path = filled[which]
    path.write_bytes(path.read_bytes()[:length])
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1


@pytest.mark.parametrize("which", [0, 1], ids=["code", "tag"])
def test_artifact_with_a_file_missing_is_compiled_again(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int], which: int
) -> None:
    """As a process leaves it that was killed between the two writes."""
    filled[which].unlink()
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1


def test_artifact_swapped_with_another_is_not_loaded(
    directory: Path, engine: Engine, compilations: Callable[[], int]
) -> None:
    """Both files are valid, under the other's name: the key is part of the tag."""
    for function in (FUNCTION, OTHER):
        exports(directory, engine, function)
    first, second = sorted(directory.glob("*.cwasm"))
    for suffix in (".cwasm", ".tag"):
        spare = directory / "spare"
        first.with_suffix(suffix).rename(spare)
        second.with_suffix(suffix).rename(first.with_suffix(suffix))
        spare.rename(second.with_suffix(suffix))
    assert exports(directory, engine, FUNCTION) == ["five"]
    assert exports(directory, engine, OTHER) == ["six"]
    assert compilations() == 4


def test_artifact_of_another_directory_is_not_loaded(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int], tmp_path: Path
) -> None:
    """Each has a secret of its own: files that somebody brings along mean nothing."""
    strange = tmp_path / "strange"
    exports(strange, engine)
    for path in strange.glob("*.*"):
        (directory / path.name).write_bytes(path.read_bytes())
    assert exports(directory, engine) == ["five"]
    assert compilations() == 2


def test_artifact_behind_a_symlink_is_not_loaded(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int], tmp_path: Path
) -> None:
    """The name is replaced by a file; what it pointed to stays as it is."""
    elsewhere = tmp_path / "elsewhere"
    filled[0].rename(elsewhere)
    filled[0].symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1
    assert not filled[0].is_symlink()
    assert elsewhere.read_bytes() == before


def test_artifact_that_others_can_write_is_not_loaded(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int]
) -> None:
    """Its bytes are right now; they need not be a moment later."""
    filled[0].chmod(0o660)
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1
    assert stat.S_IMODE(filled[0].stat().st_mode) == 0o600


@needs_root
def test_artifact_of_another_owner_is_not_loaded(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int]
) -> None:
    """Who owns a file can change it."""
    os.chown(filled[0], NOBODY, -1)
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1


def test_artifact_name_taken_by_a_directory_costs_the_cache_only(
    directory: Path, engine: Engine, filled: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It can neither be removed nor replaced: the module works, and the log says why it is compiled anew."""
    filled[0].unlink()
    (filled[0] / "inner").mkdir(parents=True)
    assert exports(directory, engine) == ["five"]
    assert any("cannot be stored" in record.getMessage() for record in caplog.records)


def test_artifact_changed_after_it_was_checked_is_checked_again(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compiled: tuple[Facts, bytes]
) -> None:
    """A process checks a file once, by its identity: a change in place, with its times set back, is another one."""
    cache = ArtifactCache(directory)
    key = filled[0].stem
    for _ in range(2):
        found = cache.open(key)
        assert found is not None
        os.close(found[0])
    before = filled[0].stat()
    data = bytearray(compiled[1])
    data[len(data) // 2] ^= 1
    while filled[0].stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock for files has coarse ticks
        with filled[0].open("r+b") as file:
            file.write(data)
        os.utime(filled[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.open(key) is None


def test_artifact_is_what_was_open_when_it_was_checked(
    directory: Path, filled: tuple[Path, Path], compiled: tuple[Facts, bytes]
) -> None:
    """The descriptor that is loaded from is the file that was checked, whatever has its name by then."""
    cache = ArtifactCache(directory)
    found = cache.open(filled[0].stem)
    assert found is not None
    descriptor, facts, _ = found
    (directory / "evil").write_bytes(b"evil")
    (directory / "evil").rename(filled[0])
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        assert file.read() == compiled[1]
    assert facts == compiled[0]


def test_artifact_is_the_same_whoever_compiles_it(compiled: tuple[Facts, bytes], engine: Engine) -> None:
    """So that a reader between the two writes of another process finds a pair that fits."""
    source = str(FUNCTION.module).encode()
    again = compile_module(source, is_text=True, module_bytes=99, settings=engine.settings, limits=CompileLimits())
    assert again == compiled


def test_cache_serves_writers_in_many_processes_at_once(directory: Path) -> None:
    """They share one secret and one artifact, and every one gets its answer."""
    program = (
        "import sys, wasmrun\n"
        "with wasmrun.Executor(cache_dir=sys.argv[1]) as executor:\n"
        "    f = wasmrun.Function('(module (func (export \"f\") (result i32) (i32.const 5)))', warm=0)\n"
        "    print(executor.invoke(f))\n"
    )
    arguments = [sys.executable, "-W", "error", "-c", program, str(directory)]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate() for process in running] == [("5\n", "")] * 4
    assert len(list(directory.glob("*.cwasm"))) == 1
    assert len(list(ArtifactCache(directory).entries())) == 1
    assert not [path for path in directory.iterdir() if path.suffix not in (".cwasm", ".tag") and path.name != "secret"]


def test_cache_serves_writers_in_many_threads_at_once(directory: Path, compiled: tuple[Facts, bytes]) -> None:
    """A reader never sees half a file: an artifact is there, or it is not."""
    caches = [ArtifactCache(directory) for _ in range(4)]
    seen: list[bool] = []
    barrier = threading.Barrier(4)

    def work(cache: ArtifactCache) -> None:
        barrier.wait()
        for number in range(25):
            assert cache.store(f"key{number % 3}", "five", 60, *compiled)
            found = cache.open(f"key{number % 3}")
            seen.append(found is not None)
            if found is not None:
                os.close(found[0])

    threads = [threading.Thread(target=work, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 100
    assert [entry.key for entry in caches[0].entries()] == ["key0", "key1", "key2"]


def test_cache_directory_is_made_private(tmp_path: Path) -> None:
    """With its parents, for its owner alone; the secret, too."""
    directory = tmp_path / "a" / "b"
    before = os.umask(0)
    try:
        ArtifactCache(directory).remember("a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_cache_directory_that_others_can_write_is_refused(directory: Path, mode: int) -> None:
    """With its mode and the remedy."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(CacheUnusable, match=rf"others may write to it \(mode {mode:o}\); run chmod 700 on it"):
        ArtifactCache(directory)


@needs_root
def test_cache_directory_of_another_owner_is_refused(directory: Path) -> None:
    """Who it belongs to is named."""
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, -1)
    with pytest.raises(CacheUnusable, match=r"it belongs to user 65534, not to this one \(0\)"):
        ArtifactCache(directory)


def test_cache_directory_that_is_read_only_is_refused() -> None:
    """Nothing could be stored in it. Tried as somebody else than root, to whom everything is writable."""
    with tempfile.TemporaryDirectory() as directory:  # not pytest's own, which only root may enter
        Path(directory).chmod(0o500)
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(directory, NOBODY, -1)
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            with pytest.raises(CacheUnusable, match="cannot be used: it is not writable; modules are compiled anew"):
                ArtifactCache(directory)
        finally:
            if is_root:
                os.setresuid(0, 0, 0)


def test_cache_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """Below a file, and where the kernel makes none."""
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/wasmrun")):
        with pytest.raises(CacheUnusable, match=f"the cache directory {directory} cannot be used: "):
            ArtifactCache(directory)


def test_loader_without_a_cache_works_and_says_so_once(
    tmp_path: Path, engine: Engine, compilations: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    """Each load compiles anew; the one warning has the reason and what to do."""
    (tmp_path / "file").touch()
    loader = Loader(tmp_path / "file", CompileLimits())
    for _ in range(2):
        module = loader.load(engine, FUNCTION)
        assert list(module.exports) == ["five"]
        module.close()
    assert compilations() == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.records[0].getMessage() == loader.reason
    assert "cache_dir=" in loader.reason
    with pytest.raises(wasmrun.HostError, match="cannot be used"):
        loader.compile(FUNCTION, engine.settings)
    assert not loader.has(FUNCTION, engine.settings)


def test_loader_whose_directory_goes_away_works_on(
    directory: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A cleaner of temporary files costs a compilation, with a warning, not an event."""
    loader = Loader(directory, CompileLimits())
    directory.rmdir()
    module = loader.load(engine, FUNCTION)
    assert list(module.exports) == ["five"]
    module.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot be stored in" in caplog.text
    with pytest.raises(wasmrun.HostError, match=r"the artifact cannot be stored in .*; is the disk full"):
        loader.compile(FUNCTION, engine.settings)


def test_loader_whose_artifact_vanishes_at_once_loads_what_it_compiled(
    directory: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process cleared the directory between the write and the read."""
    loader = Loader(directory, CompileLimits())
    assert loader.cache is not None
    real_write = loader.cache._write

    def write(name: str, data: bytes) -> None:
        real_write(name, data)
        loader.cache.clear()  # type: ignore[union-attr]  # checked above

    loader.cache._write = write  # type: ignore[method-assign]  # another process, at the worst moment
    module = loader.load(engine, FUNCTION)
    assert list(module.exports) == ["five"]
    module.close()
    assert not caplog.records


def test_loader_compiles_ahead_of_time(directory: Path, engine: Engine, compilations: Callable[[], int]) -> None:
    """`compile` fills the cache and tells whether it was full already; then nothing is compiled at the first event."""
    loader = Loader(directory, CompileLimits())
    assert not loader.has(FUNCTION, engine.settings)
    made = loader.compile(FUNCTION, engine.settings)
    assert loader.has(FUNCTION, engine.settings)
    again = loader.compile(FUNCTION, engine.settings)
    assert (made[0], made[2]) == (again[0], again[2])
    assert (made[1], again[1]) == (False, True)
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1


def test_cache_key_depends_on_all_that_compiled_code_depends_on(directory: Path) -> None:
    """The module, the engine's settings, and the compiler itself."""
    loader = Loader(directory, CompileLimits())
    keys = {
        loader.key(source, EngineSettings(stack, metered))
        for source, stack, metered in itertools.product((b"a", b"b"), (128 * KIB, 512 * KIB), (True, False))
    }
    assert len(keys) == 8
    assert loader.key(b"a", EngineSettings(128 * KIB, True)) in keys
    loader._library = "0" * 64
    assert loader.key(b"a", EngineSettings(128 * KIB, True)) not in keys


def test_cache_key_depends_on_the_processor(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that was compiled for a newer one is not loaded, nor is it in the way, where the directory is shared."""
    from wasmrun.machine import loader as machine_loader

    def listing(text: str) -> None:
        (directory / "cpuinfo").write_text(text)

    def opened(path: str, *args: object, **options: object) -> object:
        return open(directory / "cpuinfo" if path == "/proc/cpuinfo" else path, *args, **options)  # type: ignore[call-overload]

    def key() -> str:
        return Loader(directory, CompileLimits()).key(b"a", EngineSettings(512 * KIB, True))

    assert key() == key()
    monkeypatch.setattr(machine_loader, "open", opened, raising=False)
    keys = []
    for text in ("flags : sse avx\n", "flags : sse\n", "cpu MHz : 1\nflags : sse\n", "Features : fp asimd\n", ""):
        listing(text)
        keys.append(key())
    assert keys[1] == keys[2]
    assert len(set(keys)) == 4
    (directory / "cpuinfo").unlink()  # no /proc
    assert key() == keys[-1]


def test_library_digest_is_remembered_for_the_next_process(directory: Path) -> None:
    """29 MB are not read at every start; a tag that was edited is not believed."""
    digest = Loader(directory, CompileLimits())._library_digest()
    (path,) = directory.glob("library-*.tag")
    path.write_bytes(path.read_bytes().replace(digest.encode(), b"0" * 64))
    assert Loader(directory, CompileLimits())._library_digest() == digest
    before = path.stat()
    assert Loader(directory, CompileLimits())._library_digest() == digest
    assert path.stat() == before


def test_texts_are_remembered_under_their_name(directory: Path) -> None:
    """And only what was remembered here."""
    cache = ArtifactCache(directory)
    assert cache.recall("a") is None
    cache.remember("a", "text")
    assert ArtifactCache(directory).recall("a") == "text"
    (directory / "a.tag").rename(directory / "b.tag")
    assert cache.recall("b") is None


def test_text_that_cannot_be_remembered_is_no_error(directory: Path) -> None:
    """It can be had again."""
    cache = ArtifactCache(directory)
    directory.rmdir()
    cache.remember("a", "text")
    assert cache.recall("a") is None


def test_cache_that_is_only_looked_at_gets_no_secret(directory: Path) -> None:
    """Nothing was stored, so nothing can be valid: one look leaves no file behind."""
    cache = ArtifactCache(directory)
    assert list(cache.entries()) == []
    assert cache.open("a") is None
    assert cache.recall("a") is None
    assert cache.clear() == (0, 0)
    assert os.listdir(directory) == []


def test_cache_without_a_secret_finds_what_another_process_stored_since(
    directory: Path, compiled: tuple[Facts, bytes]
) -> None:
    """It looks again for as long as it has none."""
    early, late = ArtifactCache(directory), ArtifactCache(directory)
    assert early.open("a") is None
    assert late.store("a", "a", 60, *compiled)
    found = early.open("a")
    assert found is not None
    os.close(found[0])
    assert [entry.key for entry in ArtifactCache(directory).entries()] == ["a"]
    assert early.store("b", "b", 60, *compiled)
    assert [entry.key for entry in late.entries()] == ["a", "b"]


def test_cache_without_a_secret_takes_no_tag_of_the_empty_key(directory: Path) -> None:
    """A tag that anybody could have made: without a secret there is nothing that it could be checked with."""
    from hashlib import blake2b

    directory.mkdir(mode=0o700)
    line = b'{"text": "forged"}'
    mac = blake2b(b"a\n" + line, digest_size=32).hexdigest().encode()
    (directory / "a.tag").write_bytes(mac + b"\n" + line)
    assert ArtifactCache(directory).recall("a") is None
    (directory / "secret").write_bytes(b"")
    assert ArtifactCache(directory).recall("a") is None


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 33, None], ids=["empty", "short", "long", "missing"])
def test_secret_that_is_torn_or_missing_is_made_anew(
    directory: Path, engine: Engine, filled: tuple[Path, Path], compilations: Callable[[], int], damage: bytes | None
) -> None:
    """Tags made with the old one are worth nothing then: modules are compiled again."""
    secret = directory / "secret"
    if damage is None:
        secret.unlink()
    else:
        secret.write_bytes(damage)
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1
    assert len(secret.read_bytes()) == 32
    assert exports(directory, engine) == ["five"]
    assert compilations() == 1


def test_secret_is_shared_by_those_who_come_first_together(directory: Path) -> None:
    """Whoever loses the race takes the winner's."""
    directory.mkdir(mode=0o700)
    barrier = threading.Barrier(8)
    secrets = []

    def start() -> None:
        barrier.wait()
        cache = ArtifactCache(directory)
        cache.remember("a", "text")
        secrets.append(cache._secret)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(secrets) == 8
    assert set(secrets) == {(directory / "secret").read_bytes()}
    assert sorted(os.listdir(directory)) == ["a.tag", "secret"]


def test_secret_behind_a_link_to_nowhere_costs_the_cache_only(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither there nor can it be made: nothing is stored, and the log says so."""
    directory.mkdir(mode=0o700)
    (directory / "secret").symlink_to(directory / "nowhere")
    cache = ArtifactCache(directory)
    cache.remember("a", "text")
    assert cache.recall("a") is None
    assert not cache.store("a", "a", 60, FACTS, b"code")
    assert "its secret can neither be read nor made" in caplog.text
    assert os.listdir(directory) == ["secret"]


def test_secret_that_is_damaged_again_and_again_costs_the_cache_only(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody writes to it without end: nothing is stored, and the log says why."""
    cache = ArtifactCache(directory)
    monkeypatch.setattr(ArtifactCache, "_read_secret", lambda self: b"")
    assert not cache.store("a", "a", 60, FACTS, b"code")
    assert "its secret can neither be read nor made" in caplog.text
    assert cache.open("a") is None


def test_secret_that_cannot_be_read_makes_the_cache_unusable(directory: Path) -> None:
    """A directory in its place."""
    (directory / "secret").mkdir(parents=True)
    directory.chmod(0o700)
    with pytest.raises(CacheUnusable, match="Is a directory"):
        ArtifactCache(directory)


def test_entries_tell_of_every_artifact_that_is_valid(directory: Path, compiled: tuple[Facts, bytes]) -> None:
    """In the order of keys, with name, sizes and time; what was tampered with, or is in the way, is left out."""
    cache = ArtifactCache(directory)
    for key in ("b", "a", "c", "d"):
        cache.store(key, f"name of {key}", 60, *compiled)
    cache.remember("library-x", "text")
    (directory / "c.tag").write_bytes((directory / "a.tag").read_bytes())
    (directory / "d.tag").unlink()
    entries = list(ArtifactCache(directory).entries())
    assert [(entry.key, entry.name) for entry in entries] == [("a", "name of a"), ("b", "name of b")]
    assert {(entry.module_bytes, entry.artifact_bytes) for entry in entries} == {(60, len(compiled[1]))}
    assert abs(entries[0].created - (directory / "a.tag").stat().st_mtime) < 5


def test_clear_removes_what_was_stored_and_nothing_else(directory: Path, compiled: tuple[Facts, bytes]) -> None:
    """The secret stays, and so does everything that is not ours."""
    cache = ArtifactCache(directory)
    cache.store("a", "a", 60, *compiled)
    cache.store("b", "b", 60, *compiled)
    (directory / ".wasmrun-left").write_bytes(b"12345")
    (directory / "letter.txt").touch()
    (directory / "inner.tag").mkdir()
    (directory / "link.cwasm").symlink_to(directory / "letter.txt")
    ours = sum(path.stat().st_size for path in directory.glob("[ab].*")) + 5
    assert cache.clear() == (2, ours)
    assert sorted(os.listdir(directory)) == ["inner.tag", "letter.txt", "link.cwasm", "secret"]
    assert cache.open("a") is None
    assert cache.clear() == (0, 0)


def test_clear_goes_on_where_a_file_is_gone_already(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removed it between the look and the removal: made so here, for the first file."""
    cache = ArtifactCache(directory)
    for key in "abc":
        cache.store(key, "x", 60, FACTS, b"code")
    unlink = os.unlink
    removed: list[str] = []

    def raced(path: str) -> None:
        if not removed:
            unlink(path)
        removed.append(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", raced)
    count, _ = cache.clear()
    assert len(removed) == 6
    assert count in (2, 3)
    assert os.listdir(directory) == ["secret"]


def test_descriptor_of_an_artifact_that_cannot_be_taken_is_closed(
    directory: Path, filled: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong on the way, nothing stays open."""

    def broken(*arguments: object) -> bool:
        raise OSError("the disk is on fire")

    cache = ArtifactCache(directory)
    monkeypatch.setattr(cache, "_matches", broken)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="on fire"):
        cache.open(filled[0].stem)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_clear_by_two_at_once_counts_every_artifact_once(directory: Path, compiled: tuple[Facts, bytes]) -> None:
    """What another process removed first is its own."""
    cache = ArtifactCache(directory)
    for number in range(60):
        cache.store(f"{number}", "x", 60, FACTS, b"code")
    barrier = threading.Barrier(4)
    counts = []

    def work() -> None:
        barrier.wait()
        counts.append(cache.clear()[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 4
    assert sum(counts) == 60


def test_tag_is_readable_json_below_its_digest(filled: tuple[Path, Path]) -> None:
    """What is on disk can be looked at."""
    mac, _, line = filled[1].read_bytes().partition(b"\n")
    assert len(mac) == 64
    assert json.loads(line)["name"] == "five"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/home/ada/.cache/wasmrun"),
        ({"XDG_CACHE_HOME": "/var/cache/ada"}, "/var/cache/ada/wasmrun"),
        ({"XDG_CACHE_HOME": ""}, "/home/ada/.cache/wasmrun"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/wasmrun"),
    ],
)
def test_default_directory_follows_the_xdg_rules(environ: dict[str, str], expected: str) -> None:
    """A relative path in the variable does not count."""
    assert str(default_directory(environ, "/home/ada")) == expected
