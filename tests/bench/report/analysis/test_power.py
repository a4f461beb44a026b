"""Power of a folder's records: what was published could see little, and what more costs follows from its records."""

import csv
import io
import json
import math

import numpy as np
import pytest

from bench.core.margins import margin_of
from bench.core.record import Cost
from bench.core.results import load_records
from bench.errors import UsageError
from bench.report.analysis.power import group_power, run_costs, smallest_by_pair
from bench.report.analysis.settings import group_records
from bench.stats.power import Design, Family, Variances, smallest_difference
from tests.bench.cli.test_cli import bench
from tests.bench.report.conftest import evaluation, record, run_spec

PUBLISHED = "results/published/sentiment-five"


@pytest.fixture(scope="module")
def published():
    from pathlib import Path

    (group,) = group_records(load_records(Path(PUBLISHED)))
    return group


def test_the_published_table_could_not_see_its_margin_and_a_mix_is_cheaper_than_seeds_alone(published):
    power = group_power(published, objectives=("dpo", "ipo", "apo_zero", "kto"), most_prompts=512)
    assert (power.seeds, power.prompts, power.unit) == (5, 192, "J")
    assert power.detect == margin_of("sentiment", target="reward")
    low, middle, high = power.quartiles
    assert power.detect < low <= middle <= high < 1
    assert power.as_now.prompts == 192
    assert power.cheapest.hours < power.as_now.hours
    assert power.cheapest.trainings == 4 * power.cheapest.seeds == power.cheapest.more_trainings + 20
    assert power.unlucky.hours > power.cheapest.hours
    assert set(power.against_first) == set(power.arms) - {power.first}


def test_pairs_of_like_arms_could_see_what_the_formula_says():
    rng = np.random.default_rng(0)
    scores = {
        str(arm): dict(enumerate((0.2 * rng.normal(size=(20, 1)) + rng.normal(size=(20, 100))).tolist()))
        for arm in range(5)
    }
    pairs = smallest_by_pair(scores)
    assert len(pairs) == 10
    expected = smallest_difference(Design(20, 100), Variances(2 * 0.2**2, 0.0, 2.0), Family(5))
    assert np.median(list(pairs.values())) == pytest.approx(expected, rel=0.12)


def test_costs_split_tasks_from_prompts_where_some_evaluation_has_none():
    def one(seconds, *, seed=0, tasks=("blimp",), prompts=100):
        made = record(run_spec(seed=seed), split="test")
        cost = {**made.cost.model_dump(), "train_seconds": 30.0, "evaluate_seconds": seconds, "devices": 2}
        spec = evaluation("test", lm_eval=tasks, prompts=prompts)
        return made.model_copy(update={"cost": Cost.model_validate(cost), "evaluation": spec})

    whole = [one(8.0)]
    costs, counted_in = run_costs(whole, whole)
    assert counted_in
    assert (costs.training, costs.evaluation, costs.sample) == (60.0, 0.0, 0.08)
    costs, counted_in = run_costs(whole, [*whole, one(5.0, tasks=())])
    assert not counted_in
    assert costs.sample == pytest.approx(0.05)
    assert costs.evaluation == pytest.approx(3.0)
    assert costs.run(200, 2) == pytest.approx(60 + 3 + 20)


def test_one_seed_or_one_objective_says_nothing_and_the_fix_does(published):
    with pytest.raises(UsageError, match="two or more"):
        group_power(published, objectives=("dpo",))
    with pytest.raises(UsageError, match="no test scores") as error:
        group_power(published, objectives=("dpo", "ipoo"))
    assert "ipo" in error.value.fix
    done = bench("power", "--results", "results/published/smollm2")
    assert done.returncode == 2
    assert "--seeds 2" in done.stderr


def test_the_command_prints_table_json_and_csv():
    options = ("power", "--results", PUBLISHED, "--objectives", "dpo,ipo,apo_zero", "--detect", "0.3")
    text = bench(*options).stdout
    assert "could be seen" in text
    assert "prompts as now" in text
    assert max(map(len, text.splitlines())) <= 140
    (one,) = json.loads(bench(*options, "--json").stdout)
    assert one["detect"] == 0.3
    assert one["cheapest"]["prompts"] <= one["most_prompts"] == 512
    rows = list(csv.DictReader(io.StringIO(bench(*options, "--csv").stdout)))
    assert {row["objective"] for row in rows} == {"dpo", "ipo", "apo_zero"}
    for row in rows:
        assert float(row["residual_sd"]) == pytest.approx(
            math.sqrt(one["components"][row["objective"]]["residual"]), 1e-5
        )
        assert int(row["cheapest_seeds"]) == one["cheapest"]["seeds"]


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--detect", "-1"), "above 0"), (("--json", "--csv"), "--csv"), (("--results", "nowhere"), "no finished run")],
)
def test_options_that_cannot_be_are_refused(options, message):
    done = bench("power", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "→" in done.stderr
