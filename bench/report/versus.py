"""Owns objectives held against each other on the same test seeds and prompts: which of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.report.matched import matched
from bench.report.settings import Group
from bench.stats.intervals import LEVEL
from bench.stats.paired import holm, paired_test

Pair = tuple[str, str]


@dataclass(frozen=True)
class Versus:
    """Objective → test targets (seeds, prompts), best mean first; each pair's p and Holm's p over all pairs.

    A pair names the better objective first.
    """

    scores: dict[str, NDArray[np.float64]]
    p: dict[Pair, float]
    adjusted: dict[Pair, float]

    def differ(self, one: str, other: str) -> bool:
        """Return whether the test tells two objectives apart once it is corrected for all pairs."""
        p = self.adjusted.get((one, other), self.adjusted.get((other, one), 1.0))
        return p < 1 - LEVEL


def versus(group: Group) -> Versus:
    """Return the paired tests of each pair of objectives, over the test seeds that all have and their prompts."""
    found = matched(group)
    scores = {name: found[name] for name in sorted(found, key=lambda name: (-float(found[name].mean()), name))}
    tests = {pair: paired_test(scores[pair[0]], scores[pair[1]]).p for pair in combinations(scores, 2)}
    tests = {pair: p for pair, p in tests.items() if np.isfinite(p)}
    return Versus(scores, tests, dict(zip(tests, holm(list(tests.values())), strict=True)))


def alike(ordered: Sequence[str], found: Versus) -> list[tuple[int, int]]:
    """Return the longest runs (first, last) of two or more neighbours in ``ordered`` no two of which differ.

    A run ends before the first objective that differs from any in it, so no bar joins two that differ; two that do not
    differ have no bar where one between them differs from either.
    """
    runs: list[tuple[int, int]] = []
    for first in range(len(ordered)):
        last = first
        while last + 1 < len(ordered) and not any(
            found.differ(ordered[at], ordered[last + 1]) for at in range(first, last + 1)
        ):
            last += 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
