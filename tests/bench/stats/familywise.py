"""Family-wise error and power of the verdicts on a table, before and after: ``python -m tests.bench.stats.familywise``.

Tables of arms × seeds × prompts are drawn by their sufficient statistics: the seeds' means, and the scatter of prompts
and residual between arms (Wishart, by Bartlett 1933, Proc. R. Soc. Edinb. 53, 260). Normal tables are exact so; heavy
tails have seeds from Student's t with 3 degrees of freedom and prompts from an exponential law, in full.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.stats.crossed import MeanSquares, half_width
from bench.stats.moderated import SeedPrior, seed_prior
from bench.stats.pairwise import Differences, exceeds

Array = NDArray[np.float64]
PROMPTS = 192
RESIDUAL, PROMPT, SHARED = 1.2, 0.15, 0.2
"""Standard deviations of an arm, score units (J): residual, prompts, and what a seed adds to all arms alike."""
SEEN = 0.3
"""The difference whose power is shown."""
PUBLISHED = (0.27, 0.20, 0.15, 0.10, 0.05, 0.05, 0.0, 0.0, 0.12, 0.22, 0.53, 0.08)
SEEDS, ARMS = (2, 3, 4, 5, 8, 12, 24), (2, 3, 5, 12, 30, 60)
COMPONENTS = ("none", "small", "equal", "unlike", "one large", "half large")
TAILS = ("normal", "heavy")
CHUNK = 2_000_000
"""Pairs that are looked at together."""


@dataclass(frozen=True)
class Cell:
    """One setting of the simulation; ``components`` names the seeds' standard deviations of the arms."""

    seeds: int
    arms: int
    components: str
    tails: str

    @property
    def seed_deviations(self) -> Array:
        """The standard deviation over seeds of each arm."""
        every = np.arange(self.arms)
        return {
            "none": np.zeros(self.arms),
            "small": np.full(self.arms, 0.05),
            "equal": np.full(self.arms, 0.15),
            "unlike": np.resize(PUBLISHED, self.arms),
            "one large": np.where(every == 0, 0.8, 0.1),
            "half large": np.where(every % 2 == 0, 0.4, 0.05),
        }[self.components].astype(np.float64)


@dataclass(frozen=True)
class Rates:
    """Per cent of tables: with a false difference, before and after; in which ``SEEN`` was seen, before and after."""

    error_before: float
    error: float
    power_before: float
    power: float


def grid() -> Iterator[Cell]:
    """Yield the cells of the grid."""
    for seeds, arms, components, tails in product(SEEDS, ARMS, COMPONENTS, TAILS):
        yield Cell(seeds, arms, components, tails)


def draw(cell: Cell, tables: int, rng: np.random.Generator) -> tuple[Array, Differences]:
    """Return seeds' means (tables, seeds, arms) and the differences of all pairs (tables, pairs) of equal arms."""
    shape = (tables, cell.seeds, cell.arms)
    if cell.tails == "normal":
        effects = rng.standard_normal(shape)
        columns = _wishart(rng, tables, cell.arms, PROMPTS - 1) * (RESIDUAL**2 / cell.seeds + PROMPT**2)
        of_prompts = rng.standard_normal((tables, cell.arms)) * PROMPT / np.sqrt(PROMPTS)
    else:
        effects = rng.standard_t(3, shape) / np.sqrt(3)
        prompts = PROMPT * (rng.exponential(size=(tables, PROMPTS, cell.arms)) - 1)
        noise = rng.standard_normal((tables, PROMPTS, cell.arms)) * RESIDUAL / np.sqrt(cell.seeds)
        columns = scatter(prompts + noise - noise.mean(axis=1, keepdims=True))
        of_prompts = prompts.mean(axis=1)
    means = effects * cell.seed_deviations + rng.standard_normal(shape) * RESIDUAL / np.sqrt(PROMPTS)
    means += of_prompts[:, None] + SHARED * rng.standard_normal((tables, cell.seeds, 1))
    free = (cell.seeds - 1) * (PROMPTS - 1)
    residual = between(_wishart(rng, tables, cell.arms, free) * RESIDUAL**2 / free)
    squares = cell.seeds * between(columns) / (PROMPTS - 1)
    one, other = np.triu_indices(cell.arms, 1)
    average = means.mean(axis=1)
    return means, Differences(
        mean=average[:, one] - average[:, other],
        seed=between(scatter(means)) / (cell.seeds - 1),
        residual=residual / PROMPTS,
        prompt=np.maximum(squares - residual, 0.0) / (cell.seeds * PROMPTS),
        seeds=np.full(len(one), cell.seeds),
        prompts=PROMPTS,
    )


