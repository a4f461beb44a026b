"""Stop signals (SIGINT, SIGTERM) of commands, workers and ranks.

The first signal during a training is noted, and the training saves its state after the step that is going on. A second
signal, or one outside of a training, raises KeyboardInterrupt at once.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bench.utils.event_log import log_event

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130
"""Exit code of a worker or a rank that was stopped and whose state is on disk."""
ECHO_SECONDS = 2.0
"""Time in which a parent passes a signal on to processes that a scheduler or a terminal may have reached already."""


@dataclass
class Stop:
    """Whether a stop was requested, and whether a training is under way that has a step to save."""

    requested: bool = False
    training: bool = False


@contextmanager
def stoppable(*, by: tuple[signal.Signals, ...] = SIGNALS, echo_seconds: float = 0.0) -> Iterator[Stop]:
    """Turn the first of these signals during a training into a request; a second one, or one elsewhere, stops now.

    The request is noted before anything else happens, so that no caller takes the interrupt for a fault.

    Args:
        echo_seconds: signals that come so soon after the first are its echo and ignored, for processes whose parent
            passes its own signals on: both may be reached by one `scancel` or one Ctrl-C.
    """
    stop = Stop()
    first: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        log_event("signal_received", {"signal": signal.Signals(number).name, "training": stop.training})
        now, again = time.monotonic(), stop.requested
        stop.requested = True
        if first is None:
            first = now
        elif now - first < echo_seconds:
            return
        if again or not stop.training:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in by}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
