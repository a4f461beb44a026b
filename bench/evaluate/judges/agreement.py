"""Agreement of judges: on the models' order, and on single questions."""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.evaluate.judges.judgements import Array, Judgements
from bench.stats.concordance import kendall, kendall_interval, same_side
from bench.stats.verdict_agreement import VerdictAgreement, verdict_agreement


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two judges on the models that both judged.

    ``tau``: Kendall's τ-b of the models' win rates, NaN for fewer than ``FEWEST``. ``low``, ``high``: its 95 % interval
    over questions, NaN where the judges share none. ``same``: share of the ``shared`` comparisons (model and question)
    in which both prefer the same side, of those where neither sees a tie.
    """

    first: str
    second: str
    models: int
    tau: float
    low: float
    high: float
    same: float
    shared: int


def agreements(judgements: Sequence[Judgements]) -> list[Agreement]:
    """Return the agreement of each two judges, in the order given."""
    judges = _by_judge(judgements)
    return [_of_two(a, b, judges[a], judges[b]) for a, b in itertools.combinations(judges, 2)]


def _of_two(first: str, second: str, mine: dict[str, Judgements], theirs: dict[str, Judgements]) -> Agreement:
    models = sorted(mine.keys() & theirs.keys())
    ours, others = (np.array([_rate(judged[name]) for name in models]) for judged in (mine, theirs))
    tables = shared_tables(models, mine, theirs)
    low, high = (math.nan, math.nan) if tables is None else kendall_interval(*tables)
    same, shared = (math.nan, 0) if tables is None else same_side(*tables)
    return Agreement(
        first=first,
        second=second,
        models=len(models),
        tau=kendall(ours, others),
        low=low,
        high=high,
        same=same,
        shared=shared,
    )


def _rate(judgements: Judgements) -> float:
    return float(judgements.preferences[judgements.judged].mean()) if judgements.judged.any() else math.nan


def shared_tables(
    models: Sequence[str], mine: Mapping[str, Judgements], theirs: Mapping[str, Judgements]
) -> tuple[Array, Array] | None:
    """Return both judges' preferences ``[models, questions]``, NaN where one is absent; None where unknown."""
    joined = joined_table([side[name] for side in (mine, theirs) for name in models])
    return None if joined is None else (joined[1][: len(models)], joined[1][len(models) :])


def joined_table(judged: Sequence[Judgements]) -> tuple[list[Hashable], Array] | None:
    """Return all questions and the preferences ``[judgements, questions]``, NaN where one lacks a question.

    None where it is unknown which question is which, or nothing was judged.
    """
    keys = _questions(judged)
    if not judged or keys is None:
        return None
    columns = {key: column for column, key in enumerate(dict.fromkeys(key for row in keys for key in row))}
    table = np.full((len(judged), len(columns)), np.nan)
    for row, each in enumerate(judged):
        table[row, [columns[key] for key in keys[row]]] = each.preferences
    return list(columns), table


def verdict_agreements(judgements: Sequence[Judgements]) -> list[tuple[str, str, VerdictAgreement]]:
    """Return how far each two judges agree pair by pair, over all models that both judged.

    Pairs count once each model and question, as if they were drawn independently. Judges whose questions cannot be
    matched, or who share none, are left out.
    """
    judges = _by_judge(judgements)
    agreed = []
    for one, other in itertools.combinations(judges, 2):
        models = sorted(judges[one].keys() & judges[other].keys())
        tables = [shared_tables([name], judges[one], judges[other]) for name in models]
        known = [table for table in tables if table is not None]
        if known:
            first, second = (np.concatenate([table[side].ravel() for table in known]) for side in (0, 1))
            agreed.append((one, other, verdict_agreement(first, second)))
    return [(one, other, result) for one, other, result in agreed if result.n]


def _by_judge(judgements: Sequence[Judgements]) -> dict[str, dict[str, Judgements]]:
    judges: dict[str, dict[str, Judgements]] = {}
    for each in judgements:
        judges.setdefault(each.judge, {})[each.model] = each
    return judges


def _questions(judged: Sequence[Judgements]) -> list[Sequence[Hashable]] | None:
    """Return what tells the questions of each apart: their texts, or their numbers; None where neither is known."""
    texts = [each.instructions for each in judged if each.instructions is not None]
    numbers = [each.index.tolist() for each in judged if each.index is not None]
    for known in (texts, numbers):
        if len(known) == len(judged):
            return list(known)
    return None
