"""Judges in this process, the order of answers, what is kept on disk, and how a judge is named."""

import json

import numpy as np
import pytest

from bench.errors import RunError, UsageError
from bench.evaluate.judges.annotate import annotate, as_records, judgements_of, orders, outcomes, position_bias
from bench.evaluate.judges.answers import PairedAnswers, pair_answers, read_answers
from bench.evaluate.judges.base import AnswerPair, Judge, Verdict
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of, judge_spec
from bench.evaluate.judges.judgements import read_judgements
from bench.evaluate.judges.templates import fill_template, read_words, template_of
from tests.bench.evaluate.judges.models import ANSWERS, MODEL, chat_model, template_file


def pairs_of(n=40, **columns):
    defaults = {
        "model": "mine",
        "baseline": "base",
        "index": tuple(range(n)),
        "instructions": tuple(f"question {k}" for k in range(n)),
        "outputs": tuple("x" * (k % 7 + 1) for k in range(n)),
        "references": tuple("y" * (k % 5 + 1) for k in range(n)),
        "left_out": 0,
    }
    return PairedAnswers(**(defaults | columns))


def judge(decide, *, ordered=True, queries=None):
    """A judge that decides by a function of the pair, and writes down what it was shown."""

    def compare(pairs):
        for number, pair in enumerate(pairs):
            if queries is not None:
                queries.append(pair)
            yield number, decide(pair)

    return Judge(name="own", identity="own-1", ordered=ordered, compare=compare)


def longer(pair):
    return Verdict(first_better=0.5 + 0.5 * np.sign(len(pair.first) - len(pair.second)))


def always_first(pair):
    return Verdict(first_better=0.75)


def test_the_preference_is_for_the_model_in_either_order():
    pairs = pairs_of()
    wanted = [0.5 + 0.5 * np.sign(len(a) - len(b)) for a, b in zip(pairs.outputs, pairs.references, strict=True)]
    for both, seed in ((False, 0), (False, 1), (True, 0)):
        made = annotate(judge(longer), pairs, both=both, seed=seed)
        assert [one.preference for one in made] == wanted


def test_the_bias_of_a_judge_that_always_takes_the_first_is_measured_and_both_orders_cancel_it():
    pairs = pairs_of(400)
    coin = annotate(judge(always_first), pairs)
    assert position_bias(coin).first == 75.0
    both = annotate(judge(always_first), pairs, both=True)
    assert {one.preference for one in both} == {0.5}
    assert position_bias(both).turned == 1.0
    assert position_bias(annotate(judge(longer), pairs, both=True)).turned == 0.0


def test_the_coin_is_fair_goes_by_seed_and_content_and_nothing_else():
    pairs = pairs_of(400)
    first = [row[0] for row in orders(pairs, ordered=True, both=False, seed=0)]
    assert 160 < first.count("model") < 240
    assert first != [row[0] for row in orders(pairs, ordered=True, both=False, seed=1)]
    part = pairs_of(
        10, index=pairs.index[5:15], instructions=pairs.instructions[5:15], outputs=pairs.outputs[5:15],
        references=pairs.references[5:15],
    )  # fmt: skip
    assert [row[0] for row in orders(part, ordered=True, both=False, seed=0)] == first[5:15]


def test_equal_answers_tie_without_a_query():
    queries = []
    made = annotate(
        judge(always_first, queries=queries), pairs_of(4, outputs=("a", "b", "c", "d"), references=("a",) * 4)
    )
    assert made[0].preference == 0.5
    assert len(queries) == 3


def test_a_verdict_is_requested_once_and_read_from_disk_afterwards(tmp_path):
    queries = []
    pairs = pairs_of(30, instructions=("q",) * 30)  # what occurs twice is one question
    first = annotate(judge(longer, queries=queries), pairs, both=True, cache=tmp_path)
    count = len(queries)
    distinct = {(a, b) for a, b in zip(pairs.outputs, pairs.references, strict=True)}
    assert count == 2 * len(distinct)
    again = annotate(judge(longer, queries=queries), pairs, both=True, cache=tmp_path)
    assert len(queries) == count
    assert again == first
    annotate(judge(longer, queries=queries), pairs_of(30, instructions=("r",) * 30), both=True, cache=tmp_path)
    assert len(queries) == 2 * count


