"""lm-eval on a model in memory."""

import json
import logging
import os
import random
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench.errors import UsageError
from bench.evaluate.tasks.load import Seeds, ready_tasks
from bench.evaluate.tasks.run import run_lm_eval
from bench.utils.isolation import quiet, same_generators

# Words swapped: of equal length, or length alone would decide for every model.
ITEMS = [
    ("The cat runs away.", "The away runs cat."),
    ("Who should Alice help?", "Alice should Who help?"),
    ("The dogs chase the cats.", "The cats chase the dogs."),
    ("the dog chases", "dog the chases"),
    ("that chase", "chase that"),
    ("runs The", "The runs"),
]
TASK = """\
task: tiny_pairs
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "%s"
doc_to_target: 0
doc_to_choice: "{{[good, bad]}}"
target_delimiter: ""
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 2.5}
"""


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*address):
        raise AssertionError(f"a connection was tried: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def write_task(folder: Path, *, context: str = "") -> Path:
    (folder / "items.jsonl").write_text("".join(json.dumps({"good": g, "bad": b}) + "\n" for g, b in ITEMS))
    (folder / "tiny.yaml").write_text(TASK % context)
    return folder


def summed(model, tokenizer, context: list[int], text: str) -> float:
    ids = context + tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(logps[place - 1, ids[place]].item() for place in range(len(context), len(ids)))


def by_hand(model, tokenizer, context: list[int]) -> list[bool]:
    return [summed(model, tokenizer, context, g) > summed(model, tokenizer, context, b) for g, b in ITEMS]


def evaluate(model, tokenizer, folder, *, tasks=("tiny_pairs",), limit=None):
    return run_lm_eval(model, tokenizer, ready_tasks(tasks, include=folder, limit=limit), batch=4).metrics


def test_accuracy_equals_summed_log_probs_by_hand_after_the_begin_token(tmp_path, make_llama, tokenizer, no_network):
    folder, seen = write_task(tmp_path), set()
    for seed in range(3):
        model = make_llama(seed=seed, vocab=len(tokenizer))
        (metric,) = evaluate(model, tokenizer, folder)
        correct = by_hand(model, tokenizer, [tokenizer.bos_token_id])
        assert metric.value == pytest.approx(np.mean(correct))
        assert metric.stderr == pytest.approx(np.std(correct, ddof=1) / len(ITEMS) ** 0.5)
        assert (metric.task, metric.split, metric.name, metric.n, metric.higher_is_better) == (
            "tiny_pairs",
            "test",
            "acc",
            6,
            True,
        )
        seen.add(metric.value)
    assert len(seen) > 1  # the models are told apart, so agreement is no accident


def test_a_context_replaces_the_begin_token_where_the_tokenizer_adds_none(tmp_path, make_llama, tokenizer, no_network):
    model = make_llama(seed=1, vocab=len(tokenizer))
    (metric,) = evaluate(model, tokenizer, write_task(tmp_path, context="Alice:"))
    assert metric.value == pytest.approx(np.mean(by_hand(model, tokenizer, tokenizer.encode("Alice:"))))


QUESTIONS = """\
task: tiny_questions
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl, train: questions.jsonl}}
output_type: multiple_choice
test_split: test
fewshot_split: train
num_fewshot: 2
doc_to_text: "Who: {{question}}"
doc_to_target: answer
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: brier_score}]
"""


def write_questions(folder: Path) -> Path:
    draw = random.Random(0)
    words = " ".join(good for good, _ in ITEMS).split()
    rows = [
        {
            "question": " ".join(draw.choices(words, k=draw.randint(1, 6))),
            "choices": [" ".join(draw.choices(words, k=draw.randint(1, 3))) for _ in range(4)],
            "answer": draw.randrange(4),
        }
        for _ in range(15)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "questions.yaml").write_text(QUESTIONS)
    return folder


def plain(model, tokenizer, folder, tasks, *, seed):
    """``simple_evaluate`` with lm-eval's own model and tasks that are loaded for this call."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    official = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    for task in official:
        files = task["dataset_kwargs"]["data_files"]
        task["dataset_kwargs"] = {
            "data_files": {split: str(folder / name) for split, name in files.items()},
            "cache_dir": str(folder / "cache"),
        }
    with quiet(), same_generators():
        return simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=4),
            tasks=[task for task in official if task["task"] in tasks],
            task_manager=TaskManager(include_defaults=False),
            log_samples=False, random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed,
            fewshot_random_seed=seed,
        )["results"]  # fmt: skip


def test_numbers_of_every_checkpoint_are_those_of_simple_evaluate(tmp_path, make_llama, tokenizer):
    folder, names = write_questions(write_task(tmp_path)), ["tiny_pairs", "tiny_questions"]
    ready, seen = ready_tasks(names, include=folder, seeds=Seeds.all(3)), set()
    for seed in (1, 2, 1):
        model = make_llama(seed=seed, vocab=len(tokenizer))
        model.config.max_position_embeddings = 512
        expected = plain(model, tokenizer, folder, names, seed=3)
        metrics = run_lm_eval(model, tokenizer, ready, batch=4).metrics
        assert len(metrics) == 4
        for metric in metrics:
            assert metric.value == pytest.approx(expected[metric.task][f"{metric.name},none"], rel=1e-5)
            error = expected[metric.task][f"{metric.name}_stderr,none"]
            assert metric.stderr == (None if error == "N/A" else pytest.approx(error, rel=1e-5))
        seen.add(tuple(metric.value for metric in metrics))
    assert len(seen) == 2  # the models are told apart, and the third has the numbers of the first


def test_a_limit_takes_the_first_items(tmp_path, make_llama, tokenizer, no_network):
    model = make_llama(seed=1, vocab=len(tokenizer))
    (metric,) = evaluate(model, tokenizer, write_task(tmp_path), limit=4)
    assert metric.n == 4
    assert metric.value == pytest.approx(np.mean(by_hand(model, tokenizer, [tokenizer.bos_token_id])[:4]))


def test_the_working_directory_does_not_decide_where_data_lies(tmp_path, make_llama, tokenizer, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    write_task(tmp_path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    (metric,) = evaluate(make_llama(seed=1, vocab=len(tokenizer)), tokenizer, Path(".."))
    assert metric.n == len(ITEMS)


def test_nothing_is_left_behind(tmp_path, make_llama, tokenizer, capfd):
    model = make_llama(seed=1, vocab=len(tokenizer)).train()
    folder = write_task(tmp_path)
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)

    def state():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
            dict(os.environ),
            logging.getLogger().level,
            list(logging.getLogger().handlers),
            logging.getLogger("lm_eval").level,
            sys.stdout,
            sys.stderr,
            model.training,
        )

    before = state()
    evaluate(model, tokenizer, folder)
    assert state() == before
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in folder.iterdir()} == {"items.jsonl", "tiny.yaml"}


def test_an_unknown_task_is_named_with_close_names_and_those_in_files(tmp_path, make_llama, tokenizer):
    with pytest.raises(UsageError, match=r"'tiny_pair' is unknown\n.*'tiny_pairs'.*tasks in files: tiny_pairs"):
        evaluate(make_llama(seed=1, vocab=len(tokenizer)), tokenizer, write_task(tmp_path), tasks=("tiny_pair",))


def test_absent_data_is_an_error_that_names_task_and_file(tmp_path, make_llama, tokenizer):
    (write_task(tmp_path) / "items.jsonl").unlink()
    with pytest.raises(UsageError, match=r"tiny_pairs reads .*items\.jsonl, which does not exist"):
        evaluate(make_llama(seed=1, vocab=len(tokenizer)), tokenizer, tmp_path)


def test_a_version_is_the_files_own(tmp_path):
    assert ready_tasks(["tiny_pairs"], include=write_task(tmp_path)).versions == {"tiny_pairs": "2.5"}
