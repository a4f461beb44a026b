"""Soft verdicts of real server answers, beside alpaca-eval's own parser of them."""

import json
import math
import random

import pytest

from bench.cli.evaluate_judges import evaluate_judges
from bench.cli.evaluate_options import Evaluation
from bench.evaluate.judges.base import AnswerPair
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from bench.evaluate.judges.soft_verdict import answer_in, token_text
from bench.utils.isolation import quiet
from tests.bench.evaluate.judges.models import ANSWERS, chat_model, template_file
from tests.bench.evaluate.judges.server import completion, serving

PAIRS = [AnswerPair(instruction=f"Question {n}?", first=f"one {n}", second=f"two {n}") for n in range(12)]


def positions(*places):
    """The probabilities of each place: {token: probability}, the first one written; bytes as OpenAI sends them."""

    def entry(token, chance):
        return {"token": token, "logprob": math.log(chance), "bytes": list(token.encode())}

    return [
        {**entry(*next(iter(place.items()))), "top_logprobs": [entry(*each) for each in place.items()]}
        for place in places
    ]


def response(*places):
    made = completion("".join(next(iter(place)) for place in places))
    made["choices"][0]["logprobs"] = {"content": positions(*places), "refusal": None}
    return made


def judged(answer, pairs=PAIRS[:1], **fields):
    """The judge's verdicts, and what the server sent, in the pairs' order."""
    sent = {}

    def remember(body, number):
        key = body["messages"][-1]["content"]
        sent[key] = answer(body, number)
        return 200, sent[key]

    with serving(remember) as server:
        judge = judge_of(JudgeSpec.model_validate({"kind": "api", "model": "m", "url": server.url, **fields}))
        verdicts = dict(judge.compare(list(pairs)))
        raw = [sent[judge.prompt(pair)[-1][1]] for pair in pairs]
    return [verdicts[number] for number in range(len(pairs))], raw


def by_alpaca_eval(raw, first, second):
    """P(first answer), as alpaca-eval's ``logprob_parser`` reads it; its scale is 1 the first, 2 the second."""
    with quiet():
        from alpaca_eval.completion_parsers import logprob_parser

    (value,) = logprob_parser(
        raw["choices"][0],
        numerator_token=first,
        denominator_tokens=[first, second],
        is_binarize=False,
        log_prob_index=0,
    )
    return 2.0 - value


@pytest.mark.parametrize(
    ("first", "second"), [("m", "M"), (" m", " M"), ("\nm", "\nM"), ("▁m", "▁M"), ("Ġm", "ĠM"), ('"m', '"M')]
)
def test_verdicts_are_alpaca_evals_of_the_tokens_that_carry_the_letters(first, second):
    draw = random.Random(0)

    def answer(body, number):
        share, rest = draw.uniform(0.05, 0.95), draw.uniform(0.0, 0.3)
        chances = {first: (1 - rest) * share, second: (1 - rest) * (1 - share), "The": rest / 2 + 1e-9, "Both": 1e-9}
        return response(dict(sorted(chances.items(), key=lambda item: -item[1])))

    verdicts, raw = judged(answer, PAIRS)
    for verdict, one in zip(verdicts, raw, strict=True):
        assert verdict.first_better == pytest.approx(by_alpaca_eval(one, first, second), abs=1e-9)
        assert 0.0 < verdict.first_better < 1.0
        assert verdict.mass is not None


def test_every_token_that_carries_a_letter_counts():
    chances = {"M": 0.4, " m": 0.2, "m": 0.1, " M": 0.1, "Model": 0.1}
    (verdict,), _ = judged(lambda body, number: response(chances))
    assert verdict.first_better == pytest.approx(0.3 / 0.8)
    assert verdict.mass == pytest.approx(0.8)


def test_after_a_blank_token_the_next_place_counts_by_its_chance():
    (verdict,), _ = judged(lambda body, number: response({"\n": 0.6, "m": 0.3, "x": 0.1}, {"M": 0.9, "m": 0.1}))
    assert verdict.mass == pytest.approx(0.3 + 0.6)
    assert verdict.first_better == pytest.approx((0.3 + 0.06) / 0.9)


def test_an_answer_in_a_sentence_is_read_where_it_stands():
    (verdict,), _ = judged(lambda body, number: response({"Best": 1.0}, {":": 1.0}, {" M": 0.7, " m": 0.3}))
    assert verdict.first_better == pytest.approx(0.3)


def test_tokens_are_read_by_their_bytes_and_by_how_vocabularies_write_them():
    assert [token_text(text) for text in ("<0x6D>", "bytes:\\x20\\x6d", "Ġm", "▁M", "mĊ")] == [
        "m",
        " m",
        " m",
        " M",
        "m\n",
    ]
    assert token_text("\ufffd", [32, 77]) == " M"
    assert [answer_in(text, ("m", "M")) for text in ("m", " M.", "Mm", "", "**m**")] == [0, 1, None, None, 0]
    assert [answer_in(text, ("A", "B")) for text in ("a", " b", "A", "C")] == [0, 1, 0, None]


