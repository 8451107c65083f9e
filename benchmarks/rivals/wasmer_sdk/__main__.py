"""Wasmer's SDK: a sandbox for each event, and a command for each event in one sandbox. A guest is a WASI program."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks.guests import PAYLOAD
from benchmarks.rivals.program import Way, serve


def make() -> Mapping[str, Way]:
    from wasmer_sdk import Sandbox, Wasmer  # here, so that a failure is an answer

    loop = asyncio.new_event_loop()
    cache = tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-")
    wasmer = Wasmer(cache_root=cache.name)
    package = loop.run_until_complete(wasmer.packages.load(Path(sys.argv[1]).read_bytes()))
    kept = loop.run_until_complete(wasmer.sandboxes.create(packages=[package]))

    async def run_in(sandbox: Sandbox) -> None:
        output = await sandbox.command(package).run(stdin=PAYLOAD, timeout=2)
        if output.stdout.bytes != PAYLOAD:
            raise RuntimeError(f"answered {output}")

    async def fresh() -> None:
        async with await wasmer.sandboxes.create(packages=[package]) as sandbox:
            await run_in(sandbox)

    def way(call: Callable[[], Awaitable[None]]) -> Way:
        async def run(events: int) -> float:
            began = time.perf_counter()
            for _ in range(events):
                await call()
            return (time.perf_counter() - began) * 1e6 / events

        return Way(lambda events: loop.run_until_complete(run(events)), 5, "fresh")

    return {"new sandbox": way(fresh), "new command in one sandbox": way(lambda: run_in(kept))}


if __name__ == "__main__":
    serve(make)
