"""Agreement of judges: on the models' order, and on single questions."""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.evaluate.judges.judgements import Array, Judgements
from bench.stats.concordance import kendall, kendall_interval, same_side


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two judges on the models that both judged.

    ``tau``: Kendall's τ-b of the models' win rates, NaN for fewer than two models. ``low``, ``high``: its 95 % interval
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
    judges: dict[str, dict[str, Judgements]] = {}
    for each in judgements:
        judges.setdefault(each.judge, {})[each.model] = each
    return [_of_two(a, b, judges[a], judges[b]) for a, b in itertools.combinations(judges, 2)]


def _of_two(first: str, second: str, mine: dict[str, Judgements], theirs: dict[str, Judgements]) -> Agreement:
    models = sorted(mine.keys() & theirs.keys())
    ours, others = (np.array([_rate(judged[name]) for name in models]) for judged in (mine, theirs))
    tables = _shared(models, mine, theirs)
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


def _shared(
    models: Sequence[str], mine: dict[str, Judgements], theirs: dict[str, Judgements]
) -> tuple[Array, Array] | None:
    """Return both judges' preferences ``[models, questions]``, NaN where one is absent; None where unknown."""
    keys = _questions([side[name] for side in (mine, theirs) for name in models])
    if not models or keys is None:
        return None
    columns = {key: column for column, key in enumerate(dict.fromkeys(key for row in keys for key in row))}
    tables = np.full((2 * len(models), len(columns)), np.nan)
    for row, (side, name) in enumerate((side, name) for side in (mine, theirs) for name in models):
        tables[row, [columns[key] for key in keys[row]]] = side[name].preferences
    return tables[: len(models)], tables[len(models) :]


def _questions(judged: Sequence[Judgements]) -> list[Sequence[Hashable]] | None:
    """Return what tells the questions of each apart: their texts, or their numbers; None where neither is known."""
    texts = [each.instructions for each in judged if each.instructions is not None]
    numbers = [each.index.tolist() for each in judged if each.index is not None]
    for known in (texts, numbers):
        if len(known) == len(judged):
            return list(known)
    return None
