"""Preference pairs from labelled completions of one prompt. Pure functions of numbers."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Which = Literal["best-worst", "all"]
Comparisons = Mapping[tuple[int, int], float | None]
"""Of completions i < j of a prompt: the probability that i is better, None without a verdict."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A pair by the places of its completions, with a score of each: the judge's own, or a chance to win."""

    chosen: int
    rejected: int
    chosen_score: float
    rejected_score: float


@dataclass(frozen=True, kw_only=True)
class Made:
    """The pairs of one prompt, and what made none: equal scores (``ties``), no verdict (``unjudged``)."""

    pairs: tuple[Chosen, ...]
    ties: int
    unjudged: int


def pairs_by_score(scores: Sequence[float | None], *, which: Which) -> Made:
    """Make pairs of completions that were scored one by one; None: no score.

    ``best-worst``: the highest against the lowest score, the first of equals; no pair where all are equal, which is
    one tie. ``all``: every two completions of unlike scores.
    """
    known = [place for place, score in enumerate(scores) if score is not None]
    if which == "best-worst":
        if len(known) < 2:
            return Made(pairs=(), ties=0, unjudged=1)
        best, worst = max(known, key=lambda place: scores[place]), min(known, key=lambda place: scores[place])  # type: ignore[arg-type,return-value]
        pair = _ordered(scores, best, worst)
        return Made(pairs=(pair,) if pair else (), ties=int(pair is None), unjudged=0)
    each = [_ordered(scores, one, other) for one, other in itertools.combinations(known, 2)]
    pairs = tuple(pair for pair in each if pair is not None)
    every = len(scores) * (len(scores) - 1) // 2
    return Made(pairs=pairs, ties=len(each) - len(pairs), unjudged=every - len(each))


def pairs_by_comparison(compared: Comparisons, count: int, *, which: Which) -> Made:
    """Make pairs of ``count`` completions that were compared with one another.

    ``all``: each verdict is a pair. ``best-worst``: a completion's score is its mean chance to win over the
    comparisons that were judged; then as scores.
    """
    if which == "best-worst":
        return pairs_by_score(chances(compared, count), which=which)
    pairs, ties, unjudged = [], 0, 0
    for (one, other), chance in sorted(compared.items()):
        if chance is None:
            unjudged += 1
        elif chance == 0.5:
            ties += 1
        else:
            chosen, rejected, high = (one, other, chance) if chance > 0.5 else (other, one, 1.0 - chance)
            pairs.append(Chosen(chosen=chosen, rejected=rejected, chosen_score=high, rejected_score=1.0 - high))
    return Made(pairs=tuple(pairs), ties=ties, unjudged=unjudged)


def chances(compared: Comparisons, count: int) -> list[float | None]:
    """Return each completion's mean chance to win over its judged comparisons, None without one."""
    won: list[list[float]] = [[] for _ in range(count)]
    for (one, other), chance in compared.items():
        if chance is not None:
            won[one].append(chance)
            won[other].append(1.0 - chance)
    return [sum(each) / len(each) if each else None for each in won]


def _ordered(scores: Sequence[float | None], one: int, other: int) -> Chosen | None:
    first, second = scores[one], scores[other]
    assert first is not None
    assert second is not None
    if first == second:
        return None
    chosen, rejected = (one, other) if first > second else (other, one)
    return Chosen(chosen=chosen, rejected=rejected, chosen_score=max(first, second), rejected_score=min(first, second))
