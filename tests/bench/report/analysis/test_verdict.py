"""The sentence of a table: it names who is first, what is known of the others, and never a best that is none."""

import math
import re

import numpy as np
import pytest

from bench.report.analysis.comparison import compare_group
from bench.report.analysis.settings import group_records
from bench.report.analysis.verdict import amount, duration, listed, more_seeds, rounded
from bench.report.analysis.warnings import edges, warnings_of, widened
from bench.stats.intervals import Interval
from bench.stats.verdicts import PairVerdict
from tests.bench.report.conftest import record, run_spec, start_records, study

PROMPTS = 40


def runs_of(name, table, *, kl=3.0, beta=0.1, seconds=30.0):
    made = [record(run_spec(name, beta=beta), target=float(np.mean(table)))]
    for seed, row in enumerate(table, start=1):
        spec = run_spec(name, beta=beta, seed=seed)
        one = record(spec, split="test", target=float(np.mean(row)), kl=kl, seconds=seconds)
        made.append(one.model_copy(update={"scores": {"target": list(map(float, row))}}))
    return made


def table_of(gaps, *, seeds=8, noise=0.05, kl=3.0, start=0.0, margin=0.1, wild=(), **changes):
    """A comparison of objectives whose targets are ``gaps`` above the prompts' own; ``wild`` ones vary by seed."""
    shared = np.random.default_rng(0).normal(size=(1, PROMPTS))
    records = []
    if start is not None:
        records = start_records()
        records[1] = records[1].model_copy(update={"scores": {"target": list(shared[0] + start)}})
    for at, (name, gap) in enumerate(gaps.items()):
        rng = np.random.default_rng(at + 1)
        own = shared + gap + noise * rng.normal(size=(seeds, PROMPTS))
        own += (0.5 if name in wild else 0.0) * rng.normal(size=(seeds, 1))
        records += runs_of(name, own, kl=kl)
    (group,) = group_records([r.model_copy(update=changes) for r in records] if changes else records)
    return compare_group(group, margin=margin)


def test_a_clear_winner_is_best():
    found = table_of({"dpo": 1.0, "ipo": 0.5, "kto": 0.3}).verdict
    assert (found.first, found.is_best, found.worse) == ("dpo", True, ("ipo", "kto"))
    assert re.match(
        r"dpo is best, better than the start model by [01]\.\d\d ± 0\.\d\d; ipo and kto are worse by ", found.text
    )
    assert re.search(r"Differences of 0\.\d\d or more could be seen\.$", found.text)
    assert found.cost_text == ""
    assert found.full_text == found.text


def test_one_that_is_worse_has_its_interval_and_a_tie_has_its_margin():
    found = table_of({"dpo": 1.0, "ipo": 1.0, "kto": 0.5}).verdict
    assert found.is_best
    assert re.search(r"; ipo is equal to it within 0\.1; kto is worse by 0\.5\d? ± 0\.\d\d\.", found.text) or (
        "dpo is equal to it within 0.1" in found.text
    )


def test_what_is_undecided_says_how_many_seeds_and_what_each_costs():
    found = table_of({"dpo": 1.0, "ipo": 0.9, "kto": 0.2}, wild=("ipo",)).verdict
    assert not found.is_best
    assert found.undecided == ("ipo",)
    assert found.text.startswith("dpo has the highest mean, better than the start model by")
    assert f"ipo is undecided: about {rounded(found.more_seeds):,} more seeds would decide it" in found.text
    assert found.more_seeds > 0
    assert found.cost_text == "A seed takes 45 seconds."  # 30 to train, 15 to evaluate


def test_the_sentence_is_the_same_on_a_slower_machine_but_for_its_cost():
    gaps = {"dpo": 1.0, "ipo": 0.9}
    here = table_of(gaps, wild=("ipo",))
    slow = [r.model_copy(update={"cost": r.cost.model_copy(update={"train_seconds": 6e3})}) for r in here.group.records]
    there = compare_group(group_records(slow)[0], margin=0.1)
    assert there.verdict.text == here.verdict.text
    assert there.verdict.cost_text == "A seed takes 1.7 hours."