def test_half_a_file_in_the_cache_is_requested_again_and_failures_are_never_kept(tmp_path):
    queries = []
    annotate(judge(longer, queries=queries), pairs_of(5), cache=tmp_path)
    (path, *_) = sorted(tmp_path.rglob("*.json"))
    path.write_bytes(path.read_bytes()[:9])
    annotate(judge(longer, queries=queries), pairs_of(5), cache=tmp_path)
    assert len(queries) == 6
    failing = judge(lambda pair: Verdict(first_better=None, outcome="failed"))
    annotate(failing, pairs_of(5, instructions=("f",) * 5), cache=tmp_path / "none")
    assert not list(tmp_path.glob("none/*"))


def test_refusals_stay_without_preference_and_are_counted():
    def moody(pair):
        refused = pair.instruction == "question 3"
        return Verdict(first_better=None, outcome="refused") if refused else longer(pair)

    made = annotate(judge(moody), pairs_of(10))
    assert [one.index for one in made if one.preference is None] == [3]
    assert outcomes(made) == {"judged": 9, "refused": 1}
    judgements = judgements_of(made, judge="own", model="mine", baseline="base")
    assert judgements.judged.sum() == 9


def test_annotations_on_disk_give_the_table_that_those_in_memory_give(tmp_path):
    made = annotate(judge(longer), pairs_of(), both=True)
    (tmp_path / "a.json").write_text(json.dumps(as_records(made, judge="own", model="mine", baseline="base")))
    (stored,) = read_judgements(tmp_path / "a.json")
    here = judgements_of(made, judge="own", model="mine", baseline="base")
    assert np.array_equal(stored.preferences, here.preferences)
    assert np.array_equal(stored.lengths, here.lengths)
    assert (stored.judge, stored.model, stored.baseline) == ("own", "mine", "base")


def test_the_gold_judge_prefers_what_the_gold_reward_scores_higher():
    gold = judge_of(judge_spec("gold"))
    good, bad = " a wonderful film, perfect in every way", " an awful waste of time"
    pairs = [AnswerPair(instruction="This was", first=a, second=b) for a, b in ((good, bad), (bad, good), (bad, bad))]
    assert [verdict.first_better for _, verdict in gold.compare(pairs)] == [1.0, 0.0, 0.5]


