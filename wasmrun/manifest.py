"""The manifest: what an Extism manifest file says of a plug-in, as settings of a function.

Nothing is downloaded, and what cannot be honoured as it is meant is refused by its name.
"""

from __future__ import annotations

import binascii
import os
from typing import Any

from wasmrun.errors import InvalidFunction, printable
from wasmrun.function import Directory, Function
from wasmrun.jsontext import from_json
from wasmrun.limits import MIB, Limits
from wasmrun.units import format_size

_PAGE = 65536
_MOST_BYTES = 64 * MIB


def from_manifest(path: str | os.PathLike[str], **settings: Any) -> Function:
    """The Extism plug-in that the manifest in a file describes; *settings* are those of `Function`, and win.

    Raises `InvalidFunction` that names what is wrong.
    """
    bounds = Limits(**{name: settings[name] for name in ("module_bytes",) if name in settings})
    return Function(**{**read_manifest(path, bounds.module_bytes), **settings})


def read_manifest(path: str | os.PathLike[str], module_bytes: int) -> dict[str, Any]:
    """The settings of a `Function` that the manifest in the file *path* describes.

    Paths in it are relative to its directory. Raises `InvalidFunction` that names what is wrong.
    """
    name = os.fspath(path)
    try:
        value = from_json(_read(name, _MOST_BYTES))
        return _settings(value, name, module_bytes)
    except ValueError as error:
        raise InvalidFunction(f"the manifest {printable(name)}: {error}") from None
    except OSError as error:
        raise InvalidFunction(f"the manifest {printable(name)} cannot be read: {error.strerror}") from None


def _read(path: str, most: int) -> bytes:
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{printable(path)} has more than {format_size(most)}")
    return data


def _settings(value: Any, path: str, module_bytes: int) -> dict[str, Any]:
    known = ("wasm", "memory", "config", "allowed_hosts", "allowed_paths", "timeout_ms")
    manifest = _object(value, "it", known)
    found = _module(manifest.get("wasm"), path, module_bytes)
    memory = _object(manifest.get("memory") or {}, "memory", tuple(_MEMORY))
    for key, (setting, unit, least) in _MEMORY.items():
        if memory.get(key) is not None:
            found[setting] = _number(memory[key], f"memory.{key}", least) * unit
    if manifest.get("timeout_ms") is not None:
        found["timeout"] = _number(manifest["timeout_ms"], "timeout_ms", 1) / 1000
    if manifest.get("config"):
        found["config"] = _texts(manifest["config"], "config")
    if manifest.get("allowed_hosts"):
        found["http"] = _rules(manifest["allowed_hosts"])
    if manifest.get("allowed_paths"):
        base = os.path.dirname(os.path.abspath(path))
        paths = _texts(manifest["allowed_paths"], "allowed_paths")
        found["dirs"] = tuple(_directory(base, host, guest) for host, guest in paths.items())
    return found


_MEMORY = {
    "max_pages": ("memory", _PAGE, 1),
    "max_http_response_bytes": ("http_bytes", 1, 0),
    "max_var_bytes": ("var_bytes", 1, 0),
}
"""The setting that each limit becomes, its unit, and the least that it may be."""


def _module(wasm: Any, path: str, module_bytes: int) -> dict[str, Any]:
    if not isinstance(wasm, list) or not wasm:
        raise ValueError('"wasm" must be a list with one module in it')
    if len(wasm) > 1:
        raise ValueError(
            f'"wasm" has {len(wasm)} modules: they are not linked when a plug-in is loaded, since the engine bounds each '
            "memory and not their sum; link them when they are built, or name the one that needs no other"
        )
    item = _object(wasm[0], "wasm[0]", ("path", "data", "url", "name", "hash", "method", "headers", "header"))
    if item.get("url") is not None:
        raise ValueError('wasm[0].url: nothing is downloaded; get the module, and name it with "path" and "hash"')
    name, checksum = item.get("name"), item.get("hash")
    if not isinstance(name, (str, type(None))) or not isinstance(checksum, (str, type(None))):
        raise ValueError('wasm[0]: "name" and "hash" must be text')
    found: dict[str, Any] = {"name": name or _stem(path)}
    if item.get("data") is not None:
        found["module"] = _decoded(item["data"])
    elif isinstance(item.get("path"), str) and item["path"]:
        place = os.path.join(os.path.dirname(path), item["path"])
        # Where there is a checksum, what was checked is what runs.
        found["module"] = os.path.join(os.curdir, place) if checksum is None else _read(place, module_bytes)
        found["name"] = name or _stem(place)
    else:
        raise ValueError('wasm[0] must have a "path" or "data"')
    if checksum is not None:
        _check(found["module"], checksum)
    return found


def _stem(path: str) -> str:
    stem = os.path.splitext(os.path.basename(path))[0]
    return stem if stem.isprintable() and 0 < len(stem) <= 256 else "plug-in"


def _decoded(data: Any) -> bytes:
    try:
        return binascii.a2b_base64(data if isinstance(data, (str, bytes)) else b"?", strict_mode=True)
    except ValueError:
        raise ValueError("wasm[0].data must be base64") from None


def _check(module: bytes, checksum: str) -> None:
    import hashlib  # with OpenSSL, and few manifests have a checksum

    found = hashlib.sha256(module).hexdigest()
    if found != checksum.lower():
        raise ValueError(f"wasm[0].hash is {printable(checksum, 80)}, and the module's is {found}")


def _rules(hosts: Any) -> tuple[str, ...]:
    """Extism means the host alone: any of these, by https or http, at the usual ports."""
    from wasmrun.httpgrant import parse_rule  # for those that name hosts

    rules: list[str] = []
    for host in hosts if isinstance(hosts, list) else [hosts]:
        try:
            rules += [str(parse_rule(f"{scheme}://{host}")) for scheme in ("https", "http")]
        except ValueError:
            raise ValueError(
                f"allowed_hosts: {host!r} is neither a host, nor '*.' and a host, nor '*'; other patterns are not "
                "supported: name the hosts"
            ) from None
    return tuple(rules)


def _directory(base: str, host: str, guest: str) -> Directory:
    path = host.removeprefix("ro:")
    if not path or not guest or "\0" in host + guest:
        raise ValueError(f"allowed_paths: {host!r} and {guest!r} must be paths")
    return Directory(os.path.normpath(os.path.join(base, path)), guest, path == host)


def _object(value: Any, what: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object")
    for key in value:
        if key not in known:
            raise ValueError(f"{what} has the key {printable(repr(key))}, which is none of {', '.join(known)}")
    return value


def _texts(value: Any, what: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"{what} must be a JSON object of texts")
    return value


def _number(value: Any, what: str, least: int) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{what} must be a whole number of at least {least}")
    return value
