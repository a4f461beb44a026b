"""Policies from the best gap of every pair: values that differ by the gaps, then normalisation.

A completion's quantity is z: its log-ratio, or an average; log π = weight·z + offset. An objective looks at the gaps
of g(z), for a rising bend g. Where all best gaps fit together, g(z_i) - g(z_j) = u_i - u_j, every pair is at its
minimum at once, and so is the risk; the constant in g(z) = u + λ is what makes the probabilities sum to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, wrightomega

from bench.suites.exact.theory.population import Array, Population, require

Bend = Callable[[float, Array], Array]
"""Inverse of a bend g: (x, d) to the z with g(z) = g(x) - d, for d >= 0; -inf where g does not reach so low."""
FIT = 1e-7


@dataclass(frozen=True, eq=False)
class Scale:
    """How a completion's quantity z makes up its log-prob: weight·z + offset; both [contexts, completions]."""

    weight: Array
    offset: Array


def log_ratios(population: Population) -> Scale:
    """Return the scale of z = log π/π_ref."""
    return Scale(np.ones_like(population.log_ref), population.log_ref)


def mean_log_ratios(population: Population) -> Scale:
    """Return the scale of z = log π/π_ref divided by the number of tokens."""
    return Scale(np.broadcast_to(population.tokens, population.log_ref.shape), population.log_ref)


def log_probs(population: Population) -> Scale:
    """Return the scale of z = log π."""
    return Scale(np.ones_like(population.log_ref), np.zeros_like(population.log_ref))


def mean_log_probs(population: Population, *, kept: float = 0.0) -> Scale:
    """Return the scale of z = (log π - kept · log π_ref) divided by the number of tokens."""
    return Scale(np.broadcast_to(population.tokens, population.log_ref.shape), kept * population.log_ref)


def identity(x: float, below: Array) -> Array:
    """Invert the bend g(z) = z."""
    return x - below


def power(exponent: float) -> Bend:
    """Return the inverse of the bend g(z) = (1 - e^(-k z))/k with k = ``exponent``; z itself at k = 0."""
    if exponent == 0:
        return identity

    def bend(x: float, below: Array) -> Array:
        # e^(-k z) = e^(-k x) + k d
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if exponent > 0:
                return -np.logaddexp(-exponent * x, np.log(exponent * below)) / exponent
            left = -np.expm1(np.log(-exponent * below) + exponent * x)
            return np.where(left > 0, x - np.log(left) / exponent, -np.inf)

    return bend


def jensen_shannon(x: float, below: Array) -> Array:
    """Invert the bend g(z) = log σ(z)."""
    level = -np.logaddexp(0, -x) - below
    return level - np.log(-np.expm1(level))


def chi_squared(x: float, below: Array) -> Array:
    """Invert the bend g(z) = e^z + z by Wright's ω, for which ω(v) + log ω(v) = v."""
    value = np.exp(x) + x - below
    omega = wrightomega(value)
    with np.errstate(divide="ignore"):
        return np.where(value < 0, value - omega, np.log(omega))


def values_of(gaps: Array) -> Array:
    """Return u [contexts, completions] with u_i - u_j = gaps[.., i, j]. Raises NoClosedForm where there is none."""
    values = gaps.mean(-1)
    miss = np.abs(gaps - (values[..., :, None] - values[..., None, :])).max()
    require(
        miss <= FIT * (1 + np.abs(gaps).max()),
        f"the best gaps of the pairs do not fit together (by {miss:.2g}): no policy is at the minimum of all pairs at "
        "once; they always fit with two completions a context",
    )
    return values


def normalise(values: Array, scale: Scale, *, bend: Bend = identity) -> Array:
    """Return log π [contexts, completions] with g(z) = values + λ and probabilities that sum to 1.

    The unknown is the z of the completion with the largest value, which is in a known interval whatever g is.

    Raises:
        NoClosedForm: a bounded g does not reach as low as the gaps require.
    """
    rows = [_row(*row, bend) for row in zip(values, scale.weight, scale.offset, strict=True)]
    log_policy = np.array(rows)
    require(np.isfinite(log_policy), "the gaps are wider than a policy can make them")
    return log_policy - logsumexp(log_policy, axis=-1, keepdims=True)


def _row(value: Array, weight: Array, offset: Array, bend: Bend) -> Array:
    top = int(value.argmax())
    below = value[top] - value

    def log_policy(x: float) -> Array:
        return weight * bend(x, below) + offset

    # There the completion alone has probability 1.
    highest = -offset[top] / weight[top]
    return log_policy(root_of(lambda x: float(logsumexp(log_policy(x))), high=highest))


def root_of(rising: Callable[[float], float], *, high: float | None = None) -> float:
    """Return the zero of a rising function; ``high`` is a place where it is not negative, found by doubling if None."""
    if high is None:
        high = 1.0
        while rising(high) < 0:
            high *= 2
    step = 1.0
    while (least := rising(high - step)) > 0:
        step *= 2
    if least == 0 or rising(high) <= 0:
        return high - step if least == 0 else high
    return float(brentq(rising, high - step, high, xtol=1e-14, rtol=1e-15, maxiter=500))
