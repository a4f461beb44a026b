"""Labels by real judges: the gold reward, the suite's model as a reader, the policy itself; going on after a kill."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch

import bench.suites
from bench.errors import RunError
from bench.evaluate.gold_reward import load_gold
from bench.evaluate.judges.base import Verdict
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from bench.evaluate.judges.openai_endpoint import IN_A_ROW
from bench.evaluate.judges.reward_model import gold_judge
from bench.models.loading import load_model, load_tokenizer
from bench.runner.iterate.labels import (
    CHUNK,
    by_comparison,
    by_score,
    read_labels,
    score_by,
    stated_score,
    write_labels,
)
from bench.runner.iterate.samples import Sampled, read_sampled, write_sampled
from bench.runner.iterate.self_judge import POINTS, SelfJudging, _digit_tokens, _judge_prompt, read_score, self_scores
from tests.bench.evaluate.judges.models import ANSWERS, MODEL, chat_model, template_file
from tests.bench.evaluate.judges.server import completion, serving

GOLD = Path(bench.suites.__file__).parent / "sentiment" / "gold"
TEXTS = (" wonderful and moving", " a waste of time", " fine", " awful")


def rows(count: int = 3) -> list[Sampled]:
    """Prompts with four completions each; their ids mean nothing here."""
    return [
        Sampled(
            prompt_ids=(0, n),
            prompt=f"Film {n} was",
            completions=((n, 1), (n, 2), (n, 3), (n, 4)),
            texts=TEXTS,
            ended=(True,) * 4,
        )
        for n in range(count)
    ]


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.fixture(scope="module")
def policy():
    return load_model(MODEL), load_tokenizer(MODEL)


def test_the_gold_judge_gives_each_completion_the_gold_reward(tmp_path):
    judge, sampled = gold_judge(), rows()
    labels, about = by_score(judge.name, judge.identity, score_by(judge), sampled, cache=None, progress=quiet)
    gold = load_gold(GOLD)
    for row, label in zip(sampled, labels, strict=True):
        assert label.scores == tuple(gold.score([row.prompt + text for text in row.texts]))
    assert about.outcomes == {"judged": 12}
    write_labels(tmp_path, labels, about)
    assert read_labels(tmp_path) == (labels, about)
    write_sampled(tmp_path / "samples", sampled)
    assert read_sampled(tmp_path / "samples") == sampled


def test_scoring_that_was_killed_goes_on_from_what_was_kept(tmp_path):
    sampled, asked = rows(count=3 * CHUNK // 4), []

    def score(part, number, *, dies_at):
        if number == dies_at:
            raise KeyboardInterrupt
        asked.extend(part)
        return [Verdict(first_better=None, text=stated_score(float(len(text) + number))) for _, text in part]

    ask = partial(by_score, "mine", "identity", sampled=sampled, cache=tmp_path, progress=quiet)
    with pytest.raises(KeyboardInterrupt):
        ask(score=partial(score, dies_at=2))
    assert len(asked) == 2 * CHUNK
    resumed, _ = ask(score=partial(score, dies_at=-1))
    assert len(asked) == 3 * CHUNK
    whole, _ = ask(score=partial(score, dies_at=-1))
    assert len(asked) == 3 * CHUNK
    assert resumed == whole
    other, _ = by_score("mine", "another", partial(score, dies_at=-1), sampled, cache=tmp_path, progress=quiet)
    assert len(asked) == 6 * CHUNK
    assert other == whole


def reader(tmp_path):
    """The suite's own model as a judge that compares, and a template short enough for its context."""
    folder, template = chat_model(tmp_path / "model"), template_file(tmp_path)
    return judge_of(JudgeSpec(kind="lm", folder=folder, template=str(template), answers=ANSWERS))


