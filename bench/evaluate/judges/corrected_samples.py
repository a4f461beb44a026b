"""A checkpoint's win rate by a strong judge that sees a random part of its samples, corrected by the first judge."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.core.record import Metric
from bench.core.samples import SampleRow
from bench.errors import RunError
from bench.evaluate.judges.alpaca_eval import length_controlled
from bench.evaluate.judges.annotate import annotate
from bench.evaluate.judges.answers import in_order, some_of
from bench.evaluate.judges.base import Judge
from bench.evaluate.judges.judgements import Array
from bench.evaluate.judges.random_part import random_part
from bench.evaluate.judges.win_rate import EVEN, JudgedSamples, example_of
from bench.evaluate.metrics.aggregate import mean_metrics
from bench.stats.prediction_powered import FEWEST, Corrected, corrected_mean, rectified, rectified_labels

FEWEST_CONTROLLED = 100
"""Strong verdicts from which the length-controlled rate has a standard error."""


def corrected_samples(
    strong: Judge,
    cheap: Judge,
    rows: Sequence[SampleRow],
    baseline: Sequence[SampleRow] | None,
    *,
    preferences: Array,
    share: float,
    task: str,
    split: str,
    seed: int,
    verdicts: Path | None,
) -> JudgedSamples:
    """Ask ``strong`` about a random part of the samples, and return its win rate over all of them, corrected.

    The part depends on ``seed`` and the prompts alone, so that it is the same for every checkpoint. The metrics are
    ``win_rate`` and ``lc_win_rate`` (percent, of all prompts), ``strong_verdicts``, ``ppi_lambda`` (the weight of the
    first judge), ``half_width`` and ``half_width_alone`` (half the 95 % interval with and without the first judge,
    points), ``win_rate_alone`` and ``unjudged_share``. The returned preferences are rectified ones.

    Args:
        cheap: the judge that has seen all samples; where it gives rewards, σ(their difference) corrects.
        baseline: the start model's samples of the same prompts; None: these are its own, and no judge is asked.
        preferences: ``cheap``'s for each prompt, ``[prompts]``.

    Raises:
        RunError: the judge does not answer, or gives fewer than two verdicts.
    """
    if baseline is None:
        even = np.full(len(rows), EVEN)
        measured = dict.fromkeys(("win_rate", "lc_win_rate"), (even, True))
        return JudgedSamples(
            metrics=mean_metrics(measured, task=task, split=split), preferences=even / 100.0, target=even
        )
    instructions = [row.prompt for row in rows]
    pairs = in_order(
        instructions, [row.text for row in rows], [row.text for row in baseline], model="policy", baseline="start"
    )
    part = random_part(instructions, share=share, seed=seed)
    made = annotate(strong, some_of(pairs, part.nonzero()[0]), seed=seed, cache=verdicts)
    strongly = np.full(len(rows), math.nan)
    strongly[part] = [math.nan if one.preference is None else one.preference for one in made]
    known = int((~np.isnan(strongly)).sum())
    if known < FEWEST:
        raise RunError(
            f"judge {strong.name} gave {known} verdicts on {len(made)} answers{example_of(made)}; an interval needs "
            f"{FEWEST}",
            fix="more of the prompts: --set strong_share=0.5; or another judge with --strong",
        )
    cheaply = _cheap_values(cheap, rows, baseline, preferences)
    done = corrected_mean(strongly, cheaply)
    longer = np.array([float(len(row.text) - len(other.text)) for row, other in zip(rows, baseline, strict=True)])
    metrics = [
        *_metrics(done, task=task, split=split),
        *_length_controlled(strongly, cheaply, longer, done, task=task, split=split),
    ]
    unjudged = np.array([float(one.preference is None) for one in made])
    metrics += mean_metrics({"unjudged_share": (unjudged, False)}, task=task, split=split)
    values = rectified(strongly, cheaply)
    return JudgedSamples(metrics=tuple(metrics), preferences=values, target=100.0 * values)


def _cheap_values(cheap: Judge, rows: Sequence[SampleRow], baseline: Sequence[SampleRow], preferences: Array) -> Array:
    """Return what the first judge says of each sample: how sure it is where its rewards show that, else who wins."""
    if cheap.score is None:
        return preferences
    mine, others = (cheap.score([(row.prompt, row.text) for row in side]) for side in (rows, baseline))
    difference = mine - others
    known = np.isfinite(difference)
    return np.where(known, 0.5 * (1.0 + np.tanh(np.where(known, difference, 0.0) / 2.0)), preferences)


def _metrics(done: Corrected, *, task: str, split: str) -> list[Metric]:
    def metric(name: str, value: float, *, n: int, stderr: float | None = None, better: bool | None = None) -> Metric:
        return Metric(task=task, split=split, name=name, value=value, stderr=stderr, n=n, higher_is_better=better)

    return [
        metric("win_rate", 100.0 * done.interval.mean, n=done.size, stderr=100.0 * done.stderr, better=True),
        metric("win_rate_alone", 100.0 * done.alone.mean, n=done.n, better=True),
        metric("strong_verdicts", float(done.n), n=done.size),
        metric("ppi_lambda", done.weight, n=done.n),
        metric("half_width", 100.0 * done.interval.half, n=done.size),
        metric("half_width_alone", 100.0 * done.alone.half, n=done.n),
    ]


def _length_controlled(
    strongly: Array, cheaply: Array, longer: Array, done: Corrected, *, task: str, split: str
) -> tuple[Metric, ...]:
    """Return the length-controlled rate of rectified labels, nothing where they do not allow for a regression.

    Its standard error is the regression's, larger by as much as the rate's own is above that of many verdicts; none is
    stated of fewer than ``FEWEST_CONTROLLED``: on AlpacaEval's verdicts intervals by it held the truth in 76 to 96 % of
    samples of 20, and 81 to 93 % of 40.
    """
    labels = rectified_labels(strongly, cheaply)
    if not 0.0 < labels.mean() < 1.0 or len(labels) < 2:
        return ()
    rate, error = length_controlled(labels, longer)
    plain = float(labels.std(ddof=1)) / math.sqrt(len(labels))
    error *= max(1.0, done.stderr / plain) if plain > 0 else 1.0
    stated = error if done.n >= FEWEST_CONTROLLED else None
    return (
        Metric(
            task=task, split=split, name="lc_win_rate", value=rate, stderr=stated, n=len(labels), higher_is_better=True
        ),
    )
