"""Paired tests of outcomes on documents that come in clusters: cluster-robust errors, several seeds, exact McNemar.

Documents of one passage, one template or one subject are right or wrong together, so they are fewer than they seem
(Miller 2024, arXiv 2411.00640; Cameron and Miller 2015, J. Hum. Resour. 50, 317). The mean difference is the mean over
documents; its error is that of the clusters' sums. «Tables» are (seeds, documents), clusters one after the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.crossed import as_table
from bench.stats.intervals import LEVEL, Interval
from bench.stats.paired import p_by_bisection
from bench.stats.verdicts import POWER

Array = NDArray[np.float64]
CELLS = 4
"""Tests that seeds' variances are pooled over at least: of fewer, how unlike they are cannot be seen."""
STEPS = 40
"""Steps to the smallest drop seen, each of which halves the distance or better."""
WIDEST = 1.0
"""No difference of two shares is larger."""


@dataclass(frozen=True)
class Variances:
    """Estimated variances of a mean difference, by cause, with their degrees of freedom.

    ``documents`` (other clusters; it holds ``residual``): the CR2 estimate of Bell and McCaffrey (2002, Surv. Methodol.
    28, 169) with ``freedom``. ``seeds`` (other seeds; it holds ``residual`` too) and ``residual``: 0 with one seed.
    ``inflation``: how many times ``documents`` is what it would be without clusters, 1 or more. ``step``: the share
    that one document is of all, 0 where outcomes are not 0 or 1.
    """

    mean: float
    documents: float
    freedom: float
    seeds: float
    residual: float
    seed_freedom: float
    count: int
    clusters: int
    inflation: float
    step: float

    @property
    def beyond_seeds(self) -> float:
        """The part of ``documents`` that is not in ``seeds``, with what one more changed document would add."""
        return max(self.documents - self.residual, 0.0) + 2 * self.step**2

    @property
    def total(self) -> float:
        """The variance of the mean difference."""
        return self.seeds + self.beyond_seeds


def variances(differences: ArrayLike, sizes: Sequence[int] = (), *, binary: bool) -> Variances:
    """Return the mean of ``differences`` (seeds × documents) and its variances.

    Args:
        sizes: documents of each cluster, in the order of the columns; empty: each document is a cluster of its own.
        binary: differences of outcomes that are 0 or 1. Two documents more, one better and one worse, then count in the
            variance (Bonett and Price 2012, J. Educ. Behav. Stat. 37, 479): where no document changed, not nothing is
            known, but as much as this many documents tell.

    With one seed, the variance says nothing of another seed. Raises ValueError for a single cluster, sizes that do not
    add up, and scores that are no finite table.
    """
    table = as_table(differences)
    seeds, documents = table.shape
    counts = np.asarray(sizes or np.ones(documents), dtype=np.float64)
    if counts.sum() != documents or (counts < 1).any() or len(counts) < 2:
        raise ValueError(f"{documents} documents need two clusters or more that add up to them, got {len(counts)}")
    mean, by_document = float(table.mean()), table.mean(axis=0)
    share = counts / documents
    leverage = 1 / (1 - share) / documents**2
    sums = _sums(by_document - mean, counts)
    of_documents = float((leverage * sums**2).sum())
    alone = float(np.square(by_document - mean).sum()) / max(documents - 1, 1) / documents
    of_seeds = residual = 0.0
    if seeds > 1:
        of_seeds = float(table.mean(axis=1).var(ddof=1)) / seeds
        rest = table - table.mean(axis=1, keepdims=True) - by_document + mean
        residual = float((leverage * np.square(_sums(rest, counts))).sum()) / (seeds * (seeds - 1))
    return Variances(
        mean=mean,
        documents=of_documents,
        freedom=_freedom(counts, leverage),
        seeds=of_seeds,
        residual=residual,
        seed_freedom=max(seeds - 1.0, 1.0),
        count=seeds,
        clusters=len(counts),
        inflation=max(1.0, of_documents / alone) if alone > 0 else 1.0,
        step=1 / documents if binary else 0.0,
    )


