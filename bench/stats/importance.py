"""Importance of a sweep's parameters: the share of the target's variation that each explains."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestRegressor

LOGARITHMIC = 5.0
"""The factor between a parameter's largest and smallest value from which on its scale is logarithmic."""
TREES = 64
"""Trees of the forest, each at most as many splits deep; both are Optuna's defaults."""


def importances(points: Sequence[Mapping[str, float]], targets: Sequence[float], *, seed: int) -> dict[str, float]:
    """Return the share of the target's variance over the swept box that each parameter explains alone, largest first.

    fANOVA (Hutter et al. 2014, PMLR 32, 754): a random forest is fitted to the trials, and the variance of each tree's
    prediction over the box is split; shares are scaled to a sum of 1. Forest and shares are those of Optuna's
    ``FanovaImportanceEvaluator``, which sums over all leaves for each split where this sorts the leaves once. Optuna's
    default, PED-ANOVA, asks what tells the best tenth of the trials from the others: of a sweep's dozen trials that is
    one. A parameter above 0 that was varied by a factor of ``LOGARITHMIC`` or more is on a logarithmic scale, as sweeps
    draw it; on a linear one the largest values alone would decide. A target of NaN, a trial that diverged, counts as
    the worst that was reached. A parameter that was not varied has 0, and all have where nothing can be told: fewer
    than two finite targets, or all the same. ``seed`` seeds the forest. Raises ValueError where points differ in their
    parameters, or a target is missing.
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
    scales = {name: _scaled([point[name] for point in points]) for name in varied}
    shares = _fanova([{name: scales[name][row] for name in varied} for row in range(len(points))], filled, seed=seed)
    return dict(sorted((nothing | shares).items(), key=lambda item: (-item[1], item[0])))


def _scaled(values: Sequence[float]) -> list[float]:
    """Return one parameter's values on the scale on which its box is even."""
    logarithmic = min(values) > 0 and max(values) >= LOGARITHMIC * min(values)
    return [math.log(value) for value in values] if logarithmic else list(values)


def _fanova(points: Sequence[dict[str, float]], targets: Sequence[float], *, seed: int) -> dict[str, float]:
    # a second to import, and no other statistic needs it
    import numpy as np
    from sklearn import config_context
    from sklearn.ensemble import RandomForestRegressor

    names = sorted(points[0])  # the forest breaks ties by the order of the columns
    x = np.array([[point[name] for name in names] for point in points])
    forest = RandomForestRegressor(TREES, max_depth=TREES, random_state=seed)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        forest.fit(x, np.array(targets))
    total, marginal = _variances(forest, x.min(axis=0), x.max(axis=0))
    # Trees of constant prediction have no share; where their variance is rounding alone, Optuna divides by it.
    varying = total > (1e-12 * max(map(abs, targets))) ** 2
    shares = (marginal[varying] / total[varying, None]).mean(axis=0)
    whole = float(shares.sum())
    return {name: float(share) / whole if whole else 1 / len(names) for name, share in zip(names, shares, strict=True)}


def _variances(
    forest: "RandomForestRegressor", low: "NDArray[np.float64]", high: "NDArray[np.float64]"
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Return the variance of each tree's prediction over the box [trees], and of its marginal on each axis [trees, d].

    A tree is constant on each leaf, which is a box: its marginal on an axis is a step function, which a leaf raises
    from its lower end on and lowers from its upper end on.
    """
    import numpy as np

    trees = [estimator.tree_ for estimator in forest.estimators_]
    counts = [tree.node_count for tree in trees]
    tree_of = np.repeat(np.arange(len(trees)), counts)
    starts = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    left, right = (
        np.concatenate([getattr(tree, f"children_{side}") for tree in trees]) + starts for side in ("left", "right")
    )
    axis = np.concatenate([tree.feature for tree in trees])
    threshold = np.concatenate([tree.threshold for tree in trees])
    value = np.concatenate([tree.value[:, 0, 0] for tree in trees])

    lows, highs = np.tile(low, (len(axis), 1)), np.tile(high, (len(axis), 1))
    nodes = np.unique(starts)  # the roots, then each level below
    while len(nodes := nodes[axis[nodes] >= 0]):
        for child in (left, right):
            lows[child[nodes]], highs[child[nodes]] = lows[nodes], highs[nodes]
        highs[left[nodes], axis[nodes]] = lows[right[nodes], axis[nodes]] = threshold[nodes]
        nodes = np.concatenate([left[nodes], right[nodes]])

    leaves = axis < 0
    tree_of, value, lows, sides = tree_of[leaves], value[leaves], lows[leaves], (highs - lows)[leaves] / (high - low)
    weight = sides.prod(axis=1)
    value = value - np.bincount(tree_of, weight * value)[tree_of]
    total = np.bincount(tree_of, weight * value**2).astype(np.float64)
    starts_at = (lows - low) / (high - low)
    marginal = [
        _step_variance(tree_of, starts_at[:, d], sides[:, d], value * weight / sides[:, d]) for d in range(len(low))
    ]
    return total, np.stack(marginal, axis=1)


def _step_variance(
    tree: "NDArray[np.int64]", start: "NDArray[np.float64]", side: "NDArray[np.float64]", height: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Return each tree's mean square over [0, 1] of a sum of steps: ``height`` from ``start`` to ``start + side``."""
    import numpy as np

    trees, at = np.tile(tree, 2), np.concatenate([start, start + side])
    order = np.lexsort((at, trees))
    level = np.cumsum(np.concatenate([height, -height])[order])[:-1]
    width = np.diff(at[order])
    within = np.diff(trees[order]) == 0
    return np.bincount(trees[order][:-1][within], (width * level**2)[within]).astype(np.float64)
