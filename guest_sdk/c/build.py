"""Builds the examples and the guest of the test vectors: ``python build.py [OUTPUT_DIR]``, by default next to their sources.

Needs the C compiler of the PyPI package ``ziglang``, nothing else. The same version gives the same bytes again.
"""

from __future__ import annotations

import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent
sys.path.insert(0, str(SDK.parent))

from building import compile_each, main, zig_is_missing  # noqa: E402  # found beside this directory

STACKS = {"echo": 2048, "vectors": 65536}
"""Bytes of C stack, where not the usual. With 2 KiB, echo's stack, data and heap share one 4 KiB page of the host.

No example recurses, so what each needs is known: echo 624 bytes, the others less than 1 KiB; vectors does, over its event. The
linker puts the stack below the data (--stack-first, its default and no option of zig's): an overflow traps, and overwrites nothing.
"""

USUAL_STACK = 8192


def command(source: Path, target: Path) -> list[str]:
    """The compiler's command line for one function. No libc: the module imports nothing but what it calls."""
    return [
        *(sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-std=c99"),
        *("-Os", "-s", "-nostdlib", "-Wall", "-Wextra", "-pedantic", "-Werror"),
        *("-Wl,--no-entry", f"-Wl,-z,stack-size={STACKS.get(source.stem, USUAL_STACK)}"),
        *(str(source), "-o", str(target)),
    ]


def missing() -> str | None:
    """What has to be installed before anything can be built, and how; None when all is there."""
    return zig_is_missing("C compiler")


def build(output: Path | None = None) -> list[Path]:
    """Compiles every source into *output* and gives the modules' paths. Raises `subprocess.CalledProcessError`."""
    return compile_each((*sorted(SDK.glob("examples/*.c")), SDK / "vectors.c"), command, output)


if __name__ == "__main__":
    sys.exit(main(build, missing))
