"""For each closed form the parameters and problems on which it is checked."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from _pytest.mark import ParameterSet

from bench.suites.exact.theory.population import Population
from tests.bench.suites.exact.theory.risk import flat, random_problem


@dataclass(frozen=True)
class Case:
    """Problems on which an objective's closed form holds."""

    params: dict[str, float]
    completions: tuple[int, ...] = (2, 5)
    labels: str = "bradley-terry"
    tokens: str = "many"
    even: bool = False
    flips: float = 0.0


def two(tokens: str = "many", **params: float) -> Case:
    return Case(params, (2,), "any", tokens)


def every(tokens: str = "many", *, even: bool = False, **params: float) -> Case:
    return Case(params, (2, 3, 5), "any", tokens, even)


def ordered(tokens: str = "many", **params: float) -> Case:
    return Case(params, (2, 3, 5), "bradley-terry", tokens)


SMOOTH: dict[str, tuple[Case, ...]] = {
    "dpo": (ordered(beta=0.5), two(beta=2)),
    "dpo_pl": (ordered(beta=0.5), two(beta=2)),
    "cdpo": (two(beta=0.5, epsilon=0.1), two(beta=1, epsilon=0.3), ordered(beta=1, epsilon=0)),
    "robust": (Case({"beta": 1, "epsilon": 0.2}, (2, 3, 5), flips=0.2), two(beta=0.5, epsilon=0.05)),
    "cauchy_dpo": (two(beta=0.5), two(beta=2)),
    "exo_pair": (two(beta=1, epsilon=0.1), two(beta=2, epsilon=0.01)),
    "ipo_sum": (every(beta=0.5), every(beta=2)),
    "ipo": (every(beta=0.5), every(beta=2)),
    "ln_dpo": (ordered(beta=1), two(beta=5)),
    "dpo_alpha": (ordered(beta=1, alpha=0.5), two(beta=2, alpha=0.1)),
    "dpo_forward_kl": (ordered(beta=1), two(beta=2)),
    "dpo_js": (ordered(beta=1), two(beta=0.5)),
    "chi_po": (ordered(beta=0.5, clip=10), two(beta=0.2, clip=2)),
    "r_dpo": (ordered(beta=0.5, alpha=0.05), two(beta=1, alpha=0.5)),
    "odpo": (two(beta=1, alpha=0.1), two(beta=2, alpha=1), ordered(beta=1, alpha=0)),
    "infonca": (every(beta=0.5, alpha=1), every(beta=1, alpha=2)),
    "simpo": (two(beta=2, gamma_ratio=0.5), two(beta=5, gamma_ratio=0.2), ordered(beta=2, gamma_ratio=0)),
    "rainbow_po": (
        two(beta=2, alpha=0.5, advantage=0.3), two(beta=4, alpha=0, advantage=0.1),
        ordered(beta=2, alpha=1, advantage=0.3),
    ),
    "alphapo": (
        two(beta=2.5, gamma_ratio=0.1, alpha=0.25), two(beta=8, gamma_ratio=0.1, alpha=-0.25),
        ordered(beta=2, gamma_ratio=0, alpha=0.25), two(beta=2, gamma_ratio=0.3, alpha=0),
    ),
    "cpo": (ordered(beta=0.5, lam=0), two(beta=2, lam=0)),
    "sft": (every(),),
    "unlikelihood": (every("one", alpha=0.5), every("one", alpha=3), every(alpha=0)),
    "asft": (every("one", lam=0.1), every("one", lam=2), every(lam=0)),
    "orpo": (two("one", lam=0.1), two("one", lam=2), every(lam=0)),
    "sppo_hard": (every(beta=1, even=True), every(beta=0.2), every(beta=0.1)),
    "sppo": (every(beta=1, even=True), every(beta=0.1)),
    "bco_pair": (every(beta=1, even=True), every(beta=0.2)),
    "nca_pair": (every(beta=1, even=True), every(beta=0.2)),
    "nca": (every(beta=1, alpha=1, even=True), every(beta=0.2, alpha=0.5)),
    "focal_po": (ordered(beta=1, gamma=0),),
    "dpop": (ordered(beta=1, lam=0),),
    "dpo_shift": (ordered(beta=1, lam=1),),
    "tdpo1": (ordered("one", beta=1),),
    "tdpo2": (ordered(beta=1, alpha=0),),
    "ld_dpo": (ordered(beta=1, alpha=1), ordered("equal", beta=1, alpha=0.5)),
    "sampo": (ordered("equal", beta=1),),
    "beta_dpo": (ordered(beta=1, alpha=0, keep=1),),
    "tr_dpo": (ordered(beta=1, alpha=0),),
    "ema_dpo": (ordered(beta=1, decay=1),),
    "mallows_dpo": (ordered("one", beta=1, scale=2), two("one", beta=2, scale=4)),
    "alpha_dpo": (two(beta=2, gamma_ratio=0.5, alpha=0), ordered(beta=2, gamma_ratio=0, alpha=0)),
}  # fmt: skip
"""Risks with a gradient everywhere."""
KINKED: dict[str, tuple[Case, ...]] = {
    "hinge": (two(beta=0.5), two(beta=2)),
    "rso": (two(beta=0.5), two(beta=2)),
    "repo": (two(gamma=0.5), two(gamma=1)),
    "slic": (two(delta=1, lam=0.1), two(delta=0.1, lam=0.5), two(delta=0.3, lam=5), two(delta=0.5, lam=0)),
    "rrhf": (two("equal", lam=1), two("equal", lam=0.3), two("one", lam=3), two("equal", lam=0)),
    "rrhf_sum": (two("equal", lam=1), two("equal", lam=0.1), two("one", lam=3), two("equal", lam=0)),
}
"""Risks with a kink at the optimum, over two completions."""
ELSEWHERE = {"dr_dpo", "sdpo"}
"""Tests of their own, below."""


def problems(case: Case, *, seed: int) -> Iterator[Population]:
    """One problem for each number of completions, of three contexts with rewards, labels, references of their own."""
    for completions in case.completions:
        problem = random_problem(
            seed, completions=completions, labels=case.labels, tokens=case.tokens, flips=case.flips, contexts=3
        )
        yield flat(problem) if case.even else problem


def cases(table: dict[str, tuple[Case, ...]]) -> list[ParameterSet]:
    return [
        pytest.param(name, case, id=f"{name}-{index}") for name, of in table.items() for index, case in enumerate(of)
    ]
