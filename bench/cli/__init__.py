"""The command line: options, their help, and how errors are told. Commands import heavy packages themselves."""

from bench.cli.app import app
from bench.cli.entry_point import main

__all__ = ["app", "main"]
