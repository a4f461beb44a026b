"""Power by formula is that of the production test on simulated tables, and what follows from it is consistent."""

from dataclasses import astuple

import numpy as np
import pytest

from bench.stats.pairwise import exceeds, pair_differences, prior_of, summarise
from bench.stats.power import (
    Design,
    Family,
    Variances,
    equivalence_power,
    power,
    seeds_for_equal,
    seeds_needed,
    smallest_difference,
)
from bench.stats.verdicts import verdicts_of
from tests.bench.stats.power_table import CASES, Case, row, simulated

PUBLISHED = CASES["published"].variances


# a standard error of 0.8 points
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("arms", "seeds", "prompts"),
    [
        *((2, 3, 50), (3, 5, 192), (12, 3, 50)),
        *(pytest.param(*cell, marks=pytest.mark.slow) for cell in ((2, 24, 192), (12, 8, 768), (60, 5, 192))),
    ],
)
def test_power_by_formula_is_that_of_simulated_tables(case, arms, seeds, prompts):
    formula, simulation = row(case, arms, Design(seeds, prompts), count=4000)
    assert formula == pytest.approx(simulation, abs=0.03)


def test_the_simulation_by_mean_squares_is_that_of_whole_tables():
    design, variances = Design(4, 30), Variances(0.05, 0.1, 2.0)
    rng, gap, tables = np.random.default_rng(3), 0.9, 500
    calls = 0
    for _ in range(tables):
        scores = rng.normal(size=(3, design.seeds, design.prompts)) * np.sqrt(variances.residual / 2)
        scores += rng.normal(size=(3, design.seeds, 1)) * np.sqrt(variances.seed / 2)
        scores += rng.normal(size=(3, 1, design.prompts)) * np.sqrt(variances.prompt / 2)
        scores[0] += gap
        arms = {str(arm): dict(enumerate(table.tolist())) for arm, table in enumerate(scores)}
        pair = summarise([pair_differences(arms)["0", "1"][0]])
        calls += int(exceeds(pair, prior_of(arms), p=0.05 / 3, distance=np.abs(pair.mean))[0])
    by_squares = simulated(np.array([gap]), design, Case(variances), 3, count=6000)[0][0]
    # three standard errors of 500 tables
    assert calls / tables == pytest.approx(by_squares, abs=0.06)
    assert power(gap, design, variances, Family(3)) == pytest.approx(by_squares, abs=0.03)


def test_samples_of_a_prompt_take_out_noise_alone():
    variances = Variances(0.1, 0.4, 2.0, prompt_noise=0.3, residual_noise=1.2)
    assert variances.of(1) == variances
    assert astuple(variances.of(4)) == pytest.approx((0.1, 0.175, 1.1, 0.075, 0.3))
    pair = Family(2)
    assert power(0.4, Design(5, 100, 4), variances, pair) > power(0.4, Design(5, 100), variances, pair)
    silent = Variances(0.1, 0.4, 2.0)
    assert power(0.4, Design(5, 100, 4), silent, pair) == power(0.4, Design(5, 100), silent, pair)


def test_power_rises_with_the_difference_seeds_and_prompts_and_falls_with_arms():
    powers = [power(gap, Design(5, 192), PUBLISHED, Family(12)) for gap in (0.0, 0.2, 0.5, 1.0, 3.0)]
    assert powers == sorted(powers)
    assert powers[0] < 0.05 / 66 + 1e-3
    assert powers[-1] > 0.99
    for better in (Design(6, 192), Design(5, 256)):
        assert power(0.5, better, PUBLISHED, Family(12)) > power(0.5, Design(5, 192), PUBLISHED, Family(12))
    assert power(0.5, Design(5, 192), PUBLISHED, Family(24)) < power(0.5, Design(5, 192), PUBLISHED, Family(12))


def test_seeds_needed_are_the_fewest_that_are_enough():
    family = Family(12)
    seeds = seeds_needed(0.3, PUBLISHED, family, prompts=192)
    assert (
        power(0.3, Design(seeds, 192), PUBLISHED, family) >= 0.8 > power(0.3, Design(seeds - 1, 192), PUBLISHED, family)
    )
    assert smallest_difference(Design(seeds, 192), PUBLISHED, family) <= 0.3
    assert smallest_difference(Design(seeds - 1, 192), PUBLISHED, family) > 0.3
    assert seeds_needed(0.001, PUBLISHED, family, prompts=192) is None


def test_equal_takes_more_seeds_the_nearer_the_difference_is_to_the_margin():
    pair = Family(2)
    none, half = (seeds_for_equal(0.3, gap, PUBLISHED, pair, prompts=192) for gap in (0.0, 0.15))
    assert 2 < none < half
    assert equivalence_power(0.3, 0.15, Design(half, 192), PUBLISHED, pair) >= 0.8
    # at the margin itself «equal» is an error: 4 % at most
    assert equivalence_power(0.3, 0.3, Design(half, 192), PUBLISHED, pair) <= 0.045
    assert seeds_for_equal(0.3, 0.3, PUBLISHED, pair, prompts=192) is None


def test_equal_is_called_by_whole_verdicts_as_often_as_the_formula_says():
    design, variances, margin = Design(6, 40), Variances(0.02, 0.05, 1.0), 0.8
    rng, tables, calls = np.random.default_rng(8), 300, 0
    for _ in range(tables):
        scores = rng.normal(size=(3, design.seeds, design.prompts)) * np.sqrt(variances.residual / 2)
        scores += rng.normal(size=(3, design.seeds, 1)) * np.sqrt(variances.seed / 2)
        scores += rng.normal(size=(3, 1, design.prompts)) * np.sqrt(variances.prompt / 2)
        scores[2] -= 50  # no candidate for the best
        arms = {str(arm): dict(enumerate(table.tolist())) for arm, table in enumerate(scores)}
        calls += verdicts_of(arms, margin=margin).pairs["0", "1"].word == "equal"
    # three standard errors
    assert calls / tables == pytest.approx(equivalence_power(margin, 0.0, design, variances, Family(3)), abs=0.08)


def test_scores_without_any_variance_tell_every_difference():
    nothing = Variances(0.0, 0.0, 0.0)
    assert smallest_difference(Design(3, 50), nothing, Family(3)) == 0.0
    assert power(0.01, Design(3, 50), nothing, Family(3)) == 1.0


def test_the_unit_of_the_scores_changes_nothing():
    scaled = Variances(*(100**2 * each for each in (PUBLISHED.seed, PUBLISHED.prompt, PUBLISHED.residual)))
    assert power(50, Design(5, 192), scaled, Family(12)) == pytest.approx(
        power(0.5, Design(5, 192), PUBLISHED, Family(12)), abs=1e-6
    )


@pytest.mark.parametrize("make", [
    lambda: Variances(-0.1, 0, 1), lambda: Variances(0, 0.1, 1, prompt_noise=0.2), lambda: Design(1, 50),
    lambda: Design(3, 1), lambda: Family(1), lambda: Family(5, (0.1,)),
])  # fmt: skip
def test_what_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()
