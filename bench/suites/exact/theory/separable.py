"""Optima of risks that fall into a sum over completions, held together by normalisation alone.

Such a risk is Σ_i F_i(z_i), F_i convex, under Σ_i π_ref,i e^z_i = 1 for log-ratios z. Where the free minimum m of the
F_i gives Σ π_ref e^m >= 1, the optimum is that of the convex problem with «<= 1»: unique, and the one place with
F_i'(z_i) = -μ π_ref,i e^z_i for a multiplier μ >= 0. Below 1 the problem is not convex and nothing is claimed.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit, logsumexp, wrightomega

from bench.suites.exact.theory.policy_from_gaps import root_of
from bench.suites.exact.theory.population import Array, require

HALVINGS = 64
NEAR = 1e-13


def least_squares(targets: Array, log_ref: Array) -> Array:
    """Return log π that minimises Σ (z - target)²; all [contexts, completions].

    z + μ π_ref e^z = target, so z = target - ω(target + log(μ π_ref)) with Wright's ω.
    """

    def log_ratios(target: Array, tie: Array) -> Array:
        return target - wrightomega(target + tie)

    return np.array([_normalise(*row, log_ratios) for row in zip(targets, log_ref, strict=True)])


def cross_entropy(share: Array, log_ref: Array, *, beta: float, total: Array) -> Array:
    """Return log π that minimises Σ [-s log σ(β z) - (t - s) log σ(-β z)], s = ``share``, t = ``total``.

    All are [contexts, completions]. t σ(β z) + μ π_ref e^z = s, solved by bisection, as the left side rises with z.
    """
    require(share > 0, "a completion never wins: its best probability is 0")
    with np.errstate(divide="ignore"):
        free = logit(share / total) / beta
    return np.array([_cross_entropy_row(*row, beta) for row in zip(free, log_ref, share, total, strict=True)])


def _cross_entropy_row(free: Array, log_ref: Array, s: Array, t: Array, beta: float) -> Array:
    def log_ratios(free: Array, tie: Array) -> Array:
        high = np.minimum(free, np.log(s) - tie)
        low = np.minimum(logit(s / (2 * t)) / beta, np.log(s / 2) - tie)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = t * expit(beta * middle) + np.exp(middle + tie) > s
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return (low + high) / 2

    return _normalise(free, log_ref, log_ratios)


def _normalise(free: Array, log_ref: Array, log_ratios: Callable[[Array, Array], Array]) -> Array:
    """Return log π of one context; ``log_ratios(free, log(μ π_ref))`` gives z at a multiplier."""
    excess = float(logsumexp(free + log_ref))
    require(
        excess >= -NEAR,
        f"Σ π_ref e^z at the free minimum is {np.exp(excess):.3g}, below 1: the problem is not convex there",
    )
    if excess <= NEAR:
        return free + log_ref

    def shortfall(log_multiplier: float) -> float:
        return -float(logsumexp(log_ratios(free, log_ref + log_multiplier) + log_ref))

    log_policy = log_ratios(free, log_ref + root_of(shortfall)) + log_ref
    return log_policy - logsumexp(log_policy)


def likelihood_and_unlikelihood(wanted: Array, unwanted: Array) -> Array:
    """Return log π that minimises Σ [-a log π - b log(1 - π)] under Σ π = 1, a = ``wanted`` > 0, b = ``unwanted`` >= 0.

    With a multiplier μ, μ π² - (μ + a + b) π + a = 0, whose root in (0, 1] falls from 1 to 0 as μ rises. Convex in π.
    """
    require(wanted > 0, "a completion never wins: its best probability is 0")
    return np.array([_likelihood_row(*row) for row in zip(wanted, unwanted, strict=True)])


def _likelihood_row(a: Array, b: Array) -> Array:
    def log_policy(multiplier: float) -> Array:
        root = np.sqrt((multiplier - a + b) ** 2 + 4 * a * b)
        return np.log(2 * a) - np.log(multiplier + a + b + root)

    solution = log_policy(root_of(lambda multiplier: -float(logsumexp(log_policy(multiplier)))))
    return solution - logsumexp(solution)
