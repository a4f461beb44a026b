"""Effect of a pruner: the steps that it saved, and the rank correlation of early and final scores."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bench.core.record import START, RunRecord

NONE = "none"
LEAST = 3
"""Trials of an objective that a rank correlation needs; where they are all that there are, one more."""


@dataclass(frozen=True)
class Pruning:
    """What the pruner of one protocol did to the runs that select, finals left out.

    ``planned`` and ``run`` are optimiser steps: the share ``saved`` is what ran too little, ÷ planned. ``correlation``
    is Spearman's ρ between the score at a rung and the final target, over the trials that completed: within each
    objective, for that is where trials compete, then the mean over objectives weighted by trials; NaN where no
    objective has three. ``compared``: how many trials that counts. Trials that were ended are missing from it, so it
    is of the better ones alone.
    """

    protocol: str
    pruner: str
    trials: int
    pruned: int
    planned: int
    run: int
    correlation: Mapping[int, float]
    compared: Mapping[int, int]

    @property
    def saved(self) -> float:
        """Share of the planned steps that were not run."""
        return 1 - self.run / self.planned if self.planned else 0.0


def pruning_of(records: Iterable[RunRecord]) -> list[Pruning]:
    """Return what each protocol's pruner did, protocols in order; none for a protocol without one."""
    protocols: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        tuned = record.evaluation.split == "validation" and record.spec.objective != START
        if tuned and record.tuning.get("pruner", NONE) != NONE:
            protocols[record.protocol].append(record)
    return [_pruning(protocol, members) for protocol, members in sorted(protocols.items())]


def pruning_text(pruning: Pruning) -> str:
    """Return one line for people."""
    known = {step: rho for step, rho in sorted(pruning.correlation.items()) if not math.isnan(rho)}
    ranks = ", ".join(f"{rho:.2f} at step {step} ({pruning.compared[step]} trials)" for step, rho in known.items())
    return (
        f"pruner {pruning.pruner}: {pruning.pruned} of {pruning.trials} trials ended early, {pruning.saved:.0%} of the "
        f"sweep's steps not run; rank correlation of early and final score, trials that completed: "
        f"{ranks or 'too few to tell'}"
    )


def _pruning(protocol: str, records: Sequence[RunRecord]) -> Pruning:
    trials: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        trials[record.spec.model_copy(update={"seed": 0}).canonical()].append(record)
    tuning = records[0].tuning
    rungs = {step: _correlation(records, step) for step in tuning["rungs"]}
    return Pruning(
        protocol=protocol,
        pruner=tuning["pruner"],
        trials=len(trials),
        pruned=sum(any(record.status == "pruned" for record in members) for members in trials.values()),
        planned=sum(members[0].spec.train.steps for members in trials.values()) * len(tuning["seeds"]),
        run=sum(map(_steps, records)),
        correlation=MappingProxyType({step: rho for step, (rho, _) in rungs.items()}),
        compared=MappingProxyType({step: n for step, (_, n) in rungs.items()}),
    )


def _steps(record: RunRecord) -> int:
    clipped = record.metric("clipped_share", task="train")
    return 0 if clipped is None else clipped.n


def _correlation(records: Sequence[RunRecord], step: int) -> tuple[float, int]:
    from scipy.stats import spearmanr

    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        early = record.provenance.get("rungs", {}).get(str(step))
        final = record.metric("target")
        if record.status == "completed" and early is not None and final is not None:
            pairs[record.spec.objective].append((early, final.value))
    correlations = []
    for _, members in sorted(pairs.items()):
        firsts, lasts = zip(*members, strict=True)
        # Where all scores are one there is no order to agree with.
        if len(members) >= LEAST and len(set(firsts)) > 1 and len(set(lasts)) > 1:
            correlations.append((float(spearmanr(firsts, lasts).statistic), len(members)))
    total = sum(n for _, n in correlations)
    if total <= LEAST:  # three trials are in order by luck once in six times
        return math.nan, total
    return math.fsum(rho * n for rho, n in correlations) / total, total
