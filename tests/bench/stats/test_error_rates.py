"""Owns the family-wise error of verdicts and races, on a part of the simulated grids (docs/statistics.md)."""

from itertools import combinations

import numpy as np
import pytest

from bench.stats.pairwise import prior_of, summarise
from bench.stats.race import RaceTerms, run_race
from tests.bench.stats import familywise, races
from tests.bench.stats.familywise import Cell, rates
from tests.bench.stats.races import SCENARIOS, boundaries, simulate

TABLES = 2000
LARGEST = 6.7
"""Per cent of 2,000 tables that chance exceeds once in 2,000 cells of 5 %."""


@pytest.mark.parametrize(
    "cell",
    [
        Cell(3, 12, "one large", "normal"),
        Cell(3, 3, "half large", "normal"),
        *(
            pytest.param(cell, marks=pytest.mark.slow)
            for cell in (
                Cell(3, 12, "equal", "normal"),
                Cell(5, 12, "unlike", "heavy"),
                Cell(24, 12, "half large", "normal"),
            )
        ),
    ],
    ids=str,
)
def test_the_family_wise_error_is_five_per_cent_at_most(cell: Cell) -> None:
    assert rates(cell, tables=TABLES).error <= LARGEST


def test_leaving_a_small_component_out_is_wrong_in_half_of_the_tables() -> None:
    assert rates(Cell(3, 12, "equal", "normal"), tables=TABLES).error_before > 40


def test_other_arms_give_five_seeds_power() -> None:
    cell = Cell(5, 12, "equal", "normal")
    means, differences = familywise.draw(cell, 400, np.random.default_rng(0))
    shifted = familywise.Differences(
        differences.mean + 0.6, differences.seed, differences.residual, differences.prompt, differences.seeds, 192
    )
    prior = familywise.seed_prior(means)
    alone = familywise.SeedPrior(prior.weights, prior.scales, np.ones_like(prior.alone))
    moderated, own = (familywise.called(shifted, one, alpha=0.05)[:, 0].mean() for one in (prior, alone))
    assert moderated > own + 0.3


@pytest.mark.parametrize(
    "scenario",
    [SCENARIOS[5], *(pytest.param(one, marks=pytest.mark.slow) for one in (SCENARIOS[2], SCENARIOS[4]))],
    ids=lambda one: one.name,
)
def test_a_race_is_wrong_in_one_of_twenty_at_most(scenario: races.Scenario) -> None:
    terms = RaceTerms((3, 6, 12), (0.005, 0.015, 0.03), races.MARGIN)
    outcome = simulate(scenario, "race", terms, races=500)
    assert max(outcome.false_worse, outcome.false_equal) <= 8
    assert outcome.covered >= 92


def test_the_simulated_words_are_those_of_the_race() -> None:
    rng, prompts, arms = np.random.default_rng(0), 300, 6
    truth, same, count = np.array([0.0, -0.02, -0.1, -0.25, -0.4, -0.9]), 0, 0
    for _ in range(12):
        full = (
            truth[:, None, None]
            + 0.1 * rng.standard_normal((arms, 8, 1))
            + 1.2 * rng.standard_normal((arms, 8, prompts))
        )
        scores = {str(arm): {seed: full[arm, seed].tolist() for seed in range(8)} for arm in range(arms)}
        race = run_race(scores, RaceTerms((8,), (0.05,), 0.3), order=range(8))
        table = full.mean(axis=2).T[None]
        first = table.mean(axis=1).argmax(axis=1)
        worse, equal, _ = races._words(
            table, np.ones((1, arms), bool), first, "race", 0.05, margin=0.3, prompts=prompts, truth=np.zeros((1, arms))
        )
        for arm in set(range(arms)) - {int(first[0])}:
            word = "worse" if worse[0, arm] else "equal" if equal[0, arm] else "undecided"
            same, count = same + (race.words[str(arm)] == word), count + 1
    # the simulation knows the residual, the race estimates it
    assert same / count > 0.9


def test_boundaries_of_one_look_are_the_level_and_of_two_are_o_brien_and_flemings() -> None:
    assert boundaries(np.array([1.0]), alpha=0.05) == pytest.approx([0.05], rel=1e-3)
    # Lan and DeMets' spending at half the information: 0.00305, then 0.0490 in all (Jennison and Turnbull 2000, ch. 7)
    first, second = boundaries(np.array([0.5, 1.0]), alpha=0.05)
    assert first == pytest.approx(0.00305, rel=0.01)
    assert second == pytest.approx(0.0490, rel=0.01)


def test_drawn_tables_have_the_moments_that_they_should() -> None:
    means, differences = familywise.draw(Cell(4, 3, "equal", "normal"), 4000, np.random.default_rng(0))
    assert means.shape == (4000, 4, 3)
    assert differences.mean.shape == (4000, 3)
    residual = 2 * familywise.RESIDUAL**2 / familywise.PROMPTS
    assert differences.residual.mean() == pytest.approx(residual, rel=0.02)
    assert differences.seed.mean() == pytest.approx(2 * 0.15**2 + residual, rel=0.05)
    assert differences.mean.var() == pytest.approx(differences.seed.mean() / 4 + 2 * 0.15**2 / 192, rel=0.06)


def test_tables_by_sufficient_statistics_are_tables_in_full() -> None:
    rng = np.random.default_rng(0)
    full = rng.standard_normal((3, 4, 50))
    scores = {str(arm): {seed: full[arm, seed].tolist() for seed in range(4)} for arm in range(3)}
    tables = [full[one] - full[other] for one, other in combinations(range(3), 2)]
    parts, prior = summarise(tables), familywise.seed_prior(full.mean(axis=2).T[None])
    np.testing.assert_allclose(prior.weights[0], prior_of(scores).weights, rtol=1e-9)
    np.testing.assert_allclose(parts.seed * 3, familywise.between(familywise.scatter(full.mean(axis=2).T[None]))[0])