def test_a_reward_model_prefers_what_it_scores_higher(tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from bench.utils.isolation import quiet

    torch.manual_seed(0)
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(
            MODEL, num_labels=1, pad_token_id=1, dtype=torch.float32
        )
    model.save_pretrained(tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.save_pretrained(tmp_path / "reward")

    def score(instruction, answer):
        with torch.no_grad():
            return float(model.eval()(**tokenizer(f"{instruction}\n\n{answer}", return_tensors="pt")).logits)

    pairs = [AnswerPair(instruction="Why?", first=f"because {n}", second=f"{n} is the reason") for n in range(8)]
    hard = judge_of(judge_spec(f"reward:{tmp_path / 'reward'}"))
    soft = judge_of(JudgeSpec(kind="reward", folder=tmp_path / "reward", soft=True))
    gaps = [score("Why?", pair.first) - score("Why?", pair.second) for pair in pairs]
    assert [verdict.first_better for _, verdict in hard.compare(pairs)] == [float(gap > 0) for gap in gaps]
    for gap, (_, verdict) in zip(gaps, soft.compare(pairs), strict=True):
        assert verdict.first_better == pytest.approx(1 / (1 + np.exp(-gap)), abs=1e-5)
    assert hard.identity != soft.identity
    with pytest.raises(Exception, match="weights are missing"):
        judge_of(judge_spec(f"reward:{MODEL}"))  # a causal LM has no head for scores
    config = tmp_path / "reward" / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 6', '"num_hidden_layers": 5'))
    with pytest.raises(RunError, match=r"weights of its layers are not used, the first is model\.layers\.5"):
        judge_of(judge_spec(f"reward:{tmp_path / 'reward'}"))


def test_a_language_model_may_explain_first_and_what_does_not_fit_is_reported(tmp_path):
    folder = chat_model(tmp_path / "model")
    template = template_of(str(template_file(tmp_path)), answers=ANSWERS)
    lm = judge_of(JudgeSpec(kind="lm", folder=folder, template=str(template_file(tmp_path)), answers=ANSWERS))
    long = AnswerPair(instruction="word " * 400, first="a", second="b")
    (_, verdict), (_, fits) = lm.compare([long, AnswerPair(instruction="It was", first=" a", second=" b")])
    assert (verdict.outcome, fits.outcome) == ("failed", "judged")
    assert "exceed" in verdict.text
    ((_, spoken),) = lm.grade([fill_template(template, AnswerPair(instruction="It was", first=" a", second=" b"))])
    assert spoken.text
    with pytest.raises(UsageError, match="apart"):
        judge_of(
            JudgeSpec(kind="lm", folder=folder, template=str(template_file(tmp_path)), answers=(" goodx", " goody"))
        )


def test_what_stands_in_an_answer_is_never_read_as_a_field(tmp_path):
    template = template_of(str(template_file(tmp_path)))
    ((_, text),) = fill_template(
        template, AnswerPair(instruction="{output_2}", first="{instruction}", second="\\1 {x}")
    )
    assert text == "{output_2}{instruction} and\\1 {x}. In a word, the first one was very"


def test_a_verdict_after_an_explanation_is_read_as_fastchat_reads_it():
    template = template_of("pair-v2")
    assert template.tokens == 2048
    for text, value in (
        ("[[B]] is longer, but [[A]]", 1.0),
        ("[[C]] or [[B]]", 0.0),
        ("… so [[A]]", 1.0),
        ("[[C]]", 0.5),
    ):
        assert read_words(text, template).first_better == value
    assert read_words("both are fine", template).outcome == "malformed"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gpt-4", "unknown judge"),
        ("api:gpt-4", "needs a model and an address"),
        ("lm:nowhere", "no such folder"),
        ("none.toml", "cannot be read"),
        ('kind = "api"', "needs model and url"),
        ('kind = "lm"', "needs a folder"),
        ('kind = "oracle"', "kind"),
        ('kind = "gold"\nprice = 3', "price"),
        ('kind = "api"\nmodel = "m"\nurl = "http://localhost"\ntemplate = "none.txt"', "cannot be read"),
        ("kind =", "not TOML"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_with_its_reason(tmp_path, source, message):
    if "=" in source:
        (tmp_path / "judge.toml").write_text(source)
        source = str(tmp_path / "judge.toml")
    with pytest.raises(UsageError, match=message):
        judge_of(judge_spec(source))


def answers(folder, name, records):
    (folder / name).write_text(json.dumps(records))
    return read_answers(folder / name)


def test_answers_are_paired_by_instruction_and_numbered_as_the_baseline_is(tmp_path):
    base = [{"instruction": f"q{n}", "output": f"b{n}", "generator": "base"} for n in range(4)]
    mine = [{"instruction": f"q{n}", "output": f"m{n}", "model": "mine"} for n in (3, 1, 7)]
    (first,), (second,) = answers(tmp_path, "base.json", base), answers(tmp_path, "mine.json", mine)
    pair = pair_answers(second, first)
    assert (pair.index, pair.outputs, pair.references) == ((1, 3), ("m1", "m3"), ("b1", "b3"))
    assert pair.left_out == 3
    same = [{"instruction": "q", "output": str(n), "model": "mine"} for n in range(3)]
    (repeated,) = answers(tmp_path, "same.json", same)
    assert pair_answers(repeated, repeated).index == (0, 1, 2)


def test_answers_that_cannot_be_paired_are_refused(tmp_path):
    (one,) = answers(tmp_path, "one.json", [{"instruction": "a", "output": "x"}])
    (other,) = answers(tmp_path, "other.json", [{"instruction": "b", "output": "x"}])
    with pytest.raises(UsageError, match="no common question"):
        pair_answers(one, other)
    with pytest.raises(UsageError, match="no instruction"):
        answers(tmp_path, "bare.json", [{"index": 0, "output": "x"}])
    with pytest.raises(UsageError, match="no output"):
        answers(tmp_path, "none.json", [{"instruction": "a", "output": None}])
    with pytest.raises(UsageError, match="twice"):
        answers(tmp_path, "twice.json", [{"index": 0, "instruction": "a", "output": "x"}] * 2)
    (tmp_path / "set.jsonl").write_text('{"index": 0, "instruction": "a"}\n')
    (mine,) = read_answers(tmp_path / "bare.json", questions=tmp_path / "set.jsonl")
    assert mine.instructions == ("a",)
