"""Owns the check that a study under load lost nothing and did nothing twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.storage import open_storage
from tests.load.workers import NAME, Trial


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of ``points``: ``lost`` have no result, ``doubled`` were evaluated or counted twice. ``withdrawn``: claims."""

    points: int
    lost: int
    doubled: int
    withdrawn: int
    running: int


def count(storage: str, trials: Sequence[Trial], *, points: int) -> Counts:
    """Count what the workers say they did, and what the study holds."""
    opened = open_storage(storage)
    stored = opened.get_all_trials(opened.get_study_id_from_name(NAME), deepcopy=False)
    evaluated = Counter(trial.beta for trial in trials)
    counted = Counter(trial.params["beta"] for trial in stored if trial.state.name == "COMPLETE")
    return Counts(
        points=points,
        lost=points - len(set(evaluated) & set(counted)),
        doubled=sum(n - 1 for n in evaluated.values()) + sum(n - 1 for n in counted.values()),
        withdrawn=sum(trial.state.name == "FAIL" for trial in stored),
        running=sum(trial.state.name == "RUNNING" for trial in stored),
    )
