"""Checks of what an outcome may be and of which result is best."""

import math
from dataclasses import replace

import pytest

from sweeps.outcome import Outcome, TrialResult, best


@pytest.mark.parametrize("target", [None, math.nan, math.inf])
def test_a_completed_outcome_has_a_finite_target(target):
    with pytest.raises(ValueError, match="has a finite target"):
        Outcome("completed", target, "run", None)


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="'done' is not one of"):
        Outcome("done", 1.0, "run", None)


def test_the_best_is_the_best_completed_one_and_of_equals_the_earliest():
    base = TrialResult(0, {"beta": 1.0}, "completed", 1.0, "a", None, "w", 1.0)
    results = [
        replace(base, number=3, target=2.0),
        replace(base, number=1, target=2.0),
        base,
        replace(base, number=4, target=9.0, status="pruned"),
        replace(base, number=5, target=None, status="diverged"),
    ]
    assert best(results, "maximize").number == 1
    assert best(results, "minimize").number == 0
    assert best(results[3:], "maximize") is None
    with pytest.raises(ValueError, match="direction 'up'"):
        best(results, "up")