@pytest.mark.parametrize("start", [1.0, 1.3])
def test_nothing_that_beats_the_start_model_is_called_best(start):
    found = table_of({"dpo": 1.0, "ipo": 0.5}, start=start)
    verdict = found.verdict
    assert not verdict.is_best
    assert verdict.beats_start == ()
    assert verdict.text.startswith("No objective is shown to beat the start model: dpo has the highest mean, ")
    assert "best" not in verdict.text
    assert "ipo is worse than dpo by" in verdict.text
    assert verdict.to_start == ("equal" if start == 1.0 else "worse")


def test_a_policy_that_hardly_moved_is_warned_of_where_it_gained_nothing():
    still = table_of({"dpo": 1.0, "ipo": 0.5}, start=1.0, kl=0.001)
    assert still.verdict.unmoved
    assert warnings_of(still)[0].startswith("The policy hardly moved: dpo")
    assert not table_of({"dpo": 1.0, "ipo": 0.5}, start=1.0, kl=3.0).verdict.unmoved
    gained = table_of({"dpo": 1.0, "ipo": 0.5}, start=0.0, kl=0.001)
    assert not gained.verdict.unmoved
    assert not any("hardly moved" in warning for warning in warnings_of(gained))


def test_where_another_objective_than_the_first_beats_the_start_model_it_is_named():
    found = table_of({"dpo": 1.2, "ipo": 0.4}, wild=("dpo",), seeds=3)
    assert found.verdict.first == "dpo"
    assert found.verdict.beats_start == ("ipo",)
    assert "dpo has the highest mean, but is not shown to beat the start model" in found.verdict.text
    assert ", as ipo is" in found.verdict.text


def test_one_seed_decides_nothing_and_says_so():
    found = table_of({"dpo": 1.0, "ipo": 0.5, "kto": 0.1}, seeds=1)
    verdict = found.verdict
    assert verdict.undecided == ("ipo", "kto")
    assert (verdict.is_best, verdict.beats_start, verdict.more_seeds) == (False, (), None)
    assert math.isnan(verdict.detectable)
    assert "another seed may change that" in verdict.text
    assert "one seed decides nothing, two seeds or more can" in verdict.text
    assert "could be seen" not in verdict.text
    assert warnings_of(found)[0].startswith("One seed only")


def test_one_objective_is_compared_with_the_start_model_alone():
    found = table_of({"dpo": 1.0}).verdict
    assert found.text.startswith("dpo is the only objective with a test score, better than the start model by 0.99")
    assert found.detectable < 0.2
    below = table_of({"dpo": -1.0}).verdict
    assert below.text.startswith("No objective is shown to beat the start model")


def test_without_a_start_model_it_is_not_known_whether_training_helped():
    found = table_of({"dpo": 1.0, "ipo": 0.2}, start=None).verdict
    assert "whether it is better than the start model is not known" in found.text
    assert (found.to_start, found.is_best) == (None, False)
    assert found.worse == ("ipo",)


def test_without_test_scores_none_is_first():
    (group,) = group_records(study(("dpo", "ipo"), final_seeds=0))
    found = compare_group(group).verdict
    assert (found.first, found.is_best) == (None, False)
    assert found.text == "No objective has a test score yet, so none is first."
    assert not any("seed" in warning for warning in warnings_of(compare_group(group)))


def test_of_sixty_one_objectives_a_few_are_named():
    gaps = {f"loss_{at:02d}": 1.0 if at < 31 else 0.2 for at in range(61)}
    found = table_of(gaps, seeds=4).verdict
    assert len(found.equal) + len(found.worse) + len(found.undecided) == 60
    assert set(found.worse) == {name for name, gap in gaps.items() if gap == 0.2}
    assert "and 26 others are" in found.text
    assert len(found.text) < 500


def test_a_win_rate_is_in_points():
    shared = {"target": "win_rate"}
    found = table_of({"dpo": 60.0, "ipo": 59.0, "kto": 40.0}, noise=2.0, margin=3.0, start=50.0)
    group = group_records(
        [r.model_copy(update={"evaluation": r.evaluation.model_copy(update=shared)}) for r in found.group.records]
    )[0]
    text = compare_group(group).verdict.text
    assert compare_group(group).verdict.margin == 3.0
    assert re.search(r"better than the start model by \d+\.\d ± \d\.\d points", text)
    assert "equal to it within 3 points" in text
    assert re.search(r"kto is worse by \d+\.\d ± \d\.\d points", text)
    assert re.search(r"Differences of \d\.\d points or more", text)


