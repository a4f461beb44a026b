"""The metrics of sampled completions: reward, KL, length, diversity, and the shares of degenerate ones."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.record import Metric
from bench.core.samples import SampleRow
from bench.evaluate.metrics.metric import Measured, mean_metrics

TASK = "generation"
HIGHER = ("gold_reward", "target")
"""What is better where it is higher."""


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


def per_prompt(
    rows: Sequence[SampleRow], *, beta0: float, target: NDArray[np.float64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return what each prompt's sample scored, in the prompts' order: gold reward, KL (nats), target, length (tokens).

    The end token counts in ``length``. Without a gold reward there is none.

    Args:
        target: each prompt's part of what is maximised; None: it is J = gold − β₀·KL.
    """
    divergence = np.array([row.kl for row in rows])
    length = np.array([float(len(row.completion_ids)) for row in rows])
    known = [row.gold for row in rows if row.gold is not None]
    reward = np.array(known) if len(known) == len(rows) else None
    scores = {} if reward is None else {"gold_reward": reward}
    scores["kl"] = divergence
    if target is not None:
        scores["target"] = target
    elif reward is not None:
        scores["target"] = reward - beta0 * divergence
    return scores | {"length": length}


def degenerate(rows: Sequence[SampleRow]) -> dict[str, NDArray[np.float64]]:
    """Return a flag (0 or 1) for each sample that is no answer: empty, the prompt again, or one token throughout.

    ``repeated_share`` flags what another prompt got too, word for word.
    """
    texts = [row.text.strip() for row in rows]
    often = Counter(texts)
    return {
        "empty_share": np.array([float(not text) for text in texts]),
        "copied_share": np.array([float(bool(t) and t == r.prompt.strip()) for t, r in zip(texts, rows, strict=True)]),
        "constant_share": np.array(
            [float(len(r.completion_ids) > 3 and len(set(r.completion_ids)) == 1) for r in rows]
        ),
        "repeated_share": np.array([float(bool(text) and often[text] > 1) for text in texts]),
    }


def generation_metrics(
    rows: Sequence[SampleRow], *, beta0: float, split: str, target: NDArray[np.float64] | None = None
) -> tuple[Metric, ...]:
    """Return the metrics of task "generation".

    The target's standard error is taken per prompt, so that it has the covariance of reward and KL. A standard error is
    the standard deviation over prompts ÷ √n.

    Raises:
        ValueError: there are no rows.
    """
    scores = per_prompt(rows, beta0=beta0, target=target)
    measured: Measured = {
        **{name: (each, True if name in HIGHER else None) for name, each in scores.items()},
        "ended_share": (np.array([float(row.ended) for row in rows]), None),
        **{name: (flags, False) for name, flags in degenerate(rows).items()},
    }
    return mean_metrics(measured, task=TASK, split=split) + tuple(
        Metric(task=TASK, split=split, name=name, value=value, n=len(rows))
        for name, value in diversity([row.completion_ids for row in rows]).items()
    )
