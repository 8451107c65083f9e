"""The artifact cache: compiled modules on disk, authenticated before they are loaded.

An artifact is native code: whoever can change one owns the process that loads it, and one flipped
bit is accepted by the engine 137 times in 150. So the directory is private, and every file in it has
a tag, a digest keyed with a secret that only this directory holds. What does not match its tag is
removed and compiled again, never loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time

# What hashlib and hmac have under these names. They themselves load OpenSSL, for other algorithms, and
# that is a twentieth of what a run from a shell takes.
from _blake2 import blake2b
from _operator import _compare_digest as compare_digest
from collections.abc import Iterator

from wasmrun.hints import Any, NamedTuple
from wasmrun.logger import Logger
from wasmrun.machine.facts import Facts
from wasmrun.machine.shortage import shortage

_log = Logger("wasmrun.artifacts")

_KEY_BYTES = 32
_CODE = ".cwasm"
_TAG = ".tag"
_TEMPORARY = ".wasmrun-"


class CacheUnusable(Exception):
    """The directory cannot hold artifacts; the text says why, and what to do."""


class Entry(NamedTuple):
    """One artifact in the cache: its key, the name of the function it was made for, bytes, Unix time."""

    key: str
    name: str
    module_bytes: int
    artifact_bytes: int
    created: float


class Artifact(NamedTuple):
    """An artifact that was checked: an open descriptor of its file, its facts, and the identity of the file."""

    descriptor: int
    facts: Facts
    identity: tuple[int, ...]


def default_directory(environ: dict[str, str] | os._Environ[str], home: str) -> str:
    """The user's cache directory for wasmrun, after the XDG base directories."""
    base = environ.get("XDG_CACHE_HOME")
    return os.path.join(base if base and os.path.isabs(base) else os.path.join(home, ".cache"), "wasmrun")


