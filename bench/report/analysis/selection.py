"""The setting that validation chooses, replayed from records: by equal seeds, or by a race of the settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.record import RunRecord
from bench.errors import RunError
from bench.stats.crossed import Array
from bench.stats.selection import in_question

FURTHER = "further_seeds"
"""The protocol's term that has the seeds which settings in question get, one after another."""


@dataclass(frozen=True)
class Selection:
    """What validation says of an objective's settings, each named by its place.

    ``chosen``: the best so far, None where none completed. ``needs``: settings that have to be trained with ``seed``
    before the choice is final; none where it is.
    """

    chosen: int | None
    needs: tuple[int, ...] = ()
    seed: int | None = None


def select_setting(settings: Sequence[Sequence[RunRecord]], tuning: Mapping[str, object]) -> Selection:
    """Return the setting with the highest mean target on validation prompts; test records are never looked at.

    Args:
        settings: of each setting its validation records. One with a run that did not complete is never chosen.
        tuning: the protocol's terms. With «further_seeds» the settings race: all have the seeds of «seeds»; those that
            may still be the best get one seed more, until one is left or the seeds are used up.

    Ties: the first in order. Raises RunError for terms that are none.
    """
    means = [_mean(records) for records in settings]
    if not tuning.get(FURTHER):
        return Selection(_best(means))
    seeds, further, margin = _terms(tuning)
    known = [{record.spec.seed: record for record in records} for records in settings]
    live = [place for place, records in enumerate(known) if all(_completed(records.get(seed)) for seed in seeds)]
    while live:
        means = [math.nan] * len(known)
        for place in live:
            means[place] = _mean([known[place][seed] for seed in seeds])
        flags = in_question(_scores([[known[place][seed] for seed in seeds] for place in live]), margin=margin)
        kept = [place for place, flag in zip(live, flags, strict=True) if flag]
        if len(kept) == 1 or not further:
            return Selection(_best(means))
        seed, further = further[0], further[1:]
        if missing := tuple(place for place in kept if seed not in known[place]):
            return Selection(_best(means), missing, seed)
        after = [place for place in kept if _completed(known[place][seed])]
        if not after:  # each of them diverged with the new seed: the choice is among the others
            return Selection(_best([math.nan if place in kept else mean for place, mean in enumerate(means)]))
        live, seeds = after, [*seeds, seed]
    return Selection(None)


def _best(means: Sequence[float]) -> int | None:
    places = [place for place, mean in enumerate(means) if not math.isnan(mean)]
    return max(places, key=lambda place: means[place], default=None)


def _mean(records: Sequence[RunRecord]) -> float:
    """Return the mean target over seeds; NaN where there is no record, or one without a target."""
    if not records or not all(map(_completed, records)):
        return math.nan
    return math.fsum(_target(record) for record in records) / len(records)


def _completed(record: RunRecord | None) -> bool:
    return record is not None and record.status == "completed" and math.isfinite(_target(record))


def _target(record: RunRecord) -> float:
    metric = record.metric("target")
    return math.nan if metric is None else metric.value


def _scores(settings: Sequence[Sequence[RunRecord]]) -> list[Array]:
    """Return the targets of each setting by seed and prompt; by seed alone where not all have as many prompts."""
    by_prompt = [[record.scores.get("target") or [] for record in records] for records in settings]
    sizes = {len(scores) for records in by_prompt for scores in records}
    if len(sizes) == 1 and sizes != {0}:
        return [np.array(records, dtype=np.float64) for records in by_prompt]
    return [np.array([[_target(record)] for record in records], dtype=np.float64) for records in settings]


def _terms(tuning: Mapping[str, object]) -> tuple[list[int], list[int], float]:
    """Return seeds, further seeds and the margin. Raises RunError for terms without them."""
    race = tuning.get("race")
    try:
        if not isinstance(race, Mapping):
            raise TypeError("a race is needed")
        return _integers(tuning.get("seeds")), _integers(tuning[FURTHER]), float(race["margin"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the records' terms do not say how settings are chosen: {error!s} "
            f"(seeds={tuning.get('seeds')!r}, {FURTHER}={tuning.get(FURTHER)!r}, race={race!r})",
            fix="delete the evaluation folders of this protocol and run the same command again",
        ) from error


def _integers(value: object) -> list[int]:
    if not isinstance(value, list | tuple) or not value:
        raise TypeError("a list of seeds is needed")
    return [int(seed) for seed in value]
