"""Settings of one objective that may still be its best, by their scores on validation prompts."""

import math
from collections.abc import Sequence

import numpy as np

from bench.stats.crossed import Array


def in_question(scores: Sequence[Array], *, margin: float) -> list[bool]:
    """Return for each setting whether it may be the best one: the gap of its mean to the highest is not large.

    Large is more than ``margin`` and one standard error of the paired difference over prompts. The rule chooses what
    is trained again and claims nothing: with it, the setting that is chosen is nearly as good as by three seeds of
    all, for six tenths of the trainings (docs/racing.md).

    Args:
        scores: of each setting ``[seeds, prompts]``, score units; equal shapes. One column: means of seeds alone.
    """
    means = [float(one.mean()) for one in scores]
    best = scores[int(np.argmax(means))]
    return [max(means) - mean <= margin + _stderr(best - one) for mean, one in zip(means, scores, strict=True)]


def _stderr(difference: Array) -> float:
    """Return the standard error over prompts of the mean of ``[seeds, prompts]``; 0 for one prompt."""
    prompts = difference.shape[1]
    return float(difference.mean(axis=0).std(ddof=1)) / math.sqrt(prompts) if prompts > 1 else 0.0
