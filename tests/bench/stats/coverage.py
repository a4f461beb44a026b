"""Owns the simulated share of intervals that hold the truth; as a module it prints the tables of docs/statistics.md."""

import math

import numpy as np
from numpy.typing import NDArray

from bench.stats.crossed import half_width, interquartile, mean_squares
from bench.stats.paired import placements

Array = NDArray[np.float64]
SIZES = ((3, 50), (3, 200), (5, 50), (5, 200), (10, 50), (10, 200))
CASES = {
    "seeds dominate": (0.9, 0.05, 0.05),
    "prompts dominate": (0.05, 0.9, 0.05),
    "residual dominates": (0.05, 0.05, 0.9),
    "mixed": (1 / 3, 1 / 3, 1 / 3),
    "seeds and prompts": (0.5, 0.5, 0.0),
    "seeds and residual": (0.5, 0.0, 0.5),
    "prompts and residual": (0.0, 0.5, 0.5),
    "seeds alone": (1.0, 0.0, 0.0),
    "prompts alone": (0.0, 1.0, 0.0),
    "residual alone": (0.0, 0.0, 1.0),
}
"""Which share of the mean's variance comes from seeds, from prompts and from the residual."""
CHUNK = 500_000
"""Scores held at once."""
LARGE = 1_000_000
"""Draws that give the truth of a statistic without a formula."""


def coverage(case: str, size: tuple[int, int], *, statistic: str, skewed: bool, count: int) -> float:
    """Return the share of ``count`` simulated tables whose 95 % interval holds the truth. Fixed generator.

    Prompts' effects are normal, or exponential where ``skewed``. ``statistic`` is mean, iqm or improvement, the
    probability that one table's scores are above those of another one, of the same distribution half a deviation lower.
    """
    rng = np.random.default_rng(0)
    truth, hits, left = _truth(rng, case, size, statistic=statistic, skewed=skewed), 0, count
    while left:
        now = min(left, max(1, CHUNK // math.prod(size) // (size[0] if statistic == "improvement" else 1)))
        centres, halves = _intervals(rng, case, size, statistic=statistic, skewed=skewed, count=now)
        hits += int((np.abs(centres - truth) <= halves).sum())
        left -= now
    return hits / count


def tables(rng: np.random.Generator, case: str, size: tuple[int, int], *, skewed: bool, count: int) -> Array:
    """Return ``count`` tables (count, seeds, prompts) of mean 0, whose mean has the variance 1."""
    seeds, prompts = size
    seed, prompt, residual = _deviations(case, size)
    effects = rng.exponential(size=(count, 1, prompts)) - 1 if skewed else rng.normal(size=(count, 1, prompts))
    return seed * rng.normal(size=(count, seeds, 1)) + prompt * effects + residual * rng.normal(size=(count, *size))


def _intervals(
    rng: np.random.Generator, case: str, size: tuple[int, int], *, statistic: str, skewed: bool, count: int
) -> tuple[Array, Array]:
    found = tables(rng, case, size, skewed=skewed, count=count)
    if statistic == "mean":
        return found.mean(axis=(1, 2)), half_width(mean_squares(found))
    if statistic == "iqm":
        centres, influences = interquartile(found)
        return centres, half_width(mean_squares(influences))
    found += _gap(case, size)
    placed = placements(found, tables(rng, case, size, skewed=skewed, count=count))
    return placed.mean(axis=(1, 2)), half_width(mean_squares(placed))


def _truth(rng: np.random.Generator, case: str, size: tuple[int, int], *, statistic: str, skewed: bool) -> float:
    if statistic == "mean" or (statistic == "iqm" and not skewed):
        return 0.0
    first, second = (_scores(rng, case, size, skewed=skewed) for _ in range(2))
    if statistic == "improvement":
        return float((first + _gap(case, size) > second).mean())
    return float(np.sort(first)[LARGE // 4 : -(LARGE // 4)].mean())


def _scores(rng: np.random.Generator, case: str, size: tuple[int, int], *, skewed: bool) -> Array:
    seed, prompt, residual = _deviations(case, size)
    effects = rng.exponential(size=LARGE) - 1 if skewed else rng.normal(size=LARGE)
    return prompt * effects + math.hypot(seed, residual) * rng.normal(size=LARGE)


def _gap(case: str, size: tuple[int, int]) -> float:
    return math.hypot(*_deviations(case, size)) / 2


def _deviations(case: str, size: tuple[int, int]) -> tuple[float, float, float]:
    seeds, prompts = size
    seed, prompt, residual = CASES[case]
    return math.sqrt(seed * seeds), math.sqrt(prompt * prompts), math.sqrt(residual * seeds * prompts)


def main() -> None:
    """Print one table a statistic: cases down, sizes across, normal and skewed prompts in each cell."""
    for statistic, count in (("mean", 20_000), ("iqm", 10_000), ("improvement", 4_000)):
        print(f"\n| {statistic} | " + " | ".join(f"{seeds} × {prompts}" for seeds, prompts in SIZES) + " |")
        print("|---" * (len(SIZES) + 1) + "|")
        for case in CASES:
            shares = [
                [coverage(case, size, statistic=statistic, skewed=skewed, count=count) for skewed in (False, True)]
                for size in SIZES
            ]
            print(f"| {case} | " + " | ".join(" / ".join(f"{100 * one:.1f}" for one in pair) for pair in shares) + " |")


if __name__ == "__main__":
    main()
