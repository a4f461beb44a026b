"""What judges say of a checkpoint's samples."""

import numpy as np
import pytest

from bench.core.samples import SampleRow
from bench.errors import RunError
from bench.evaluate.judges.base import AnswerPair, Judge, Verdict
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from bench.evaluate.judges.reward_model import scored_judge
from bench.evaluate.judges.win_rate import held_out_accuracy, judge_samples, with_rewards
from tests.bench.evaluate.judges.server import completion, serving


def by_number(texts):
    return np.array([float(answer.split()[0]) for _, answer in texts])


JUDGE = scored_judge("number", by_number, identity="number")


def rows(*texts):
    return [
        SampleRow(prompt_ids=(1,), completion_ids=(2,), ended=True, prompt=f"q{place}", text=text, gold=None, kl=0.0)
        for place, text in enumerate(texts)
    ]


def judge_rows(outputs, references, judge=JUDGE, **changes):
    return judge_samples(
        judge, outputs, references, **{"task": "judge", "split": "test", "seed": 0, "verdicts": None, **changes}
    )


def test_the_win_rate_is_of_the_sample_over_the_start_models_answer_to_the_same_prompt():
    result = judge_rows(rows("3", "1", "2", "9"), rows("1", "3", "2", "0"))
    metrics = {metric.name: metric.value for metric in result.metrics}
    assert result.preferences.tolist() == [1.0, 0.0, 0.5, 1.0]
    assert metrics["win_rate"] == pytest.approx(62.5)
    assert metrics["unjudged_share"] == 0.0
    assert result.target.mean() == pytest.approx(metrics["lc_win_rate"])


def test_the_start_model_has_half_of_all_wins_without_any_query():
    def never(pairs):
        raise AssertionError("asked")

    judge = Judge(name="never", identity="never", ordered=False, compare=never)
    result = judge_rows(rows("3", "1"), None, judge)
    assert {metric.name: metric.value for metric in result.metrics} == {"win_rate": 50.0, "lc_win_rate": 50.0}
    assert result.target.tolist() == [50.0, 50.0]


def silent_on(*words):
    def compare(pairs):
        for place, pair in enumerate(pairs):
            silent = pair.first in words or pair.second in words
            verdict = Verdict(first_better=None, outcome="refused", text="no") if silent else Verdict(first_better=0.0)
            yield place, verdict

    return Judge(name="silent", identity="silent", ordered=False, compare=compare)


def test_a_prompt_without_a_verdict_counts_in_no_rate_and_is_reported():
    result = judge_rows(rows("a", "b", "c"), rows("x", "y", "z"), silent_on("b"))
    metrics = {metric.name: (metric.value, metric.n) for metric in result.metrics}
    assert metrics["unjudged_share"] == (pytest.approx(1 / 3), 3)
    assert metrics["win_rate"] == (100.0, 2)
    assert result.preferences.tolist() == [1.0, 1.0, 1.0]


def test_verdicts_by_words_of_a_judge_that_gives_probabilities_are_counted():
    def answer(body, number):
        """Probabilities for every question but the first."""
        words = "q0" in body["messages"][-1]["content"]
        return 200, completion("M", chances=None if words else {"M": -0.5, "m": -1.5})

    with serving(answer) as server:
        judge = judge_of(JudgeSpec(kind="api", model="m", url=server.url))
        result = judge_rows(rows("a", "b", "c", "d"), rows("w", "x", "y", "z"), judge)
    metrics = {metric.name: metric.value for metric in result.metrics}
    assert metrics["by_words_share"] == 0.25
    assert sorted(result.preferences)[0] == 0.0 or sorted(result.preferences)[-1] == 1.0
    assert "by_words_share" not in {metric.name for metric in judge_rows(rows("3", "1"), rows("1", "3")).metrics}


def test_a_judge_that_says_nothing_at_all_ends_the_evaluation_with_its_words():
    with pytest.raises(RunError, match=r"judge silent gave no verdict on any of 2 answers, e.g. refused: 'no'"):
        judge_rows(rows("a", "b"), rows("x", "y"), silent_on("a", "b"))


def test_verdicts_are_kept_and_not_requested_again(tmp_path):
    first = judge_rows(rows("3", "1"), rows("1", "3"), verdicts=tmp_path)

    def never(pairs):
        raise AssertionError("asked")

    again = Judge(name="other", identity=JUDGE.identity, ordered=False, compare=never)
    assert judge_rows(rows("3", "1"), rows("1", "3"), again, verdicts=tmp_path).preferences.tolist() == (
        first.preferences.tolist()
    )


def test_agreement_with_held_out_labels_counts_ties_half():
    pairs = [
        AnswerPair(instruction="q", first=first, second=second)
        for first, second in (("3", "1"), ("1", "2"), ("5 a", "5 b"))
    ]
    (metric,) = held_out_accuracy(JUDGE, pairs, task="judge", split="test", seed=0, verdicts=None)
    assert (metric.name, metric.value, metric.n) == ("held_out_accuracy", pytest.approx(0.5), 3)


def test_a_judge_that_scores_gives_samples_their_reward_and_one_that_compares_gives_none():
    assert [row.gold for row in with_rewards(JUDGE, rows("3", "1"))] == [3.0, 1.0]
    assert [row.gold for row in with_rewards(silent_on(), rows("3", "1"))] == [None, None]
