"""Error rates and cost of races, by simulation: ``python -m tests.bench.stats.races`` prints docs/racing.md's tables.

Seeds' means are drawn for every arm and seed; what prompts and residual add is known (their degrees of freedom are
hundreds). Each method sees the same draws. Methods: ``race`` is the one in use (levels spent by the square of the
seeds, pairs in the race as one family); ``equal spending``; ``O'Brien-Fleming`` (Lan and DeMets 1983, Biometrika 70,
659: exact normal boundaries for each pair); ``best only`` (arms dropped at the level of comparisons with the best);
``e-process`` (t-mixture, right Haar prior; Pérez-Ortiz et al. 2022, arXiv 2208.07610). ``fixed`` has one look.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.stats.best import with_best
from bench.stats.moderated import seed_prior
from bench.stats.pairwise import Differences, exceeds
from bench.stats.race import RaceTerms, race_terms
from bench.stats.verdicts import BEST_SHARE
from tests.bench.stats.familywise import PUBLISHED, RESIDUAL, between, scatter

Array = NDArray[np.float64]
PROMPT = 0.15
MEANS = (1.18, 1.04, 1.25, 1.35, 1.27, 1.28, 1.40, 1.28, 0.75, 0.52, 0.18, 1.39)
"""Published means, in the order of ``PUBLISHED``: arms of large deviations are the published ones (dpo, ipo, simpo)."""
MARGIN = 0.2
TRAINING = 20.0
"""Seconds of one training on one idle core (suite sentiment, 64 steps: 15 to 30)."""
EVALUATION = (3.7, 0.0113)
"""Seconds of one evaluation, and those of each prompt more."""
TODAY = 192
METHODS = ("race", "equal spending", "O'Brien-Fleming", "best only", "e-process")
HAAR_SCALE = 1.0
"""Variance of the standardised effect in the e-process's mixture."""


@dataclass(frozen=True)
class Scenario:
    """Arms of one simulation: means and standard deviations over seeds, score units (J)."""

    name: str
    arms: int
    tails: str = "normal"

    @property
    def means(self) -> Array:
        """The arms' means."""
        rng = np.random.default_rng(1)
        every = np.arange(self.arms)
        return {
            "published": lambda: np.resize(MEANS, self.arms),
            "spread": lambda: rng.normal(0, 0.35, self.arms),
            "all equal": lambda: np.zeros(self.arms),
            "at the margin": lambda: -MARGIN * (every % 2),
            "ladder": lambda: -0.05 * every,
            "one large": lambda: np.zeros(self.arms),
        }[self.name]()

    @property
    def deviations(self) -> Array:
        """The arms' standard deviations over seeds."""
        if self.name == "one large":
            return np.where(np.arange(self.arms) == 0, 0.8, 0.1)
        return np.resize(PUBLISHED, self.arms).astype(np.float64)


SCENARIOS = (
    Scenario("published", 12),
    Scenario("published", 12, "heavy"),
    Scenario("all equal", 12),
    Scenario("all equal", 12, "heavy"),
    Scenario("at the margin", 12),
    Scenario("one large", 12),
    Scenario("ladder", 12),
    Scenario("spread", 60),
    Scenario("all equal", 60),
)


SIDE = (SCENARIOS[0], SCENARIOS[2], SCENARIOS[7])
"""Where the other methods are compared."""


@dataclass(frozen=True)
class Outcome:
    """Means over races: trainings, seconds; % of races with a false word, of arms undecided, of races all covered."""

    trainings: float
    seconds: float
    false_worse: float
    false_equal: float
    undecided: float
    covered: float


def draw(scenario: Scenario, races: int, *, seeds: int, prompts: int, rng: np.random.Generator) -> Array:
    """Return seeds' means (races, seeds, arms)."""
    shape = (races, seeds, scenario.arms)
    effects = rng.standard_normal(shape) if scenario.tails == "normal" else rng.standard_t(3, shape) / np.sqrt(3)
    of_prompts = rng.standard_normal((races, 1, scenario.arms)) * PROMPT / np.sqrt(prompts)
    noise = rng.standard_normal(shape) * RESIDUAL / np.sqrt(prompts)
    return scenario.means + effects * scenario.deviations + noise + of_prompts


