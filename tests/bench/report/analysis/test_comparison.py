"""The comparison: paired over seeds and prompts, corrected for many, and the same whatever else stands in the table."""

import math
import time

import numpy as np
import pytest

from bench.errors import UsageError
from bench.report.analysis.comparison import compare_group, kl_budgets
from bench.report.analysis.settings import group_records
from bench.stats.paired import paired_test
from bench.stats.verdicts import verdicts_of
from tests.bench.report.conftest import record, run_spec, start_records, study


def group_of(records):
    (group,) = group_records(records)
    return group


def scored(name, tables, *, beta=0.1):
    """One setting chosen on validation, and test runs with these targets, seeds × prompts."""
    made = [record(run_spec(name, beta=beta), target=float(np.mean(tables)))]
    for seed, row in enumerate(tables, start=1):
        one = record(run_spec(name, beta=beta, seed=seed), split="test", target=float(np.mean(row)))
        made.append(one.model_copy(update={"scores": {"target": list(map(float, row))}}))
    return made


def noise(seed, seeds=4, prompts=60):
    return np.random.default_rng(seed).normal(size=(seeds, prompts))


def test_a_large_common_part_of_the_prompts_hides_no_difference():
    hard = 5 * noise(0, seeds=1)
    tables = {"dpo": hard + 0.1 * noise(1) + 0.3, "ipo": hard + 0.1 * noise(2), "kto": hard + 0.1 * noise(3)}
    rows = compare_group(group_of([r for name, t in tables.items() for r in scored(name, t)])).results
    assert next(iter(rows)) == "dpo"
    assert rows["ipo"].mean.half > 1
    assert rows["ipo"].to_first.difference.high < 0
    assert rows["ipo"].to_first.p < 0.01
    assert [rows[name].word for name in ("dpo", "ipo", "kto")] == [None, "worse", "worse"]


def test_the_words_and_intervals_of_a_row_are_those_of_the_tables_verdicts():
    tables = {"dpo": noise(1) + 0.5, "ipo": noise(2) + 0.3, "kto": noise(3)}
    group = group_of([r for name, t in tables.items() for r in scored(name, t)])
    rows = compare_group(group, margin=0.2).results
    truth = verdicts_of({n: dict(enumerate(map(list, t), 1)) for n, t in tables.items()}, margin=0.2)
    for name in ("ipo", "kto"):
        assert rows[name].to_first == truth.pairs["dpo", name].turned
        assert rows[name].to_first.difference.mean == pytest.approx(float((tables[name] - tables["dpo"]).mean()))
        assert math.isnan(rows[name].to_start.p)  # there is no start model here


def test_each_word_has_its_table():
    shared, own = noise(0, seeds=8), 0.05
    tables = {
        "dpo": shared + own * noise(1, seeds=8) + 1,
        "ipo": shared + own * noise(2, seeds=8) + 1 - 0.01,
        "kto": shared + own * noise(3, seeds=8) + 0.4,
        "simpo": shared + 0.15 * noise(4, seeds=8, prompts=1) + 1 - 0.1,
    }
    start = start_records()
    start[1] = start[1].model_copy(update={"scores": {"target": list(shared.mean(axis=0))}})
    found = compare_group(group_of([*start, *(r for n, t in tables.items() for r in scored(n, t))]), margin=0.1)
    words = {name: row.word for name, row in found.results.items()}
    assert words == {"dpo": None, "ipo": "equal", "simpo": "undecided", "kto": "worse"}
    assert all(row.to_start.word == "better" for row in found.results.values())
    assert found.verdict.beats_start == ("dpo", "ipo", "simpo", "kto")
    near = compare_group(found.group, margin=0.4)
    assert {name: row.word for name, row in near.results.items()} == words | {"simpo": "equal"}
    assert near.verdict.is_best
    assert not found.verdict.is_best


def test_one_seed_has_a_p_of_its_prompts_and_no_word():
    tables = {"dpo": noise(1, seeds=1) + 2, "ipo": noise(2, seeds=1), "kto": noise(3, seeds=1)}
    start = start_records()
    start[1] = start[1].model_copy(update={"scores": {"target": [-3.0] * 60}})
    rows = compare_group(group_of([*start, *(r for n, t in tables.items() for r in scored(n, t))])).results
    alone = paired_test(tables["ipo"], tables["dpo"])
    assert alone.p <= rows["ipo"].to_first.p <= 3 * alone.p
    assert rows["ipo"].to_first.difference.source == "prompts"
    assert {row.to_first.word for row in rows.values()} == {row.to_start.word for row in rows.values()} == {"undecided"}
    assert rows["dpo"].to_start.p < 1e-6


def test_a_start_model_scored_on_other_prompts_is_not_compared_with():
    start = start_records()
    start[1] = start[1].model_copy(update={"scores": {"target": [0.0] * 59}})
    found = compare_group(group_of([*start, *scored("dpo", noise(1))]))
    assert found.verdict.to_start is None
    assert "not known" in found.verdict.text


def test_a_margin_that_is_not_above_zero_is_refused(full_study):
    for margin in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="--margin must be above 0"):
            compare_group(group_of(full_study), margin=margin)


