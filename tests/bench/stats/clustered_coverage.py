"""Owns the simulations of tests on clustered outcomes; as a module it prints the tables of docs/statistics.md."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.stats.clustered import Variances, half_widths, mcnemar, pooled, smallest_seen, variances

Array = NDArray[np.float64]
CLUSTERS = (10, 20, 50, 100)
SHAPES = ("equal", "unequal", "one large")
SHARED = (0.0, 0.1, 0.4)
"""Share of the latent variance that documents of a cluster have in common."""
SEEDS = (2, 3, 5, 10)
GROUPS = 67


def sizes(rng: np.random.Generator, clusters: int, shape: str) -> list[int]:
    """Eight documents each; log-normal around eight; or the same with one that has a quarter of all."""
    if shape == "equal":
        return [8] * clusters
    drawn = np.maximum(1, rng.lognormal(2, 1.0 if shape == "unequal" else 0.5, size=clusters).round()).astype(int)
    if shape == "one large":
        drawn[0] = drawn[1:].sum() // 3
    return drawn.tolist()


def changes(rng: np.random.Generator, counts: list[int], *, shared: float, gains: float, losses: float) -> Array:
    """Differences of two models' outcomes: 1 for a gain, −1 for a loss, by a latent normal that clusters share."""
    of = np.repeat(np.arange(len(counts)), counts)
    latent = math.sqrt(shared) * rng.normal(size=len(counts))[of] + math.sqrt(1 - shared) * rng.normal(size=len(of))
    return (latent > -ndtri(gains)).astype(float) - (latent < ndtri(losses))


def coverage(shape: str, clusters: int, *, shared: float, gains: float, losses: float, count: int) -> float:
    """The share of 95 % intervals of one run against one that hold the truth."""
    rng = np.random.default_rng(1)
    counts = sizes(rng, clusters, shape)
    drawn = (
        variances(changes(rng, counts, shared=shared, gains=gains, losses=losses), counts, binary=True)
        for _ in range(count)
    )
    kept = list(drawn)
    halves = half_widths(kept, 0.95)
    return float(np.mean(np.abs([one.mean - (gains - losses) for one in kept]) <= halves))


def power(shape: str, clusters: int, *, shared: float, moved: float, level: float, count: int) -> tuple[float, float]:
    """The smallest drop that is said to be seen (the median), and the share of such drops that are.

    ``moved``: share of documents that change without a drop. A cluster of one: McNemar's exact test.
    """
    rng = np.random.default_rng(2)
    counts = [1] * clusters if shape == "alone" else sizes(rng, clusters, shape)
    sizes_given = () if shape == "alone" else counts
    without = [
        variances(changes(rng, counts, shared=shared, gains=moved / 2, losses=moved / 2), sizes_given, binary=True)
        for _ in range(100)
    ]
    drop = float(np.median([smallest_seen(one, level=level) for one in without]))
    seen = 0
    for _ in range(count):
        drawn = changes(rng, counts, shared=shared, gains=moved / 2, losses=moved / 2 + drop)
        if shape == "alone":
            seen += mcnemar((drawn > 0).astype(float), (drawn < 0).astype(float)) < 1 - level
        else:
            one = variances(drawn, sizes_given, binary=True)
            seen += abs(one.mean) > half_widths([one], level)[0]
    return drop, seen / count


def family(
    seeds: int, tests: int, *, seed: float, residual: float, unlike: float, count: int, effect: float = 0.0
) -> tuple[float, float, float]:
    """Coverage of 95 % intervals, family-wise error of the corrected tests, and share of effects seen.

    Components are of the mean difference, where documents have variance 1. ``unlike``: deviation of the log of the
    seeds' variance between tests. ``effect``: in deviations of the mean; with one, the second number means nothing.
    """
    rng = np.random.default_rng(0)
    held = wrong = seen = 0
    free = GROUPS - 1
    for _ in range(count):
        own = seed * np.exp(unlike * rng.normal(size=tests))
        estimates = [
            Variances(
                mean=mean, documents=documents, freedom=free, seeds=by_seed, residual=rest, seed_freedom=seeds - 1,
                count=seeds, clusters=GROUPS, inflation=1.0, step=0.0,
            )
            for mean, documents, by_seed, rest in zip(
                np.sqrt(1 + residual + own) * (rng.normal(size=tests) + effect),
                (1 + residual) * rng.chisquare(free, size=tests) / free,
                (residual + own) * rng.chisquare(seeds - 1, size=tests) / (seeds - 1),
                residual * rng.chisquare((seeds - 1) * free, size=tests) / ((seeds - 1) * free),
                strict=True,
            )
        ]  # fmt: skip
        estimates = pooled(estimates, independent=tests)
        means, truth = np.array([one.mean for one in estimates]), effect * np.sqrt(1 + residual + own)
        held += int((np.abs(means - truth) <= half_widths(estimates, 0.95)).sum())
        called = np.abs(means) > half_widths(estimates, 1 - 0.05 / tests)
        wrong += bool(called.any())
        seen += int(called.sum())
    return held / count / tests, wrong / count, seen / count / tests


def main() -> None:
    """Print the tables: coverage by clusters, power, and the family-wise error by seeds."""
    print("| coverage (4,000) | " + " | ".join(f"{clusters} clusters" for clusters in CLUSTERS) + " |")
    print("|---" * (len(CLUSTERS) + 1) + "|")
    for shape in SHAPES:
        for gains, losses in ((0.1, 0.1), (0.05, 0.12)):
            cells = [
                " / ".join(
                    f"{100 * coverage(shape, n, shared=shared, gains=gains, losses=losses, count=4000):.1f}"
                    for shared in SHARED
                )
                for n in CLUSTERS
            ]
            print(f"| {shape}, {100 * gains:g} % better, {100 * losses:g} % worse | {' | '.join(cells)} |", flush=True)
    print("\n| documents | moved | 95 % | 99.5 % |\n|---|---|---|---|")
    for shape, n in (("alone", 60), ("alone", 500), ("equal", 67), ("unequal", 50)):
        for shared in (0.0,) if shape == "alone" else (0.0, 0.2):
            for moved in (0.002, 0.02, 0.1):
                cells = [
                    "{:.1f} points, seen {:.0f} %".format(
                        *(100 * one for one in power(shape, n, shared=shared, moved=moved, level=level, count=2000))
                    )
                    for level in (0.95, 0.995)
                ]
                print(f"| {shape} {n}, {shared:g} shared | {100 * moved:g} % | {' | '.join(cells)} |", flush=True)
    print("\n| seeds' variance | tests | " + " | ".join(f"{seeds} seeds" for seeds in SEEDS) + " |")
    print("|---" * (len(SEEDS) + 2) + "|")
    for seed, unlike in ((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (2.0, 0.0), (2.0, 1.0)):
        for tests in (1, 4, 12, 40):
            cells = []
            for seeds in SEEDS:
                setting = {"seed": seed, "residual": 0.5, "unlike": unlike, "count": max(1000, 20_000 // tests)}
                held, wrong, _ = family(seeds, tests, **setting)
                seen = family(seeds, tests, effect=5.0, **(setting | {"count": 500}))[2]
                cells.append(f"{100 * held:.1f} / {100 * wrong:.1f} / {100 * seen:.0f}")
            print(f"| {seed:g}{', unlike' if unlike else ''} | {tests} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
