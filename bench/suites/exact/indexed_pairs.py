"""Labelled pairs of an enumerable problem by index, and their conversion to token ids."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.suites.exact.problem import Array, Problem
from bench.suites.pairs import Pair

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexedPairs:
    """Labelled pairs by index: contexts, chosen and rejected completions, and their scores, each ``[pairs]``."""

    context: Indices
    chosen: Indices
    rejected: Indices
    chosen_score: Array
    rejected_score: Array


def as_pairs(indexed: IndexedPairs, problem: Problem) -> list[Pair]:
    """Return the pairs as token ids, in order."""
    prompts = [problem.prompt(context) for context in range(problem.spec.contexts)]
    columns = (indexed.context, indexed.chosen, indexed.rejected, indexed.chosen_score, indexed.rejected_score)
    return [
        Pair(
            prompt_ids=prompts[context],
            chosen_ids=problem.completions[chosen],
            rejected_ids=problem.completions[rejected],
            chosen_score=chosen_score,
            rejected_score=rejected_score,
        )
        for context, chosen, rejected, chosen_score, rejected_score in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]