def scatter(values: Array) -> Array:
    """Return sums of squares and products (tables, arms, arms) of (tables, n, arms) about their means."""
    centred = values - values.mean(axis=1, keepdims=True)
    return np.matmul(centred.swapaxes(1, 2), centred)


def _wishart(rng: np.random.Generator, tables: int, arms: int, freedom: int) -> Array:
    lower = np.tril(rng.standard_normal((tables, arms, arms)), -1)
    if freedom >= arms:
        every = np.arange(arms)
        lower[:, every, every] = np.sqrt(rng.chisquare(freedom - every, (tables, arms)))
        return np.matmul(lower, lower.swapaxes(1, 2))
    return scatter(rng.standard_normal((tables, freedom + 1, arms)))


def between(scatter: Array) -> Array:
    """Return the sums of squares (tables, pairs) of the pairs' differences."""
    one, other = np.triu_indices(scatter.shape[-1], 1)
    own = np.diagonal(scatter, axis1=1, axis2=2)
    return own[:, one] + own[:, other] - 2 * scatter[:, one, other]


def called(differences: Differences, prior: SeedPrior, *, alpha: float) -> NDArray[np.bool_]:
    """Say which pairs (tables, pairs) the present verdicts call different at Holm's first step."""
    pairs = differences.mean.shape[-1]
    return _where_possible(
        differences,
        alpha / pairs,
        lambda rows, part: exceeds(part, _rows(prior, rows), p=alpha / pairs, distance=np.abs(part.mean)),
    )


def called_before(differences: Differences, *, alpha: float) -> NDArray[np.bool_]:
    """Say which pairs were called different by the test that left a small component out."""
    pairs = differences.mean.shape[-1]

    def test(rows: NDArray[np.int64], part: Differences) -> NDArray[np.bool_]:
        seeds = int(part.seeds[0, 0])
        residual = part.residual * PROMPTS
        prompt = part.prompt * seeds * PROMPTS + residual
        squares = MeanSquares(part.seed * PROMPTS, prompt, residual, seeds, PROMPTS)
        return np.abs(part.mean) > half_width(squares, level=1 - alpha / pairs)

    return _where_possible(differences, alpha / pairs, test)


def _where_possible(differences: Differences, p: float, test) -> NDArray[np.bool_]:  # type: ignore[no-untyped-def]
    """Run a test on the pairs that lie beyond a normal quantile of the residual alone: no test calls others."""
    from scipy.special import ndtri

    least = np.sqrt(differences.residual / differences.seeds) * -ndtri(p / 2)
    result = np.abs(differences.mean) > 0.98 * least
    rows, columns = np.nonzero(result)
    if len(rows):
        # each pair is a table of its own, with one column
        names = ("mean", "seed", "residual", "prompt")
        parts = {name: getattr(differences, name)[rows, columns][:, None] for name in names}
        part = Differences(**parts, seeds=differences.seeds[columns][:, None], prompts=PROMPTS)
        result[rows, columns] = test(rows, part)[:, 0]
    return result


def _rows(prior: SeedPrior, rows: NDArray[np.int64]) -> SeedPrior:
    """Return the priors of the tables ``rows``, one for each."""
    return SeedPrior(prior.weights[rows], prior.scales[rows], prior.alone[rows])