def verdict(*, mean, detectable, seeds=5):
    gap = Interval(mean, mean - 1, mean + 1, "crossed", seeds)
    return PairVerdict(gap, 0.5, 0.5, "undecided", detectable)


def test_more_seeds_grow_with_the_square_of_what_could_be_seen():
    # 5 seeds see 0.4; to see 0.2 takes four times as many
    assert more_seeds(verdict(mean=-0.2, detectable=0.4), margin=0.1) == 15
    # at 0 it must be seen to be within the margin: sixteen times as many
    assert more_seeds(verdict(mean=0.0, detectable=0.4), margin=0.1) == 75
    assert more_seeds(verdict(mean=-0.2, detectable=math.nan), margin=0.1) is None
    assert more_seeds(verdict(mean=-0.2, detectable=0.4, seeds=1), margin=0.1) is None


def swept(name, values, best, *, seed=0):
    return [
        record(run_spec(name, beta=value, seed=seed), target=1.0 if value == best else 0.1 * at)
        for at, value in enumerate(values)
    ]


def test_a_best_value_at_the_edge_names_the_sweep_that_goes_on():
    grid = (0.01, 0.1, 1.0)
    (group,) = group_records([*swept("dpo", grid, 1.0), *swept("ipo", grid, 1.0), *swept("kto", grid, 0.1)])
    (text,) = edges(compare_group(group))
    assert text.startswith("dpo and ipo are best at the highest value tried (beta=1): --sweep beta=1,3.16,10 looks")
    (low,) = group_records(swept("dpo", grid, 0.01))
    assert "--loss dpo --sweep beta=0.01,0.00316,0.001" in edges(compare_group(low))[0]
    (two,) = group_records(swept("dpo", (0.1, 1.0), 1.0))
    assert edges(compare_group(two)) == []


def test_many_edges_are_a_few_sentences():
    records = [r for at in range(9) for r in swept(f"loss{at}", (0.1 + at, 1.0 + at, 2.0 + at), 2.0 + at)]
    found = edges(compare_group(group_records(records)[0]))
    assert len(found) == 5
    assert found[-1].startswith("Best at an edge as well: ")


@pytest.mark.parametrize(
    ("tried", "end", "wider"),
    [
        ((1.0, 2.0, 4.0), "highest", [4, 8, 16]),
        ((1.0, 2.0, 4.0), "lowest", [1, 0.5, 0.25]),
        ((0.0, 0.5, 1.0), "highest", [1, 1.5, 2]),
        ((1e-4, 1e-2, 1.0), "lowest", [1e-4, 3.16e-5, 1e-5]),
    ],
)
def test_a_range_is_widened_in_its_own_steps(tried, end, wider):
    assert widened(tried, end) == pytest.approx(wider)


def test_few_seeds_say_how_many_the_margin_takes():
    found = table_of({"dpo": 1.0, "ipo": 0.9, "kto": 0.2}, wild=("dpo", "ipo", "kto"))
    (text,) = [one for one in warnings_of(found) if one.startswith("Few seeds")]
    seen, seeds = found.verdict.detectable, math.ceil(8 * (found.verdict.detectable / 0.1) ** 2)
    assert (
        f"with 8, differences of {seen:.2f} could be seen; to see the margin, 0.1, takes about {rounded(seeds):,}"
        in text
    )
    assert not any("Few seeds" in one for one in warnings_of(table_of({"dpo": 1.0, "ipo": 0.2})))


def test_names_amounts_and_durations_are_plain():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([str(at) for at in range(9)]) == "0, 1, 2, 3 and 5 others"
    assert (amount(0.1234, margin=0.1), amount(2.345, margin=3.0, rate=True)) == ("0.12", "2.3 points")
    assert [duration(s) for s in (0.2, 24, 200, 5400, 5400 * 4)] == [
        "a second", "24 seconds", "3 minutes", "1.5 hours", "6 hours",
    ]  # fmt: skip
    assert [rounded(n) for n in (7, 58, 1234)] == [7, 58, 1200]