def simulate(
    scenario: Scenario, method: str, terms: RaceTerms, *, races: int, prompts: int = 512, seed: int = 1983
) -> Outcome:
    """Return the outcome of ``races`` races."""
    rng = np.random.default_rng([seed, scenario.arms, prompts])
    size = max(1, 1_500_000 // (scenario.arms**2 * terms.looks[-1]))
    totals, done = np.zeros(6), 0
    while done < races:
        count = min(size, races - done)
        scores = draw(scenario, count, seeds=terms.looks[-1], prompts=prompts, rng=rng)
        totals += count * np.array(_races(scores, scenario, method, terms, prompts=prompts))
        done += count
    return Outcome(*(totals / races).tolist())


def _races(scores: Array, scenario: Scenario, method: str, terms: RaceTerms, *, prompts: int) -> tuple[float, ...]:
    races, _, arms = scores.shape
    truth, every = scenario.means, np.arange(arms)
    racing, running = np.ones((races, arms), dtype=bool), np.ones(races, dtype=bool)
    equal, used = np.zeros((races, arms), dtype=bool), np.zeros((races, arms))
    false_worse, false_equal, covered = np.zeros(races, bool), np.zeros(races, bool), np.ones(races, bool)
    left = np.zeros((races, arms), dtype=bool)
    for place, (seeds, level) in enumerate(zip(terms.looks, levels_of(method, terms, arms), strict=True)):
        rows = np.flatnonzero(running)
        if not len(rows):
            break
        arms_in = racing[rows]
        used[rows] = np.where(arms_in, seeds, used[rows])
        table = np.where(arms_in[:, None], scores[rows, :seeds], np.nan)
        first = np.where(arms_in, scores[rows, :seeds].mean(axis=1), -np.inf).argmax(axis=1)
        gap = truth - truth[first][:, None]
        # Arms that are out in all races of this part cost no time: those that race stand first.
        order = np.argsort(~arms_in, axis=1, kind="stable")[:, : arms_in.sum(axis=1).max()]
        words = _words(
            np.take_along_axis(table, order[:, None], axis=2),
            np.take_along_axis(arms_in, order, axis=1),
            (order == first[:, None]).argmax(axis=1),
            method,
            level,
            margin=terms.margin,
            prompts=prompts,
            truth=np.take_along_axis(gap, order, axis=1),
        )
        worse, same, missed = (_in_places(flags, order, arms) for flags in words)
        false_worse[rows] |= (worse & (gap >= 0)).any(axis=1)
        false_equal[rows] |= (same & (np.abs(gap) >= terms.margin - 1e-12)).any(axis=1)
        racing[rows], equal[rows] = arms_in & ~worse, same
        others = racing[rows] & (every != first[:, None])
        ended = ~(others & ~same).any(axis=1) | (place == len(terms.looks) - 1)
        running[rows[ended]] = False
        left[rows] = others & ~same
        covered[rows[ended]] = ~missed[ended].any(axis=1)
    trainings = used.sum(axis=1).mean()
    seconds = trainings * (TRAINING + EVALUATION[0] + EVALUATION[1] * prompts)
    rates = (100 * flag.mean() for flag in (false_worse, false_equal))
    return trainings, seconds, *rates, 100 * left.sum(axis=1).mean() / (arms - 1), 100 * covered.mean()


def _in_places(flags: NDArray[np.bool_], order: NDArray[np.int64], arms: int) -> NDArray[np.bool_]:
    result = np.zeros((len(flags), arms), dtype=bool)
    np.put_along_axis(result, order, flags, axis=1)
    return result


def levels_of(method: str, terms: RaceTerms, arms: int) -> Sequence[float]:
    """Return the family-wise level of each look under a method."""
    looks = np.array(terms.looks, dtype=np.float64)
    if method == "equal spending":
        return [0.05 / len(looks)] * len(looks)
    if method == "O'Brien-Fleming":
        pairs = arms * (arms - 1) / 2
        return [pairs * one for one in boundaries(looks / looks[-1], alpha=0.05 / pairs)]
    return terms.levels


def boundaries(times: Array, *, alpha: float, points: int = 1501) -> list[float]:
    """Return the two-sided nominal levels at information ``times`` whose crossings spend alpha as O'Brien and Fleming.

    The density of the score process that has not crossed is carried from look to look on a grid (Armitage, McPherson
    and Rowe 1969, J. R. Stat. Soc. A 132, 235).
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    spent = 4 * ndtr(ndtri(alpha / 4) / np.sqrt(times))
    grid, density, before, levels = np.zeros(1), np.ones(1), 0.0, []
    for time_now, goal, gone in zip(times, spent, [0.0, *spent[:-1]], strict=True):
        step, want = np.sqrt(time_now - before), max(goal - gone, 1e-15)

        def excess(bound: float, *, grid=grid, density=density, step=step, want=want) -> float:  # type: ignore
            tails = ndtr((-bound - grid) / step) + ndtr((grid - bound) / step)
            return float((density * tails).sum()) - want

        bound = brentq(excess, 1e-6, 12 * np.sqrt(time_now) + np.abs(grid).max())
        levels.append(float(2 * ndtr(-bound / np.sqrt(time_now))))
        new = np.linspace(-bound, bound, points)
        kernel = np.exp(-0.5 * ((new[:, None] - grid) / step) ** 2) / (step * np.sqrt(2 * np.pi))
        density = (kernel * density).sum(axis=1) * (new[1] - new[0])
        grid, before = new, time_now
    return levels


def _words(
    table: Array,
    arms_in: NDArray[np.bool_],
    first: NDArray[np.int64],
    method: str,
    level: float,
    *,
    margin: float,
    prompts: int,
    truth: Array,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which arms are worse than the first, which are equal to it, and whose interval misses the truth."""
    races, seeds, arms = table.shape
    rows, count = np.arange(races), arms_in.sum(axis=1)
    residual, prompt = 2 * RESIDUAL**2 / prompts, 2 * PROMPT**2 / prompts
    others = arms_in & (np.arange(arms) != first[:, None])
    pairs = np.maximum(count * (count - 1) / 2, 1)
    gaps = table - table[rows, :, first][:, :, None]
    against = Differences(
        mean=np.where(others, np.nan_to_num(gaps.mean(axis=1)), 0.0),
        seed=np.where(others, np.nan_to_num(gaps.var(axis=1, ddof=1)), 1.0),
        residual=np.full((races, arms), residual),
        prompt=np.full((races, arms), prompt),
        seeds=np.full(arms, seeds),
        prompts=prompts,
    )
    if method == "e-process":
        half = e_half_width(against, threshold=pairs[:, None] / 0.05)
        worse = others & (against.mean < -half)
        missed = others & (np.abs(against.mean - truth) > half)
        return worse, others & ~worse & (np.abs(against.mean) + half < margin), missed
    family = np.maximum(count - 1, 1) if method == "best only" else pairs
    p = np.broadcast_to((level / family)[:, None], (races, arms))
    prior = seed_prior(table)
    alone = replace(prior, alone=np.where(prior.alone < 1, 1 / family, 1.0))
    all_pairs = _all_pairs(table, residual, prompt, prompts)
    near = with_best(
        all_pairs, prior, arms=arms, alpha=np.full(races, BEST_SHARE * level), margin=margin, compared=arms_in
    )[1]
    same = near & near[rows, first][:, None]
    within = margin - np.abs(against.mean)
    same |= exceeds(against, alone, p=2 * (1 - BEST_SHARE) * (level / pairs)[:, None], distance=within)
    same &= others
    worse = exceeds(against, alone, p=p, distance=-against.mean) & others & ~same
    return worse, same, exceeds(against, alone, p=p, distance=np.abs(against.mean - truth)) & others


def _all_pairs(table: Array, residual: float, prompt: float, prompts: int) -> Differences:
    races, seeds, arms = table.shape
    one, other = np.triu_indices(arms, 1)
    known = np.nan_to_num(table)
    means = known.mean(axis=1)
    shape = (races, len(one))
    return Differences(
        mean=means[:, one] - means[:, other],
        seed=between(scatter(known)) / (seeds - 1),
        residual=np.full(shape, residual),
        prompt=np.full(shape, prompt),
        seeds=np.full(len(one), seeds),
        prompts=prompts,
    )


def e_half_width(differences: Differences, *, threshold: Array) -> Array:
    """Return half the width (…, pairs) of the t-mixture's confidence sequence over seeds, infinite at first."""
    seeds = differences.seeds
    grown = 1 + seeds * HAAR_SCALE
    ratio = (threshold * np.sqrt(grown)) ** (2 / seeds)
    square = np.where(ratio < grown, (ratio - 1) * (seeds - 1) / np.maximum(1 - ratio / grown, 1e-12), np.inf)
    return np.sqrt(square * np.maximum(differences.seed, differences.residual) / seeds) + 2 * np.sqrt(
        differences.prompt
    )


def fixed(scenario: Scenario, *, seeds: int, prompts: int, races: int) -> Outcome:
    """Return the outcome of equal seeds for all arms, with one look."""
    return simulate(scenario, "race", RaceTerms((seeds,), (0.05,), MARGIN), races=races, prompts=prompts)


def seeds_to_match(scenario: Scenario, undecided: float, *, prompts: int, races: int) -> tuple[int, Outcome]:
    """Return the fewest equal seeds that leave no more arms undecided than ``undecided`` per cent, to one in twelve."""
    seeds = 8
    while (outcome := fixed(scenario, seeds=seeds, prompts=prompts, races=races)).undecided > undecided and seeds < 400:
        seeds = seeds + max(1, seeds // 12)
    return seeds, outcome


def main() -> None:
    """Simulate every scenario by every method, and print the tables; finished ones are kept in ``--keep``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("races.jsonl"))
    options = parser.parse_args()
    kept = [json.loads(line) for line in options.keep.read_text().splitlines()] if options.keep.exists() else []
    results = {tuple(row["case"]): Outcome(**row["outcome"]) for row in kept if row["races"] == options.races}
    cases = [(scenario, method) for method in METHODS for scenario in SCENARIOS if method == "race" or scenario in SIDE]
    left = [case for case in cases if _name(*case) not in results]
    with ProcessPoolExecutor(options.workers) as pool, options.keep.open("a") as lines:
        outcomes = pool.map(_simulate, left, [options.races] * len(left))
        for case, outcome in zip(left, outcomes, strict=True):
            results[_name(*case)] = outcome
            row = {"races": options.races, "case": _name(*case), "outcome": asdict(outcome)}
            lines.write(json.dumps(row) + "\n")
            lines.flush()
    print(table(results))
    for scenario in (SCENARIOS[0], SCENARIOS[7]):
        raced = results[_name(scenario, "race")]
        seeds, equal = seeds_to_match(scenario, raced.undecided, prompts=TODAY, races=1000)
        print(
            f"{scenario.name}, {scenario.arms} arms: {TODAY} prompts and {seeds} equal seeds leave as many undecided: "
            f"{equal.trainings:.0f} trainings, {equal.seconds / 3600:.2f} h; the race {raced.trainings:.0f}, "
            f"{raced.seconds / 3600:.2f} h: {raced.seconds / equal.seconds:.2f} of the cost"
        )


def table(results: dict[tuple[str, ...], Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    lines = [
        "| arms | method | trainings | hours | false «worse» % | false «equal» % | undecided % | intervals hold % |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, arms, tails, method), one in sorted(results.items()):
        numbers = (one.false_worse, one.false_equal, one.undecided, one.covered)
        cells = " | ".join(f"{number:.1f}" for number in numbers)
        what = f"{name}, {arms}{'' if tails == 'normal' else ', ' + tails}"
        lines.append(f"| {what} | {method} | {one.trainings:.0f} | {one.seconds / 3600:.2f} | {cells} |")
    return "\n".join(lines)


def _name(scenario: Scenario, method: str) -> tuple[str, ...]:
    return scenario.name, str(scenario.arms), scenario.tails, method


def _simulate(case: tuple[Scenario, str], races: int) -> Outcome:
    scenario, method = case
    return simulate(scenario, method, race_terms(32, MARGIN), races=races)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s")
