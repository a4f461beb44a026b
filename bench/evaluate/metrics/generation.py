"""The metrics of sampled completions: reward, KL, length, diversity, and the shares of degenerate ones."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.record import Metric
from bench.core.samples import SampleRow
from bench.evaluate.metrics.aggregate import Measured, mean_metrics

Array = NDArray[np.float64]
TASK = "generation"


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """One sample a prompt, and what the target is made of: ``beta0``, or each prompt's ``target`` where it is known."""

    rows: Sequence[SampleRow]
    beta0: float
    target: Array | None = None


@dataclass(frozen=True, kw_only=True)
class PromptMetric:
    """A metric that is a mean over prompts.

    Attributes:
        values: the value of each prompt's sample, ``[prompts]``; None where it is unknown.
        higher_is_better: None where neither direction is better.
        stored: whether a record keeps the values by prompt beside their mean.
    """

    name: str
    values: Callable[[SampleSet], Array | None]
    higher_is_better: bool | None = None
    stored: bool = False


def diversity(completions: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return ``distinct_1`` and ``distinct_2``: distinct n-grams ÷ n-grams of all completions (arXiv 1510.03055).

    Over token ids, the end token counted. 0 where there is no n-gram.
    """
    shares = {}
    for size in (1, 2):
        grams = Counter(
            tuple(completion[i : i + size]) for completion in completions for i in range(len(completion) - size + 1)
        )
        shares[f"distinct_{size}"] = len(grams) / grams.total() if grams else 0.0
    return shares


def _reward(samples: SampleSet) -> Array | None:
    known = [row.gold for row in samples.rows if row.gold is not None]
    return np.array(known) if len(known) == len(samples.rows) else None


def _kl(samples: SampleSet) -> Array:
    return np.array([row.kl for row in samples.rows])


def _target(samples: SampleSet) -> Array | None:
    if samples.target is not None:
        return samples.target
    reward = _reward(samples)
    return None if reward is None else reward - samples.beta0 * _kl(samples)


def _length(samples: SampleSet) -> Array:
    return np.array([float(len(row.completion_ids)) for row in samples.rows])


def _ended(samples: SampleSet) -> Array:
    return np.array([float(row.ended) for row in samples.rows])


def _empty(samples: SampleSet) -> Array:
    return np.array([float(not row.text.strip()) for row in samples.rows])


def _copied(samples: SampleSet) -> Array:
    texts = [row.text.strip() for row in samples.rows]
    return np.array([float(bool(t) and t == r.prompt.strip()) for t, r in zip(texts, samples.rows, strict=True)])


def _constant(samples: SampleSet) -> Array:
    return np.array([float(len(r.completion_ids) > 3 and len(set(r.completion_ids)) == 1) for r in samples.rows])


def _repeated(samples: SampleSet) -> Array:
    texts = [row.text.strip() for row in samples.rows]
    often = Counter(texts)
    return np.array([float(bool(text) and often[text] > 1) for text in texts])


PROMPT_METRICS = (
    PromptMetric(name="gold_reward", values=_reward, higher_is_better=True, stored=True),
    PromptMetric(name="kl", values=_kl, stored=True),
    PromptMetric(name="target", values=_target, higher_is_better=True, stored=True),
    PromptMetric(name="length", values=_length, stored=True),
    PromptMetric(name="ended_share", values=_ended),
    PromptMetric(name="empty_share", values=_empty, higher_is_better=False),
    PromptMetric(name="copied_share", values=_copied, higher_is_better=False),
    PromptMetric(name="constant_share", values=_constant, higher_is_better=False),
    PromptMetric(name="repeated_share", values=_repeated, higher_is_better=False),
)
"""All metrics that are means over prompts, in the order of a record. A new one is an entry here.

``gold_reward`` and ``target`` are in nats, ``kl`` in nats, ``length`` in tokens with the end token. The target is
J = gold − β₀·KL unless it is known by prompt. A share is a mean of 0 and 1: completions that ended, are empty, copy
the prompt, are one token throughout, or are another prompt's completion word for word.
"""


def by_sample(rows: Sequence[SampleRow], samples: int) -> list[Sequence[SampleRow]]:
    """Return the first sample of every prompt, the second of every prompt, …

    Raises:
        ValueError: rows that are not so many samples of each prompt.
    """
    prompts, left = divmod(len(rows), samples)
    if left:
        raise ValueError(f"{len(rows)} rows are not {samples} samples of each prompt")
    return [rows[first : first + prompts] for first in range(0, len(rows), prompts)] if prompts else []


def target_of_sample(number: int) -> str:
    """Return the name under which a record keeps the targets of the prompts' samples of one number, from 1 on."""
    return f"target_sample_{number}"


def per_prompt(
    rows: Sequence[SampleRow], *, beta0: float, target: Array | None = None, samples: int = 1
) -> dict[str, Array]:
    """Return the stored values of each prompt by metric, in the prompts' order. Unknown metrics are left out.

    A value is the mean over a prompt's samples; of several, each one's target is returned too (``target_of_sample``),
    since their differences tell what still more samples would save.

    Args:
        target: each prompt's part of what is maximised; None: it is J = gold − β₀·KL.
        samples: of each prompt, in the order of ``by_sample``.
    """
    sets = [SampleSet(rows=part, beta0=beta0, target=target) for part in by_sample(rows, samples)]
    scores = {metric.name: _mean(metric, sets) for metric in PROMPT_METRICS if metric.stored}
    known = {name: values for name, values in scores.items() if values is not None}
    if samples > 1 and "target" in known:
        targets = ((number, _target(one)) for number, one in enumerate(sets, 1))
        known |= {target_of_sample(number): values for number, values in targets if values is not None}
    return known


def _mean(metric: PromptMetric, sets: Sequence[SampleSet]) -> Array | None:
    """Return a metric's mean over the samples of each prompt, None where one is unknown."""
    values = [metric.values(one) for one in sets]
    known = [each for each in values if each is not None]
    if len(known) != len(values) or not known:
        return None
    mean: Array = known[0] if len(known) == 1 else np.mean(known, axis=0)
    return mean


def generation_metrics(
    rows: Sequence[SampleRow], *, beta0: float, split: str, target: Array | None = None, samples: int = 1
) -> tuple[Metric, ...]:
    """Return the metrics of task "generation".

    The target's standard error is taken per prompt, so that it has the covariance of reward and KL. A standard error is
    the standard deviation over prompts ÷ √n. Of several samples a prompt, all is the mean of what each one gives alone,
    so that shares and diversity mean the same with any number.

    Raises:
        ValueError: there are no rows.
    """
    parts = by_sample(rows, samples)
    if not parts:
        raise ValueError("no completions: nothing was measured")
    sets = [SampleSet(rows=part, beta0=beta0, target=target) for part in parts]
    measured: Measured = {
        metric.name: (values, metric.higher_is_better)
        for metric in PROMPT_METRICS
        if (values := _mean(metric, sets)) is not None
    }
    diverse = [diversity([row.completion_ids for row in part]) for part in parts]
    return mean_metrics(measured, task=TASK, split=split) + tuple(
        Metric(task=TASK, split=split, name=name, value=float(np.mean([d[name] for d in diverse])), n=len(parts[0]))
        for name in diverse[0]
    )
