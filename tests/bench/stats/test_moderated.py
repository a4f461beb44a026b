"""Owns the variances between seeds that all arms moderate."""

import numpy as np
import pytest

from bench.stats.moderated import FREEDOMS, arm_variances, moderate, seed_prior


def _means(deviations: list[float], *, seeds: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((seeds, len(deviations))) * deviations


def test_an_arms_variance_is_that_of_its_residuals_in_the_two_way_table() -> None:
    means = _means([1.0, 2.0, 0.5, 1.5], seeds=5)
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    variance, freedom = arm_variances(means)
    np.testing.assert_allclose(variance, (rest**2).sum(axis=0) / 4 * 4 / 3, rtol=1e-12)
    np.testing.assert_array_equal(freedom, [4, 4, 4, 4])


def test_two_arms_keep_their_own_variances() -> None:
    means = _means([1.0, 2.0], seeds=6)
    np.testing.assert_allclose(arm_variances(means)[0], means.var(axis=0, ddof=1), rtol=1e-12)


def test_missing_seeds_give_the_residuals_of_the_least_squares_fit() -> None:
    means = _means([1.0, 2.0, 0.5, 1.5], seeds=6)
    means[4:, 1] = means[5, 3] = np.nan
    seeds, arms = np.nonzero(np.isfinite(means))
    design = np.zeros((len(seeds), 10))
    design[np.arange(len(seeds)), seeds] = design[np.arange(len(seeds)), 6 + arms] = 1
    values = means[seeds, arms]
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    present = np.isfinite(means).sum(axis=1)[seeds]
    expected = [
        (rest[arms == arm] ** 2 * (present / (present - 1))[arms == arm]).sum() / ((arms == arm).sum() - 1)
        for arm in range(4)
    ]
    np.testing.assert_allclose(arm_variances(means)[0], expected, rtol=1e-6)


def test_what_a_seed_adds_to_all_arms_changes_nothing() -> None:
    means = _means([1.0, 2.0, 0.5], seeds=5)
    one, other = seed_prior(means), seed_prior(means + np.arange(5)[:, None])
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9)
    np.testing.assert_allclose(one.scales, other.scales, rtol=1e-9)


def test_scores_in_another_unit_scale_the_prior() -> None:
    means = _means([1.0, 2.0, 0.5], seeds=5)
    np.testing.assert_allclose(seed_prior(1000 * means).scales, 1e6 * seed_prior(means).scales, rtol=1e-9)


def test_alike_arms_are_pooled_and_unlike_arms_are_not() -> None:
    alike = seed_prior(_means([1.0] * 40, seeds=8))
    unlike = seed_prior(_means([0.01, 0.1, 1.0, 10.0] * 10, seeds=8))
    assert (alike.weights * FREEDOMS.clip(max=64)).sum() > 30 > 2 > (unlike.weights * FREEDOMS).sum()
    largest = int(alike.weights.argmax())
    assert alike.scales[largest] == pytest.approx(1.0, rel=0.25)


def test_of_two_arms_nothing_is_learned() -> None:
    assert seed_prior(_means([1.0, 2.0], seeds=5)).alone == 1
    assert seed_prior(_means([1.0, 2.0, 3.0], seeds=5)).alone == pytest.approx(1 / 3)


def test_equal_scores_have_a_prior() -> None:
    prior = seed_prior(np.zeros((4, 5)))
    assert np.isfinite(prior.weights).all()
    assert np.isfinite(prior.scales).all()
    assert prior.weights.sum() == pytest.approx(1)


def test_moderated_variances_lie_between_the_own_one_and_the_priors() -> None:
    prior = seed_prior(_means([1.0] * 12, seeds=4))
    variance, total = moderate(np.array([0.1]), np.array([3.0]), prior, arms=2)
    assert ((variance > 0.1) & (variance < 2 * prior.scales.max())).all()
    np.testing.assert_allclose(total, FREEDOMS[None] + 3)
    assert (np.diff(variance[0]) > 0).all()


def test_tables_together_are_tables_one_by_one() -> None:
    tables = np.stack([_means([1.0, 2.0, 0.5], seeds=5, seed=seed) for seed in range(3)])
    tables[1, :, 2] = np.nan
    together = seed_prior(tables)
    for place in range(3):
        alone = seed_prior(tables[place])
        np.testing.assert_allclose(together.weights[place], alone.weights, rtol=1e-9)
        np.testing.assert_allclose(together.scales[place], alone.scales, rtol=1e-9)
        assert together.alone[place] == alone.alone
