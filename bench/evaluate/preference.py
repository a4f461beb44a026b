"""Owns what is measured on held-out pairs: reward accuracy, margin, and how the likelihoods moved."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.evaluate.metric import Measured, mean_metrics
from bench.report.record import Metric

TASK = "preference"
Array = NDArray[np.float64]
Reward = Literal["log_ratio", "mean_log_ratio", "policy", "mean_policy"]
"""What an objective ranks completions by: log-prob of the policy, or its ratio to the reference; summed, or a token."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SideLogProbs:
    """Log-probs of one side of n pairs: summed over each completion, in nats, float64 ``[pairs]``, and its tokens."""

    policy: Array
    reference: Array
    tokens: Array

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in ("policy", "reference", "tokens")}
        if len(set(shapes.values())) > 1 or len(shapes["tokens"]) != 1:
            raise ValueError(f"one number a completion is needed of each, in equal number; given: {shapes}")
        if np.any(np.asarray(self.tokens) < 1):
            raise ValueError(
                f"pair {int(np.argmin(self.tokens))} has a completion without tokens; at least 1 is needed"
            )


def reward(side: SideLogProbs, kind: Reward) -> Array:
    """Return the reward that an objective gives each completion, in nats, without its β, ``[pairs]``.

    ``log_ratio`` is log π(y|x) − log π_ref(y|x), DPO's implicit reward ÷ β; ``policy`` is log π(y|x); the ``mean_``
    forms are divided by the completion's tokens. A positive β changes no accuracy, and without it margins of
    different β are on one scale.

    Raises:
        ValueError: ``kind`` is none of the four.
    """
    if kind not in get_args(Reward):
        raise ValueError(f"reward {kind!r} is unknown; known: {', '.join(get_args(Reward))}")
    total = side.policy - side.reference if kind.endswith("log_ratio") else side.policy
    return total / side.tokens if kind.startswith("mean_") else total


def preference_metrics(*, chosen: SideLogProbs, rejected: SideLogProbs, kind: Reward, split: str) -> tuple[Metric, ...]:
    """Return the metrics of task "preference", each a mean over pairs.

    ``accuracy``: share of pairs whose chosen completion has the higher reward; a tie counts half, so that the start
    model, whose log-ratios are all zero, has 0.5. ``margin``: reward of chosen − of rejected. ``chosen_shift``,
    ``rejected_shift``: log π − log π_ref, nats a completion: a negative ``chosen_shift`` is likelihood displacement
    (arXiv 2410.08847). ``chosen_shift_per_token``: the same ÷ tokens.

    Raises:
        ValueError: the sides differ in length, or there are no pairs.
    """
    if len(chosen.tokens) != len(rejected.tokens):
        raise ValueError(f"{len(chosen.tokens)} chosen and {len(rejected.tokens)} rejected completions make no pairs")
    margin = reward(chosen, kind) - reward(rejected, kind)
    measured: Measured = {
        "accuracy": ((margin > 0) + 0.5 * (margin == 0), True),
        "margin": (margin, None),
        "chosen_shift": (reward(chosen, "log_ratio"), None),
        "rejected_shift": (reward(rejected, "log_ratio"), None),
        "chosen_shift_per_token": (reward(chosen, "mean_log_ratio"), None),
    }
    return mean_metrics(measured, task=TASK, split=split)
