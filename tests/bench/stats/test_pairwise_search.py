"""The search for half-widths and p-values: plain bisection gives the same."""

import numpy as np
import pytest

from bench.stats import pairwise
from bench.stats.crossed import mean_squares
from bench.stats.pairwise import half_widths, p_at, p_values, pair_differences, prior_of, summarise


def bisected(excess, low, high):
    for _ in range(200):
        middle = (low + high) / 2
        above = excess(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def scores(seed, *, arms, seeds, prompts, noise=1.0, gap=0.1):
    rng = np.random.default_rng(seed)
    shared = 3 * rng.normal(size=(seeds, prompts))
    made = {
        f"arm{arm}": {
            at: list(row) for at, row in enumerate(shared + noise * rng.normal(size=shared.shape) + gap * arm)
        }
        for arm in range(arms)
    }
    if seeds > 3:
        del made["arm0"][0]
    return made


CASES = [
    {"arms": 8, "seeds": 5, "prompts": 30},
    {"arms": 8, "seeds": 2, "prompts": 1},
    {"arms": 2, "seeds": 4, "prompts": 30},
    {"arms": 12, "seeds": 24, "prompts": 3, "gap": 3.0},
    {"arms": 5, "seeds": 3, "prompts": 9, "noise": 0.0},
    {"arms": 5, "seeds": 3, "prompts": 2, "noise": 0.0, "gap": 0.0},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_half_widths_and_p_are_those_of_bisection(monkeypatch, case):
    made = scores(1, **case)
    differences, prior = summarise([table for table, _ in pair_differences(made).values()]), prior_of(made)
    levels = (1e-6, 0.05 / 66, 0.05, 0.4)
    halves = [half_widths(differences, prior, p=p) for p in levels]
    ps = [p_values(differences, prior), p_at(differences, prior, distance=0.1)]
    monkeypatch.setattr(pairwise, "_root", bisected)
    for found, p in zip(halves, levels, strict=True):
        np.testing.assert_allclose(found, half_widths(differences, prior, p=p), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ps[0], p_values(differences, prior), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ps[1], p_at(differences, prior, distance=0.1), rtol=1e-8, atol=1e-12)


def test_tables_of_several_shapes_are_summed_up_one_by_one_alike():
    made = scores(2, arms=30, seeds=5, prompts=12)
    tables = [table for table, _ in pair_differences(made).values()]
    assert len({table.shape for table in tables}) == 2
    assert len(tables) > pairwise.TOGETHER
    found = summarise(tables)
    for place in (0, 1, 100, len(tables) - 1):
        squares = mean_squares(tables[place])
        assert found.mean[place] == pytest.approx(tables[place].mean(), abs=1e-12)
        assert found.seed[place] == pytest.approx(float(squares.seed) / 12)
        assert found.residual[place] == pytest.approx(float(squares.residual) / 12)
        assert found.seeds[place] == tables[place].shape[0]
    with pytest.raises(ValueError, match="two seeds or more"):
        summarise([*tables, tables[0][:1]])
