"""The judge that is fitted on preferences."""

import json
import random

import numpy as np
import pytest

from bench.errors import UsageError
from bench.evaluate.judges.base import AnswerPair
from bench.evaluate.judges.bradley_terry import LabelledAnswers, fitted_judge
from bench.evaluate.judges.factory import judge_of, judge_spec

KIND, RUDE = ("please", "thanks", "gladly"), ("idiot", "stupid", "shut up")
FILLER = [
    "the",
    "a",
    "of",
    "to",
    "and",
    "it",
    "is",
    "on",
    "with",
    "as",
    "was",
    "at",
    "by",
    "from",
    "they",
    "we",
    "say",
    "her",
    "she",
    "or",
    "will",
    "my",
    "one",
    "all",
    "would",
]


def answers(words, count, *, seed):
    draw = random.Random(seed)
    return [
        " ".join(draw.sample([*draw.choices(FILLER, k=draw.randint(3, 20)), draw.choice(words)], k=4))
        + f" {draw.choice(words)}"
        for _ in range(count)
    ]


def labelled(count=40):
    return LabelledAnswers(
        prompts=[place // 2 for place in range(count)],
        better=answers(KIND, count, seed=0),
        worse=answers(RUDE, count, seed=1),
    )


def test_it_prefers_what_the_preferences_prefer_in_texts_that_it_has_not_seen():
    judge = fitted_judge(labelled(), source="data")
    new = list(zip(answers(KIND, 50, seed=2), answers(RUDE, 50, seed=3), strict=True))
    verdicts = dict(judge.compare([AnswerPair(instruction="", first=kind, second=rude) for kind, rude in new]))
    assert np.mean([verdicts[place].first_better for place in range(50)]) > 0.95
    turned = dict(judge.compare([AnswerPair(instruction="", first=rude, second=kind) for kind, rude in new]))
    assert all(turned[place].first_better == 1 - verdicts[place].first_better for place in range(50))


def test_a_text_twice_as_long_is_worth_no_more():
    judge = fitted_judge(labelled(), source="data")
    assert judge.score is not None
    once, twice = judge.score([("", "please of the it"), ("", "please of the it it it the of the of")])
    other, none = judge.score([("", "nothing of this was ever seen before"), ("", "")])
    assert once > 0
    assert abs(twice) < 2 * abs(once)
    assert none == 0.0
    assert abs(other) < abs(once)


def test_unpaired_answers_are_fitted_by_their_labels():
    both = [*answers(KIND, 30, seed=0), *answers(RUDE, 30, seed=1)]
    judge = fitted_judge(
        LabelledAnswers(prompts=list(range(60)), better=both, desirable=[True] * 30 + [False] * 30), source="data"
    )
    assert judge.score is not None
    kind, rude = judge.score([("", "thanks please"), ("", "idiot stupid")])
    assert kind > 0 > rude


def test_the_same_preferences_make_the_same_judge_and_others_another_one():
    one, two, other = (
        fitted_judge(preferences, source="data") for preferences in (labelled(), labelled(), labelled(42))
    )
    assert one.identity == two.identity != other.identity
    texts = [("", text) for text in answers(KIND, 5, seed=9)]
    assert one.score is not None
    assert two.score is not None
    assert one.score(texts).tolist() == two.score(texts).tolist()


def test_a_judge_is_fitted_on_a_file_of_any_known_format_and_is_called_as_the_file(tmp_path):
    preferences, rows = labelled(), []
    for prompt, better, worse in zip(preferences.prompts, preferences.better, preferences.worse, strict=True):
        turns = [{"from": "human", "value": f"question {prompt}"}]
        sides = {"chosen": {"from": "gpt", "value": better}, "rejected": {"from": "gpt", "value": worse}}
        rows.append({"conversations": turns, **sides})
    path = tmp_path / "kindness.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    judge = judge_of(judge_spec(f"fitted:{path}"))
    assert judge.name == "kindness"
    assert judge.identity == fitted_judge(preferences, source="data").identity


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        (
            LabelledAnswers(prompts=[0, 0, 1], better=["a b", "c", "d"], worse=["x", "y", "z"]),
            "has 2 prompts: too little",
        ),
        (
            LabelledAnswers(prompts=range(9), better=["a b"] * 9, desirable=[True] * 9),
            "needs wanted and unwanted answers",
        ),
        (LabelledAnswers(prompts=range(9), better=["?"] * 9, worse=["!"] * 9), "empty vocabulary"),
    ],
)
def test_preferences_that_say_too_little_are_refused(preferences, message):
    with pytest.raises(UsageError, match=message):
        fitted_judge(preferences, source="data")
