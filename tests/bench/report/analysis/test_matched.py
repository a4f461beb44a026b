"""Scores side by side: the same seeds in the rows, the same prompts in the columns, of the settings that are best."""

import numpy as np
import pytest

from bench.errors import RunError
from bench.report.analysis.comparison import matched
from bench.report.analysis.settings import group_records
from tests.bench.report.conftest import record, run_spec, study


def group_of(records):
    (group,) = group_records(records)
    return group


def test_the_rows_are_the_best_settings_own_scores(full_study):
    group = group_of(full_study)
    found = matched(group)
    assert list(found) == ["dpo", "ipo", "kto", "simpo"]
    for name, scores in found.items():
        np.testing.assert_array_equal(scores, [one.scores["target"] for one in group.best(name).test])


def test_only_the_seeds_that_all_objectives_have_are_left():
    cut = [r for r in study(("dpo", "ipo")) if not (r.spec.objective == "dpo" and r.spec.seed == 101)]
    found = matched(group_of(cut))
    assert {name: len(scores) for name, scores in found.items()} == {"dpo": 2, "ipo": 2}
    last = next(r for r in cut if r.spec.objective == "ipo" and r.spec.seed == 102)
    np.testing.assert_array_equal(found["ipo"][1], last.scores["target"])


def test_an_objective_without_test_scores_takes_no_seed_from_the_others():
    untested = [r for r in study(("dpo", "ipo")) if not (r.spec.objective == "ipo" and r.evaluation.split == "test")]
    assert {name: scores.shape for name, scores in matched(group_of(untested)).items()} == {"dpo": (3, 24)}
    assert matched(group_of(untested), name="no such score") == {}


def test_without_a_common_seed_nothing_is_matched():
    records = [record(run_spec(name)) for name in ("dpo", "ipo")]
    records += [record(run_spec(name, seed=seed), split="test") for name, seed in (("dpo", 1), ("ipo", 2))]
    assert matched(group_of(records)) == {}


def test_different_numbers_of_prompts_are_refused(full_study):
    short = [
        r.model_copy(update={"scores": {n: row[:-1] for n, row in r.scores.items()}}) if r.spec.seed == 101 else r
        for r in full_study
    ]
    with pytest.raises(RunError, match="23 and 24 test prompts"):
        matched(group_of(short))
