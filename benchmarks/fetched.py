"""What is fetched for a comparison, where it can be: Wizer by npm, QuickJS as sources by pip and built with ziglang.

Kept in `wasmrun-benchmarks` in the user's cache directory; nothing is fetched twice.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

WIZER = "@bytecodealliance/wizer@11.0.3"
QUICKJS = "edwh-quickjs-ng==0.14.0.3"
TABLE = """\
const table = new Map();
for (let i = 0; i < 20000; i++) table.set('key' + i, {id: i, name: 'item ' + i});
export function handle(event) {
  const sum = (event.numbers ?? []).reduce((a, b) => a + b, 0);
  return {found: table.get(event.key) ?? null, size: table.size, sum};
}
"""
HELLO = "export function handle(event) { return {hello: event.name}; }"
_SECONDS = 300
_SOURCES = ("quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c")
_HERE = Path(__file__).parent


def directory() -> Path:
    """Where it is kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    found = (Path(base) if base else Path.home() / ".cache") / "wasmrun-benchmarks"
    found.mkdir(parents=True, exist_ok=True)
    return found


def wizer() -> Path | str:
    """The program; where there is none, why not."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    program = directory() / f"node_modules/@bytecodealliance/wizer-linux-{machine}/wizer"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            return "npm is not installed, which brings Wizer"
        done = run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory()), WIZER])
        if done or not program.exists():
            return f"npm cannot install {WIZER}: {done}"
    return program


def built_quickjs() -> Path:
    """Where the module of `quickjs.c` is once it was built."""
    digest = hashlib.sha256((_HERE / "quickjs.c").read_bytes() + QUICKJS.encode()).hexdigest()
    return directory() / f"quickjs-{digest[:16]}.wasm"


def quickjs() -> Path | str:
    """The module of `quickjs.c`, built if need be; where there is none, why not."""
    source, target = _HERE / "quickjs.c", built_quickjs()
    if target.exists():
        return target
    work = directory() / "quickjs"
    work.mkdir(exist_ok=True)
    done = run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
         "--dest", str(work), QUICKJS]
    )  # fmt: skip
    archives = sorted(work.glob("*.tar.gz"))
    if not archives:
        return f"pip cannot download {QUICKJS}: {done}"
    with tarfile.open(archives[0]) as archive:
        archive.extractall(work, filter="data")
    upstream = next(work.glob("*/upstream-quickjs"))
    made = target.with_suffix(".part")
    done = run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-s",
         "-D_GNU_SOURCE", "-DNDEBUG", "-w", f"-I{upstream}", str(source), *(str(upstream / name) for name in _SOURCES),
         "-Wl,-z,stack-size=1048576", "-o", str(made)]
    )  # fmt: skip
    if done:
        return f"QuickJS cannot be built: {done}"
    made.rename(target)
    return target


def javascript(text: str, target: Path) -> Path:
    """The module of a script, by our own SDK."""
    # Here, because rivals' environments, which have no wasmrun, import this module, too.
    from wasmrun.projects.embedding import Sources, embed
    from wasmrun.projects.sdk import sdk_file

    engine = Path(sdk_file("javascript/engine.wasm")).read_bytes()
    target.write_bytes(embed(engine, Sources("handler.js", {"handler.js": text.encode()}, 512 * 1024, ["handle"])))
    return target


def heavy(into: Path) -> Path | str:
    """The module of `heavy.c`; where there is none, why not."""
    target = into / "heavy.wasm"
    done = run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-std=c99", "-O2", "-s", "-nostdlib",
         "-Wl,--no-entry", "-Wl,-z,stack-size=8192", str(_HERE / "heavy.c"), "-o", str(target)]
    )  # fmt: skip
    return f"heavy.c cannot be built: {done}" if done else target


def run(command: list[str]) -> str:
    """Run a command; the end of what it says where it fails, else nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr[-300:] or f"status {done.returncode}" if done.returncode else ""
