"""Owns the importance of a sweep's parameters: how much of the target's variance each explains."""

import math
from collections.abc import Mapping, Sequence


def importances(points: Sequence[Mapping[str, float]], targets: Sequence[float], *, seed: int) -> dict[str, float]:
    """Return each parameter's share of the target's variance over the swept space, most important first."""
    from optuna import create_study, create_trial, logging
    from optuna.distributions import FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    names = list(points[0])
    worst = min(target for target in targets if not math.isnan(target))
    spans = {name: (min(p[name] for p in points), max(p[name] for p in points)) for name in names}
    varied = [name for name in names if spans[name][0] < spans[name][1]]
    distributions = {
        n: FloatDistribution(*spans[n], log=spans[n][0] > 0 and spans[n][1] >= 10 * spans[n][0]) for n in varied
    }
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    study = create_study(direction="maximize")
    logging.set_verbosity(verbosity)
    for point, target in zip(points, targets, strict=True):
        study.add_trial(
            create_trial(
                params={n: point[n] for n in varied},
                distributions=dict(distributions),
                value=worst if math.isnan(target) else target,
            )
        )
    if len(varied) < 2:
        return {name: float(name in varied) for name in names}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {**found, **{name: 0.0 for name in names if name not in found}}
