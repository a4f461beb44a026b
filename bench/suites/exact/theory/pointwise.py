"""Closed forms of objectives with a reference that score each completion by itself."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from bench.suites.exact.theory.population import Array, Known, Population
from bench.suites.exact.theory.separable import cross_entropy, least_squares

REACHED = "Σ π_ref e^z >= 1 at the free minimum"
SUMS = "Σ π = 1 by the multiplier μ"


def _sppo(population: Population, *, wins: Array, beta: float) -> Array:
    return least_squares((population.share(wins) - 0.5) / beta, population.log_ref)


def _nca(population: Population, *, wins: Array, beta: float) -> Array:
    share = population.share(wins)
    return cross_entropy(share, population.log_ref, beta=beta, total=share + 0.5)


def _by_score(population: Population, *, scale: float) -> Array:
    """Return σ of the score gap of each pair over ``scale``: the labels that the scores imply."""
    return expit((population.reward[:, :, None] - population.reward[:, None, :]) / scale)


ENTRIES: Mapping[str, Known] = MappingProxyType(
    {
        "sppo_hard": Known(
            f"z_i + μ π_ref,i e^z_i = (w_i - ½)/β, z = log π/π_ref, {SUMS}", f"any labels; {REACHED}", "derived here",
            lambda params, population: _sppo(population, wins=population.preference, beta=params["beta"]),
        ),
        "sppo": Known(
            f"as sppo_hard with w_i = mean of σ(score_i - score_j) over j, {SUMS}",
            f"any labels, as only scores count; {REACHED}", "derived here",
            lambda params, population: _sppo(population, wins=_by_score(population, scale=1), beta=params["beta"]),
        ),
        "bco_pair": Known(
            f"σ(β z_i) + μ π_ref,i e^z_i = w_i, z = log π/π_ref, {SUMS}",
            f"each completion wins at times; {REACHED}: Σ π_ref (w/(1-w))^(1/β) >= 1", "derived here",
            lambda params, population: cross_entropy(
                population.share(population.preference), population.log_ref, beta=params["beta"],
                total=np.ones_like(population.log_ref),
            ),
        ),
        "nca_pair": Known(
            f"(w_i + ½) σ(β z_i) + μ π_ref,i e^z_i = w_i, z = log π/π_ref, {SUMS}; π_ref 2w at β = 1 for an even π_ref",
            f"each completion wins at times; {REACHED}: Σ π_ref (2w)^(1/β) >= 1", "derived here",
            lambda params, population: _nca(
                population, wins=population.preference, beta=params["beta"]
            ),
        ),
        "nca": Known(
            "as nca_pair with w_i = mean of σ((score_i - score_j)/α) over j",
            f"rankings of two; any labels, as only scores count; {REACHED}", "derived here",
            lambda params, population: _nca(
                population, wins=_by_score(population, scale=params["alpha"]), beta=params["beta"]
            ),
        ),
    }
)  # fmt: skip
