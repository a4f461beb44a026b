"""Intervals over seeds and prompts hold the truth as often as they say, and name what they come from."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from bench.stats.crossed import crossed_interval, half_width, interquartile, mean_squares, variance_components
from bench.stats.intervals import t_interval
from tests.bench.stats.coverage import CASES, SIZES, coverage, tables

TABLES = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4), min_size=2, max_size=6)


@pytest.mark.parametrize("skewed", [False, True], ids=["normal", "skewed"])
@pytest.mark.parametrize("case", CASES)
def test_an_interval_of_the_mean_holds_the_truth_in_93_to_97_of_100_tables_of_few_seeds(case, skewed):
    # standard error 0.0036: to the percent
    found = coverage(case, (3, 50), statistic="mean", skewed=skewed, count=4000)
    assert 0.93 <= round(found, 2) <= 0.97


@pytest.mark.parametrize("case", [case for case in CASES if case != "seeds alone"])
def test_an_interval_of_the_interquartile_mean_holds_the_truth_in_93_to_97_of_100_tables_of_few_seeds(case):
    found = coverage(case, (3, 50), statistic="iqm", skewed=False, count=3000)
    assert 0.93 <= round(found, 2) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("skewed", [False, True], ids=["normal", "skewed"])
@pytest.mark.parametrize("statistic", ["mean", "iqm"])
@pytest.mark.parametrize("case", CASES)
def test_the_whole_grid_is_covered_in_93_to_97_of_100_tables(case, statistic, skewed, size):
    found = coverage(case, size, statistic=statistic, skewed=skewed, count=10_000)
    if statistic == "iqm" and case == "seeds alone":
        # the quartiles of a handful of values: a corner that is documented as not reached
        assert 0.87 <= found <= 0.99
    else:
        assert 0.93 <= round(found, 2) <= 0.97


@given(TABLES)
def test_an_interval_holds_its_mean_and_ignores_the_order_of_seeds_and_prompts(scores):
    found, turned = crossed_interval(scores), crossed_interval(np.flip(scores))
    assert found.low <= found.mean <= found.high
    near = {"rel": 1e-6, "abs": 1e-6}
    assert (turned.low, turned.high) == (pytest.approx(found.low, **near), pytest.approx(found.high, **near))


@given(st.floats(0.1, 10), st.floats(-100, 100))
def test_an_interval_follows_the_unit_of_the_scores(factor, shift):
    scores = np.random.default_rng(5).normal(size=(3, 20))
    found, moved = crossed_interval(scores), crossed_interval(scores * factor + shift)
    assert (moved.mean, moved.half) == pytest.approx((found.mean * factor + shift, found.half * factor), rel=1e-9)


@given(TABLES, st.floats(0.01, 0.98))
def test_a_higher_level_is_never_narrower(scores, level):
    assert crossed_interval(scores, level=level).half <= crossed_interval(scores, level=level + 0.01).half


def test_prompts_that_make_no_difference_leave_the_t_interval_over_seeds():
    values = [0.1, 0.4, 0.2, 0.6]
    found = crossed_interval(np.repeat(np.asarray(values)[:, None], 30, axis=1))
    assert (found.source, found.n) == ("crossed", 4)
    assert found.half == pytest.approx(t_interval(values).half, rel=1e-6)


def test_seeds_that_make_no_difference_leave_the_t_interval_over_prompts():
    values = np.random.default_rng(0).normal(size=40)
    found = crossed_interval(np.repeat(values[None, :], 5, axis=0))
    assert found.half == pytest.approx(t_interval(values.tolist()).half, rel=1e-6)


def test_prompt_noise_that_all_seeds_share_does_not_average_out_over_seeds():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(1, 100)) + 0.01 * rng.normal(size=(5, 100))
    wide = crossed_interval(scores)
    assert wide.half == pytest.approx(1.98 * scores[0].std() / 10, rel=0.15)
    assert t_interval(list(scores.mean(axis=1))).half < wide.half / 5


def test_many_tables_at_once_are_as_each_alone():
    found = tables(np.random.default_rng(0), "mixed", (4, 20), skewed=True, count=6)
    together = half_width(mean_squares(found))
    assert together == pytest.approx([crossed_interval(table).half for table in found], rel=1e-9)


@given(TABLES)
def test_the_interquartile_mean_is_scipys(scores):
    expected = reference.trim_mean(np.asarray(scores).ravel(), 0.25)
    assert float(interquartile(np.asarray(scores))[0]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert crossed_interval(scores, statistic="iqm").mean == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_one_wild_score_moves_the_mean_but_hardly_the_interquartile_mean():
    scores = np.random.default_rng(3).normal(size=(3, 50))
    wild = scores.copy()
    wild[0, 0] = 1e4
    assert crossed_interval(wild).mean > 50
    one, other = crossed_interval(scores, statistic="iqm"), crossed_interval(wild, statistic="iqm")
    assert (other.mean, other.half) == (pytest.approx(one.mean, abs=0.05), pytest.approx(one.half, rel=0.1))


def test_an_interval_says_where_it_comes_from():
    row = [0.1, 0.5, 0.3, 0.2]
    one_seed = crossed_interval(row)
    assert (one_seed.source, one_seed.half) == ("prompts", pytest.approx(1.959964 * np.std(row, ddof=1) / 2))
    one_prompt = crossed_interval([[value] for value in row])
    assert (one_prompt.source, one_prompt.half) == ("seeds", pytest.approx(t_interval(row).half))
    assert crossed_interval([[0.5]]).source == "none"
    assert math.isnan(crossed_interval([[0.5]]).low)


def test_scores_that_do_not_vary_give_an_interval_without_width():
    found = crossed_interval(np.zeros((3, 5)))
    assert (found.low, found.mean, found.high) == (0, 0, 0)
    parts = variance_components(np.zeros((3, 5)))
    assert (parts.residual, parts.seed_share, parts.residual_share) == (0, 0, 0)


def test_components_are_the_variances_that_scores_were_drawn_with():
    rng = np.random.default_rng(0)
    scores = 0.5 * rng.normal(size=(400, 1)) + 2 * rng.normal(size=(1, 400)) + rng.normal(size=(400, 400))
    found = variance_components(scores)
    assert (found.seed, found.prompt, found.residual) == pytest.approx((0.25, 4, 1), rel=0.15)


@given(TABLES)
def test_components_are_never_negative_and_shares_add_up(scores):
    found = variance_components(scores)
    assert min(found.seed, found.prompt, found.residual) >= 0
    shares = found.seed_share + found.prompt_share + found.residual_share
    assert shares == pytest.approx(1) or shares == 0


def test_one_seed_lays_all_on_prompts_and_one_prompt_all_on_seeds():
    assert variance_components([[1.0, 2.0, 3.0]]).prompt_share == 1
    assert variance_components([[1.0], [2.0], [3.0]]).seed_share == 1
    assert variance_components([[1.0]]).seed_share == 0


@pytest.mark.parametrize(
    "scores", [[[math.nan, 1.0]], [], [[[1.0]]], [[math.inf]]], ids=["nan", "empty", "cube", "inf"]
)
def test_what_is_no_table_of_numbers_is_refused(scores):
    with pytest.raises(ValueError, match="finite"):
        crossed_interval(scores)
