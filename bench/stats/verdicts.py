"""Verdicts of a table of arms: for each pair better, worse, equal within a margin, or undecided.

Differences are declared by Holm's method over all pairs, so the probability of even one false «better» or «worse» is
5 % at most. So is that of one false «equal»: 4 % go to comparisons with the best (``best``), since people look there,
1 % to two one-sided tests of each pair (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657, with Holm). Intervals are
simultaneous over all pairs (Bonferroni), cut where a verdict says more (Strassburger and Bretz 2008, Stat. Med. 27,
4914), so an interval never contradicts its word.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from bench.stats.best import shortfalls, with_best
from bench.stats.crossed import Array, crossed_interval
from bench.stats.intervals import LEVEL, Interval, bare
from bench.stats.moderated import SeedPrior
from bench.stats.paired import holm
from bench.stats.pairwise import (
    Differences,
    Scores,
    all_differences,
    half_widths,
    p_at,
    p_values,
    pair_differences,
    prior_of,
    summarise,
)

Word = Literal["better", "worse", "equal", "undecided"]
Pair = tuple[str, str]
Key = TypeVar("Key", str, Pair)

BEST_SHARE = 0.8
"""The part of the error of «equal» that comparisons with the best may spend; pairs elsewhere have the rest."""
POWER = 0.8
"""The probability with which a difference «could be seen»."""


@dataclass(frozen=True)
class PairVerdict:
    """What a table says of first − second.

    ``difference``: simultaneous interval over all pairs; ``p``: of no difference, adjusted; ``p_equal``: of a
    difference of the margin or more, adjusted; ``detectable``: the smallest difference that the family's first step
    would see with 80 % power. NaN where one seed tells nothing about another.
    """

    difference: Interval
    p: float
    p_equal: float
    word: Word
    detectable: float

    @property
    def turned(self) -> "PairVerdict":
        """The verdict on second − first."""
        words: dict[Word, Word] = {"better": "worse", "worse": "better"}
        return replace(self, difference=self.difference.times(-1), word=words.get(self.word, self.word))


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of all pairs of a table's arms, and of each arm against what is fixed (the start model).

    ``margin``: differences below it do not matter, in the scores' unit. ``pairs``: in the arms' order, the first of
    each pair comes earlier there. ``shortfall``: how far each arm may lie below the best one, 95 % for all at once;
    empty where two arms have fewer than two seeds in common. ``fixed``: arm − the fixed scores, a family of its own;
    empty without any.
    """

    arms: tuple[str, ...]
    margin: float
    level: float
    pairs: Mapping[Pair, PairVerdict]
    shortfall: Mapping[str, float]
    fixed: Mapping[str, PairVerdict]

    def between(self, first: str, second: str) -> PairVerdict | None:
        """Return the verdict on first − second, None where the two have no seed in common."""
        if (first, second) in self.pairs:
            return self.pairs[first, second]
        other = self.pairs.get((second, first))
        return None if other is None else other.turned

    @property
    def detectable(self) -> float:
        """The difference that half of the pairs could have seen with 80 % power; NaN where none could see any."""
        known = [one.detectable for one in self.pairs.values() if math.isfinite(one.detectable)]
        return float(np.median(known)) if known else math.nan


def verdicts_of(
    scores: Mapping[str, Scores],
    *,
    margin: float,
    fixed: Sequence[float] | None = None,
    level: float = LEVEL,
) -> Verdicts:
    """Return the verdicts on ``scores``: arm → seed → scores over the same prompts.

    ``fixed``: scores of what has no seeds, the start model, over these prompts. A pair with one common seed is always
    undecided: its interval is over prompts and knows nothing of another seed. Raises ValueError for a margin that is
    not above 0, and for tables of different prompts.
    """
    if not margin > 0:
        raise ValueError(f"a margin is above 0, got {margin}")
    prior = prior_of(scores)
    tables = {pair: table for pair, (table, _) in pair_differences(scores).items()}
    shortfall = _shortfalls(scores, tables, prior, alpha=BEST_SHARE * (1 - level))
    terms = {"margin": margin, "level": level}
    pairs = _family(tables, prior, **terms, arms=2, equal_share=1 - BEST_SHARE)
    near = {arm for arm, short in shortfall.items() if short < margin}
    pairs = {pair: _equal(one, margin) if near >= set(pair) else one for pair, one in pairs.items()}
    against = {} if fixed is None else against_fixed(scores, fixed, margin=margin, level=level)
    return Verdicts(tuple(scores), margin, level, pairs, shortfall, against)


