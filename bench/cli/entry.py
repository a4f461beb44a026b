"""Owns what a command's end looks like: its exit code, and one clear message where something is wrong."""

import sys
from typing import NoReturn

from bench.cli.app import app
from bench.errors import BenchError

# Each registers its commands, in the order in which --help shows them.
# isort: off
import bench.cli.run
import bench.cli.evaluate
import bench.cli.catalogue
import bench.cli.reports  # noqa: F401
# isort: on

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line: one clear message instead of a traceback, exit code 2 (usage) or 1 (run)."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # how typer gives a KeyboardInterrupt back
            raise KeyboardInterrupt
    except BenchError as error:
        if debug:
            raise
        _tell(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell("stopped; the same command goes on from here")
        sys.exit(INTERRUPTED)
    except OSError as error:
        if debug:
            raise
        _tell(f"{error.strerror or error}: {error.filename or ''}\n  → free space, or give another folder: --out")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        code = getattr(error, "exit_code", None)
        if hasattr(error, "show"):
            error.show()
        else:
            _tell(f"{type(error).__name__}: {error}\n  → add --debug for the traceback")
        sys.exit(code if code is not None else 1)
    sys.exit(0)


def _tell(text: str) -> None:
    print(f"error: {text}" if not text.startswith("stopped") else text, file=sys.stderr)
