"""Link functions: from how often i is preferred to j to the gap that minimises an objective's risk on that pair.

Each takes ``won`` = P(i ≻ j) and ``lost`` = P(j ≻ i), [..., i, j], and gives gaps of that shape, antisymmetric.
Each raises NoClosedForm where a pair has no single finite best gap.
"""

import numpy as np

from bench.suites.exact.theory.population import Array, require

CERTAIN = "the labels of a pair are certain (P = 0 or 1): its best gap is not finite"


def logistic(won: Array, lost: Array) -> Array:
    """Return the minimiser of -P log σ(x) - (1 - P) log σ(-x): logit P."""
    require((won > 0) & (lost > 0), CERTAIN)
    return np.log(won) - np.log(lost)


def smoothed(won: Array, lost: Array, *, epsilon: float) -> Array:
    """Return that of ``logistic`` for labels smoothed by ε: logit((1 - ε) P + ε (1 - P))."""
    return logistic((1 - epsilon) * won + epsilon * lost, (1 - epsilon) * lost + epsilon * won)


def unbiased(won: Array, lost: Array, *, epsilon: float) -> Array:
    """Return the minimiser of the loss that undoes a share ε of flips: logit((P - ε)/(1 - 2ε))."""
    require(
        (won > epsilon) & (lost > epsilon),
        f"a pair has P or 1 - P at or below ε = {epsilon:g}: fewer labels one way than flips alone would give, "
        "so that its loss falls without end",
    )
    return logistic(won - epsilon, lost - epsilon)


def cauchy(won: Array, lost: Array) -> Array:
    """Return the minimiser under a Cauchy distribution in place of the logistic one: tan(π (P - ½))."""
    require((won > 0) & (lost > 0), CERTAIN)
    # Near 0 and 1 the tangent is taken of the small share, which has all its digits.
    return np.where(won < lost, -1, 1) / np.tan(np.pi * np.minimum(won, lost))


def reverse_kl(won: Array, lost: Array, *, epsilon: float) -> Array:
    """Return the minimiser of P KL(q ‖ 1 - ε) + (1 - P) KL(q ‖ ε) in x = logit q: (2P - 1) logit(1 - ε)."""
    return (won - lost) * (np.log1p(-epsilon) - np.log(epsilon))


def squared(won: Array, lost: Array) -> Array:
    """Return the minimiser of P (x - 1)² + (1 - P) (x + 1)²: 2P - 1."""
    return won - lost


def majority(won: Array, lost: Array) -> Array:
    """Return the minimiser of P [1 - x]+ + (1 - P) [1 + x]+: the sign of P - ½."""
    pairs = ~np.eye(won.shape[-1], dtype=bool)
    require((won > 0) & (lost > 0) | ~pairs, "the labels of a pair are certain: any gap beyond the margin will do")
    require((won != lost) | ~pairs, "a pair is a tie (P = ½): any gap within the margin will do")
    return np.sign(won - lost)


def with_margins(won: Array, lost: Array, *, margin: Array) -> Array:
    """Return the minimiser of -P log σ(x - m_ij) - (1 - P) log σ(-x - m_ji).

    m = ``margin`` [..., i, j] is that of the label i ≻ j.
    With y = e^x and Q = 1 - P it is the positive root of Q e^-m_ij y² - (P - Q) y - P e^-m_ji = 0.
    """
    require((won > 0) & (lost > 0), CERTAIN)
    back = margin.swapaxes(-1, -2)
    excess = won - lost
    with np.errstate(over="ignore", invalid="ignore"):
        root = excess + np.sqrt(excess**2 + 4 * won * lost * np.exp(-margin - back))
        gap = np.log(root) - np.log(2 * lost) + margin
    # Where i loses, root is a difference of two close numbers: there the gap of j against i is taken.
    gap = np.where(excess < 0, -gap.swapaxes(-1, -2), gap)
    require(np.isfinite(gap), "margins so large that the best gap of a pair is beyond double precision")
    return gap
