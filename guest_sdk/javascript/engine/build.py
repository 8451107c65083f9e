"""Builds engine.wasm from QuickJS-NG's sources and those here: ``python engine/build.py [OUTPUT]``.

Needs ``pip install ziglang==0.17.1``, and pip, which brings the sources. The same version of the compiler gives the same
bytes again. Nobody needs this to write a function: engine.wasm comes with wasmrun.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

PACKAGE = "edwh-quickjs-ng==0.14.0.3"
"""A package of PyPI whose source distribution has QuickJS-NG 0.14.0's sources."""
SHA256 = "56cfae9832496ba0d7142399ac82980f23afae726d64aa5d40bb2379866d94b1"

STACK_BYTES = 384 * 1024

_OWN_CHECK = "static inline bool js_check_stack_overflow("
_UNITS = ("libregexp.c", "libunicode.c", "dtoa.c")


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    if importlib.util.find_spec("ziglang") is None:
        return "the C compiler is missing; install it with: pip install ziglang==0.17.1"
    return None


def sources(directory: Path) -> Path | str:
    """QuickJS-NG's sources in *directory*, fetched and unpacked; where they cannot be had, why not."""
    command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest")
    done = subprocess.run((*command, str(directory), PACKAGE), capture_output=True, text=True, check=False)
    archives = sorted(directory.glob("*.tar.gz"))
    if not archives:
        return f"pip cannot download {PACKAGE}: {done.stderr.strip()[-300:]}"
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if digest != SHA256:
        return f"{archives[0].name} has the digest {digest}, not {SHA256}"
    with tarfile.open(archives[0]) as archive:
        archive.extractall(directory, filter="data")
    return next(directory.glob("*/upstream-quickjs"))


def patch(upstream: Path) -> None:
    """Put stack.h in the place of the one function that does not do for WebAssembly."""
    path = upstream / "quickjs.c"
    text = path.read_text(encoding="utf-8")
    begin = text.index(_OWN_CHECK)
    end = text.index("\n}\n", begin) + 3
    path.write_text(f'{text[:begin]}#include "stack.h"\n{text[end:]}', encoding="utf-8")


def build(upstream: Path, target: Path) -> None:
    """Compile into *target*. Raises `subprocess.CalledProcessError`."""
    command = (
        *(sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-s"),
        # Inlining everything that LLVM would makes it larger, slower, and its frames on the stack larger as well.
        *("-mllvm", "-inline-threshold=30", "-D_GNU_SOURCE", "-DNDEBUG", f"-DSTACK_BYTES={STACK_BYTES}"),
        *("-Wall", "-Wextra", "-Wno-c23-extensions", f"-Wl,-z,stack-size={STACK_BYTES}"),
        *("-isystem", str(upstream), "-I", str(HERE), str(HERE / "engine.c")),
        *(str(upstream / unit) for unit in _UNITS),
        *(str(HERE / "slots.c"), "-o", str(target)),
    )
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        done.check_returncode()


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT]", file=sys.stderr)
        return 2
    if problem := missing():
        print(problem, file=sys.stderr)
        return 1
    target = Path(arguments[0]) if arguments else HERE.parent / "engine.wasm"
    with tempfile.TemporaryDirectory() as directory:
        upstream = sources(Path(directory))
        if isinstance(upstream, str):
            print(upstream, file=sys.stderr)
            return 1
        patch(upstream)
        try:
            build(upstream, target)
        except subprocess.CalledProcessError as error:
            return error.returncode or 1
    print(f"{target.stat().st_size:9,d} bytes  {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
