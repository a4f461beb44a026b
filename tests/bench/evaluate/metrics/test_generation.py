"""The metrics of sampled completions."""

import math

import pytest

from bench.core.samples import SampleRow
from bench.evaluate.metrics.generation import by_sample, diversity, generation_metrics, per_prompt, target_of_sample


def test_diversity_counts_distinct_n_grams_over_all_completions():
    assert diversity([(1, 2, 1), (1, 2)]) == {"distinct_1": 2 / 5, "distinct_2": 2 / 3}
    assert diversity([(1,)]) == {"distinct_1": 1.0, "distinct_2": 0.0}


def row(*, completion_ids=(2,), ended=False, gold=0.0, kl=0.0):
    return SampleRow(prompt_ids=(1,), completion_ids=completion_ids, ended=ended, prompt="", text="", gold=gold, kl=kl)


def test_the_targets_standard_error_is_of_the_difference_of_each_prompt():
    # J = gold − 0.5·kl is 1 for every prompt, so its error is 0 though gold and kl vary.
    rows = [
        row(completion_ids=(2, 0), ended=True, gold=1, kl=0),
        row(completion_ids=(2, 2), gold=2, kl=2),
        row(completion_ids=(2, 3), gold=3, kl=4),
        row(completion_ids=(0,), ended=True, gold=4, kl=6),
    ]
    metrics = generation_metrics(rows, beta0=0.5, split="test")
    by_name = {metric.name: metric for metric in metrics}
    assert {(metric.task, metric.split, metric.n) for metric in metrics} == {("generation", "test", 4)}
    assert (by_name["target"].value, by_name["target"].stderr) == (1.0, 0.0)
    # var(1, 2, 3, 4) = 5/3, over n = 4.
    assert by_name["gold_reward"].stderr == pytest.approx(math.sqrt(5 / 3 / 4))
    assert (by_name["kl"].value, by_name["length"].value, by_name["ended_share"].value) == (3.0, 7 / 4, 0.5)
    assert by_name["distinct_1"].value == 3 / 7


def test_one_row_has_no_standard_error_and_none_is_refused():
    assert {metric.stderr for metric in generation_metrics([row()], beta0=0.1, split="test")} == {None}
    with pytest.raises(ValueError, match="nothing was measured"):
        generation_metrics([], beta0=0.1, split="test")


def test_a_score_is_the_mean_over_a_prompts_samples_and_all_else_the_mean_of_what_each_sample_gives():
    first = [row(completion_ids=(2, 3), gold=1, kl=2), row(completion_ids=(2, 4), gold=3, kl=0)]
    second = [row(completion_ids=(5, 6, 0), ended=True, gold=2, kl=4), row(completion_ids=(5, 5), gold=5, kl=2)]
    rows = [*first, *second]
    scores = per_prompt(rows, beta0=0.5, samples=2)
    assert scores["gold_reward"].tolist() == [1.5, 4.0]
    assert scores["kl"].tolist() == [3.0, 1.0]
    assert scores["target"].tolist() == [0.0, 3.5]
    assert [scores[target_of_sample(number)].tolist() for number in (1, 2)] == [[0.0, 3.0], [0.0, 4.0]]
    together = {metric.name: metric for metric in generation_metrics(rows, beta0=0.5, split="test", samples=2)}
    alone = [
        {metric.name: metric for metric in generation_metrics(part, beta0=0.5, split="test")}
        for part in (first, second)
    ]
    for name, metric in together.items():
        assert metric.n == 2
        assert metric.value == pytest.approx((alone[0][name].value + alone[1][name].value) / 2)
    assert together["target"].stderr == pytest.approx(1.75)  # of the means 0 and 3.5


def test_one_sample_a_prompt_is_stored_as_it_was():
    assert set(per_prompt([row(), row()], beta0=0.1)) == {"gold_reward", "kl", "target", "length"}
    with pytest.raises(ValueError, match="3 rows are not 2 samples"):
        by_sample([row()] * 3, 2)
