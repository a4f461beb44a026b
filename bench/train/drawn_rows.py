"""The completions that trainings read reference log-probs of: formulas of sizes, steps and seeds, without a model.

The order of the data is a function of the seed, so they are known before a training begins. They are scored in
*blocks*, batches that only data and seed decide: a longer run adds blocks, another seed has its own, and whatever else
was computed before, a training reads the same numbers to the last bit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench.core.specs import TrainSpec
from losses import Objective, ReferenceSchedule, Requires

ROWS, MISMATCHED = "rows", "mismatched"
"""Kinds of completions: those of the data's rows, and those that KTO's baseline makes of a step's."""
BLOCK = 64
"""Completions of a block, which is one forward pass."""
WHOLE_SHARE = 0.25
"""A training that draws this share of the rows or more reads all of them, scored once for all seeds."""
VOCABULARY = Requires.VOCAB_KL | Requires.ENTROPY
"""What no cache of log-probs can give: it takes the reference model itself."""


@dataclass(frozen=True, order=True)
class Need:
    """Completions that a training reads the reference of.

    Fields:
        kind: ``ROWS`` or ``MISMATCHED``.
        first, last: the part of the data, as rows; a stage has its own.
        seed: whose order they are drawn in; None: all of the part.
        blocks: so many of the seed's; 0 for all of the part.
        completions: as many as that makes. Of all rows it is the most: equal ones are scored once.
        terms: what else decides mismatched completions.
    """

    kind: str
    first: int
    last: int
    seed: int | None
    blocks: int
    completions: int
    terms: str = ""

    @property
    def name(self) -> str:
        """What the blocks are, but not how many of them."""
        return f"{self.kind} {self.first}:{self.last} seed {self.seed} {self.terms}"


def cached_steps(objective: Objective, schedule: ReferenceSchedule, steps: int) -> int:
    """Return after how many steps of ``steps`` a training reads no cached log-probs any more.

    A reference that moves is computed live from its first move on; one whose whole vocabulary counts, from the start.
    """
    if Requires.REFERENCE not in objective.requires or objective.requires & VOCABULARY:
        return 0
    if schedule.is_frozen:
        return steps
    return next((step for step in range(1, steps + 1) if schedule.weight_after(step, steps) > 0), steps)


def needs_of(
    objective: Objective, schedule: ReferenceSchedule, train: TrainSpec, *, seed: int, rows: int, paired: bool
) -> tuple[Need, ...]:
    """Return what one training needs of data with ``rows`` rows, ``paired``: each of two completions.

    Stages that the reference's own margins order (sDPO on one data set) need all rows. Empty: the training has no
    reference, or only a live one.
    """
    width = 2 if paired else 1
    if Requires.REFERENCE not in objective.requires:
        return ()
    by_margin = schedule.stages > 1 and not schedule.shares
    cached = cached_steps(objective, schedule, train.steps)
    needs = [all_rows(0, rows, width)] if by_margin else []
    if not by_margin:
        borders = (0, *schedule.boundaries(train.steps), train.steps)
        ends = (0, *(sum(schedule.shares[: k + 1]) for k in range(schedule.stages))) if schedule.shares else (0, rows)
        for stage in range(schedule.stages):
            steps = min(cached, borders[stage + 1]) - borders[stage]
            if steps > 0:
                needs.append(drawn_rows(ends[stage], ends[stage + 1], width, drawn=steps * train.batch, seed=seed))
    if cached and Requires.KL_BASELINE in objective.requires:
        terms = f"batch {train.batch} longest {train.max_length}"
        if schedule.stages > 1:
            terms += f" steps {train.steps} {schedule}"
        each = block_steps(train.batch, width)
        blocks = math.ceil(cached / each)
        steps = cached if schedule.stages > 1 else blocks * each
        needs.append(Need(MISMATCHED, 0, rows, seed, blocks, steps * train.batch * width, terms))
    return tuple(needs)


def all_rows(first: int, last: int, width: int) -> Need:
    """Return the need of every completion of a part of the data."""
    return Need(ROWS, first, last, None, 0, (last - first) * width)


def drawn_rows(first: int, last: int, width: int, *, drawn: int, seed: int) -> Need:
    """Return the need of a training that draws ``drawn`` rows of a part of the data, in the order of ``seed``."""
    if drawn >= WHOLE_SHARE * (last - first):
        return all_rows(first, last, width)
    blocks = math.ceil(drawn / block_rows(width))
    return Need(ROWS, first, last, seed, blocks, min(blocks * block_rows(width), last - first) * width)


def block_rows(width: int) -> int:
    """Return how many rows of the data a block has, ``width``: completions of a row."""
    return BLOCK // width


def block_steps(batch: int, width: int) -> int:
    """Return of how many steps a block has the mismatched completions."""
    return max(1, BLOCK // (batch * width))


def joined(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Return the needs of several trainings as one list: of the same blocks the most, in the order of their coming."""
    most: dict[str, Need] = {}
    for need in needs:
        known = most.get(need.name)
        if known is None or need.blocks > known.blocks:
            most[need.name] = need
    return tuple(most.values())


def completions_of(needs: Iterable[Need]) -> int:
    """Return how many completions a reference scores for these needs."""
    return sum(need.completions for need in joined(needs))
