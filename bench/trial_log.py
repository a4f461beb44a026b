"""Owns what the log says of trials: who claimed one, what it came to, which were lost and which are tried again."""

import logging
from collections.abc import Callable

from bench.logs import bound, tell
from sweeps.outcome import Outcome, TrialEvent
from sweeps.worker import Sweep

NAMES = {"started": "trial_claimed", "finished": "trial_settled", "lost": "trial_lost", "waiting": "trial_waiting"}
Evaluate = Callable[[dict[str, float], int], Outcome]


def trial_log(study: str) -> Callable[[TrialEvent], None]:
    """What hears the events of a study's trials and writes them into the log."""

    def hear(event: TrialEvent) -> None:
        fields: dict[str, object] = {"study": study, "trial": event.number, "params": event.params}
        level = logging.WARNING if event.kind == "lost" else logging.INFO
        if (result := event.result) is not None:
            fields |= {"status": result.status, "target": result.target, "run": result.run_key}
            fields |= {"seconds": result.seconds, "error": result.error}
            level = logging.ERROR if result.status == "failed" else level
        tell(NAMES[event.kind], {**fields, "settled": event.settled, "of": event.total}, level=level)

    return hear


def tell_retried(study: str, sweep: Sweep, *, first: bool) -> None:
    """Log which failed trials a command tries again; only the process that found them (``first``) says so."""
    if first and sweep.ledger.settled_before:
        tell("trials_retried", {"study": study, "trials": sorted(sweep.ledger.settled_before)})


def logged_trial(study: str, evaluate: Evaluate) -> Evaluate:
    """Return ``evaluate`` with study and trial in every event of its time."""

    def logged(params: dict[str, float], number: int) -> Outcome:
        with bound({"study": study, "trial": number}):
            return evaluate(params, number)

    return logged