def _sums(rows: Array, counts: Array) -> Array:
    """Return the sum of each cluster (…, clusters)."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    return np.add.reduceat(rows, starts, axis=-1)


def _freedom(counts: Array, leverage: Array) -> float:
    """Return Satterthwaite's degrees of freedom of the CR2 variance of a mean, for independent documents alike.

    That is Bell and McCaffrey's working model. With one that has the clusters' effects in it (Imbens and Kolesár 2016,
    Rev. Econ. Stat. 98, 701), intervals were as good for clusters of like sizes and held the truth in up to 100 % where
    one cluster has a quarter of the documents. The quadratic form's matrix is l_g l_h (δ_gh n_g − n_g n_h / n)².
    """
    documents = counts.sum()
    crossed = counts**2 / documents
    own = counts - crossed
    everywhere = (leverage * counts**2).sum() ** 2 / documents**2
    diagonal = (leverage**2 * (own**2 - crossed**2)).sum()
    return float((leverage * own).sum() ** 2 / (everywhere + diagonal))


def pooled(estimates: Sequence[Variances], *, independent: int) -> list[Variances]:
    """Return ``estimates`` with the seeds' variance of each drawn to that of all: of few seeds, each alone says little.

    The ratio of seeds' variance to the residual is 1 where seeds do not matter. Ratios are shrunk as limma shrinks
    variances (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3): a posterior mean with the degrees of freedom of the
    prior added, and never below 1. How unlike the ratios are is taken one standard error above its estimate, and the
    prior has no more degrees of freedom than ``independent`` tests have together, since a prior that is too sure makes
    false differences (docs/statistics.md). Fewer than ``CELLS`` tests of one number of seeds stay as they are.
    """
    result = list(estimates)
    for seeds in {one.count for one in estimates if one.count > 1}:
        places = [i for i, one in enumerate(estimates) if one.count == seeds and one.residual > 0 and one.seeds > 0]
        if min(len(places), independent) < CELLS:
            continue
        ratios = np.array([estimates[i].seeds / estimates[i].residual for i in places])
        typical, prior = _prior(ratios, freedom=seeds - 1, independent=min(independent, len(places)))
        for place, ratio in zip(places, ratios.tolist(), strict=True):
            shrunk = max((prior * typical + (seeds - 1) * ratio) / (prior + seeds - 1), 1.0)
            changed = {"seeds": shrunk * estimates[place].residual, "seed_freedom": prior + seeds - 1}
            result[place] = replace(estimates[place], **changed)
    return result


def _prior(ratios: Array, *, freedom: int, independent: int) -> tuple[float, float]:
    """Return the typical ratio and the degrees of freedom that it counts for, by the moments of log F."""
    from scipy.special import digamma, polygamma

    logs, half = np.log(ratios), freedom / 2
    spread = float(logs.var(ddof=1)) * (1 + math.sqrt(3 / (independent - 1))) - float(polygamma(1, half))
    prior = float(independent * freedom)
    if spread > 0:
        prior = min(prior, 2 * _inverse_trigamma(spread))
    centre = float(logs.mean()) - float(digamma(half)) + math.log(half)
    return math.exp(centre + float(digamma(prior / 2)) - math.log(prior / 2)), prior


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value, by Newton's steps on 1 / trigamma, which is nearly straight and convex."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(30):
        here = float(polygamma(1, x))
        x += here * (1 - here / value) / float(polygamma(2, x))
    return x


@dataclass(frozen=True)
class ClusteredTest:
    """A mean difference with its interval, the two-sided p of «no difference», and what it is estimated from."""

    difference: Interval
    p: float
    variances: Variances


def clustered_tests(estimates: Sequence[Variances], *, level: float = LEVEL) -> list[ClusteredTest]:
    """Return the test of each mean difference: all p-values are searched for at once.

    The squared half-width is the sum of two (Howe 1974, J. Am. Stat. Assoc. 69, 789): that of the seeds, which always
    counts, and that of documents beyond it, each with its own t. p is 1 minus the highest level that leaves out 0.
    """
    if not estimates:
        return []
    halves = half_widths(estimates, level)
    distance = np.abs([one.mean for one in estimates])
    ps = np.where(distance == 0, 1.0, p_by_bisection(lambda level: half_widths(estimates, level), distance))
    return [
        ClusteredTest(_interval(one, float(half)), float(p), one)
        for one, half, p in zip(estimates, halves, ps, strict=True)
    ]


def _interval(one: Variances, half: float) -> Interval:
    source: Literal["prompts", "crossed"] = "prompts" if one.count == 1 else "crossed"
    return Interval(one.mean, one.mean - half, one.mean + half, source, one.count)


def half_widths(estimates: Sequence[Variances], level: ArrayLike) -> Array:
    """Return half the width (tests) of each interval at ``level`` (one, or one a test)."""
    from scipy.special import stdtrit

    tail = (1 + np.asarray(level, dtype=np.float64)) / 2
    seeds = np.array([one.seeds for one in estimates])
    seed_freedom = np.array([one.seed_freedom for one in estimates])
    beyond = np.array([one.beyond_seeds for one in estimates])
    freedom = np.array([one.freedom for one in estimates])
    return np.sqrt(stdtrit(seed_freedom, tail) ** 2 * seeds + stdtrit(freedom, tail) ** 2 * beyond)


def smallest_seen(one: Variances, *, level: float, power: float = POWER) -> float:
    """Return the smallest drop that the test at ``level`` calls different in a share ``power`` of repetitions.

    It is half the interval's width and the t quantile of ``power``, from the variances as they are. A drop changes
    outcomes of documents that stayed as they were, which adds to the variance: of 0 and 1, drop · (1 − drop) over the
    documents, times the clusters' ``inflation``. So a model that moved nothing could have moved a few documents unseen.
    At most ``WIDEST``.
    """
    from scipy.special import stdtrit

    half, beyond = float(half_widths([one], level)[0]), float(stdtrit(one.freedom, power))
    total = one.total
    quantile = half / math.sqrt(total) if total > 0 else 0.0
    step = one.step * one.inflation
    drop = 0.0
    for _ in range(STEPS):
        more = drop * (1 - drop) * step
        drop = min(WIDEST, math.sqrt(half**2 + quantile**2 * more) + beyond * math.sqrt(total + more))
    return drop


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Return the exact two-sided p of McNemar's test (1947, Psychometrika 12, 153) of outcomes that are 0 or 1.

    Of the documents on which two models differ, each is as often better. p is twice the smaller binomial tail, at most
    1; 1 where none differs. It is for documents that are independent. Raises ValueError for other outcomes or shapes.
    """
    from scipy.special import bdtr

    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1 or not np.isin(np.concatenate([left, right]), (0, 1)).all():
        raise ValueError(f"two rows of outcomes 0 and 1 on the same documents, got {left.shape} and {right.shape}")
    better, worse = int((left > right).sum()), int((left < right).sum())
    return min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5))) if better + worse else 1.0
