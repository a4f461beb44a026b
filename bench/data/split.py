"""Split of one data set into parts that share no prompt."""

import json
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.data.digests import digests, first_seen
from bench.data.preferences import Preferences, subset
from bench.data.tokens import Encoded, taken
from bench.errors import UsageError

Data = TypeVar("Data", Encoded, Preferences)
PARTS = ("train", "validation", "test")


def split_by_prompt(data: Data, *, fractions: Sequence[float], seed: int) -> tuple[Data, Data, Data]:
    """Return (train, validation, test): all rows of one prompt in one part, rows in their order.

    ``fractions`` are the three shares of *prompts*, adding up to 1; which prompts go where depends on ``seed`` and on
    the order in which prompts first appear. Each part of a share above 0 gets a prompt as long as there are enough,
    train first; with fewer prompts than parts the last ones stay empty. ``group`` and ``pair`` keep their numbers.

    Raises UsageError for shares that are not three, not within 0 to 1, or do not add up to 1.
    """
    if len(fractions) != len(PARTS) or not all(math.isfinite(f) and 0 <= f <= 1 for f in fractions):
        raise UsageError(
            f"fractions must be three shares from 0 to 1: train, validation, test (got {tuple(fractions)})",
            fix="for example (0.8, 0.1, 0.1)",
        )
    if abs(math.fsum(fractions) - 1) > 1e-9:
        raise UsageError(
            f"fractions must add up to 1 (got {tuple(fractions)}, which add up to {math.fsum(fractions):g})",
            fix="for example (0.8, 0.1, 0.1)",
        )
    numbers = _prompts(data)
    distinct = int(numbers.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(distinct)
    part_of = np.empty(distinct, dtype=np.int8)
    part_of[order] = np.repeat(np.arange(len(PARTS), dtype=np.int8), _counts(distinct, fractions))
    parts = part_of[numbers]
    train, validation, test = (_take(data, np.flatnonzero(parts == part)) for part in range(len(PARTS)))
    return train, validation, test


def _prompts(data: Encoded | Preferences) -> NDArray[np.int64]:
    """Return the number of each row's prompt, from 0 in the order in which prompts first appear."""
    if isinstance(data, Encoded):
        _, firsts, inverse = np.unique(data.groups, return_index=True, return_inverse=True)
        rank = np.empty(len(firsts), dtype=np.int64)
        rank[np.argsort(firsts)] = np.arange(len(firsts))
        return rank[inverse.reshape(-1)]
    return first_seen(digests(json.dumps(row.prompt, sort_keys=True).encode() for row in data.rows))[0]


def _counts(prompts: int, fractions: Sequence[float]) -> list[int]:
    wanted = [i for i, fraction in enumerate(fractions) if fraction > 0]
    counts = [0] * len(fractions)
    for part in wanted[:prompts]:
        counts[part] = 1
    # All but the last few of each share are its own whatever the others have.
    if prompts > 100 * len(fractions):
        counts = [max(count, math.floor(prompts * share) - 4) for count, share in zip(counts, fractions, strict=True)]
    # One by one to the part that is furthest below its share: exact, and each count is within one of its share.
    for _ in range(prompts - sum(counts)):
        counts[max(wanted, key=lambda part: prompts * fractions[part] - counts[part])] += 1
    return counts


def _take(data: Data, rows: NDArray[np.int64]) -> Data:
    if isinstance(data, Encoded):
        return taken(data, rows)
    return subset(data, rows.tolist())
