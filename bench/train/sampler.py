"""The rows of each step's global batch: a function of data, spec and step alone, the same on every rank."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TypeVar, overload

import numpy as np

from bench.core.specs import RunSpec, SetSpec
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, singles_of
from bench.errors import UsageError
from losses import Objective, ReferenceSchedule, Singles

Unit = tuple[EncodedPair | EncodedSingle, ...]
"""What stays together in a batch: one pair, one unpaired example, or a pair taken apart into two."""


def schedule_of(objective: Objective, spec: RunSpec) -> ReferenceSchedule:
    """When the reference of a run follows its policy; where the data are several sets, each of them is a stage.

    Raises:
        UsageError: an objective with another number of stages than there are sets.
    """
    return schedule_at(objective, spec.params, sets=spec.data.sets)


def schedule_at(objective: Objective, params: Mapping[str, float], *, sets: Sequence[SetSpec]) -> ReferenceSchedule:
    """Return ``schedule_of`` a run with these parameters. Raises UsageError, as it does."""
    schedule = objective.bind(params).schedule
    if not sets or schedule.stages == 1:
        return schedule
    check_stages(f"{objective.name} has {schedule.stages} stages", schedule.stages, sets=len(sets))
    return replace(schedule, shares=tuple(each.rows for each in sets))


def check_stages(label: str, stages: float | None, *, sets: int) -> None:
    """Refuse another number of stages than there are data sets; None: a number that is not known. Raises UsageError."""
    if stages != sets:
        raise UsageError(
            f"{label}, and --data gives {sets} sets", fix=f"each set is a stage: stages={sets}, or leave it out"
        )


def step_rows(stages: Sequence[Sequence[int]], schedule: ReferenceSchedule, *, spec: RunSpec, step: int) -> list[int]:
    """The rows of the global batch of ``step`` (0-based): a function of the spec alone, so known beforehand."""
    stage, first, _ = stage_span(schedule, step, spec.train.steps)
    rows = stages[stage]
    picked = batch_indices(rows=len(rows), batch=spec.train.batch, step=step - first, seed=spec.seed)
    return [rows[i] for i in picked]


def stage_span(schedule: ReferenceSchedule, step: int, steps: int) -> tuple[int, int, int]:
    """The stage that ``step`` (0-based) belongs to, its first step, and its number of steps."""
    borders = (0, *schedule.boundaries(steps), steps)
    stage = schedule.stage_of(step + 1, steps)
    return stage, borders[stage], borders[stage + 1] - borders[stage]


@dataclass(frozen=True)
class Units(Sequence[Unit]):
    """What a batch is drawn from: a pair is one unit for every objective, ``apart`` into two completions or not.

    Units are made when they are drawn: a training sees a small part of large data.
    """

    data: Encoded
    apart: bool

    def __len__(self) -> int:
        return len(self.data.rows)

    @overload
    def __getitem__(self, index: int) -> Unit: ...

    @overload
    def __getitem__(self, index: slice) -> list[Unit]: ...

    def __getitem__(self, index: int | slice) -> Unit | list[Unit]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self.data.rows[index]
        return singles_of(row, pair=range(len(self))[index]) if self.apart and isinstance(row, EncodedPair) else (row,)


def batch_units(data: Encoded, objective: Objective) -> Units:
    """What a batch is drawn from: a pair is one unit for every objective, taken apart or not."""
    return Units(data, apart=data.kind == "pairs" and objective.batch is Singles)


def stage_order(data: Encoded, schedule: ReferenceSchedule, mean: Callable[[int], float] | None) -> list[Sequence[int]]:
    """Rows of each stage: those of each data set, in the order of the sets, where there are several.

    Else sDPO goes from easy to hard (arXiv 2403.19270): easy is what the start model ranks rightly. Difficulty is
    −(mean log-prob of chosen − mean log-prob of rejected) under the start model.

    Args:
        mean: completion (of pair i 2i is the chosen one, 2i + 1 the other) to its mean log-prob under the start model.
    """
    if schedule.shares:
        return [range(*ends) for ends in pairwise(accumulate(schedule.shares, initial=0))]
    if schedule.stages == 1 or mean is None:
        return [range(len(data.rows))]
    pairs = len(data.rows) if data.kind == "pairs" else 0
    return [*stage_rows([mean(2 * pair + 1) - mean(2 * pair) for pair in range(pairs)], schedule.stages)]


Item = TypeVar("Item")


def batch_indices(*, rows: int, batch: int, step: int, seed: int) -> list[int]:
    """Return the rows of the global batch of ``step`` (0-based), always exactly ``batch`` of them.

    Epochs are permutations, each seeded by (seed, epoch), one after another: a batch runs over the border of two, so no
    row is dropped, and it may then hold a row twice.

    Raises UsageError for no rows, no batch, a negative step or a seed outside 0 to 2³² - 1.
    """
    for name, value, least in (("rows", rows, 1), ("batch", batch, 1), ("step", step, 0)):
        if value < least:
            raise UsageError(f"{name} must be ≥ {least} (got {value})")
    if not 0 <= seed < 2**32:
        # Beyond 32 bits a seed spills over into the word of the epoch: (2**32, 0) would be (0, 1).
        raise UsageError(f"seed must be from 0 to 4294967295 (got {seed})")
    first = step * batch
    epochs = range(first // rows, (first + batch - 1) // rows + 1)
    orders = {epoch: _permutation(rows, seed=seed, epoch=epoch) for epoch in epochs}
    return [int(orders[position // rows][position % rows]) for position in range(first, first + batch)]


def stage_rows(difficulty: Sequence[float], stages: int) -> list[list[int]]:
    """Return the rows of each stage: sorted by difficulty, low (easy) first, equals in their order, cut into shares.

    Shares differ by one row at most, the larger ones first. Raises UsageError for fewer rows than stages, or NaN.
    """
    if not 1 <= stages <= len(difficulty):
        raise UsageError(f"{stages} stages of {len(difficulty)} rows", fix=f"give 1 to {len(difficulty)} stages")
    wrong = next((row for row, value in enumerate(difficulty) if math.isnan(value)), None)
    if wrong is not None:
        raise UsageError(f"the difficulty of row {wrong} (from 0) is NaN", fix="give a number for each row")
    order = np.argsort(np.asarray(difficulty, dtype=np.float64), kind="stable")
    return [[int(row) for row in part] for part in np.array_split(order, stages)]


def rank_share(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """Return the contiguous share of process ``rank`` (from 0) of ``world``; the shares are equal.

    Raises UsageError where the items do not divide, or the rank is not one of the world's.
    """
    if world < 1 or not 0 <= rank < world:
        raise UsageError(f"rank must be from 0 to the number of processes - 1 (got rank {rank} of {world})")
    share, left = divmod(len(items), world)
    if left:
        near = " or ".join(str(count * world) for count in (share, share + 1) if count)
        raise UsageError(
            f"a global batch of {len(items)} cannot be shared equally by {world} processes",
            fix=f"use a batch of {near}",
        )
    return list(items[rank * share : (rank + 1) * share])


def micro_batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Cut a batch into parts of ``size``, in order, the last maybe smaller. Raises UsageError for a size below 1."""
    if size < 1:
        raise UsageError(f"micro-batch must be ≥ 1 (got {size})")
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


@lru_cache(maxsize=4)  # a step needs the epoch of the step before, at a border its neighbour
def _permutation(rows: int, *, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(rows)
