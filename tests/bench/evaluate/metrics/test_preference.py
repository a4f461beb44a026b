"""Metrics over held-out pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evaluate.metrics.preference import REWARDS, completion_reward, preference_metrics


def side(policy, reference, tokens):
    return np.array(policy, float), np.array(reference, float), np.array(tokens)


def values(chosen, rejected, kind="log_ratio"):
    metrics = preference_metrics(
        **dict(zip(("chosen_policy", "chosen_reference", "chosen_length"), chosen, strict=True)),
        **dict(zip(("rejected_policy", "rejected_reference", "rejected_length"), rejected, strict=True)),
        reward=kind,
        split="validation",
    )
    assert {(metric.task, metric.split) for metric in metrics} == {("preference", "validation")}
    return {metric.name: metric for metric in metrics}


def test_the_start_model_is_at_one_half_because_ties_count_half():
    start = side([-3, -5, -7], [-3, -5, -7], [1, 2, 3])
    metrics = values(start, side([-1, -9, -4], [-1, -9, -4], [1, 2, 3]))
    assert metrics["accuracy"].value == 0.5
    assert {metrics[name].value for name in ("margin", "chosen_shift", "rejected_shift")} == {0.0}


def test_values_of_a_worked_example():
    # Log-ratios: chosen −2, +1; rejected −6, +3. Margins: 4, −2.
    metrics = values(side([-12, -9], [-10, -10], [4, 2]), side([-16, -7], [-10, -10], [2, 3]))
    assert metrics["accuracy"].value == 0.5
    assert metrics["margin"].value == 1.0
    assert metrics["margin"].stderr == pytest.approx(3.0)  # standard deviation √18, over √2
    assert metrics["chosen_shift"].value == -0.5
    assert metrics["rejected_shift"].value == -1.5
    assert metrics["chosen_shift_per_token"].value == pytest.approx((-2 / 4 + 1 / 2) / 2)
    assert metrics["accuracy"].n == 2


def test_each_kind_of_reward_ranks_by_its_own_definition():
    one = side([-6], [-8], [3])
    assert {kind: completion_reward(*one, reward=kind)[0] for kind in REWARDS} == {
        "log_ratio": 2.0,
        "mean_log_ratio": pytest.approx(2 / 3),
        "policy": -6.0,
        "mean_policy": -2.0,
    }
    # A long chosen completion loses by its sum and wins by its mean.
    long, short = side([-6], [-6], [6]), side([-4], [-4], [2])
    assert values(long, short, "policy")["accuracy"].value == 0.0
    assert values(long, short, "mean_policy")["accuracy"].value == 1.0


@given(st.lists(st.tuples(*[st.integers(-50, -1)] * 4, st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_swapping_the_sides_mirrors_accuracy_and_margin(rows):
    a, b, c, d, e, f = (np.array(column, float) for column in zip(*rows, strict=True))
    left, right = side(a, b, e), side(c, d, f)
    there, back = values(left, right), values(right, left)
    assert there["accuracy"].value + back["accuracy"].value == pytest.approx(1.0)
    assert there["margin"].value == pytest.approx(-back["margin"].value)


def test_one_pair_has_no_standard_error():
    assert values(side([-1], [-2], [1]), side([-2], [-2], [1]))["accuracy"].stderr is None


def test_a_diverged_policy_shows_as_nan_and_not_as_an_accuracy_of_zero():
    metrics = values(side([math.nan, -1], [-1, -1], [1, 1]), side([-1, -2], [-1, -1], [1, 1]))
    assert math.isnan(metrics["margin"].value)
    assert math.isnan(metrics["accuracy"].value)


def test_faulty_input_is_refused():
    with pytest.raises(ValueError, match=r"one shape .* given: \(2,\), \(1,\)"):
        values(side([-1, -2], [-1], [1]), side([-1, -2], [-1, -1], [1, 1]))
    with pytest.raises(ValueError, match="pair 1: its rejected completion has no tokens"):
        values(side([-1, -2], [-1, -2], [1, 1]), side([-1, -2], [-1, -2], [1, 0]))
    with pytest.raises(ValueError, match="one shape"):
        values(side([-1], [-1], [1]), side([-1, -2], [-1, -2], [1, 1]))
    with pytest.raises(ValueError, match="nothing was measured"):
        values(side([], [], []), side([], [], []))
    with pytest.raises(ValueError, match="reward 'beta' is unknown"):
        values(side([-1], [-1], [1]), side([-1], [-1], [1]), "beta")
