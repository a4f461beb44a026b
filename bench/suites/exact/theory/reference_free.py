"""Closed forms of objectives without a reference."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit, log_expit, logit

from bench.suites.exact.theory import link_functions
from bench.suites.exact.theory.pairwise import BRADLEY_TERRY, CERTAIN, HALF, logits
from bench.suites.exact.theory.policy_from_gaps import (
    Bend,
    identity,
    log_probs,
    mean_log_probs,
    normalise,
    power,
    root_of,
    values_of,
)
from bench.suites.exact.theory.population import Array, Known, Params, Population, require
from bench.suites.exact.theory.separable import likelihood_and_unlikelihood

ONE_TOKEN = "completions of one token"
QUADRATIC = "y = e^x the positive root of (1-P) c y² - (2P-1) y - P c = 0"
LIKELIHOOD = "π the root in (0, 1) of μ π² - (μ + a + b) π + a = 0, Σ π = 1 by the multiplier μ"


def require_one_token(population: Population) -> None:
    """Raise NoClosedForm unless every completion is one token."""
    require(population.lengths == 1, "completions of more than one token")


def _require_two(population: Population) -> None:
    require(population.completions == 2, f"{population.completions} completions a context, not two")


def _with_margin(
    population: Population, *, beta: float, margin: float, kept: float = 0.0, bend: Bend = identity
) -> Array:
    """Minimise -log σ(β (g(z_w) - g(z_l)) - margin).

    z is the average log-prob less the share ``kept`` of the reference's.
    """
    gaps = link_functions.with_margins(
        population.preference, population.against, margin=np.full_like(population.preference, margin)
    )
    return normalise(values_of(gaps / beta), mean_log_probs(population, kept=kept), bend=bend)


def simpo(population: Population, *, beta: float, gamma_ratio: float) -> Array:
    """Return the optimum of simpo."""
    return _with_margin(population, beta=beta, margin=beta * gamma_ratio)


def _rainbow_po(params: Params, population: Population) -> Array:
    margin = params["beta"] * (1 - params["alpha"]) * params["advantage"]
    return _with_margin(population, beta=params["beta"], margin=margin, kept=params["alpha"])


def _alphapo(params: Params, population: Population) -> Array:
    beta = params["beta"]
    return _with_margin(population, beta=beta, margin=beta * params["gamma_ratio"], bend=power(params["alpha"]))


def _repo(params: Params, population: Population) -> Array:
    gaps = params["gamma"] * link_functions.majority(population.preference, population.against)
    return normalise(values_of(gaps), mean_log_probs(population))


def _cpo(params: Params, population: Population) -> Array:
    require(params["lam"] == 0, "λ is not 0: the imitation and the gap are at their best in different policies")
    return normalise(values_of(logits(population) / params["beta"]), log_probs(population))


def _slic_gaps(population: Population, *, delta: float, lam: float) -> Array:
    """Return the best gap y = s_1 - s_2 of two completions.

    It minimises P [δ - y]+ + (1 - P) [δ + y]+ - λ (P s_1 + (1 - P) s_2). For P >= ½ the slope is
    (1 - 2P) + λ (σ(y) - P) in |y| < δ and (1 - P) + λ (σ(y) - P) above, so that y is δ clipped to the zeros of the two.
    """
    _require_two(population)
    won, lost = population.preference, population.against
    if lam == 0:
        return delta * (link_functions.majority(won, lost) if delta else 0 * won)
    more, less = np.maximum(won, lost), np.minimum(won, lost)
    with np.errstate(divide="ignore"):
        within = logit(np.clip(more + (more - less) / lam, 0, 1))
        beyond = logit(np.clip(more - less / lam, 0, 1))
    gaps = np.sign(won - lost) * np.clip(delta, beyond, within)
    require(np.isfinite(gaps), link_functions.CERTAIN)
    return gaps


def _slic(params: Params, population: Population) -> Array:
    return normalise(values_of(_slic_gaps(population, delta=params["delta"], lam=params["lam"])), log_probs(population))


def _rrhf(params: Params, population: Population, *, summed: bool = False) -> Array:
    require(population.lengths == population.lengths[0], "completions of different lengths")
    # Divided by the common length it is slic's risk at δ = 0; a summed NLL is that many times the average.
    lam = params["lam"] * (int(population.lengths[0]) if summed else 1)
    return normalise(values_of(_slic_gaps(population, delta=0, lam=lam)), log_probs(population))


def _sft(population: Population) -> Array:
    """Return the optimum of sft: π in proportion to the share of wins for each token."""
    share = population.share(population.preference)
    require(share > 0, "a completion never wins: its best probability is 0")
    weight = share / population.tokens
    return np.log(weight) - np.log(weight.sum(-1, keepdims=True))


def _orpo(params: Params, population: Population) -> Array:
    lam = params["lam"]
    if lam == 0:
        return _sft(population)
    require_one_token(population)
    _require_two(population)
    first = population.preference[:, 0, 1]
    require((first > 0) & (first < 1), link_functions.CERTAIN)
    gaps = np.array([_log_odds(float(p), lam) for p in first])
    return log_expit(np.stack([gaps, -gaps], axis=-1))


def _log_odds(share: float, lam: float) -> float:
    return root_of(lambda y: float(expit(y) - share + 2 * lam * (expit(2 * y) - share)))


def _unlikelihood(population: Population, *, wanted: float, unwanted: float) -> Array:
    """Minimise -wanted s̄_w - unwanted log(1 - π_l), for completions of one token."""
    if unwanted == 0:
        return _sft(population)
    require_one_token(population)
    share = population.share(population.preference)
    return likelihood_and_unlikelihood(wanted * share, unwanted * population.share(population.against))


ENTRIES: Mapping[str, Known] = MappingProxyType(
    {
        "simpo": Known(
            f"average log-prob gap x/β, {QUADRATIC} with c = e^-γ; log π_i = n_i (u_i + λ)",
            f"{CERTAIN}; two completions (any number at γ = 0 with Bradley-Terry labels)", "derived here",
            lambda params, population: simpo(
                population, beta=params["beta"], gamma_ratio=params["gamma_ratio"]
            ),
        ),
        "rainbow_po": Known(
            f"gap of s̄ - α r̄ is x/β, {QUADRATIC} with c = e^(-β (1-α) h); log π_i = n_i (u_i + λ) + α log π_ref,i",
            f"{CERTAIN}; two completions (any number at α = 1 or h = 0 with Bradley-Terry labels)", "derived here",
            _rainbow_po,
        ),
        "alphapo": Known(
            f"gap of r(s̄) is x/β, {QUADRATIC} with c = e^-γ; r(s̄) = (1 - e^(-α s̄))/α = u + λ",
            f"{CERTAIN}; two completions (any number at γ = 0 with Bradley-Terry labels); for α < 0 a gap that r can "
            "reach", "derived here", _alphapo,
        ),
        "repo": Known("average log-prob gap γ sign(P - ½); log π_i = n_i (u_i + λ)", HALF, "derived here", _repo),
        "cpo": Known("π ∝ e^(u/β), u_i - u_j = logit P", f"λ = 0; {BRADLEY_TERRY}", "as dpo", _cpo),
        "slic": Known(
            "for P >= ½ the gap of log π is δ, but at least logit(P - (1-P)/λ) and at most logit(P + (2P-1)/λ); for "
            "P < ½ the same from the other side", "two completions; no certain labels; at λ = 0 no tie", "derived here",
            _slic,
        ),
        "rrhf": Known(
            "as slic with δ = 0", "rankings of two, two completions of equal length, no certain labels", "derived here",
            _rrhf,
        ),
        "rrhf_sum": Known(
            "as slic with δ = 0 and n λ for λ", "rankings of two, two completions of equal length n, no certain labels",
            "derived here", lambda params, population: _rrhf(params, population, summed=True),
        ),
        "sft": Known("π_i ∝ w_i/n_i", "any labels; each completion wins at times", "derived here",
                     lambda params, population: _sft(population)),
        "unlikelihood": Known(
            f"a = w, b = α (1 - w): {LIKELIHOOD}", f"{ONE_TOKEN} (any at α = 0); any labels", "derived here",
            lambda params, population: _unlikelihood(population, wanted=1, unwanted=params["alpha"]),
        ),
        "asft": Known(
            f"a = (1 + λ) w, b = λ (1 - w): {LIKELIHOOD}", f"{ONE_TOKEN} (any at λ = 0); any labels", "derived here",
            lambda params, population: _unlikelihood(population, wanted=1 + params["lam"], unwanted=params["lam"]),
        ),
        "orpo": Known(
            "odds x = π_1/π_2, the positive root of the cubic x/(1 + x) - P + 2λ (x²/(1 + x²) - P) = 0",
            f"two {ONE_TOKEN}, no certain labels (at λ = 0 as sft)", "derived here", _orpo,
        ),
    }
)  # fmt: skip