def test_a_judge_that_compares_is_shown_every_two_completions_once_and_remembered(tmp_path):
    judge, sampled, told = reader(tmp_path), rows(), []
    ask = partial(by_comparison, judge, sampled, both=False, seed=0, cache=tmp_path / "verdicts")
    labels, about = ask(progress=lambda done, total: told.append((done, total)))
    assert [set(label.compared) for label in labels] == [{(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}] * 3
    assert told[-1] == (18, 18)
    assert len(list((tmp_path / "verdicts").rglob("*.json"))) == 18
    assert about.first_wins is not None
    assert 0 < about.mass < 1
    assert ask(progress=quiet)[0] == labels
    swapped = [Sampled(**{**vars(row), "texts": (row.texts[1], row.texts[0], *row.texts[2:])}) for row in sampled]
    turned, _ = by_comparison(judge, swapped, both=True, seed=0, cache=tmp_path / "verdicts", progress=quiet)
    straight, _ = by_comparison(judge, sampled, both=True, seed=0, cache=tmp_path / "verdicts", progress=quiet)
    for one, other in zip(turned, straight, strict=True):
        assert math.isclose(one.compared[0, 1], 1 - other.compared[0, 1], abs_tol=1e-9)


def test_a_judge_behind_an_address_that_fails_in_the_middle_is_asked_for_the_rest_only(tmp_path):
    sampled, fails = rows(), {"from": 7}

    def answer(body, number):
        if number >= fails["from"]:
            return 400, {"error": {"message": "no"}}
        return 200, completion("m" if "wonderful" in body["messages"][-1]["content"] else "M")

    with serving(answer) as server:
        judge = judge_of(JudgeSpec(kind="api", model="m", url=server.url, concurrency=1, retries=0, logprobs=False))
        ask = partial(by_comparison, judge, sampled, both=False, seed=0, cache=tmp_path, progress=quiet)
        with pytest.raises(RunError, match="failed in a row"):
            ask()
        asked = len(server.bodies)
        assert asked >= 7 + IN_A_ROW
        fails["from"] = 1000
        labels, about = ask()
        assert len(server.bodies) == asked + 18 - 7
    assert about.outcomes == {"judged": 18}
    assert all(len(label.compared) == 6 for label in labels)


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("It is relevant. Score: 3", 3), ("**Score:** 4/5", 4), ("score: 2.5.", 2.5), ("Score: 1 … no, Score: 5", 5),
        ("Score: 10", None), ("Score: 5.5", None), ("Score: seven", None), ("four", None), ("", None),
    ],
)  # fmt: skip
def test_a_judgement_ends_in_a_score_from_0_to_5_or_says_none(said, score):
    assert read_score(said) == score


def test_the_expected_score_is_the_mean_over_the_digits_that_the_policy_would_say(policy):
    model, tokenizer = policy
    judging = SelfJudging(judgements=0)
    part = [("Film 1 was", text) for text in TEXTS]
    found = self_scores(model, tokenizer, judging, seed=(0,))(part, 0)
    begin, ends = _digit_tokens(tokenizer)
    assert [tokenizer.decode([*begin, *end]) for end in ends] == [f"Score: {points}" for points in range(POINTS)]
    for verdict, (prompt, answer) in zip(found, part, strict=True):
        ids = [*_judge_prompt(tokenizer, prompt, answer, reasons=False), *begin]
        chances = [chance_of(model, ids, end) for end in ends]
        expected = sum(points * chance for points, chance in enumerate(chances)) / sum(chances)
        assert math.isclose(json.loads(verdict.text)["score"], expected, rel_tol=1e-4)
        assert math.isclose(verdict.mass, sum(chances), rel_tol=1e-4)


def chance_of(model, ids, end):
    """The probability of going on with ``end``, token by token."""
    chance = 1.0
    for place, token in enumerate(end):
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *end[:place]]])).logits[0, -1]
        chance *= float(logits.double().softmax(-1)[token])
    return chance


def test_sampled_judgements_that_say_no_score_are_malformed_and_ones_too_long_failed(policy):
    model, tokenizer = policy
    score = self_scores(model, tokenizer, SelfJudging(judgements=2, tokens=8), seed=(0,))
    found = score([("Film 1 was", " fine"), ("Film 2 was", " long" * 120)], 0)
    assert [verdict.outcome for verdict in found] == ["malformed", "failed"]
    assert [json.loads(verdict.text)["score"] for verdict in found] == [None, None]
    assert json.loads(found[0].text)["said"]
    assert score([("Film 1 was", " fine"), ("Film 2 was", " long" * 120)], 0) == found
    labels, about = by_score("self", "i", score, rows(1), cache=None, progress=quiet)
    assert labels[0].scores == (None,) * 4
    assert about.outcomes == {"malformed": 4}
