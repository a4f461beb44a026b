"""A race over fresh seeds: looks at growing numbers of them, arms dropped once they are worse, an end once decided.

At look k the arms that are still in the race are compared over their first n_k seeds, at the family-wise level that the
look may spend; the levels of all looks add up to 5 %, so the probability of any false «worse», at whichever look the
race ends, is 5 % at most, and so is that of any false «equal» (a union over looks: no law of t-statistics across looks
is assumed). An arm is worse than the first by the level of all pairs that are in the race, and equal to it where both
are within the margin of the best arm (``best``), or the pair's own two one-sided tests say so. An arm that is worse
stays so. A race is a function of the scores alone, replayed from the first look each time: it may stop anywhere.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from bench.stats.best import with_best
from bench.stats.intervals import bare
from bench.stats.pairwise import (
    Scores,
    all_differences,
    exceeds,
    half_widths,
    p_values,
    pair_differences,
    prior_of,
    summarise,
)
from bench.stats.verdicts import BEST_SHARE, PairVerdict, Word, detectable, simultaneous

End = Literal["decided", "out of seeds"]
UNKNOWN = PairVerdict(bare(math.nan), math.nan, math.nan, "undecided", math.nan)
"""The verdict on two arms without a common seed."""


@dataclass(frozen=True)
class RaceTerms:
    """Terms of a race, fixed before it: seeds at each look (rising, 2 or more), the level of each, and the margin."""

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    margin: float

    def __post_init__(self) -> None:
        rising = all(one < other for one, other in zip(self.looks, self.looks[1:], strict=False))
        if not self.looks or self.looks[0] < 2 or not rising or len(self.levels) != len(self.looks):
            raise ValueError(f"looks rise from 2 seeds on, with a level each; got {self.looks} and {self.levels}")
        if not (all(level > 0 for level in self.levels) and sum(self.levels) <= 0.05 + 1e-12 and self.margin > 0):
            raise ValueError(f"levels and margin are above 0, levels add up to 0.05 at most; got {self}")


LOOKS = (3, 5, 8, 12, 17, 24, 32)
"""Seeds at the looks of a race without other terms: each half as many more, since a look at hardly more costs level."""
SPENDING = 2.0
"""A race has spent the share (seeds / most) to this power of its 5 % at a look: little while few seeds say little. Of
the exponents 0 (equal), 1 and 2, it decided most in simulated races (docs/racing.md)."""


def race_terms(most: int, margin: float) -> RaceTerms:
    """Return the default terms of a race over at most ``most`` seeds, 2 or more: the last look is at all of them."""
    looks = (*(seeds for seeds in LOOKS if seeds < most), most)
    spent = [(seeds / most) ** SPENDING for seeds in (0, *looks)]
    levels = tuple(round(0.05 * (now - before), 12) for before, now in pairwise(spent))
    return RaceTerms(looks, levels, margin)


@dataclass(frozen=True)
class Look:
    """One look: the arms compared, best mean first, and each one's verdict against the first of them."""

    seeds: int
    level: float
    arms: tuple[str, ...]
    against_first: Mapping[str, PairVerdict]
    dropped: tuple[str, ...]

    @property
    def first(self) -> str:
        """The arm with the highest mean."""
        return self.arms[0]


@dataclass(frozen=True)
class Race:
    """The looks so far, the arms still in the race, and what it needs or how it ended.

    ``needs``: seeds of each arm in the race for the next look, None at the end. ``words``: each arm against the first
    at the last look that it was in.
    """

    terms: RaceTerms
    looks: tuple[Look, ...]
    arms: tuple[str, ...]
    needs: int | None
    end: End | None

    @property
    def words(self) -> dict[str, Word]:
        """Return each arm's word against the first of the last look that it was in."""
        words: dict[str, Word] = {}
        for look in self.looks:
            words |= {arm: verdict.word for arm, verdict in look.against_first.items()}
        return words


