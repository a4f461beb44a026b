"""Owns the per-prompt test scores of each objective's best setting, laid side by side so that they can be paired."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.errors import RunError
from bench.report.record import RunRecord
from bench.report.settings import Group

if TYPE_CHECKING:
    from numpy.typing import NDArray


def matched(group: Group, *, name: str = "target") -> "dict[str, NDArray]":
    """Return objective → test scores ``name`` of its best setting, (seeds, prompts), in the objectives' order.

    All arrays have the same seeds in their rows, those that every objective here has, and the same prompts in their
    columns, so entries at one place are paired. An objective without test scores is left out; without a seed that all
    have, nothing is left. Raises RunError where two runs were scored on different numbers of prompts.
    """
    import numpy as np

    found = seed_scores(group, name=name)
    common = set.intersection(*map(set, found.values())) if found else set()
    return {one: np.array([rows[seed] for seed in sorted(common)]) for one, rows in found.items() if common}


def seed_scores(group: Group, *, name: str = "target") -> dict[str, dict[int, list[float]]]:
    """Return objective → seed → test scores ``name`` over the prompts, for each best setting that has any.

    Raises RunError where two runs were scored on different numbers of prompts.
    """
    found = {}
    for objective in group.objectives:
        best = group.best(objective)
        rows = scores_of(best.test, name=name) if best is not None else {}
        if rows:
            found[objective] = rows
    sizes = sorted({len(row) for rows in found.values() for row in rows.values()})
    if len(sizes) > 1:
        raise RunError(
            f"runs of protocol {group.protocol} were scored on {' and '.join(map(str, sizes))} test prompts",
            fix="score them on the same prompts: `bench run` with the same suite and data",
        )
    return found


def scores_of(records: Sequence[RunRecord], *, name: str) -> dict[int, list[float]]:
    """Return seed → scores ``name`` over the prompts, of the completed records that have finite ones for each."""
    found = ((record.spec.seed, record.scores.get(name)) for record in records if record.status == "completed")
    return {seed: row for seed, row in found if row and all(map(math.isfinite, row))}
