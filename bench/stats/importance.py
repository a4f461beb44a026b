"""The importance of a sweep's parameters: how much of the target's variation each explains."""

import math
from collections.abc import Mapping, Sequence

DECADE = 10.0
"""A positive parameter that spans this factor is taken on a logarithmic scale, as β and learning rates are swept."""


def importances(points: Sequence[Mapping[str, float]], targets: Sequence[float], *, seed: int) -> dict[str, float]:
    """Return the share of the target's variance over the swept box that each parameter explains alone, largest first.

    Optuna's fANOVA (Hutter et al. 2014, PMLR 32, 754: a forest is fitted to the trials and its variance split), shares
    scaled to a sum of 1. Optuna's default, PED-ANOVA, asks what tells the best tenth of the trials from the others: of
    a sweep's dozen trials that is one. A target of NaN, a trial that diverged, counts as the worst that was reached.
    A parameter that was not varied has 0, and all have where nothing can be told: fewer than two finite targets, or
    all the same. ``seed`` seeds the forest. Raises ValueError where points differ in their parameters, or a target is
    missing.
    """
    if len(points) != len(targets) or any(point.keys() != points[0].keys() for point in points):
        raise ValueError(
            f"each of the {len(points)} points needs the same parameters, and one of {len(targets)} targets"
        )
    names = list(points[0]) if points else []
    finite = [target for target in targets if math.isfinite(target)]
    filled = [target if math.isfinite(target) else min(finite, default=0.0) for target in targets]
    varied = [name for name in names if len({point[name] for point in points}) > 1]
    nothing = dict.fromkeys(names, 0.0)
    if len(set(filled)) < 2 or not varied:
        return nothing
    if len(varied) == 1:
        return dict.fromkeys(varied, 1.0) | {name: 0.0 for name in names if name not in varied}
    found = _fanova([{name: point[name] for name in varied} for point in points], filled, seed=seed)
    return dict(sorted((nothing | found).items(), key=lambda item: (-item[1], item[0])))


def _fanova(points: Sequence[dict[str, float]], targets: Sequence[float], *, seed: int) -> dict[str, float]:
    # a second to import, and no other statistic needs it
    from optuna import create_study, create_trial, logging
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    box: dict[str, BaseDistribution] = {}
    for name in points[0]:
        low, high = min(point[name] for point in points), max(point[name] for point in points)
        box[name] = FloatDistribution(low, high, log=low > 0 and high >= DECADE * low)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        study = create_study(direction="maximize")
    finally:
        logging.set_verbosity(verbosity)
    study.add_trials(
        create_trial(params=point, distributions=dict(box), value=target)
        for point, target in zip(points, targets, strict=True)
    )
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}
