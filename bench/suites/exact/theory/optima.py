"""Optima of objectives: the policy that minimises an objective's population risk, where theory gives it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.suites.exact.theory import pairwise, pointwise, reference_free, special_cases
from bench.suites.exact.theory.no_closed_form import UNKNOWN
from bench.suites.exact.theory.population import Array, Known, NoClosedForm, Params, Population

__all__ = ["KNOWN", "UNKNOWN", "Known", "Optimum", "Population", "optimum", "own_optimum"]

KNOWN: Mapping[str, Known] = MappingProxyType(
    {**pairwise.ENTRIES, **pointwise.ENTRIES, **reference_free.ENTRIES, **special_cases.ENTRIES}
)


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where an objective's population risk is least.

    Fields:
        log_policy: [contexts, completions], log π, nats; None where no closed form holds.
        holds: the condition that it holds under; without ``log_policy`` the reason why there is none.
    """

    log_policy: Array | None
    holds: str


def optimum(name: str, params: Params, population: Population) -> Optimum:
    """Return the policy that an objective's loss would end at with endless data and a policy free to be anything.

    The risk is the mean loss over contexts, over unordered pairs of different completions, and over labels that
    prefer i to j in a share P(i ≻ j) of cases. Unpaired and ranked objectives get the two completions of such a pair.

    Args:
        name: of an objective, as ``bench losses`` lists them.
        params: every parameter of it, resolved.
    """
    if name not in KNOWN:
        return Optimum(None, UNKNOWN.get(name, f"no closed form is known for {name!r}"))
    try:
        return Optimum(KNOWN[name].solve(params, population), KNOWN[name].condition)
    except NoClosedForm as reason:
        return Optimum(None, str(reason))


def own_optimum(name: str, params: Params, population: Population) -> Array | None:
    """Return log π [contexts, completions] of ``optimum``, or None where no closed form is known or holds."""
    return optimum(name, params, population).log_policy
