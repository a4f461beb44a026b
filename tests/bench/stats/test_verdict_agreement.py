"""Agreement of two judges pair by pair: against scikit-learn, scipy and simulation."""

import math

import numpy as np
import pytest

from bench.stats.verdict_agreement import verdict_agreement, wilson


def judges(rng, pairs, *, noise=1.0, ties=0.2):
    quality = rng.normal(size=pairs)
    seen = [quality + noise * rng.normal(size=pairs) for _ in range(2)]
    return [np.where(np.abs(each) < ties, 0.5, (each > 0).astype(float)) for each in seen]


def test_kappa_is_scikit_learns_tau_scipys_and_wilson_statsmodels_formula():
    from scipy.stats import binomtest, kendalltau
    from sklearn.metrics import cohen_kappa_score

    first, second = judges(np.random.default_rng(0), 120)
    soft = np.clip(second + np.random.default_rng(1).normal(0, 0.2, 120), 0, 1)
    agreed = verdict_agreement(first, second)
    assert agreed.kappa.value == pytest.approx(cohen_kappa_score(2 * first, 2 * second), abs=1e-12)
    assert verdict_agreement(first, soft).tau.value == pytest.approx(kendalltau(first, soft).statistic)
    decided = (first != 0.5) & (second != 0.5)
    assert (agreed.n, agreed.decided) == (120, decided.sum())
    hits = int((first == second)[decided].sum())
    expected = binomtest(hits, int(decided.sum())).proportion_ci(method="wilson")
    assert (agreed.same.low, agreed.same.high) == pytest.approx((expected.low, expected.high))


def test_opposed_equal_and_silent_judges():
    rng = np.random.default_rng(0)
    first, _ = judges(rng, 60, ties=0.0)
    same, opposed = verdict_agreement(first, first), verdict_agreement(first, 1.0 - first)
    assert (same.same.value, same.kappa.value, same.tau.value) == pytest.approx((1.0, 1.0, 1.0))
    assert same.kappa.low < 0.95  # 60 pairs do not show that two judges are one
    assert (opposed.same.value, opposed.tau.value) == pytest.approx((0.0, -1.0))
    constant = verdict_agreement(first, np.ones(60))
    assert math.isnan(constant.tau.value)
    assert constant.kappa.value == pytest.approx(0.0, abs=1e-12)
    three = verdict_agreement(first[:3], first[:3])
    assert math.isnan(three.tau.value)
    blank = verdict_agreement(first, np.full(60, np.nan))
    assert blank.n == 0
    assert math.isnan(blank.same.value)
    holed = first.copy()
    holed[::7] = np.nan
    assert verdict_agreement(holed, first).n == 60 - 9


@pytest.mark.parametrize("pairs", [40, 150])
def test_intervals_hold_the_agreement_of_all_pairs_in_19_of_20_samples(pairs):
    rng = np.random.default_rng(2)
    truth = verdict_agreement(*judges(rng, 6000))
    hits = dict.fromkeys(("same", "alike", "kappa", "tau"), 0)
    for _ in range(400):
        agreed = verdict_agreement(*judges(rng, pairs))
        for name in hits:
            bounded = getattr(agreed, name)
            hits[name] += bounded.low <= getattr(truth, name).value <= bounded.high
    assert min(hits.values()) / 400 > 0.915, hits  # 3.2 standard errors below 95 %
    assert max(hits.values()) / 400 < 0.99, hits


def test_shapes_and_values_that_are_no_verdicts_are_refused():
    with pytest.raises(ValueError, match="one each pair"):
        verdict_agreement([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        verdict_agreement([1.5], [1.0])
    assert math.isnan(wilson(0, 0).value)
