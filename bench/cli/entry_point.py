"""The end of a command: its exit code, and one clear message where something is wrong."""

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from bench.cli.app import app
from bench.errors import INTERRUPTED, BenchError
from bench.utils.redact import for_terminal, redact

# Each registers its commands, in the order in which --help shows them.
# isort: off
import bench.cli.run
import bench.cli.iterate
import bench.cli.worker
import bench.cli.launch
import bench.cli.status
import bench.cli.evaluate
import bench.cli.judges
import bench.cli.inspect
import bench.cli.export
import bench.cli.catalogue
import bench.cli.recipes
import bench.cli.data
import bench.cli.reports
import bench.cli.power  # noqa: F401
# isort: on


def main() -> NoReturn:
    """Run the command line: one clear message instead of a traceback, exit code 2 (usage) or 1 (run)."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # how typer gives a KeyboardInterrupt back
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BenchError as error:
        _tell(str(error))
        _end(error.exit_code)
    except KeyboardInterrupt:
        _tell("stopped; the same command goes on from here")
        _end(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has read enough, as `head` does.
        _end(0)
    except OSError as error:
        _tell(f"{error.strerror or error}: {error.filename or ''}\n  → free space, or give another folder: --out")
        _end(1)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if hasattr(error, "show") and getattr(error, "ctx", None) is not None:
            error.show()
        elif hasattr(error, "format_message"):
            _tell(f"{error.format_message()}\n  → add --help for the options and their values")
        else:
            _tell(f"{type(error).__name__}: {error}\n  → add --debug for the traceback")
        _end(code if code is not None else 1)
    sys.exit(0)


def _tell(text: str) -> None:
    # A closed or full stderr must not hide the exit code behind a traceback.
    with suppress(OSError, ValueError):
        if "--debug" in sys.argv and sys.exc_info()[0] not in (None, KeyboardInterrupt):
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(f"error: {for_terminal(text)}" if not text.startswith("stopped") else text, file=sys.stderr, flush=True)


def _end(code: int) -> NoReturn:
    """Exit with a code that a stream which takes nothing any more cannot change."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)
