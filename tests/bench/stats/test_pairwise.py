"""Owns differences of all pairs: p-values, half-widths and the level that neither needs a search for."""

import numpy as np
import pytest
from scipy import stats

from bench.stats.moderated import seed_prior
from bench.stats.pairwise import (
    Differences,
    exceeds,
    half_widths,
    p_at,
    p_values,
    pair_differences,
    prior_of,
    summarise,
)


def _scores(
    means: list[float], *, seeds: int = 5, prompts: int = 40, seed: int = 0
) -> dict[str, dict[int, list[float]]]:
    rng = np.random.default_rng(seed)
    easy = rng.standard_normal(prompts)
    return {
        f"arm{place}": {
            1000 + run: (mean + 0.2 * rng.standard_normal() + easy + rng.standard_normal(prompts)).tolist()
            for run in range(seeds)
        }
        for place, mean in enumerate(means)
    }


def _tables(scores: dict[str, dict[int, list[float]]]) -> list[np.ndarray]:
    return [table for table, _ in pair_differences(scores).values()]


def test_two_arms_scored_once_a_seed_have_students_paired_p() -> None:
    scores = _scores([0.0, 0.3], prompts=1)
    first, second = ([row[0] for row in rows.values()] for rows in scores.values())
    p = p_values(summarise(_tables(scores)), prior_of(scores))
    assert p[0] == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-6)


def test_the_variances_are_those_of_the_two_way_table() -> None:
    table = _tables(_scores([0.0, 0.3]))[0]
    parts = summarise([table])
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    residual = (rest**2).sum() / (4 * 39)
    assert parts.mean[0] == pytest.approx(table.mean())
    assert parts.seed[0] == pytest.approx(table.mean(axis=1).var(ddof=1))
    assert parts.residual[0] == pytest.approx(residual / 40)
    assert parts.prompt[0] == pytest.approx(max(5 * table.mean(axis=0).var(ddof=1) - residual, 0) / 200)


def test_the_half_width_of_two_arms_is_howes_sum() -> None:
    scores = _scores([0.0, 0.3])
    parts = summarise(_tables(scores))
    seed = stats.t.ppf(0.975, 4) ** 2 * max(parts.seed[0], parts.residual[0]) / 5
    prompt = stats.t.ppf(0.975, 39) ** 2 * parts.prompt[0]
    assert half_widths(parts, prior_of(scores), p=0.05)[0] == pytest.approx(np.sqrt(seed + prompt), rel=1e-9)


def test_p_is_the_level_at_which_the_half_width_reaches_the_mean() -> None:
    scores = _scores([0.0, 0.3, 0.6, 1.5])
    parts, prior = summarise(_tables(scores)), prior_of(scores)
    p = p_values(parts, prior)
    np.testing.assert_allclose(half_widths(parts, prior, p=p), np.abs(parts.mean), rtol=1e-8)


@pytest.mark.parametrize("p", [0.05, 1e-3, 1e-6])
def test_the_quick_answer_agrees_with_the_search(p: float) -> None:
    scores = _scores([0.0, 0.3, 0.6, 1.5, 3.0])
    parts, prior = summarise(_tables(scores)), prior_of(scores)
    far = np.abs(parts.mean)
    np.testing.assert_array_equal(exceeds(parts, prior, p=p, distance=far), p_at(parts, prior, distance=far) < p)
    assert exceeds(parts, prior, p=0.05, distance=far).any()


def test_seeds_that_agree_by_luck_do_not_make_a_small_p() -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((3, 50))
    lucky = table - table.mean(axis=1, keepdims=True) + 0.3
    parts = summarise([lucky])
    assert parts.seed[0] == pytest.approx(0, abs=1e-20)
    prior = seed_prior(np.zeros((3, 2)))
    # the residual alone would give this p to a mean of 0.3
    least = 2 * stats.t.sf(0.3 / np.sqrt(parts.residual[0] / 3), 2)
    assert p_values(parts, prior)[0] == pytest.approx(least, rel=1e-6)


def test_no_difference_has_p_1_and_none_without_noise_has_p_0() -> None:
    parts = Differences(*(np.array(column) for column in ([0.0, 1.0], [0.1, 0.0], [0.0, 0.0], [0.0, 0.0], [3, 3])), 1)
    np.testing.assert_array_equal(p_values(parts, seed_prior(np.zeros((3, 2)))), [1.0, 0.0])


def test_more_arms_that_vary_alike_make_few_seeds_worth_more() -> None:
    scores = _scores([0.0, 0.9, *[0.0] * 10], seeds=3, seed=3)
    two = {name: scores[name] for name in ("arm0", "arm1")}
    few = p_values(summarise(_tables(two)), prior_of(two))[0]
    many = p_values(summarise(_tables(two)), prior_of(scores))[0]
    assert many < few / 3


def test_arms_are_compared_on_their_common_seeds() -> None:
    scores = _scores([0.0, 0.3, 0.5])
    del scores["arm1"][1000], scores["arm2"][1004]
    pairs = pair_differences(scores)
    assert [seeds for _, seeds in pairs.values()] == [
        [1001, 1002, 1003, 1004],
        [1000, 1001, 1002, 1003],
        [1001, 1002, 1003],
    ]
    apart = {"a": {1: [0.0, 1.0]}, "b": {2: [0.0, 1.0]}}
    assert pair_differences(apart) == {}


def test_one_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="two seeds or more"):
        summarise([np.zeros((1, 5))])
