"""Owns which claim holds a slot: the first one that counts. What is settled is read once and never looked at again."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from optuna.trial import FrozenTrial, TrialState

SLOT = "slot"
TOKEN = "token"
WORKER = "worker"
OUTCOME = "outcome"
RESULTS = ("completed", "diverged", "pruned")
RECENT = 200
LOST: Mapping[str, object] = MappingProxyType({"status": "lost", "target": None, "run_key": "", "error": None})


@dataclass(kw_only=True)
class Board:
    """The claims of a study as one process has read them, by slot and by number.

    ``held``: the claim that holds each slot. ``running``: claims that may still change. ``echoes``: running trials
    that a repeated write made (see ``sweeps.ledger``). ``claims``: those of slots that have no result yet.
    ``recent``: who made the last claims.
    """

    held: dict[str, FrozenTrial] = field(default_factory=dict)
    running: dict[int, FrozenTrial] = field(default_factory=dict)
    echoes: dict[int, FrozenTrial] = field(default_factory=dict)
    claims: dict[str, dict[int, FrozenTrial]] = field(default_factory=dict)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    looked: int = 0

    def is_settled(self, key: str) -> bool:
        """Say whether a slot has a result, or has failed for good as far as this call goes."""
        return key in self.held and self.held[key].state.is_finished()

    def is_final(self, key: str) -> bool:
        """Say whether a slot has a result, which it keeps; a failure may yet be retried by another command."""
        return key in self.held and has_result(self.held[key])


def look(board: Board, trials: Sequence[FrozenTrial], *, retried: frozenset[int]) -> None:
    """Take in a study's trials, of which only the new and the unfinished ones are looked at.

    Args:
        trials: all of them, in the order of their numbers, which begin at 0.
        retried: numbers of failed trials that no longer count.
    """
    touched: dict[str, None] = {}
    for number in (*board.running, *board.echoes, *range(board.looked, len(trials))):
        trial = trials[number]
        key = trial.user_attrs.get(SLOT)
        # Trials made by hand or by other programs are no claims, and never become any.
        if key is None:
            continue
        board.running.pop(number, None)
        board.echoes.pop(number, None)
        if trial.state is TrialState.RUNNING:
            board.running[number] = trial
        if not board.is_final(key):
            board.claims.setdefault(key, {})[number] = trial
            touched[key] = None
    first = max(board.looked, len(trials) - RECENT)
    board.recent.extend(trial.user_attrs[WORKER] for trial in trials[first:] if SLOT in trial.user_attrs)
    board.looked = max(board.looked, len(trials))
    for key in touched:
        claims = board.claims[key]
        for echo in _echoes(claims.values()):
            if board.running.pop(echo.number, None) is not None:
                board.echoes[echo.number] = echo
        holder = first_that_counts(claims.values(), retried=retried)
        board.held.pop(key, None)
        if holder is not None:
            board.held[key] = holder
            if has_result(holder):
                del board.claims[key]


def first_that_counts(claims: Iterable[FrozenTrial], *, retried: frozenset[int]) -> FrozenTrial | None:
    """Return the claim that holds a slot, of all on it in the order of their numbers; None where it is free.

    The first one that runs or has a result; where there is none, the last one that failed. So commands that retry
    different failures agree as soon as one of them tries again. Only a finished claim can be void, and a void one
    stays so.
    """
    tokens: set[str] = set()
    lost = False
    failed: FrozenTrial | None = None
    for trial in claims:
        token = trial.user_attrs[TOKEN]
        if token in tokens:
            continue
        tokens.add(token)
        if has_result(trial) or not trial.state.is_finished():
            return trial
        status = status_of(trial)
        if status in ("withdrawn", "interrupted") or trial.number in retried:
            continue
        # The second worker to die at one point while this call lasts is a sign that the point kills workers.
        if status == "lost" and not lost:
            lost = True
            continue
        failed = trial
    return failed


def has_result(trial: FrozenTrial) -> bool:
    """Say whether a claim ended with what counts: a value, or a divergence, which is one too."""
    if trial.state is TrialState.FAIL:
        return status_of(trial) in RESULTS
    return trial.state.is_finished()


def status_of(trial: FrozenTrial) -> str:
    """Return how a claim ended; a FAIL without an outcome was set from outside, and counts as lost."""
    return trial.user_attrs.get(OUTCOME, LOST)["status"]


def _echoes(claims: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    seen: set[str] = set()
    found = []
    for trial in claims:
        if trial.user_attrs[TOKEN] in seen:
            found.append(trial)
        seen.add(trial.user_attrs[TOKEN])
    return found
