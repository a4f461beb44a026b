"""Test and retest of a judge: the same answers in the other order, and the same question once more."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.evaluate.judges.annotate import FIRST, Annotation, Bias, annotate, orders, position_bias, to_ask
from bench.evaluate.judges.answers import PairedAnswers, some_of
from bench.evaluate.judges.base import AnswerPair, Judge, Verdict
from bench.evaluate.judges.judgements import Array
from bench.stats.verdict_agreement import VerdictAgreement, verdict_agreement

AGAIN = "again"
"""Ends the identity of a judge that is asked the same question again: those verdicts are kept apart from the first."""


@dataclass(frozen=True, kw_only=True)
class Retest:
    """A judge with itself. ``swapped``: the same answers in the other order; ``again``: the same question once more.

    ``swapped_shift``, ``again_shift``: mean absolute change of its preference, 0 to 1. ``bias``: how often the answer
    shown first wins. ``questions``: how many were asked.
    """

    judge: str
    model: str
    questions: int
    swapped: VerdictAgreement
    again: VerdictAgreement
    swapped_shift: float
    again_shift: float
    bias: Bias


def retest_queries(judge: Judge, pairs: PairedAnswers, *, seed: int) -> list[tuple[Judge, AnswerPair]]:
    """Return everything that a retest asks, and as which judge: both orders, and the first one again."""
    both = [(judge, pair) for _, _, pair in to_ask(judge, pairs, both=True, seed=seed)]
    return both + [(again(judge), pair) for _, _, pair in to_ask(judge, pairs, both=False, seed=seed)]


def again(judge: Judge) -> Judge:
    """Return the judge as one whose verdicts are kept under another name."""
    return replace(judge, identity=f"{judge.identity}\0{AGAIN}")


def retest(
    judge: Judge,
    pairs: PairedAnswers,
    *,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Retest:
    """Ask ``judge`` three times about each question: in the order of a coin, in the other one, and as the first time.

    Equal answers are not asked. Verdicts are kept in ``cache``, so that a retest goes on where it stopped.

    Raises:
        RunError: the judge stopped answering (earlier verdicts are in ``cache``).
    """
    kept = [row for row, (one, other) in enumerate(zip(pairs.outputs, pairs.references, strict=True)) if one != other]
    pairs = some_of(pairs, kept)
    both = annotate(judge, pairs, both=True, seed=seed, cache=cache, progress=progress)
    repeated = annotate(again(judge), pairs, seed=seed, cache=cache, progress=progress)
    first, swapped, second = _preferences(judge, both, repeated, orders(pairs, ordered=True, both=False, seed=seed))
    return Retest(
        judge=judge.name,
        model=pairs.model,
        questions=len(kept),
        swapped=verdict_agreement(first, swapped),
        again=verdict_agreement(first, second),
        swapped_shift=_shift(first, swapped),
        again_shift=_shift(first, second),
        bias=position_bias(both),
    )


def _preferences(
    judge: Judge, both: Sequence[Annotation], repeated: Sequence[Annotation], coins: Sequence[tuple[str, ...]]
) -> tuple[Array, Array, Array]:
    """Return the preference for the model's answer in the coin's order, the other one, and again, ``[questions]``."""
    values = np.full((3, len(both)), math.nan)
    for row, (one, other, (first,)) in enumerate(zip(both, repeated, coins, strict=True)):
        # A judge that sees no order has one verdict, which is that of both.
        here = first if judge.ordered else FIRST[0]
        there = FIRST[1 - FIRST.index(first)] if judge.ordered else FIRST[0]
        values[:, row] = [
            _for_the_model(here, one.verdicts[here]),
            _for_the_model(there, one.verdicts[there]),
            _for_the_model(here, other.verdicts[here]),
        ]
    return values[0], values[1], values[2]


def _for_the_model(first: str, verdict: Verdict) -> float:
    if verdict.first_better is None:
        return math.nan
    return verdict.first_better if first == "model" else 1.0 - verdict.first_better


def _shift(first: Array, second: Array) -> float:
    known = ~np.isnan(first) & ~np.isnan(second)
    return float(np.abs(first - second)[known].mean()) if known.any() else math.nan
