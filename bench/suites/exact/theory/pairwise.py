"""Closed forms of pairwise objectives with a reference, which depend on gaps of log-ratios."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from bench.suites.exact.theory import link_functions
from bench.suites.exact.theory.policy_from_gaps import (
    Bend,
    Scale,
    chi_squared,
    jensen_shannon,
    log_ratios,
    mean_log_ratios,
    normalise,
    power,
    values_of,
)
from bench.suites.exact.theory.population import Array, Known, Params, Population, require

BRADLEY_TERRY = "Bradley-Terry labels, or two completions"
TWO = "two completions, or labels whose best gaps add up"
CERTAIN = "no certain labels"
DPO = "arXiv 2305.18290, equation 4"
F_DPO = "arXiv 2309.16240, its theorem on f-divergences"
Link = Callable[..., Array]


def logits(population: Population) -> Array:
    """Return logit P(i ≻ j) of each pair, [contexts, completions, completions]."""
    return link_functions.logistic(population.preference, population.against)


def _policy(gaps: Array, population: Population, *, scale: Callable[[Population], Scale] = log_ratios) -> Array:
    return normalise(values_of(gaps), scale(population))


def dpo(population: Population, *, beta: float) -> Array:
    """Return the optimum of dpo: log π = log π_ref + u/β + constant, with u_i - u_j = logit P(i ≻ j)."""
    return _policy(logits(population) / beta, population)


def _by_link(
    link: Link, *, parameters: tuple[str, ...] = (), by: str = "beta"
) -> Callable[[Params, Population], Array]:
    """Return the solver for best gaps of link(P)/β."""

    def solve(params: Params, population: Population) -> Array:
        chosen = partial(link, **{name: params[name] for name in parameters})
        return _policy(chosen(population.preference, population.against) / params[by], population)

    return solve


def _f_divergence(population: Population, *, beta: float, bend: Bend) -> Array:
    """Return the optimum for gaps of g(z) in place of z, g = ``bend``.

    The losses clamp exponents at 30, which no closed form reaches: it would take a gap logit(P)/β of 1e13.
    """
    return normalise(values_of(logits(population) / beta), log_ratios(population), bend=bend)


def _chi_po(params: Params, population: Population) -> Array:
    widest = np.abs(logits(population)).max()
    require(
        widest < 2 * params["clip"],
        f"a pair has |logit P| = {widest:.3g}, not within the clip of 2R = {2 * params['clip']:g}",
    )
    return _f_divergence(population, beta=params["beta"], bend=chi_squared)


def _ipo(scale: Callable[[Population], Scale]) -> Callable[[Params, Population], Array]:
    def solve(params: Params, population: Population) -> Array:
        gaps = link_functions.squared(population.preference, population.against) / (2 * params["beta"])
        return normalise(gaps.mean(-1), scale(population))

    return solve


def _r_dpo(params: Params, population: Population) -> Array:
    tokens = population.tokens
    return _policy((logits(population) - params["alpha"] * (tokens[:, None] - tokens)) / params["beta"], population)


def _odpo(params: Params, population: Population) -> Array:
    ahead = population.reward[:, :, None] - population.reward[:, None, :]
    # A label against the scores has a gap below 0, which the loss counts as 1e-6.
    margin = params["alpha"] * np.log(np.maximum(ahead, 1e-6))
    gaps = link_functions.with_margins(population.preference, population.against, margin=margin)
    return _policy(gaps / params["beta"], population)


def _infonca(params: Params, population: Population) -> Array:
    return normalise(population.reward / (params["alpha"] * params["beta"]), log_ratios(population))


def _dr_dpo(params: Params, population: Population) -> Array:
    trust = params["beta_prime"]
    require(trust > 1, "β' is not above 1: Σ P σ(β Δ)^(1/β') has no maximum at a finite Δ")
    return dpo(population, beta=params["beta"] * (trust - 1) / trust)


def _hinge(params: Params, population: Population) -> Array:
    return _by_link(link_functions.majority)(params, population)


HALF = "two completions, no tie and no certain label"
ENTRIES: Mapping[str, Known] = MappingProxyType(
    {
        "dpo": Known(
            "π ∝ π_ref e^(u/β), u_i - u_j = logit P; with P = σ(r_i - r_j), π ∝ π_ref e^(r/β)", BRADLEY_TERRY, DPO,
            lambda params, population: dpo(population, beta=params["beta"]),
        ),
        "dpo_pl": Known(
            "as dpo", f"rankings of two; {BRADLEY_TERRY}", "arXiv 2305.18290, appendix A.3",
            lambda params, population: dpo(population, beta=params["beta"]),
        ),
        "cdpo": Known(
            "log-ratio gap logit((1 - ε) P + ε (1 - P))/β", TWO,
            "Mitchell 2023, A note on DPO with noisy preferences; for any P derived here",
            _by_link(link_functions.smoothed, parameters=("epsilon",)),
        ),
        "robust": Known(
            "log-ratio gap logit((P - ε)/(1 - 2ε))/β: the optimum of dpo on labels without a share ε of flips",
            "P and 1 - P above ε; Bradley-Terry labels flipped at rate ε, or two completions",
            "arXiv 2403.00409, its unbiased loss; the gap derived here",
            _by_link(link_functions.unbiased, parameters=("epsilon",)),
        ),
        "cauchy_dpo": Known(
            "log-ratio gap tan(π (P - ½))/β", f"{CERTAIN}; {TWO}", "derived here",
            _by_link(link_functions.cauchy),
        ),
        "exo_pair": Known(
            "log-ratio gap (2P - 1) logit(1 - ε)/β", TWO, "derived here",
            _by_link(link_functions.reverse_kl, parameters=("epsilon",)),
        ),
        "hinge": Known("log-ratio gap sign(P - ½)/β", HALF, "derived here", _hinge),
        "rso": Known("log-ratio gap sign(P - ½)/γ", HALF, "derived here", _hinge),
        "ipo_sum": Known(
            "π ∝ π_ref e^(v/τ), v_i = mean of P(i ≻ j) over all j, i itself (½) included", "any labels",
            "arXiv 2310.12036, the optimum of ΨPO with Ψ the identity", _ipo(log_ratios),
        ),
        "ipo": Known(
            "log π_i/π_ref,i = n_i (v_i/τ + λ), v_i = mean of P(i ≻ j) over all j, i itself (½) included", "any labels",
            "derived here; with equal lengths as ipo_sum", _ipo(mean_log_ratios),
        ),
        "ln_dpo": Known(
            "log π_i/π_ref,i = n_i (u_i/β + λ), u_i - u_j = logit P", BRADLEY_TERRY, "derived here",
            lambda params, population: _policy(logits(population) / params["beta"], population, scale=mean_log_ratios),
        ),
        "dpo_alpha": Known(
            "g(log π/π_ref) = u/β + λ, g(z) = (e^((α-1) z) - 1)/(α - 1), u_i - u_j = logit P",
            BRADLEY_TERRY, F_DPO,
            lambda params, population: _f_divergence(population, beta=params["beta"], bend=power(1 - params["alpha"])),
        ),
        "dpo_forward_kl": Known(
            "g(log π/π_ref) = u/β + λ, g(z) = 1 - e^-z, u_i - u_j = logit P",
            BRADLEY_TERRY, F_DPO,
            lambda params, population: _f_divergence(population, beta=params["beta"], bend=power(1)),
        ),
        "dpo_js": Known(
            "g(log π/π_ref) = u/β + λ, g(z) = log 2 + log σ(z), u_i - u_j = logit P", BRADLEY_TERRY, F_DPO,
            lambda params, population: _f_divergence(population, beta=params["beta"], bend=jensen_shannon),
        ),
        "chi_po": Known(
            "φ(log π/π_ref) = u/β + λ, φ(z) = e^z + z, u_i - u_j = logit P",
            f"{BRADLEY_TERRY}; |logit P| < 2R for every pair",
            "arXiv 2407.13399, the optimum under χ² and KL together", _chi_po,
        ),
        "r_dpo": Known(
            "log π_i/π_ref,i = (u_i - α n_i)/β + λ, u_i - u_j = logit P", BRADLEY_TERRY, "derived here",
            _r_dpo,
        ),
        "odpo": Known(
            "log-ratio gap x/β, e^x the positive root of (1-P) e^-a y² - (2P-1) y - P e^-b = 0, a = α log(score_i - "
            "score_j), b the same from j, at least α log 1e-6",
            f"{CERTAIN}; two completions (any number at α = 0 with Bradley-Terry labels)", "derived here", _odpo,
        ),
        "infonca": Known(
            "π ∝ π_ref e^(score/(α β))", "any labels, as only scores count; rankings of any length",
            "arXiv 2402.05369, its InfoNCA optimum", _infonca,
        ),
        "dr_dpo": Known(
            "as dpo with β (β' - 1)/β' in place of β", f"β' > 1, large batches; {BRADLEY_TERRY}", "derived here",
            _dr_dpo,
        ),
    }
)  # fmt: skip
