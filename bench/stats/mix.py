"""The cheapest mix of seeds, prompts and samples of a prompt that sees a wanted difference."""

import math
from dataclasses import dataclass

import numpy as np

from bench.stats.crossed import Array
from bench.stats.intervals import LEVEL
from bench.stats.power import (
    MOST_SEEDS,
    Design,
    Family,
    SeedPart,
    Variances,
    fewest,
    other_seeds,
    parts_of,
    seen,
)
from bench.stats.verdicts import POWER

GRID = 4
"""Residual variances at which a search computes half-widths; between them they are interpolated."""
FEWEST_PROMPTS = 16


@dataclass(frozen=True)
class Costs:
    """Seconds of one run: its training, what an evaluation costs whatever its size, and each sample of a prompt."""

    training: float
    evaluation: float
    sample: float

    def __post_init__(self) -> None:
        if not min(self.training, self.evaluation, self.sample) >= 0:
            raise ValueError(f"costs are 0 or more, got {self}")

    def run(self, prompts: int, samples: int) -> float:
        """Return the seconds of one run at so many prompts and samples of each."""
        return self.training + self.evaluation + prompts * samples * self.sample


@dataclass(frozen=True)
class Limits:
    """The sizes that a search tries: up to so many seeds, prompts (``fewest`` or more) and samples of each."""

    prompts: int
    samples: int = 1
    seeds: int = MOST_SEEDS
    fewest: int = FEWEST_PROMPTS


@dataclass(frozen=True)
class Mix:
    """A design that is large enough, and the seconds that all arms' runs take."""

    design: Design
    seconds: float


def cheapest_mix(
    difference: float,
    variances: Variances,
    family: Family,
    costs: Costs,
    limits: Limits,
    *,
    wanted: float = POWER,
    level: float = LEVEL,
) -> Mix | None:
    """Return the cheapest design whose power for ``difference`` is ``wanted``; None where none within the limits is.

    Every number of seeds and samples is tried, with the fewest prompts that are enough for the two; power rises with
    prompts. Numbers of seeds are left out where even a test that knew all variances would need more than the best mix.
    Of equally cheap designs the one of fewer seeds stands.
    """
    p = (1 - level) / family.pairs
    floors = {
        seeds: _floor(difference, seeds, variances, family, costs, limits, p=p, wanted=wanted)
        for seeds in range(2, limits.seeds + 1)
    }
    best: Mix | None = None
    # widely spaced numbers first: a good mix early leaves most others out
    for seeds in sorted(floors, key=lambda seeds: (seeds % 8 != 0, seeds)):
        if floors[seeds] > (math.inf if best is None else best.seconds) or math.isinf(floors[seeds]):
            continue
        part = _part(seeds, variances, family, limits, p=p)
        for samples in range(1, limits.samples + 1):
            prompts = _fewest_prompts(part, difference, variances.of(samples), limits, wanted=wanted)
            if prompts is None:
                continue
            mix = Mix(Design(seeds, prompts, samples), family.arms * seeds * costs.run(prompts, samples))
            if best is None or (mix.seconds, seeds) < (best.seconds, best.design.seeds):
                best = mix
    return best


def _part(seeds: int, variances: Variances, family: Family, limits: Limits, *, p: float) -> SeedPart:
    """Return the seeds' part over all residuals that a seed's mean can have within the limits."""
    least = variances.of(limits.samples).residual / limits.prompts
    most = variances.residual / limits.fewest
    residuals: Array = np.geomspace(least, most, GRID) if 0 < least < most else np.array([most])
    return parts_of(seeds, variances.seed + residuals, residuals, other_seeds(variances, family), p=p)


def _fewest_prompts(
    part: SeedPart, difference: float, variances: Variances, limits: Limits, *, wanted: float
) -> int | None:
    return fewest(
        lambda prompts: seen(part, difference, variances, prompts) >= wanted, most=limits.prompts, least=limits.fewest
    )


def _floor(
    difference: float,
    seeds: int,
    variances: Variances,
    family: Family,
    costs: Costs,
    limits: Limits,
    *,
    p: float,
    wanted: float,
) -> float:
    """Return seconds that no design of so many seeds falls below; infinity where none is enough.

    They are those of a test at ``p`` that knows all variances, which needs fewer prompts than any real one.
    """
    from scipy.special import ndtri

    least = math.inf
    for samples in range(1, limits.samples + 1):
        now = variances.of(samples)
        room = (difference / (ndtri(1 - p / 2) + ndtri(wanted))) ** 2 - now.seed / seeds
        needed = (now.residual / seeds + now.prompt) / room if room > 0 else math.inf
        if needed <= limits.prompts:
            prompts = max(limits.fewest, math.ceil(needed))
            least = min(least, family.arms * seeds * costs.run(prompts, samples))
    return least


def prompts_without_end(
    difference: float, variances: Variances, family: Family, *, wanted: float = POWER, level: float = LEVEL
) -> int:
    """Return the prompts that a difference takes even with seeds without end: new prompts vary as well."""
    from scipy.special import ndtri

    quantiles = float(ndtri(1 - (1 - level) / family.pairs / 2) + ndtri(wanted))
    return max(2, math.ceil(variances.prompt * (quantiles / difference) ** 2))
