"""Owns which rows make the global batch of a step: a function of data, spec and step alone, the same on every rank."""

from dataclasses import replace
from itertools import accumulate, pairwise

from bench.data.order import batch_indices, stage_rows
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, pairs_in, unpair
from bench.errors import UsageError
from bench.reference import ReferenceLogProbs
from bench.spec import RunSpec
from losses import Objective, ReferenceSchedule, Singles

Unit = tuple[EncodedPair | EncodedSingle, ...]
"""What stays together in a batch: one pair, one unpaired example, or a pair taken apart into two."""


def schedule_of(objective: Objective, spec: RunSpec) -> ReferenceSchedule:
    """When the reference of a run follows its policy; where the data are several sets, each of them is a stage.

    Raises:
        UsageError: an objective with another number of stages than there are sets.
    """
    schedule, sets = objective.reference_schedule(spec.params), spec.data.sets
    if not sets or schedule.stages == 1:
        return schedule
    if schedule.stages != len(sets):
        raise UsageError(
            f"{objective.name} has {schedule.stages} stages, and --data gives {len(sets)} sets",
            fix=f"each set is a stage: stages={len(sets)}, or leave it out",
        )
    return replace(schedule, shares=tuple(each.rows for each in sets))


def step_units(
    units: list[Unit], stages: list[list[int]], schedule: ReferenceSchedule, *, spec: RunSpec, step: int
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


def batch_units(data: Encoded, objective: Objective) -> list[Unit]:
    """What a batch is drawn from: a pair is one unit for every objective, taken apart or not."""
    if data.kind == "unpaired" or objective.batch is not Singles:
        return [(row,) for row in data.rows]
    singles = unpair(data).rows
    return [(singles[2 * i], singles[2 * i + 1]) for i in range(len(data.rows))]


def stage_order(data: Encoded, schedule: ReferenceSchedule, reference: ReferenceLogProbs | None) -> list[list[int]]:
    """Rows of each stage: those of each data set, in the order of the sets, where there are several.

    Else sDPO goes from easy to hard (arXiv 2403.19270): easy is what the start model ranks rightly. Difficulty is
    −(mean log-prob of chosen − mean log-prob of rejected) under the start model.
    """
    if schedule.shares:
        return [list(range(*ends)) for ends in pairwise(accumulate(schedule.shares, initial=0))]
    if schedule.stages == 1 or reference is None:
        return [list(range(len(data.rows)))]
    return stage_rows(
        [
            float(reference.row((pair.prompt_ids, pair.rejected_ids)).mean())
            - float(reference.row((pair.prompt_ids, pair.chosen_ids)).mean())
            for pair in pairs_in(data.rows)
        ],
        schedule.stages,
    )