def run_race(
    scores: Mapping[str, Scores],
    terms: RaceTerms,
    *,
    order: Sequence[int],
    ended: Mapping[str, Collection[int]] | None = None,
) -> Race:
    """Return the race as far as ``scores`` (arm → seed → scores over the same prompts) carry it.

    ``order``: the seeds in the order in which all arms take them. ``ended``: the seeds of which an arm's run ended,
    with a score or without one (it diverged); None: those that have scores. An arm is compared on the seeds that it
    has in common with each other arm; one that lacks scores for more than half of a look's seeds leaves the race there,
    undecided.
    """
    ended = ended or {arm: rows.keys() for arm, rows in scores.items()}
    arms: tuple[str, ...] = tuple(scores)
    looks: list[Look] = []
    for seeds, level in zip(terms.looks, terms.levels, strict=True):
        wanted = set(order[:seeds])
        if len(wanted) < seeds:
            return Race(terms, tuple(looks), arms, None, "out of seeds")
        if any(not wanted <= set(ended[arm]) for arm in arms):
            return Race(terms, tuple(looks), arms, seeds, None)
        rows = {arm: {seed: scores[arm][seed] for seed in order[:seeds] if seed in scores[arm]} for arm in arms}
        look = _look(rows, seeds, level=level, margin=terms.margin)
        looks.append(look)
        # an arm most of whose runs have no scores (they diverged) would be undecided to the end
        scored = {arm for arm in arms if 2 * len(rows[arm]) >= seeds}
        arms = tuple(arm for arm in arms if arm not in look.dropped and arm in scored)
        if all(verdict.word == "equal" for arm, verdict in look.against_first.items() if arm in arms):
            return Race(terms, tuple(looks), arms, None, "decided")
    return Race(terms, tuple(looks), arms, None, "out of seeds")


def _look(scores: Mapping[str, Scores], seeds: int, *, level: float, margin: float) -> Look:
    means = {arm: float(np.mean([np.mean(row) for row in rows.values()])) for arm, rows in scores.items() if rows}
    arms = tuple(sorted(scores, key=lambda arm: -means.get(arm, -math.inf)))
    verdicts = {} if len(arms) < 2 else _against_first({arm: scores[arm] for arm in arms}, level=level, margin=margin)
    against = {arm: verdicts.get(arm, UNKNOWN) for arm in arms[1:]}
    return Look(seeds, level, arms, against, tuple(arm for arm, one in against.items() if one.word == "worse"))


def _against_first(scores: Mapping[str, Scores], *, level: float, margin: float) -> dict[str, PairVerdict]:
    """Return each arm's verdict against the first of ``scores``; an arm without two seeds in common has none."""
    first = next(iter(scores))
    prior, tables = prior_of(scores), pair_differences(scores)
    pairs = {pair: table for pair, (table, _) in tables.items() if first in pair and len(table) > 1}
    if not pairs:
        return {}
    every = all_differences(list(scores), {pair: table for pair, (table, _) in tables.items()})
    near: set[str] = set()
    if every is not None:
        flags = with_best(every, prior, arms=len(scores), alpha=BEST_SHARE * level, margin=margin)[1]
        near = {arm for arm, is_near in zip(scores, flags, strict=True) if is_near}
    count = len(scores) * (len(scores) - 1) // 2
    # the first is chosen by the same data, so each of its pairs stands for all pairs
    differences = summarise([-table for table in pairs.values()])
    family = replace(prior, alone=np.where(prior.alone < 1, 1 / count, 1.0))
    p = np.minimum(1.0, count * p_values(differences, family))
    half = half_widths(differences, family, p=level / count)
    seen = detectable(half, differences, family)
    within = margin - np.abs(differences.mean)
    same = exceeds(differences, family, p=2 * (1 - BEST_SHARE) * level / count, distance=within)
    verdicts = {}
    for place, (_, arm) in enumerate(pairs):
        gap = simultaneous(differences, half, place)
        is_equal = near >= {first, arm} or bool(same[place])
        word: Word = "equal" if is_equal else "worse" if p[place] < level and gap.mean < 0 else "undecided"
        gap = gap.cut(-margin, margin) if is_equal else gap
        verdicts[arm] = PairVerdict(gap, float(p[place]), math.nan, word, float(seen[place]))
    return verdicts
