"""Metrics of held-out pairs: reward accuracy, margin, and the shift of the likelihoods."""

import numpy as np
from numpy.typing import NDArray

from bench.core.record import Metric
from bench.evaluate.metrics.metric import Measured, mean_metrics

TASK = "preference"
REWARDS = ("log_ratio", "mean_log_ratio", "policy", "mean_policy")
"""What an objective ranks completions by: log-prob of the policy, or its ratio to the reference; summed, or a token."""
Array = NDArray[np.float64]


def completion_reward(policy: Array, reference: Array, length: Array, *, reward: str) -> Array:
    """Return the reward that an objective gives each completion, in nats, without its β, ``[pairs]``.

    ``log_ratio`` is log π(y|x) − log π_ref(y|x), DPO's implicit reward ÷ β; ``policy`` is log π(y|x); the ``mean_``
    forms are divided by the completion's tokens. A positive β changes no accuracy, and without it margins of
    different β are on one scale.

    Raises:
        ValueError: ``reward`` is none of ``REWARDS``.
    """
    if reward not in REWARDS:
        raise ValueError(f"reward {reward!r} is unknown; known: {', '.join(REWARDS)}")
    total = policy - reference if reward.endswith("log_ratio") else policy
    return total / length if reward.startswith("mean_") else total


def preference_metrics(
    *,
    chosen_policy: Array,
    chosen_reference: Array,
    chosen_length: Array,
    rejected_policy: Array,
    rejected_reference: Array,
    rejected_length: Array,
    reward: str,
    split: str,
) -> tuple[Metric, ...]:
    """Return the metrics of task "preference", each a mean over pairs.

    ``accuracy``: share of pairs whose chosen completion has the higher reward; a tie counts half, so that the start
    model, whose log-ratios are all zero, has 0.5. ``margin``: reward of chosen − of rejected. ``chosen_shift``,
    ``rejected_shift``: log π − log π_ref, nats a completion: a negative ``chosen_shift`` is likelihood displacement
    (arXiv 2410.08847). ``chosen_shift_per_token``: the same ÷ tokens.

    Args:
        chosen_policy: log-probs summed over each completion, nats, ``[pairs]``; likewise the other three.
        chosen_length: tokens of each completion, at least 1, ``[pairs]``; likewise ``rejected_length``.
        reward: the objective's, one of ``REWARDS``.

    Raises:
        ValueError: another reward, arrays of different shapes, a completion without tokens, no pairs.
    """
    chosen, rejected = (
        (chosen_policy, chosen_reference, chosen_length),
        (rejected_policy, rejected_reference, rejected_length),
    )
    shapes = [np.shape(array) for array in (*chosen, *rejected)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"all six arrays need one shape [pairs]; given: {', '.join(map(str, shapes))}")
    for side, (_, _, length) in (("chosen", chosen), ("rejected", rejected)):
        if (length < 1).any():
            raise ValueError(
                f"pair {int(np.argmin(length))}: its {side} completion has no tokens; at least 1 is needed"
            )
    margin = completion_reward(*chosen, reward=reward) - completion_reward(*rejected, reward=reward)
    measured: Measured = {
        # The sign keeps a NaN, which a comparison would count as a lost pair.
        "accuracy": (0.5 + 0.5 * np.sign(margin), True),
        "margin": (margin, None),
        "chosen_shift": (completion_reward(*chosen, reward="log_ratio"), None),
        "rejected_shift": (completion_reward(*rejected, reward="log_ratio"), None),
        "chosen_shift_per_token": (completion_reward(*chosen, reward="mean_log_ratio"), None),
    }
    return mean_metrics(measured, task=TASK, split=split)