def rates(cell: Cell, *, tables: int, seed: int = 1933, alpha: float = 0.05) -> Rates:
    """Return the error and power of ``tables`` simulated tables."""
    rng = np.random.default_rng(
        [seed, cell.seeds, cell.arms, COMPONENTS.index(cell.components), TAILS.index(cell.tails)]
    )
    pairs = cell.arms * (cell.arms - 1) // 2
    size = max(1, min(tables, CHUNK // (pairs + 8 * cell.arms * (PROMPTS if cell.tails == "heavy" else cell.arms))))
    counts = np.zeros(4)
    one, other = np.triu_indices(cell.arms, 1)
    # the middle arm is the one that is lower: neither the first nor the largest
    low = cell.arms // 2
    pair = int(np.nonzero((one == (0 if low else 1)) & (other == low) if low else one == 0)[0][0])
    done = 0
    while done < tables:
        count = min(size, tables - done)
        means, differences = draw(cell, count, rng)
        prior = seed_prior(means)
        counts[0] += called_before(differences, alpha=alpha).any(axis=1).sum()
        counts[1] += called(differences, prior, alpha=alpha).any(axis=1).sum()
        shifted = np.where((one == low) ^ (other == low), np.where(one == low, -SEEN, SEEN), 0.0)
        lower = Differences(
            differences.mean + shifted,
            *(getattr(differences, n) for n in ("seed", "residual", "prompt")),
            differences.seeds,
            PROMPTS,
        )
        counts[2] += called_before(lower, alpha=alpha)[:, pair].sum()
        counts[3] += called(lower, prior, alpha=alpha)[:, pair].sum()
        done += count
    return Rates(*(100 * counts / tables).tolist())


def table(results: dict[Cell, Rates], *, tails: str) -> str:
    """Return a Markdown table: a row for components and arms, «before → now» for each number of seeds; power below."""
    lines = [
        "| seeds' deviations | arms | " + " | ".join(f"{seeds} seeds" for seeds in SEEDS) + " |",
        "|---|---:|" + "---|" * len(SEEDS),
    ]
    for components, arms in product(COMPONENTS, ARMS):
        cells = [results[Cell(seeds, arms, components, tails)] for seeds in SEEDS]
        texts = [f"{r.error_before:.0f} → {r.error:.1f} ({r.power_before:.0f} → {r.power:.0f})" for r in cells]
        lines.append(f"| {components} | {arms} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def worst(results: dict[Cell, Rates], *, tables: int) -> str:
    """Return the largest error with what chance allows the largest of so many cells at exactly 5 %."""
    from scipy.stats import binom

    cell = max(results, key=lambda one: results[one].error)
    allowed = 100 * binom.ppf(0.95 ** (1 / len(results)), tables, 0.05) / tables
    largest = f"largest error {results[cell].error:.2f} % ({cell})"
    return f"{largest}; of {len(results)} cells at 5 %, chance takes one to {allowed:.2f} % in one grid of twenty"


def main() -> None:
    """Simulate the grid and print its tables; results of finished cells are kept in ``--keep``, line by line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("familywise.jsonl"))
    options = parser.parse_args()
    results: dict[Cell, Rates] = {}
    if options.keep.exists():
        rows = map(json.loads, options.keep.read_text().splitlines())
        results = {Cell(**row["cell"]): Rates(**row["rates"]) for row in rows if row["tables"] == options.tables}
    left = sorted((cell for cell in grid() if cell not in results), key=lambda cell: cell.arms)
    with ProcessPoolExecutor(options.workers) as pool, options.keep.open("a") as kept:
        for cell, rate in zip(left, pool.map(partial(rates, tables=options.tables), left), strict=True):
            results[cell] = rate
            kept.write(json.dumps({"tables": options.tables, "cell": asdict(cell), "rates": asdict(rate)}) + "\n")
            kept.flush()
    for tails in TAILS:
        print(f"\n{tails} tails\n\n{table(results, tails=tails)}")
    print(worst(results, tables=options.tables))


if __name__ == "__main__":
    main()
