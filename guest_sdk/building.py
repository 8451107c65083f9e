"""What the build.py of every SDK does beside what is its language's own: arguments, output, and how it ends."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


def zig_is_missing(what: str) -> str | None:
    """Where this Python has no ziglang, that *what* is missing, and how to get it."""
    if importlib.util.find_spec("ziglang") is not None:
        return None
    return f"the {what} is missing; install it with: {sys.executable} -m pip install ziglang"


def compile_each(
    sources: Iterable[Path],
    command: Callable[[Path, Path], list[str]],
    output: Path | None,
    cwd: Callable[[Path], Path] | None = None,
) -> list[Path]:
    """Run *command* for every source and its module, in *output* or beside the source; the modules' paths.

    *cwd* says in which directory a source is compiled. Raises `subprocess.CalledProcessError`.
    """
    targets = []
    for source in sources:
        target = (output or source.parent).resolve() / f"{source.stem}.wasm"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command(source, target), check=True, cwd=cwd and cwd(source))
        target.chmod(0o644)  # linkers mark it executable, and that is for the host to say
        targets.append(target)
    return targets


def main(build: Callable[[Path | None], list[Path]], missing: Callable[[], str | None] = lambda: None) -> int:
    """Do what ``python build.py [OUTPUT_DIR]`` asks for; the exit status, which is the compiler's where that failed.

    *missing* says what has to be installed before anything can be built, and how.
    """
    arguments = sys.argv[1:]
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python build.py [OUTPUT_DIR]", file=sys.stderr)
        return 2
    problem = missing()
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    try:
        for target in build(Path(arguments[0]) if arguments else None):
            print(f"{target.stat().st_size:11,d} bytes  {target}")
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0
