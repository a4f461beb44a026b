"""Owns the four words on a pair of arms."""

import math

import numpy as np
import pytest

from bench.stats.verdicts import Verdicts, verdicts_of

Scores = dict[str, dict[int, list[float]]]


def _scores(
    means: dict[str, float], *, seeds: int = 8, prompts: int = 200, deviation: float = 0.03, seed: int = 0
) -> Scores:
    rng = np.random.default_rng(seed)
    easy = rng.standard_normal(prompts)
    return {
        arm: {
            1000 + run: (mean + deviation * rng.standard_normal() + easy + 0.3 * rng.standard_normal(prompts)).tolist()
            for run in range(seeds)
        }
        for arm, mean in means.items()
    }


MEANS = {"best": 1.0, "near": 0.98, "low": 0.5, "lower": 0.48, "between": 0.83}


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    return verdicts_of(_scores(MEANS), margin=0.15, fixed=[0.0] * 200)


def test_each_pair_has_its_word(verdicts: Verdicts) -> None:
    words = {pair: one.word for pair, one in verdicts.pairs.items()}
    assert words["best", "near"] == "equal"
    assert words["best", "low"] == words["best", "lower"] == words["near", "low"] == "better"
    assert words["low", "between"] == "worse"
    assert words["low", "lower"] == "equal"  # far below the best: by its own two one-sided tests


def test_few_seeds_leave_pairs_undecided() -> None:
    few = verdicts_of(_scores(MEANS, seeds=2, deviation=0.3), margin=0.05)
    assert {one.word for one in few.pairs.values()} == {"undecided"}


def test_no_interval_contradicts_its_word() -> None:
    for seed in range(15):
        result = verdicts_of(_scores(MEANS, seeds=4, deviation=0.05, seed=seed), margin=0.15)
        for one in result.pairs.values():
            low, high = one.difference.low, one.difference.high
            assert one.word != "better" or low >= 0
            assert one.word != "worse" or high <= 0
            assert one.word != "equal" or -0.15 <= low <= high <= 0.15
            assert low <= high


def test_a_difference_that_is_real_and_below_the_margin_is_equal() -> None:
    result = verdicts_of(_scores({"a": 1.0, "b": 0.93}, seeds=20, deviation=0.005), margin=0.15)
    one = result.pairs["a", "b"]
    assert one.p < 0.001
    assert one.word == "equal"
    assert one.difference.low >= 0


def test_the_other_order_turns_the_word(verdicts: Verdicts) -> None:
    one, other = verdicts.between("best", "low"), verdicts.between("low", "best")
    assert one is not None
    assert other is not None
    assert (one.word, other.word) == ("better", "worse")
    assert (other.difference.low, other.difference.high) == (-one.difference.high, -one.difference.low)
    assert one.turned.turned == one


def test_the_start_model_is_a_family_of_its_own(verdicts: Verdicts) -> None:
    assert set(verdicts.fixed) == set(MEANS)
    assert {one.word for one in verdicts.fixed.values()} == {"better"}
    apart = verdicts_of(_scores(MEANS), margin=0.15, fixed=_scores({"x": 0.98})["x"][1000])
    assert apart.fixed["low"].word == "worse"


def test_one_seed_tells_runs_apart_but_not_arms() -> None:
    result = verdicts_of(_scores(MEANS, seeds=1), margin=0.15)
    assert {one.word for one in result.pairs.values()} == {"undecided"}
    assert all(math.isnan(one.p) and one.difference.source == "prompts" for one in result.pairs.values())
    assert math.isnan(result.detectable)
    assert result.shortfall == {}


def test_the_best_arm_may_lie_little_below_the_best(verdicts: Verdicts) -> None:
    assert verdicts.shortfall["best"] < verdicts.shortfall["between"] < verdicts.shortfall["low"]
    assert verdicts.shortfall["low"] > 0.5


def test_a_margin_is_above_0() -> None:
    with pytest.raises(ValueError, match="above 0"):
        verdicts_of({}, margin=0.0)


def test_nothing_gives_nothing() -> None:
    assert verdicts_of({}, margin=0.1).pairs == {}
    alone = verdicts_of(_scores({"a": 1.0}), margin=0.1, fixed=[0.0] * 200)
    assert alone.pairs == {}
    assert alone.fixed["a"].word == "better"


def test_what_could_be_seen_is_seen_in_four_tables_of_five() -> None:
    seen = []
    for seed in range(20):
        scores = _scores(dict.fromkeys("abcd", 1.0), seeds=5, deviation=0.05, seed=seed)
        seen.append(verdicts_of(scores, margin=0.1).detectable)
    size, hits = float(np.median(seen)), 0
    for seed in range(100, 160):
        scores = _scores({"a": 1.0, "b": 1.0 - size, "c": 1.0, "d": 1.0}, seeds=5, deviation=0.05, seed=seed)
        hits += verdicts_of(scores, margin=0.1).pairs["a", "b"].p < 0.05
    assert 0.63 <= hits / 60 <= 0.95
