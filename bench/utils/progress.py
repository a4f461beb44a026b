"""Progress display: a bar with ETA on a terminal, plain lines without one."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from bench.utils.event_log import log_event

PLAIN_EVERY_SECONDS = 10.0


class Progress:
    """Counts units of work (an optimiser step is one) and tells how much is left.

    A context manager, since a bar on a terminal has to be closed whatever happens. ``threaded``: a thread draws the
    bar; a process that is to be forked has none, and draws by ``refresh``. ``unit``: what is counted.
    """

    def __init__(
        self, console: Console, *, total: int, quiet: bool = False, threaded: bool = True, unit: str = "steps"
    ) -> None:
        self._console = console
        self._unit = unit
        self._total = total
        self._done = 0
        self._quiet = quiet
        self._milestones: set[str] = set()
        self._started = self._noted = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(f"{unit} ·"),
            TimeElapsedColumn(),
            TextColumn("· ETA"),
            TimeRemainingColumn(compact=True),
        )
        self._bar = Bar(*columns, console=console, auto_refresh=threaded) if console.is_terminal and not quiet else None
        self._task = self._bar.add_task("starting", total=total) if self._bar is not None else None

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int, text: str) -> None:
        """Count ``units`` as done; ``text`` says in a few words what is going on."""
        self._done += units
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=units, description=text)
        elif time.monotonic() - self._noted >= PLAIN_EVERY_SECONDS:
            self._noted = time.monotonic()
            self.note(f"{self._done}/{self._total} {self._unit} · {text} · ETA {self._eta()}")

    def refresh(self) -> None:
        """Draw the bar, where no thread does."""
        if self._bar is not None:
            self._bar.refresh()

    def skip(self, units: int) -> None:
        """Take out of the total what was finished before."""
        self._total -= units
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def milestone(self, text: str, units: int) -> None:
        """Print a line that several processes report, once, and count the units of work that it added."""
        if text not in self._milestones:
            self._milestones.add(text)
            self.skip(-units)
            self.note(text)

    def note(self, text: str) -> None:
        """Print one line above the bar, and log it."""
        log_event("note", message=text)
        if not self._quiet:
            self._console.print(text, highlight=False, markup=False)

    def _eta(self) -> str:
        if not self._done:
            return "?"
        return clock((time.monotonic() - self._started) / self._done * (self._total - self._done))


def clock(seconds: float) -> str:
    """Return a time that is left, «12:05»."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
