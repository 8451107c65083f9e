"""``python -m wasmrun``: the command line without its script."""

from wasmrun.cli import main

if __name__ == "__main__":
    main()
