"""A race over fresh seeds: looks at growing numbers of them, arms dropped once they are worse, an end once decided.

At look k the arms that are still in the race are compared over their first n_k seeds, at the family-wise level that the
look may spend; the levels of all looks add up to 5 %, so the probability of any false verdict, at whichever look the
race ends, is 5 % at most (a union over looks: no law of t-statistics across looks is assumed). What a look said
stands. A race is a function of the scores alone, replayed from the first look each time: it may stop anywhere.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.stats.intervals import bare
from bench.stats.pairwise import Scores
from bench.stats.verdicts import PairVerdict, Word, verdicts_of

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
    has in common with each other arm.
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
        arms = tuple(arm for arm in arms if arm not in look.dropped)
        if all(verdict.word == "equal" for arm, verdict in look.against_first.items() if arm in arms):
            return Race(terms, tuple(looks), arms, None, "decided")
    return Race(terms, tuple(looks), arms, None, "out of seeds")


def _look(scores: Mapping[str, Scores], seeds: int, *, level: float, margin: float) -> Look:
    means = {arm: float(np.mean([np.mean(row) for row in rows.values()])) for arm, rows in scores.items() if rows}
    ranked = sorted(scores, key=lambda arm: -means.get(arm, -np.inf))
    verdicts = verdicts_of({arm: scores[arm] for arm in ranked}, margin=margin, level=1 - level)
    pairs = {arm: verdicts.between(arm, ranked[0]) for arm in ranked[1:]}
    against = {arm: verdict or UNKNOWN for arm, verdict in pairs.items()}
    dropped = tuple(arm for arm, verdict in against.items() if verdict.word == "worse")
    return Look(seeds, level, tuple(ranked), against, dropped)