def test_pairs_are_tested_on_the_seeds_that_both_have():
    tables = {"dpo": noise(1) + 1, "ipo": noise(2)}
    records = [r for name, t in tables.items() for r in scored(name, t)]
    cut = [r for r in records if (r.spec.objective, r.spec.seed) != ("dpo", 3)]
    found = compare_group(group_of(cut)).results["ipo"].to_first.difference
    kept = [0, 1, 3]
    assert found.mean == pytest.approx(float((tables["ipo"][kept] - tables["dpo"][kept]).mean()))
    assert found.n == 3


def test_without_scores_of_prompts_the_seeds_are_paired():
    def plain(name, targets):
        made = [record(run_spec(name), target=9.0)]
        made += [record(run_spec(name, seed=s), split="test", target=t) for s, t in enumerate(targets, start=1)]
        return [one.model_copy(update={"scores": {}}) for one in made]

    rows = compare_group(group_of(plain("dpo", (1.0, 2.0, 3.0)) + plain("ipo", (0.8, 1.9, 2.7)))).results
    # gaps −0.2, −0.1, −0.3: t = 0.2 / (0.1 / √3) = 2 √3 with 2 degrees of freedom, p = 1 − √(12 / 14)
    assert rows["ipo"].to_first.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert rows["ipo"].to_first.difference.n == 3
    assert math.isnan(rows["ipo"].iqm.mean)
    assert rows["ipo"].components is None


def test_one_more_objective_changes_no_others_own_numbers(full_study):
    few = [r for r in full_study if r.spec.objective != "kto"]
    before, after = compare_group(group_of(few)).results, compare_group(group_of(full_study)).results
    for name, row in before.items():
        same = after[name]
        assert (row.mean, row.iqm, row.components) == (same.mean, same.iqm, same.components)
        assert (row.sensitivity, row.importances) == (same.sensitivity, same.importances)


def test_the_improvement_is_over_dpo_or_the_first_or_the_one_that_was_named(full_study):
    assert compare_group(group_of(full_study)).baseline == "dpo"
    others = group_of([r for r in full_study if r.spec.objective != "dpo"])
    found = compare_group(others)
    assert found.baseline == next(iter(found.results)) == "ipo"
    named = compare_group(others, baseline="simpo")
    assert math.isnan(named.results["simpo"].improvement.mean)
    assert named.results["ipo"].improvement.mean > 0.5
    with pytest.raises(UsageError, match="did you mean 'simpo'"):
        compare_group(others, baseline="simp")


def test_the_sweeps_numbers_are_of_the_validation_runs():
    runs = ((0.1, 0.9, 1.5), (0.2, 0.4, 3.0), (0.3, -0.5, 6.0), (0.4, None, None))
    made = start_records()
    for beta, target, kl in runs:
        spec = run_spec(beta=beta)
        made.append(record(spec, status="diverged") if target is None else record(spec, target=target, kl=kl))
    found = compare_group(group_of(made))
    row = found.results["dpo"]
    assert (row.sensitivity.best, row.sensitivity.median, row.sensitivity.worst) == (0.9, 0.4, -0.5)
    assert row.sensitivity.diverged == 1
    assert found.budgets == (1, 2, 5)
    # rewards: 0.9 + 0.15 at 1.5 nats, 0.4 + 0.3 at 3 nats, which is less
    assert row.reward_at_kl[0] != row.reward_at_kl[0]
    assert row.reward_at_kl[1:] == pytest.approx((1.05, 1.05))
    assert row.hypervolume == pytest.approx((5 - 1.5) * 1.05)
    assert row.importances == {"beta": 1.0}


@pytest.mark.parametrize(
    ("largest", "budgets"),
    [(0.001, (0.01, 0.02, 0.05)), (0.3, (0.05, 0.1, 0.2)), (9.9, (1, 2, 5)), (10, (2, 5, 10)), (400, (2, 5, 10))],
)
def test_kl_budgets_are_ones_that_a_setting_reaches_and_ten_nats_at_most(largest, budgets):
    assert kl_budgets(group_of([record(run_spec(beta=b), kl=largest * b) for b in (0.5, 1.0)])) == budgets


def test_sixty_objectives_take_seconds():
    records = [r for at in range(60) for r in scored(f"loss_{at:02d}", noise(at, seeds=3) + at % 7 / 10)]
    group = group_of(records + [record(run_spec(f"loss_{at:02d}", beta=2.0), target=-9.0) for at in range(60)])
    began = time.perf_counter()
    rows = compare_group(group).results
    assert time.perf_counter() - began < 20
    assert len(rows) == 60
    assert [row.rank for row in rows.values()] == list(range(1, 61))


def test_objectives_that_were_not_tested_stand_last_without_a_test_number():
    untested = [r for r in study(("dpo", "ipo")) if (r.spec.objective, r.evaluation.split) != ("dpo", "test")]
    found = compare_group(group_of(untested))
    assert list(found.results) == ["ipo", "dpo"]
    row = found.results["dpo"]
    assert (row.rank, row.word) == (None, None)
    assert math.isnan(row.mean.mean)
    assert math.isnan(row.to_first.p)
    assert row.sensitivity.n == 5
