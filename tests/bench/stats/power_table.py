"""Owns the power by formula beside that of simulated tables; as a module it prints the table of docs/statistics.md."""

import math
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.stats.best import level_with_best
from bench.stats.intervals import LEVEL
from bench.stats.moderated import seed_prior
from bench.stats.pairwise import Differences, exceeds
from bench.stats.power import Design, Family, Variances, equivalence_power, power, smallest_difference
from bench.stats.verdicts import BEST_SHARE

Array = NDArray[np.float64]
SEEDS = (3, 5, 8, 12, 24)
PROMPTS = {2: (50, 192, 768), 12: (50, 768), 60: (192,)}
"""By arms."""
WANTED = (0.2, 0.5, 0.8, 0.95)
COUNT = 5_000
CHUNK = 1_000


@dataclass(frozen=True)
class Case:
    """Variances of the pair, and seed variances that the other arms take in turn; none: those of the pair."""

    variances: Variances
    others: tuple[float, ...] = ()

    def family(self, arms: int) -> Family:
        if not self.others or arms == 2:
            return Family(arms)
        return Family(arms, tuple(self.others[place % len(self.others)] for place in range(arms - 2)))


CASES = {
    "none": Case(Variances(0.0, 0.0, 2.9)),
    "small": Case(Variances(0.01, 0.01, 2.9)),
    "published": Case(Variances(0.043, 0.031, 2.9)),
    "unlike": Case(Variances(0.043, 0.08, 2.9), others=(0.0, 0.0, 0.005, 0.02, 0.04, 0.28)),
}
"""J². The published ones are of the differences of suite sentiment's twelve objectives."""


def simulated(
    differences: Array,
    design: Design,
    case: Case,
    arms: int,
    *,
    margin: float = 1.0,
    near: Array | None = None,
    count: int = COUNT,
) -> tuple[Array, Array]:
    """Return the shares of ``count`` tables in which the production test calls the pair different, at each true
    difference, and equal within ``margin``, at each of ``near``.

    Mean squares are drawn by their exact laws; seeds' means of all arms are drawn one by one.
    """
    rng = np.random.default_rng(7)
    now, family = case.variances.of(design.samples), case.family(arms)
    near = np.zeros(0) if near is None else near
    hits, equal, left = np.zeros(len(differences)), np.zeros(len(near)), count
    p, p_equal = (1 - LEVEL) / family.pairs, level_with_best(BEST_SHARE * (1 - LEVEL), arms)
    while left:
        many = min(left, CHUNK)
        table, prior, noise = _tables(rng, now, design, family, many)
        with_best = replace(prior, alone=np.where(prior.alone < 1, 1 / (arms - 1), 1.0))
        for place, gap in enumerate(differences):
            hits[place] += exceeds(table, prior, p=p, distance=np.abs(gap + noise)[:, None]).sum()
        for place, gap in enumerate(near):
            distance = margin - np.abs(gap + noise)[:, None]
            equal[place] += exceeds(table, with_best, p=float(p_equal), distance=distance).sum()
        left -= many
    return hits / count, equal / count


def _tables(rng: np.random.Generator, now: Variances, design: Design, family: Family, many: int):
    seeds, prompts = design.seeds, design.prompts
    rest = now.residual / prompts
    arms = np.array([now.seed / 2, now.seed / 2, *(family.others or (now.seed / 2,) * (family.arms - 2))])
    means = rng.normal(size=(many, seeds, family.arms)) * np.sqrt(arms + rest / 2)
    gap = means[..., 0] - means[..., 1]
    free = (seeds - 1) * (prompts - 1)
    by_rest = now.residual * rng.chisquare(free, many) / free
    by_prompt = (seeds * now.prompt + now.residual) * rng.chisquare(prompts - 1, many) / (prompts - 1)
    # what prompts add to the mean: their part beside that of the residual, which the seeds' means have already
    noise = gap.mean(axis=1) + rng.normal(size=many) * math.sqrt(now.prompt / prompts)
    table = Differences(
        mean=noise[:, None],
        seed=gap.var(axis=1, ddof=1)[:, None],
        residual=(by_rest / prompts)[:, None],
        prompt=(np.maximum(by_prompt - by_rest, 0) / (seeds * prompts))[:, None],
        seeds=np.full((many, 1), float(seeds)),
        prompts=prompts,
    )
    return table, seed_prior(means), noise


def row(case: str, arms: int, design: Design, *, count: int = COUNT) -> tuple[Array, Array]:
    """Return chances by formula and by simulation: power of differences that should have ``WANTED``, then «equal».

    «Equal» is within 1.3 times what is seen with 80 % power, the true difference being 0, a quarter and half of that.
    """
    one, family = CASES[case], CASES[case].family(arms)
    smallest = partial(smallest_difference, design, one.variances, family)
    gaps = np.array([smallest(wanted=wanted) for wanted in WANTED])
    margin = 1.3 * smallest()
    near = np.array([0.0, margin / 4, margin / 2])
    formula = [power(gap, design, one.variances, family) for gap in gaps]
    formula += [equivalence_power(margin, gap, design, one.variances, family) for gap in near]
    return np.array(formula), np.concatenate(simulated(gaps, design, one, arms, margin=margin, near=near, count=count))


def main() -> None:
    """Print simulated power where the formula says 20, 50, 80 and 95 %, and the largest gaps; arms as arguments."""
    worst: list[tuple[float, str]] = []
    for arms in map(int, sys.argv[1:] or PROMPTS):
        print(f"\n| {arms} arms | " + " | ".join(f"{seeds} seeds" for seeds in SEEDS) + " |")
        print("|---" * (len(SEEDS) + 1) + "|")
        for case in CASES:
            for prompts in PROMPTS[arms]:
                cells = []
                for seeds in SEEDS:
                    formula, simulation = row(case, arms, Design(seeds, prompts))
                    off = 100 * np.abs(formula - simulation)
                    where = f"{case}, {arms} arms, {seeds} × {prompts}"
                    worst += [(off[:4].max(), f"power, {where}"), (off[4:].max(), f"equal, {where}")]
                    cells.append(" / ".join(f"{100 * each:.0f}" for each in simulation[:4]))
                print(f"| {case}, {prompts} prompts | " + " | ".join(cells) + " |", flush=True)
    print("\nfarthest from simulation, points:")
    for off, where in sorted(worst, reverse=True)[:8]:
        print(f"  {off:.1f}  {where}")


if __name__ == "__main__":
    sys.exit(main())
