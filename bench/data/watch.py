"""Progress of work on large data, shown on the error output, so that a command's own output stays what it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.utils.progress import Progress


class Watch:
    """Counts rows that are done, of as many as there may be."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress, self._what, self._total, self._done = progress, what, total, 0

    def advance(self, rows: int) -> None:
        """Count rows as done."""
        self._done += rows
        self.expect(max(self._total, self._done))
        self._progress.advance(rows, self._what)

    def expect(self, total: int) -> None:
        """Correct how many rows there are in all."""
        self._progress.skip(self._total - total)
        self._total = total


@contextmanager
def watched(what: str, *, total: int = 1) -> Iterator[Watch]:
    """Show how far ``what`` has come: a bar with the time left on a terminal, else a line each ten seconds."""
    from rich.console import Console

    with Progress(Console(stderr=True), total=total, unit="rows") as progress:
        yield Watch(progress, what, total)
