"""A random part of questions for a strong judge: decided by a seed and the questions alone."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.stats.prediction_powered import FEWEST

SHARE = 0.2
"""Of the questions that a strong judge sees, where no other share is requested."""


def random_part(questions: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which questions are in the part, ``[questions]``; at least two of them, where there are two.

    Each question's place in a random order comes from the seed and its own text, so the part is the same for every
    model, judge, machine and later command; a larger share adds questions and takes none away. A text that repeats is
    another question each time.

    Raises:
        UsageError: a share that is none.
    """
    if not 0.0 < share <= 1.0:
        raise UsageError(f"the share of questions for the strong judge must be above 0, up to 1 (got {share:g})",
                         fix="for example 0.2")  # fmt: skip
    before: Counter[str] = Counter()
    ranks = []
    for text in questions:
        ranks.append(hashlib.sha256(json.dumps([seed, text, before[text]]).encode()).digest())
        before[text] += 1
    count = min(len(questions), max(FEWEST, math.ceil(share * len(questions) - 1e-9)))
    part = np.zeros(len(questions), dtype=bool)
    part[sorted(range(len(questions)), key=ranks.__getitem__)[:count]] = True
    return part
