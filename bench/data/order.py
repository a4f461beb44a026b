"""Owns the order of the data: which rows make the batch of a step, as a pure function of seed and step."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bench.errors import UsageError

Item = TypeVar("Item")


def batch_indices(*, rows: int, batch: int, step: int, seed: int) -> list[int]:
    """Rows of the global batch of ``step`` (0-based): epochs are seeded permutations, batches run over their borders.

    Always exactly ``batch`` indices; no row is dropped.
    """
    first = step * batch
    epochs = range(first // rows, (first + batch - 1) // rows + 1)
    orders = {epoch: np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(rows)
              for epoch in epochs}
    return [int(orders[place // rows][place % rows]) for place in range(first, first + batch)]


def stage_rows(difficulty: Sequence[float], stages: int) -> list[list[int]]:
    """Rows of each stage, easy (low difficulty) first, in shares that differ by one row at most."""
    order = np.argsort(np.asarray(difficulty), kind="stable")
    return [[int(i) for i in part] for part in np.array_split(order, stages)]


def shard(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The contiguous share of one rank.

    Raises:
        UsageError: the items cannot be shared equally.
    """
    if len(items) % world:
        raise UsageError(
            f"a batch of {len(items)} cannot be shared by {world} processes", fix="choose a batch that it divides"
        )
    share = len(items) // world
    return list(items[rank * share : (rank + 1) * share])


def micro_batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Cut a batch into parts of ``size``, the last one maybe smaller."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
