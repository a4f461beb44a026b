"""Scores of records by seed: over the prompts where these are known, else one number for each seed."""

import math
from collections.abc import Mapping, Sequence

from bench.core.record import RunRecord
from bench.errors import RunError

SeedScores = dict[int, list[float]]
"""Seed → scores over the prompts."""


def scores_of(records: Sequence[RunRecord], *, name: str) -> SeedScores:
    """Return seed → scores ``name`` over the prompts, of the completed records that have finite ones for each."""
    scores = ((record.spec.seed, record.scores.get(name)) for record in records if record.status == "completed")
    return {seed: row for seed, row in scores if row and all(map(math.isfinite, row))}


def targets_of(records: Sequence[RunRecord]) -> SeedScores:
    """Return seed → the target as a row of one number, of the completed records that have it."""
    made = ((record.spec.seed, record.metric("target")) for record in records if record.status == "completed")
    return {seed: [metric.value] for seed, metric in made if metric is not None and math.isfinite(metric.value)}


def comparable(tests: Mapping[str, Sequence[RunRecord]]) -> dict[str, SeedScores]:
    """Return objective → seed → target, of objectives with any: over prompts where all runs have these, else alone.

    Raises RunError where two runs were scored on different numbers of prompts.
    """
    alone = {name: rows for name, records in tests.items() if (rows := targets_of(records))}
    scores = {name: scores_of(tests[name], name="target") for name in alone}
    if any(scores[name].keys() != alone[name].keys() for name in alone):
        return alone
    one_size(scores, protocol=next((record.protocol for records in tests.values() for record in records), ""))
    return scores


def one_size(scores: Mapping[str, SeedScores], *, protocol: str) -> None:
    """Raise RunError where two runs of ``protocol`` were scored on different numbers of prompts."""
    sizes = sorted({len(row) for rows in scores.values() for row in rows.values()})
    if len(sizes) > 1:
        raise RunError(
            f"runs of protocol {protocol} were scored on {' and '.join(map(str, sizes))} test prompts",
            fix="score them on the same prompts: `bench run` with the same suite and data",
        )
