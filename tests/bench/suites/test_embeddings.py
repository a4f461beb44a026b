"""A tokenizer with more tokens than its model has embeddings: training goes on without them, and each use is named."""

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from bench.core.request import RunRequest
from bench.errors import UsageError
from bench.evaluate.judges.base import AnswerPair
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.generate import answer_text
from bench.evaluate.judges.local_lm import language_model_judge
from bench.evaluate.judges.reward_model import reward_judge
from bench.inspect.resolve import InspectRequest, find_material
from bench.models.embedding_rows import embedding_rows
from bench.models.loading import load_model, load_tokenizer
from bench.runner.hooks import hooks_of
from bench.runner.iterate.round import _encoded
from bench.runner.iterate.self_judge import SelfJudging, self_scores
from bench.runner.keys import run_spec
from bench.runner.plan import make_plan
from bench.runner.run import run
from bench.suites.pairs import Pair
from bench.utils.stop_signals import Stop
from tests.bench.evaluate.judges.models import ANSWERS, template_file
from tests.bench.short_model import EXTRA, MODEL, beyond, short_model

SMALL = ("train.steps=2", "train.max_length=64", "prompts=4", "tokens=4", "evaluation.pairs=4", "lr=1e-3")
BEYOND = re.escape(beyond())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return short_model(tmp_path_factory.mktemp("models") / "short", pad="[PAD]")


def rows(path: Path, *, last: str = "") -> Path:
    """Write pairs of films; ``last`` ends the last one's chosen answer."""
    texts = [
        {"prompt": f"film {n} of these is", "chosen": f" great and {n}", "rejected": f" bad{' and' * (n % 5)}"}
        for n in range(40)
    ]
    texts[-1]["chosen"] += last
    path.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return path


def request(tmp_path, folder, data, **changes) -> RunRequest:
    options = {"suite": "chat", "judges": ("fitted",)} | changes
    return RunRequest(
        losses=("dpo",), model=str(folder), data=(data,), settings=SMALL, results=tmp_path / "r", workers=1, **options
    )


def test_a_run_trains_and_is_measured_where_no_row_has_the_token(tmp_path, folder):
    plan = make_plan(request(tmp_path, folder, rows(tmp_path / "a.jsonl")))
    tokenizer, (search, *_) = plan.workspace.tokenizer, plan.searches
    assert tokenizer.pad_token_id >= embedding_rows(folder)
    assert plan.workspace.data.pad_id < embedding_rows(folder)
    spec = run_spec(plan.workspace, search.objective, search.objective.resolve({}), learning_rate=1e-3, seed=0)
    hooks = hooks_of(plan, advance=lambda units, text: None, note=lambda text: None, stop=Stop())
    assert run(plan.workspace, spec, "test", hooks, tuning=plan.protocol).metrics


@pytest.mark.parametrize("suite", ["chat", "sentiment"])
def test_a_row_with_the_token_is_named(tmp_path, folder, suite):
    data = rows(tmp_path / "a.jsonl", last=EXTRA)
    judges = ("fitted",) if suite == "chat" else ()
    with pytest.raises(UsageError, match=f"a.jsonl, row 40, field 'chosen': {BEYOND}"):
        make_plan(request(tmp_path, folder, data, suite=suite, judges=judges))


def test_an_instruction_to_report_on_is_named(tmp_path, folder):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in ("A film", f"A {EXTRA}")))
    with pytest.raises(UsageError, match=f"p.jsonl, record 2: {BEYOND}"):
        make_plan(request(tmp_path, folder, rows(tmp_path / "a.jsonl"), prompts=prompts))


def test_a_rounds_pairs_are_checked(tmp_path, folder):
    policy = make_plan(request(tmp_path, folder, rows(tmp_path / "a.jsonl"))).workspace
    ids = [embedding_rows(folder)]
    pair = Pair(prompt_ids=[5], chosen_ids=[6], rejected_ids=ids, chosen_score=1.0, rejected_score=0.0)
    with pytest.raises(UsageError, match=f"round 2, row 1, field 'rejected': {BEYOND}"):
        _encoded([pair], policy, 2)


def test_texts_of_an_inspection_are_named(tmp_path, folder):
    tokenizer = load_tokenizer(folder)
    data = rows(tmp_path / "a.jsonl", last=EXTRA)
    with pytest.raises(UsageError, match=f"row 40, field 'chosen': {BEYOND}"):
        find_material([], folder, tokenizer, InspectRequest(models=(), data=data))
    probe = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    for path, text in zip(probe, ("a good film", f"a bad {EXTRA}"), strict=True):
        path.write_text(json.dumps({"text": "a film"}) + "\n" + json.dumps({"text": text}) + "\n")
    with pytest.raises(UsageError, match=f"bad.jsonl, row 2: {BEYOND}"):
        find_material([], folder, tokenizer, InspectRequest(models=(), probe=probe))


PAIRS = [
    AnswerPair(instruction="Film 1 was", first=" good", second=" bad"),
    AnswerPair(instruction="Film 2 was", first=f" good {EXTRA}", second=" bad"),
]


def test_a_judge_names_the_pair(tmp_path, folder):
    spec = JudgeSpec(kind="lm", folder=folder, template=str(template_file(tmp_path)), answers=ANSWERS)
    verdicts = language_model_judge(folder, spec).compare(PAIRS)
    assert next(verdicts)[1].first_better is not None
    with pytest.raises(UsageError, match=f"judge short, pair 2: {BEYOND}"):
        next(verdicts)


def test_a_reward_model_names_the_text(tmp_path):
    folder = short_model(tmp_path / "reward")
    config = LlamaConfig.from_pretrained(MODEL, num_labels=1)
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    verdicts = reward_judge(folder, text="{instruction}{output}").compare(PAIRS)
    assert next(verdicts)[1].first_better is not None
    with pytest.raises(UsageError, match=f"judge reward, text 1: {BEYOND}"):
        next(verdicts)


def test_a_policy_as_its_own_judge_names_the_answer(folder):
    score = self_scores(load_model(folder), load_tokenizer(folder), SelfJudging(judgements=0), seed=(0,))
    with pytest.raises(UsageError, match=f"part 0, answer 2: {BEYOND}"):
        score([("Film", " fine"), ("Film", f" {EXTRA}")], 0)


def test_instructions_that_a_model_answers_are_named(tmp_path, folder):
    with pytest.raises(UsageError, match=f"model short, dialogue 2: {BEYOND}"):
        answer_text(str(folder), [["A film"], [EXTRA]], results=tmp_path, tokens=2, temperature=0, seed=0)
