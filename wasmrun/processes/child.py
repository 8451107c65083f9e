"""The program that a worker process runs: ``python -I -S child.py JOB``, with sockets that it inherits."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Do the job that the command line describes, to the end of the process."""
    job = json.loads(sys.argv[1])
    sys.path[:0] = job["paths"]
    # Everything that is ever needed, before the walls: behind them there is little to be had.
    import encodings.idna

    import psutil

    from wasmrun.machine import hotpath, inspection
    from wasmrun.machine.abi import command, native, plain
    from wasmrun.processes.worker import Job, Worker

    hotpath.choose(None)
    del encodings, psutil, hotpath, inspection, command, native, plain
    Worker(Job(job)).run()


if __name__ == "__main__":
    main()
