"""Split of one data set into parts that share no prompt."""

import json
import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from bench.data.preferences import Preferences, subset
from bench.data.tokens import Encoded, encoded_of
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
    prompts = _prompts(data)
    distinct: list[Hashable] = list(dict.fromkeys(prompts))
    order = [distinct[index] for index in np.random.default_rng(seed).permutation(len(distinct))]
    parts = [part for part, count in enumerate(_counts(len(distinct), fractions)) for _ in range(count)]
    part_of = dict(zip(order, parts, strict=True))
    picked: list[list[int]] = [[], [], []]
    for row, prompt in enumerate(prompts):
        picked[part_of[prompt]].append(row)
    train, validation, test = (_take(data, rows) for rows in picked)
    return train, validation, test


def _prompts(data: Encoded | Preferences) -> list[Hashable]:
    if isinstance(data, Encoded):
        return [row.group for row in data.rows]
    return [json.dumps(row.prompt, sort_keys=True) for row in data.rows]


def _counts(prompts: int, fractions: Sequence[float]) -> list[int]:
    wanted = [i for i, fraction in enumerate(fractions) if fraction > 0]
    counts = [0] * len(fractions)
    for part in wanted[:prompts]:
        counts[part] = 1
    # One by one to the part that is furthest below its share: exact, and each count is within one of its share.
    for _ in range(prompts - sum(counts)):
        counts[max(wanted, key=lambda part: prompts * fractions[part] - counts[part])] += 1
    return counts


def _take(data: Data, rows: Sequence[int]) -> Data:
    if isinstance(data, Encoded):
        kept = [data.rows[row] for row in rows]
        return encoded_of(kept, kind=data.kind, eos_id=data.eos_id, pad_id=data.pad_id)
    return subset(data, rows)
