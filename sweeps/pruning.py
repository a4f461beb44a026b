"""Ending trials early: which pruner a protocol names, where its rungs lie, and what it says of a running trial."""

import optuna

from sweeps.compat import storage_of, study_id
from sweeps.protocol import PrunerName, TuningProtocol

STARTUP_TRIALS = 2
"""Trials that the median pruner lets run to their end before it compares."""
REDUCTION = 2
"""Of the trials at a rung, successive halving goes on with one in so many (arXiv 1810.05934, η)."""


def rungs_of(pruner: PrunerName, *, steps: int) -> tuple[int, ...]:
    """Return the steps at which a trial is scored: a quarter and a half of its ``steps``; none without a pruner.

    Each rung is ``REDUCTION`` times the one before, as successive halving has it. Earlier a score says little: the
    learning rate is still rising.
    """
    candidates = () if pruner == "none" else (steps // 4, steps // 2)
    return tuple(sorted({step for step in candidates if 0 < step < steps}))


def build_pruner(protocol: TuningProtocol | None) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of that name; one that prunes nothing without a protocol."""
    if protocol is None or protocol.pruner == "none":
        return optuna.pruners.NopPruner()
    if protocol.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=protocol.rungs[0], reduction_factor=REDUCTION)


def report_rung(study: optuna.Study, number: int, *, step: int, score: float) -> bool:
    """Store the score of the running trial ``number`` at ``step``; say whether the study's pruner would end it there.

    A trial that was taken away meanwhile is let run: its result will not count. This is what ``Trial.report`` and
    ``Trial.should_prune`` do; a ``FrozenTrial``, which a claim is, has them as empty forms only.
    """
    storage = storage_of(study)
    trial = storage.get_trial_id_from_study_id_trial_number(study_id(study), number)
    try:
        storage.set_trial_intermediate_value(trial, step, float(score))
        return study.pruner.prune(study, storage.get_trial(trial))
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