def served_model(folder):
    """A server of the suite's own model: the probabilities of its five likeliest first tokens, as it writes tokens."""
    import torch

    from bench.evaluate.judges.loading import local_causal

    model, tokenizer = local_causal(folder)

    def answer(body, number):
        text = "".join(message["content"] for message in body["messages"])
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logps, tokens = model(ids).logits[0, -1].log_softmax(-1).topk(200)
        places = {tokenizer.decode([token]): math.exp(logp) for logp, token in zip(logps, tokens, strict=True)}
        return response(places)

    return answer


def test_a_real_models_answers_are_read_as_alpaca_eval_reads_them(tmp_path):
    fields = {"template": str(template_file(tmp_path)), "answers": ANSWERS}
    pairs = [
        AnswerPair(instruction="This movie was", first=first, second=second)
        for first, second in ((" wonderful", " awful"), (" awful", " wonderful"), (" dull", " a joy"))
    ]
    verdicts, raw = judged(served_model(chat_model(tmp_path / "model")), pairs, **fields)
    for verdict, one in zip(verdicts, raw, strict=True):
        carried = [each["token"] for each in one["choices"][0]["logprobs"]["content"][0]["top_logprobs"]]
        variants = [text for text in carried if answer_in(text, ANSWERS) is not None]
        if sorted(variants) == sorted(ANSWERS):
            assert verdict.first_better == pytest.approx(by_alpaca_eval(one, *ANSWERS), abs=1e-9)
        assert 0.0 < verdict.first_better < 1.0


def files(folder, *, mine="mine", count=8, change=lambda text: text):
    base = [{"instruction": f"Question number {n}?", "output": "base " + "x" * n, "generator": "ref"} for n in range(8)]
    own = [
        {"instruction": change(f"Question number {n}?"), "output": "my answer " + "y" * (n % 3), "generator": mine}
        for n in range(count)
    ]
    (folder / "base.json").write_text(json.dumps(base))
    (folder / "mine.json").write_text(json.dumps(own))
    return {"outputs": (folder / "mine.json",), "baseline": folder / "base.json", "out": folder / "out"}


def asked(folder, answer, capsys, *, dry_run=False, **changes):
    with serving(lambda body, number: (200, answer(body, number))) as server:
        evaluate_judges(Evaluation(judges=(f"api:m@{server.url}",), dry_run=dry_run, **files(folder, **changes)))
        sent = len(server.bodies)
    return " ".join(capsys.readouterr().out.split()), sent


def test_the_table_is_alpaca_evals_own_win_rate_of_soft_verdicts(tmp_path, capsys):
    import pandas as pd

    with quiet():
        from alpaca_eval.metrics import get_winrate

    def answer(body, number):
        share = 0.2 + 0.6 * (len(body["messages"][-1]["content"]) % 7) / 7
        return response({" M": 1 - share, " m": share})

    text, _ = asked(tmp_path, answer, capsys)
    row = pd.read_csv(tmp_path / "out" / "judgements.csv").iloc[0]
    stored = pd.DataFrame(json.loads((tmp_path / "out" / "annotations.json").read_text()))
    assert row["win_rate"] == pytest.approx(get_winrate(stored["preference"])["win_rate"])
    assert set(stored["preference"]).isdisjoint({1.0, 2.0})
    assert "verdicts are its words" not in text


def test_verdicts_by_words_are_reported_where_probabilities_were_wanted(tmp_path, capsys):
    text, _ = asked(tmp_path, lambda body, number: completion("M"), capsys)
    assert "8 of 8 verdicts are its words, 1 or 0" in text


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mine": "ref"}, "ref: called like the baseline"),
        ({"count": 1}, "one question: its rate will have no standard error"),
        (
            {"change": lambda text: text if "3" not in text else text + " "},
            "1 instructions differ in spaces or case alone, e.g. 'Question number 3? ' and 'Question number 3?'",
        ),
    ],
)
def test_what_is_odd_is_reported_before_anything_is_asked(changes, message, dry_run, tmp_path, capsys):
    text, sent = asked(
        tmp_path, lambda body, number: response({"M": 0.6, "m": 0.4}), capsys, dry_run=dry_run, **changes
    )
    assert message in text
    assert (sent == 0) == dry_run
    assert text.index(message) < text.index("requests,")


def test_one_question_has_no_interval_in_the_table(tmp_path, capsys):
    text, _ = asked(tmp_path, lambda body, number: response({"M": 0.6, "m": 0.4}), capsys, count=1)
    assert "0.00" not in text.replace("60.00", "").replace("40.00", "")
    assert "one judged question, from which no standard error" in text
