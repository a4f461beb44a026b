"""Closed forms of objectives that equal another one at some parameters or on some completions."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bench.suites.exact.theory.no_closed_form import MOVES
from bench.suites.exact.theory.pairwise import BRADLEY_TERRY, DPO, dpo
from bench.suites.exact.theory.population import Array, Known, Params, Population, require
from bench.suites.exact.theory.reference_free import ONE_TOKEN, require_one_token, simpo

Holds = Callable[[Params, Population], bool | NDArray[np.bool_]]


def _dpo_if(holds: Holds, otherwise: str) -> Callable[[Params, Population], Array]:
    def solve(params: Params, population: Population) -> Array:
        require(holds(params, population), otherwise)
        return dpo(population, beta=params["beta"])

    return solve


def _as_dpo(condition: str, holds: Holds, otherwise: str) -> Known:
    return Known("as dpo", f"{condition}; {BRADLEY_TERRY}", DPO, _dpo_if(holds, otherwise))


def _equal_lengths(population: Population) -> bool:
    return bool(np.all(population.lengths == population.lengths[0]))


def _sdpo(params: Params, population: Population) -> Array:
    return dpo(population, beta=params["beta"] / params["stages"])


def _mallows_dpo(params: Params, population: Population) -> Array:
    """Return the optimum of dpo with φ β in place of β, φ = -c log(H(π_ref)/log |V|) of each context."""
    require_one_token(population)
    probabilities = np.exp(population.log_ref)
    share = -(probabilities * population.log_ref).sum(-1) / np.log(population.vocabulary or population.completions)
    strength = -params["scale"] * np.log(np.clip(share, 1e-6, 1))
    require(strength > 1e-9, "c is 0 or the entropy of π_ref the largest: φ = 0, and every policy is as good")
    beta = params["beta"] * strength
    return np.concatenate([dpo(population.context(index), beta=value) for index, value in enumerate(beta)], axis=0)


def _alpha_dpo(params: Params, population: Population) -> Array:
    require(params["alpha"] == 0, "α is not 0: the margin follows running averages of the policy's own gaps")
    return simpo(population, beta=params["beta"], gamma_ratio=params["gamma_ratio"])


ENTRIES: Mapping[str, Known] = MappingProxyType(
    {
        "focal_po": _as_dpo(
            "γ = 0", lambda params, population: params["gamma"] == 0,
            "γ is not 0: the loss falls to 0 both as Δ → ∞ and as Δ → -∞, so that no finite gap is best",
        ),
        "dpop": _as_dpo(
            "λ = 0", lambda params, population: params["lam"] == 0,
            "λ is not 0: the penalty counts on one side of 0 only, so that the sum of probabilities enters every pair",
        ),
        "dpo_shift": _as_dpo(
            "λ = 1", lambda params, population: params["lam"] == 1,
            "λ is not 1: Δw - λ Δl changes with a shift of both, so that the sum of probabilities enters every pair",
        ),
        "tdpo1": _as_dpo(
            f"{ONE_TOKEN}, where K_w = K_l", lambda params, population: population.lengths == 1,
            "completions of more than one token: K depends on the policy at each of their tokens",
        ),
        "tdpo2": _as_dpo(
            "α = 0", lambda params, population: params["alpha"] == 0,
            "α is not 0: K_l has a gradient and K_w none, so that what it follows is not the gradient of a risk",
        ),
        "ld_dpo": _as_dpo(
            "α = 1, or completions of equal length",
            lambda params, population: _equal_lengths(population) or params["alpha"] == 1,
            "completions of different lengths with α below 1: the gap depends on how a log-ratio is spread over tokens",
        ),
        "sampo": _as_dpo(
            "completions of equal length", lambda params, population: _equal_lengths(population),
            "completions of different lengths: the gap depends on how a log-ratio is spread over tokens",
        ),
        "beta_dpo": _as_dpo(
            "a = 0, every pair kept, β >= 0.001",
            lambda params, population: params["alpha"] == 0 and params["keep"] == 1 and params["beta"] >= 1e-3,
            "pairs are left out, or β follows the gaps of the batch: neither is the gradient of a risk",
        ),
        "tr_dpo": _as_dpo("α = 0", lambda params, population: params["alpha"] == 0, MOVES),
        "ema_dpo": _as_dpo("ρ = 1", lambda params, population: params["decay"] == 1, MOVES),
        "sdpo": Known(
            "as dpo with β/k in place of β: each of k stages adds u/β to the log-ratio",
            f"every stage trained to its optimum; {BRADLEY_TERRY}", "derived here", _sdpo,
        ),
        "mallows_dpo": Known(
            "as dpo with φ β in place of β, φ = -c log(H(π_ref)/log |V|) of the context",
            f"{ONE_TOKEN}; H(π_ref) below log |V|, c > 0; {BRADLEY_TERRY}", "derived here",
            _mallows_dpo,
        ),
        "alpha_dpo": Known(
            "as simpo", "α = 0; two completions (any number at γ = 0 with Bradley-Terry labels); no certain labels",
            "derived here", _alpha_dpo,
        ),
    }
)  # fmt: skip