def against_fixed(
    scores: Mapping[str, Scores], fixed: Sequence[float], *, margin: float, level: float = LEVEL
) -> dict[str, PairVerdict]:
    """Return the verdict on each arm − ``fixed``, the scores of what has no seeds over the same prompts: one family."""
    tables = {
        arm: np.array([np.subtract(row, fixed) for _, row in sorted(rows.items())]) for arm, rows in scores.items()
    }
    return _family(tables, prior_of(scores), margin=margin, level=level, arms=1)


def _shortfalls(
    scores: Mapping[str, Scores], tables: Mapping[Pair, Array], prior: SeedPrior, *, alpha: float
) -> dict[str, float]:
    """Return how far each arm may lie below the best; nothing unless all pairs have two common seeds or more."""
    differences, arms = all_differences(list(scores), tables), len(scores)
    if differences is None:
        return {}
    candidates, _ = with_best(differences, prior, arms=arms, alpha=alpha, margin=1.0)
    short = shortfalls(differences, prior, arms=arms, alpha=alpha, candidates=candidates)
    return dict(zip(scores, short.tolist(), strict=True))


def _equal(verdict: PairVerdict, margin: float) -> PairVerdict:
    """Return the verdict on two arms that are both within the margin of the best."""
    return replace(verdict, difference=verdict.difference.cut(-margin, margin), word="equal")


def _family(
    tables: Mapping[Key, Array],
    prior: SeedPrior,
    *,
    margin: float,
    level: float,
    arms: int,
    equal_share: float = 1.0,
) -> dict[Key, PairVerdict]:
    """Return the verdicts of one family, whose errors are counted together."""
    prior = replace(prior, alone=np.where(prior.alone < 1, 1 / max(len(tables), 1), 1.0))
    testable = {key: table for key, table in tables.items() if table.shape[0] > 1}
    result = {key: _one_seed(table, level=level) for key, table in tables.items() if key not in testable}
    if not testable:
        return result
    differences = summarise(list(testable.values()), arms=arms)
    count, alpha = len(testable), 1 - level
    p = holm(p_values(differences, prior).tolist())
    # half of the two-sided tail: equivalence is two one-sided tests
    near = p_at(differences, prior, distance=margin - np.abs(differences.mean)) / 2
    near = np.where(np.abs(differences.mean) < margin, near, 1.0)
    p_equal = [min(1.0, one / equal_share) for one in holm(near.tolist())]
    half = half_widths(differences, prior, p=alpha / count)
    seen = detectable(half, differences, prior)
    for place, key in enumerate(testable):
        word = _word(float(differences.mean[place]), p[place], p_equal[place], alpha=alpha)
        interval = simultaneous(differences, half, place)
        if p[place] < alpha:
            interval = interval.cut(0.0, math.inf) if interval.mean > 0 else interval.cut(-math.inf, 0.0)
        if word == "equal":
            interval = interval.cut(-margin, margin)
        result[key] = PairVerdict(interval, p[place], p_equal[place], word, float(seen[place]))
    return {key: result[key] for key in tables}


def simultaneous(differences: Differences, half: Array, place: int) -> Interval:
    """Return the interval of one of the differences, whose half-widths are ``half`` (pairs)."""
    mean, far = float(differences.mean[place]), float(half[place])
    return Interval(mean, mean - far, mean + far, "crossed", int(differences.seeds[place]))


def detectable(half: Array, differences: Differences, prior: SeedPrior) -> Array:
    """Return the smallest differences (…, pairs) that tests with the half-widths ``half`` see with 80 % power.

    The half-width and the one-sided quantile of the power: for a normal law this is (z_α/2 + z_power)·SE.
    """
    return half + half_widths(differences, prior, p=2 * (1 - POWER))


def _word(mean: float, p: float, p_equal: float, *, alpha: float) -> Word:
    if p_equal < alpha:
        return "equal"
    if p < alpha:
        return "better" if mean > 0 else "worse"
    return "undecided"


def _one_seed(table: Array, *, level: float) -> PairVerdict:
    """Return a verdict that says nothing: one seed's difference, with the interval that its prompts give."""
    interval = crossed_interval(table, level=level) if table.shape[1] > 1 else bare(float(table.mean()))
    return PairVerdict(interval, math.nan, math.nan, "undecided", math.nan)
