"""Differences between a group's objectives on test prompts, and to the start model: each with its verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from bench.core.margins import margin_of
from bench.report.analysis.prompt_scores import SeedScores, comparable, scores_of, targets_of
from bench.report.analysis.race import seed_order
from bench.report.analysis.settings import Group
from bench.stats.intervals import LEVEL
from bench.stats.paired import holm, paired_tests
from bench.stats.race import Race
from bench.stats.verdicts import PairVerdict, Verdicts, against_fixed, verdicts_of

Key = TypeVar("Key", str, tuple[str, str])


def group_margin(group: Group, margin: float | None) -> float:
    """Return the margin of a group's words: its race's, else ``margin``, else that of its suite and target."""
    if group.race is not None:
        return group.race.terms.margin
    return margin_of(group.suite, target=group.target) if margin is None else margin


def group_verdicts(group: Group, ranking: Sequence[str], *, margin: float) -> Verdicts:
    """Return the verdicts on the objectives of ``ranking`` (best first), from the group's race if there was one.

    Of one seed the p is that of its prompts, by Holm's method over all such pairs; the word is «undecided» all the
    same. Raises RunError where two runs were scored on different numbers of prompts.
    """
    scores = comparable({name: best.test for name in ranking if (best := group.best(name)) is not None})
    start = _start_scores(group, scores)
    if group.race is not None:
        return _of_race(group, group.race, scores, start)
    if not scores:
        return Verdicts((), margin, LEVEL, {}, {}, {})
    verdicts = verdicts_of(scores, margin=margin, fixed=start)
    pairs = {pair: (scores[pair[0]], scores[pair[1]]) for pair in verdicts.pairs}
    fixed = {name: (scores[name], dict.fromkeys(scores[name], start or [])) for name in verdicts.fixed}
    return replace(verdicts, pairs=_with_p(verdicts.pairs, pairs), fixed=_with_p(verdicts.fixed, fixed))


def _start_scores(group: Group, scores: Mapping[str, SeedScores]) -> list[float] | None:
    """Return the start model's test scores over the same prompts, None where it has none of these."""
    if group.start is None or not scores:
        return None
    prompts = len(next(row for rows in scores.values() for row in rows.values()))
    own = targets_of(group.start.test) if prompts == 1 else scores_of(group.start.test, name="target")
    start = next(iter(own.values()), [])
    return start if len(start) == prompts else None


def against_first(group: Group, verdicts: Verdicts, first: str) -> dict[str, PairVerdict]:
    """Return the verdict on each other objective − ``first``; in a race − the first of the last look that it was in."""
    others = [name for name in verdicts.arms if name != first]
    if group.race is None:
        return {name: verdict for name in others if (verdict := verdicts.between(name, first)) is not None}
    known: dict[str, PairVerdict] = {}
    for look in group.race.looks:
        known |= look.against_first
    return {name: known[name] for name in others if name in known}


def _of_race(group: Group, race: Race, scores: Mapping[str, SeedScores], start: list[float] | None) -> Verdicts:
    """Return what the looks said of their arms against their first, and against the start model at the same levels."""
    pairs: dict[tuple[str, str], PairVerdict] = {}
    fixed: dict[str, PairVerdict] = {}
    margin, order = race.terms.margin, seed_order(group.tuning)
    for look in race.looks:
        pairs |= {(arm, look.first): verdict for arm, verdict in look.against_first.items()}
        taken = order[: look.seeds]
        rows = {
            arm: {seed: scores[arm][seed] for seed in taken if seed in scores[arm]}
            for arm in look.arms
            if arm in scores
        }
        if start is not None:
            fixed |= against_fixed(
                {arm: own for arm, own in rows.items() if own}, start, margin=margin, level=1 - look.level
            )
    return Verdicts(tuple(scores), margin, LEVEL, pairs, {}, fixed)


def _with_p(
    verdicts: Mapping[Key, PairVerdict], sides: Mapping[Key, tuple[SeedScores, SeedScores]]
) -> dict[Key, PairVerdict]:
    """Return the verdicts, those of one seed with the p of its prompts."""
    alone = [
        key for key, verdict in verdicts.items() if math.isnan(verdict.p) and verdict.difference.source == "prompts"
    ]
    tables = []
    for key in alone:
        first, second = sides[key]
        (seed,) = first.keys() & second.keys()
        tables.append((first[seed], second[seed]))
    ps = holm([test.p for test in paired_tests(tables)])
    return {**verdicts, **{key: replace(verdicts[key], p=p) for key, p in zip(alone, ps, strict=True)}}
