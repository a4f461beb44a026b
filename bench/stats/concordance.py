"""Agreement of two judges: on the order of models (Kendall's τ), and on single questions."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray

FEWEST = 4
"""Models from which an order can be agreed on: judges who have nothing in common order three alike once in six times,
four once in 24."""
RESAMPLES = 1000
SEED = 0
Array = NDArray[np.float64]


def kendall(first: Array, second: Array) -> float:
    """Return Kendall's τ-b of two judges' rates ``[models]``; NaN for fewer than ``FEWEST`` models that both have."""
    from scipy.stats import kendalltau

    known = ~(np.isnan(first) | np.isnan(second))
    if known.sum() < FEWEST:
        return math.nan
    # rounded: full agreement is 1, not 0.9999999999999999
    return round(float(kendalltau(first[known], second[known]).statistic), 12)


def same_side(first: Array, second: Array) -> tuple[float, int]:
    """Return in what share of comparisons two judges prefer the same side, and of how many, ties left out.

    Args:
        first, second: probability that a side is better, any shape, NaN where there is no verdict.
    """
    decided = ~np.isnan(first) & ~np.isnan(second) & (first != 0.5) & (second != 0.5)
    if not decided.any():
        return math.nan, 0
    return float(((first > 0.5) == (second > 0.5))[decided].mean()), int(decided.sum())


def kendall_interval(first: Array, second: Array) -> tuple[float, float]:
    """Return scipy's percentile bootstrap of τ over questions, the same questions for both judges and all models.

    Args:
        first, second: preferences ``[models, questions]``, NaN where there is no verdict. NaN for fewer than
            ``FEWEST`` models, and for fewer than two questions.
    """
    from scipy.stats import bootstrap

    questions = first.shape[1]
    if len(first) < FEWEST or questions < 2:
        return math.nan, math.nan

    def tau(drawn: NDArray[np.int64]) -> float:
        # a model without a judgement among the questions drawn has no rank there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            agreement = kendall(np.nanmean(first[:, drawn], axis=1), np.nanmean(second[:, drawn], axis=1))
        return 0.0 if math.isnan(agreement) else agreement  # all models tie: no order to agree on

    resampled = bootstrap(
        (np.arange(questions),),
        tau,
        n_resamples=RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(resampled.confidence_interval.low), float(resampled.confidence_interval.high)
