"""Exact measures of a policy over enumerated completions: the optimum, the frontier, distances.

Arrays are ``[C, Y]``: log-probs in nats and rewards of every completion of each context; sums are over all Y.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bench.suites.exact.problem import Array

FARTHEST = 200.0
"""Largest |log β| that a root is looked for at; there a policy is the limit to the last bit."""


def optimal_policy(log_ref: Array, reward: Array, *, beta: float) -> Array:
    """Return log π*(y|x), nats, of π* ∝ π_ref · exp(r / β): what maximises E[r] − β · KL(π‖π_ref).

    Source: arXiv 2305.18290, equation 4. β = 0 is the limit: π_ref on the completions of highest reward, log 0 = −∞
    elsewhere.
    """
    if beta == 0:
        scores = np.where(reward == reward.max(axis=-1, keepdims=True), log_ref, -np.inf)
    else:
        # The largest reward is taken off first: r / β alone overflows where β is small.
        scores = log_ref + (reward - reward.max(axis=-1, keepdims=True)) / beta
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def expected_reward(log_policy: Array, reward: Array) -> Array:
    """Return E[r] over each context's completions, ``[C]``."""
    return (np.exp(log_policy) * reward).sum(axis=-1)


def kl(log_p: Array, log_q: Array) -> Array:
    """Return KL(p‖q) in nats for each context, ``[C]``; 0 · log 0 is 0."""
    p = np.exp(log_p)
    ratio = np.subtract(log_p, log_q, out=np.zeros_like(p), where=p > 0)
    return np.maximum((p * ratio).sum(axis=-1), 0.0)  # rounding alone can take a KL of zero below it


def entropy(log_p: Array) -> Array:
    """Return the entropy over completions in nats, ``[C]``."""
    p = np.exp(log_p)
    return -(p * np.where(p > 0, log_p, 0.0)).sum(axis=-1)


def win_rate(log_policy: Array, log_ref: Array, reward: Array) -> Array:
    """Return P(r(y) > r(y')) + ½ P(r(y) = r(y')) for y of the policy and y' of the reference, ``[C]``."""
    rates = []
    for log_p, log_q, each in zip(log_policy, log_ref, reward, strict=True):
        levels, level = np.unique(each, return_inverse=True)
        mass = np.bincount(level, weights=np.exp(log_q), minlength=len(levels))
        beaten = np.append(0.0, np.cumsum(mass)[:-1]) + 0.5 * mass
        rates.append(float((np.exp(log_p) * beaten[level]).sum()))
    return np.array(rates)


def implicit_reward_error(log_policy: Array, log_ref: Array, reward: Array, *, beta: float) -> Array:
    """Return how far the implicit reward β · log(π / π_ref) is from r, ``[C]``, in nats of reward.

    The π_ref-weighted root mean square of the difference, after its π_ref-weighted mean is taken off: a reward that is
    shifted by a number for each context means the same policy. Zero exactly at the optimal policy of β.
    """
    weight = np.exp(log_ref)
    error = beta * (log_policy - log_ref) - reward
    error = error - (weight * error).sum(axis=-1, keepdims=True)
    return np.sqrt((weight * error**2).sum(axis=-1))


class Frontier(NamedTuple):
    """Points of the reward-KL frontier: KL (nats), the largest expected reward at it, and the β of that optimum."""

    kl: Array
    reward: Array
    beta: Array


def frontier(log_ref: Array, reward: Array, *, kls: Sequence[float]) -> Array:
    """Return the largest mean over contexts of E[r] that a mean KL(π‖π_ref) of at most each of ``kls`` allows.

    The maximum shares one β over contexts (it is the multiplier of the one constraint), so each value is the reward of
    ``optimal_policy`` at the β whose mean KL is the given one. KL 0 gives the start model's reward; one beyond what the
    best completions take gives the mean of the highest rewards.

    Raises:
        ValueError: a KL is negative or no number.
    """
    return _frontier(log_ref, reward, kls=kls).reward


def frontier_curve(log_ref: Array, reward: Array, *, points: int) -> Frontier:
    """Return the whole frontier at evenly spaced KLs, from the start model (β = ∞) to the best completions (β = 0)."""
    largest = float(kl(optimal_policy(log_ref, reward, beta=0.0), log_ref).mean())
    return _frontier(log_ref, reward, kls=np.linspace(0.0, largest, points).tolist())


def _frontier(log_ref: Array, reward: Array, *, kls: Sequence[float]) -> Frontier:
    wrong = next((budget for budget in kls if not budget >= 0), None)
    if wrong is not None:
        raise ValueError(f"kls must be numbers of nats ≥ 0 (got {wrong})")

    def divergence(beta: float) -> float:
        return float(kl(optimal_policy(log_ref, reward, beta=beta), log_ref).mean())

    largest = divergence(0.0)
    betas = [math.inf if budget == 0 else 0.0 if budget >= largest else _beta_at(budget, divergence) for budget in kls]
    rewards = [float(expected_reward(_optimum(log_ref, reward, beta), reward).mean()) for beta in betas]
    return Frontier(kl=np.array(kls, dtype=np.float64), reward=np.array(rewards), beta=np.array(betas))


def _optimum(log_ref: Array, reward: Array, beta: float) -> Array:
    return log_ref if math.isinf(beta) else optimal_policy(log_ref, reward, beta=beta)


def _beta_at(budget: float, divergence: Callable[[float], float]) -> float:
    """Return the β whose optimum has this mean KL, which falls as β grows; 0 or ∞ where rounding hides the root."""
    from scipy.optimize import brentq

    low, high = -1.0, 1.0
    while divergence(math.exp(low)) < budget:
        low -= 2.0
        if low < -FARTHEST:
            return 0.0
    while divergence(math.exp(high)) > budget:
        high += 2.0
        if high > FARTHEST:
            return math.inf
    return math.exp(brentq(lambda log_beta: divergence(math.exp(log_beta)) - budget, low, high, xtol=1e-12))
