"""Owns intervals of scores that cross seeds with prompts: every seed is scored on the same prompts."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import LEVEL, Interval

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Components:
    """Variances of one score by cause, each 0 or more, and the share of the mean's variance that each causes."""

    seed: float
    prompt: float
    residual: float
    seed_share: float
    prompt_share: float
    residual_share: float


def crossed_interval(
    scores: ArrayLike,
    *,
    statistic: Literal["mean", "iqm"] = "mean",
    rng: np.random.Generator | None = None,
    resamples: int = 1000,
    level: float = LEVEL,
) -> Interval:
    """Return the mean (or interquartile mean) of ``scores`` (seeds × prompts) with its interval."""
    from scipy.special import stdtrit
    from scipy.stats import trim_mean

    table = as_table(scores)
    centre = float(table.mean()) if statistic == "mean" else float(trim_mean(table, 0.25, axis=None))
    pseudo = table if statistic == "mean" else _winsorised(table)
    variance, freedom = mean_variance(pseudo)
    half = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(variance)
    return Interval(centre, centre - half, centre + half, "crossed", table.shape[0])


def variance_components(scores: ArrayLike) -> Components:
    """Return what of the scores' variance comes from seeds, from prompts and from their interaction and noise."""
    table = as_table(scores)
    seeds, prompts = table.shape
    row, column, rest = _mean_squares(table)
    parts = (max(row - rest, 0.0) / prompts, max(column - rest, 0.0) / seeds, rest)
    of_mean = (parts[0] / seeds, parts[1] / prompts, parts[2] / (seeds * prompts))
    total = math.fsum(of_mean)
    shares = [part / total if total else 0.0 for part in of_mean]
    return Components(*parts, *shares)


def mean_variance(table: Table) -> tuple[float, float]:
    """Return the variance of the table's mean and its Satterthwaite degrees of freedom."""
    seeds, prompts = table.shape
    row, column, rest = _mean_squares(table)
    total = max(row + column - rest, rest, 0.0)
    freedom = total**2 / (row**2 / (seeds - 1) + column**2 / (prompts - 1)) if row or column else math.inf
    return total / (seeds * prompts), freedom


def as_table(scores: ArrayLike) -> Table:
    """Return ``scores`` as finite float64, seeds × prompts. Raises ValueError for anything else."""
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"scores must be finite, (seeds × prompts) and not empty; got the shape {table.shape}")
    return table


def _mean_squares(table: Table) -> tuple[float, float, float]:
    seeds, prompts = table.shape
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns[None, :] + table.mean()
    row = prompts * float(rows.var(ddof=1))
    column = seeds * float(columns.var(ddof=1))
    return row, column, float((rest**2).sum()) / ((seeds - 1) * (prompts - 1))


def _winsorised(table: Table) -> Table:
    cut = table.size // 4
    ordered = np.sort(table, axis=None)
    return np.clip(table, ordered[cut], ordered[-1 - cut]) * 2