class ArtifactCache:
    """A directory of artifacts. Any number of processes may share it.

    Raises `CacheUnusable` when the directory cannot be made, belongs to somebody else, or is open to others.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        # Text, not a Path: importing pathlib is a tenth of what a run from a shell takes.
        self.directory = os.fspath(directory)
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            self._check_private()
            self._secret = self._read_secret()
        except OSError as error:
            raise CacheUnusable(
                f"the cache directory {self.directory} cannot be used: {error.strerror or error}; "
                "modules are compiled anew each time; name a directory of yours with cache_dir= (--cache-dir) or XDG_CACHE_HOME"
            ) from error
        self._checked: dict[str, tuple[int, ...]] = {}

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _check_private(self) -> None:
        status = os.stat(self.directory)
        if status.st_uid != os.geteuid():
            raise PermissionError(0, f"it belongs to user {status.st_uid}, not to this one ({os.geteuid()})")
        if status.st_mode & 0o022:
            raise PermissionError(
                0, f"others may write to it (mode {stat.S_IMODE(status.st_mode):o}); run chmod 700 on it"
            )
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(0, "it is not writable")

    def _read_secret(self) -> bytes:
        """The secret; nothing where there is none yet, and so no tag that could be valid."""
        try:
            secret = _read(self._path("secret"))
        except FileNotFoundError:
            return b""
        # A torn write cannot happen, an edit can: no tag in this directory is worth anything then.
        return secret if len(secret) == _KEY_BYTES else b""

    def _make_secret(self) -> None:
        """See to it that there is a secret, as whatever is stored needs one."""
        path = self._path("secret")
        for _ in range(3):
            self._secret = self._secret or self._read_secret()
            if self._secret:
                return
            with contextlib.suppress(FileNotFoundError):
                if os.path.getsize(path) != _KEY_BYTES:  # not one that another process has made since
                    os.unlink(path)
            handle, temporary = _temporary(self.directory)
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(_KEY_BYTES))
            try:
                os.link(temporary, path)  # fails where another process was first: its secret counts
            except FileExistsError:
                pass
            finally:
                os.unlink(temporary)
        raise OSError(0, "its secret can neither be read nor made")

    def open(self, key: str) -> Artifact | None:
        """The artifact *key*, checked against its tag; None where there is none. Raises `HostError` without descriptors.

        Load through the descriptor: another file may have the name by then. The caller closes it.
        """
        try:
            tag = self._open_tag(key)
            descriptor = os.open(self._path(key + _CODE), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            short = shortage("to load a module", error.errno)
            if short is not None:
                raise short from None
            return None
        try:
            status = os.fstat(descriptor)
            if tag is not None and self._matches(descriptor, status, key, tag):
                return Artifact(descriptor, Facts(**tag["facts"]), _identity(status))
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        _log.warning("artifact %s does not match its tag and is compiled again", key)
        self._remove(key)
        return None

    def identity(self, key: str) -> tuple[int, ...] | None:
        """The identity of the file that has the artifact *key* now: another one after any change of it."""
        try:
            return _identity(os.stat(self._path(key + _CODE), follow_symlinks=False))
        except OSError:
            return None

    def _matches(self, descriptor: int, status: os.stat_result, key: str, tag: dict[str, Any]) -> bool:
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return False
        identity = _identity(status)
        if self._checked.get(key) == identity:
            return True
        digest = blake2b(key=self._secret, digest_size=32)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if not compare_digest(digest.hexdigest(), str(tag["digest"])):
            return False
        self._checked[key] = identity
        return True

    def store(self, key: str, name: str, module_bytes: int, facts: Facts, artifact: bytes) -> bool:
        """Keep *artifact* under *key*; False, with a warning logged, where the disk refuses."""
        try:
            self._make_secret()
            tag = {
                "facts": facts._asdict(),
                "name": name,
                "module_bytes": module_bytes,
                "artifact_bytes": len(artifact),
                "created": time.time(),
                "digest": blake2b(artifact, key=self._secret, digest_size=32).hexdigest(),
            }
            self._write(key + _CODE, artifact)
            self._write_tag(key, tag)
        except OSError as error:
            _log.warning("artifact %s cannot be stored in %s: %s", key, self.directory, error.strerror or error)
            return False
        return True

    def recall(self, name: str) -> str | None:
        """The text that was remembered under *name*."""
        try:
            tag = self._open_tag(name)
        except OSError:
            return None
        return None if tag is None else str(tag["text"])

    def remember(self, name: str, text: str) -> None:
        """Keep a short text, authenticated as artifacts are. A disk that refuses is no error: it can be had again."""
        try:
            self._make_secret()
            self._write_tag(name, {"text": text})
        except OSError as error:
            _log.debug("%s cannot be stored: %s", name, error)

    def entries(self) -> Iterator[Entry]:
        """Every artifact with a valid tag, in the order of their keys."""
        keys = (os.path.splitext(name)[0] for name in os.listdir(self.directory) if name.endswith(_CODE))
        for key in sorted(keys):
            try:
                tag = self._open_tag(key)
            except OSError:
                continue
            if tag is not None:
                yield Entry(key, tag["name"], tag["module_bytes"], tag["artifact_bytes"], tag["created"])

    def clear(self) -> tuple[int, int]:
        """Remove all that was stored here, nothing else; the number of artifacts and of bytes removed."""
        count = size = 0
        for entry in os.scandir(self.directory):
            # A directory named by mistake may be somebody's home.
            is_ours = entry.name.endswith((_CODE, _TAG)) or entry.name.startswith(_TEMPORARY)
            if not is_ours or not entry.is_file(follow_symlinks=False):
                continue
            try:
                removed = entry.stat().st_size
                os.unlink(entry.path)
            except FileNotFoundError:  # another process was first
                continue
            size += removed
            count += entry.name.endswith(_CODE)
        return count, size

    def _open_tag(self, name: str) -> dict[str, Any] | None:
        mac, _, line = _read(self._path(name + _TAG)).partition(b"\n")
        # After the tag, which was written after the secret: what another process stores meanwhile is not missed.
        self._secret = self._secret or self._read_secret()
        if not self._secret or not compare_digest(mac, self._mac(name, line)):
            return None
        return json.loads(line)  # type: ignore[no-any-return]  # written by _write_tag

    def _write_tag(self, name: str, tag: dict[str, Any]) -> None:
        line = json.dumps(tag).encode()
        self._write(name + _TAG, self._mac(name, line) + b"\n" + line)

    def _mac(self, name: str, line: bytes) -> bytes:
        # The name is part of it: a valid tag must not serve under another key.
        return blake2b(name.encode() + b"\n" + line, key=self._secret, digest_size=32).hexdigest().encode()

    def _write(self, name: str, data: bytes) -> None:
        handle, temporary = _temporary(self.directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, self._path(name))
        except BaseException:
            os.unlink(temporary)
            raise

    def _remove(self, key: str) -> None:
        for suffix in (_CODE, _TAG):
            # What cannot be removed is not loaded either: it is compiled each time, and the store says why.
            with contextlib.suppress(OSError):
                _unlink(self._path(key + suffix))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _temporary(directory: str) -> tuple[int, str]:
    import tempfile  # 5 ms, and only who writes needs it

    return tempfile.mkstemp(dir=directory, prefix=_TEMPORARY)
