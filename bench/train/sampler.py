"""The rows of each step's global batch: a function of data, spec and step alone, the same on every rank."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TypeVar, overload

import numpy as np

from bench.core.specs import RunSpec
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, Unpaired
from bench.errors import UsageError
from bench.models.reference_cache import ReferenceLogProbs
from losses import Objective, ReferenceSchedule, Singles

Unit = tuple[EncodedPair | EncodedSingle, ...]
"""What stays together in a batch: one pair, one unpaired example, or a pair taken apart into two."""


def schedule_of(objective: Objective, spec: RunSpec) -> ReferenceSchedule:
    """When the reference of a run follows its policy; where the data are several sets, each of them is a stage.

    Raises:
        UsageError: an objective with another number of stages than there are sets.
    """
    schedule, sets = objective.bind(spec.params).schedule, spec.data.sets
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


class Units(Sequence[Unit]):
    """Units of rows that are objects only while they are used: ``size`` rows side by side are one unit."""

    def __init__(self, rows: Sequence[EncodedPair | EncodedSingle], size: int) -> None:
        self._rows, self._size = rows, size

    def __len__(self) -> int:
        return len(self._rows) // self._size

    @overload
    def __getitem__(self, place: int) -> Unit: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Unit]: ...

    def __getitem__(self, place: int | slice) -> Unit | Sequence[Unit]:
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        first = range(len(self))[place] * self._size
        return tuple(self._rows[row] for row in range(first, first + self._size))


def step_units(
    units: Sequence[Unit], stages: Sequence[Sequence[int]], schedule: ReferenceSchedule, *, spec: RunSpec, step: int
) -> list[Unit]:
    """The global batch of ``step`` (0-based): a function of the spec alone, so a cache can be filled beforehand."""
    stage, first, _ = stage_span(schedule, step, spec.train.steps)
    rows = stages[stage]
    picked = batch_indices(rows=len(rows), batch=spec.train.batch, step=step - first, seed=spec.seed)
    return [units[rows[i]] for i in picked]


def stage_span(schedule: ReferenceSchedule, step: int, steps: int) -> tuple[int, int, int]:
    """The stage that ``step`` (0-based) belongs to, its first step, and its number of steps."""
    borders = (0, *schedule.boundaries(steps), steps)
    stage = schedule.stage_of(step + 1, steps)
    return stage, borders[stage], borders[stage + 1] - borders[stage]


def batch_units(data: Encoded, objective: Objective) -> Sequence[Unit]:
    """What a batch is drawn from: a pair is one unit for every objective, taken apart or not."""
    if data.kind == "unpaired" or objective.batch is not Singles:
        units = Units(data.rows, 1)
    else:
        units = Units(Unpaired(data.pairs), 2)
    # Rows in memory are laid side by side once; rows on disk would all become objects.
    return list(units) if isinstance(data.rows, tuple) else units


def stage_order(
    data: Encoded, schedule: ReferenceSchedule, reference: ReferenceLogProbs | None
) -> Sequence[Sequence[int]]:
    """Rows of each stage: those of each data set, in the order of the sets, where there are several.

    Else sDPO goes from easy to hard (arXiv 2403.19270): easy is what the start model ranks rightly. Difficulty is
    −(mean log-prob of chosen − mean log-prob of rejected) under the start model.
    """
    if schedule.shares:
        return [range(*ends) for ends in pairwise(accumulate(schedule.shares, initial=0))]
    if schedule.stages == 1 or reference is None:
        return [range(len(data.rows))]
    return stage_rows(
        [
            float(reference.row((pair.prompt_ids, pair.rejected_ids)).mean())
            - float(reference.row((pair.prompt_ids, pair.chosen_ids)).mean())
            for pair in data.pairs
        ],
        schedule.stages,
    )


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
