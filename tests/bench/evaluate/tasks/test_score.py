"""A saved checkpoint scored by tasks of lm-eval, against lm-eval itself called by hand."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch

from bench.core.assets import SUITES
from bench.errors import UsageError
from bench.evaluate.tasks.local_tasks import own_definitions, write_own
from bench.evaluate.tasks.score import evaluate_tasks
from bench.utils.isolation import quiet, same_generators
from tests.bench.evaluate.tasks.documents import (
    MULTIPLE_CHOICE,
    SENTIMENT,
    STORIES,
    real_data,
    write_documents,
    write_lines,
)

ROLLING = """\
task: stories
dataset_path: json
dataset_kwargs: {data_files: {test: stories.jsonl}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
metadata: {version: 3.5}
"""
SHORT = """\
include: %s
task: gsm8k_short
generation_kwargs: {until: ["Question:", "."], do_sample: false, temperature: 0.0, max_gen_toks: 32}
"""


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """The by-hand side caches its data sets: not in the user's home."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        patch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", folder)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def written(data, tmp_path_factory) -> Path:
    """The package's tasks as files that lm-eval reads, and two more."""
    folder = tmp_path_factory.mktemp("tasks")
    for name in own_definitions():
        write_own(name, folder, data=data)
    (folder / "short.yaml").write_text(SHORT % (folder / "gsm8k_local.yaml"))
    golden = (STORIES / "golden.txt").read_text(encoding="utf-8")
    write_lines(folder / "stories.jsonl", [{"text": golden[:cut]} for cut in (20, 300, 700)] + [{"text": golden * 4}])
    (folder / "stories.yaml").write_text(ROLLING.replace("stories.jsonl", str(folder / "stories.jsonl")))
    return folder


def ours(checkpoint: Path, tasks, tmp_path, **settings) -> dict:
    evaluate_tasks(str(checkpoint), tasks=tasks, out=tmp_path / "scores.json", **settings)
    return json.loads((tmp_path / "scores.json").read_text())


def theirs(checkpoint: Path, tasks, include: Path, **settings) -> dict:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with quiet(), same_generators():
        return simple_evaluate(
            model=HFLM(pretrained=str(checkpoint), dtype="float32", device="cpu", batch_size=8),
            tasks=list(tasks), task_manager=TaskManager(include_path=include, include_defaults=False), **settings,
        )  # fmt: skip


def agree(scores: dict, expected: dict, *, closeness: float = 0.0) -> int:
    """Hold every number against lm-eval's; return how many there are."""
    for row in scores["results"]:
        key = f"{row['metric']},{row['filter']}"
        error = expected["results"][row["task"]].get(f"{row['metric']}_stderr,{row['filter']}")
        assert row["value"] == pytest.approx(expected["results"][row["task"]][key], rel=closeness, abs=closeness), row
        assert row["stderr"] == (
            pytest.approx(error, rel=closeness, abs=closeness)
            if isinstance(error, float) and math.isfinite(error)
            else None
        )
        assert row["version"] == str(expected["versions"][row["task"]])
        assert row["n_shot"] == expected["n-shot"].get(row["task"])
        if row["task"] in expected["n-samples"]:
            assert {"effective": row["n"], "original": row["of"]} == expected["n-samples"][row["task"]]
    numbers = [k for values in expected["results"].values() for k in values if "," in k and "_stderr" not in k]
    assert len(scores["results"]) == len(numbers)
    return len(numbers)


def test_multiple_choice_has_the_numbers_of_lm_eval_by_hand(data, written, tmp_path):
    scores = ours(SENTIMENT, [",".join(MULTIPLE_CHOICE)], tmp_path, data=data)
    assert agree(scores, theirs(SENTIMENT, MULTIPLE_CHOICE, written)) == 9
    assert scores["by_hand"].startswith(
        f"lm_eval --model hf --model_args pretrained={SENTIMENT},dtype=float32 --tasks hella"
    )


def test_few_shots_and_a_limit_mean_what_they_mean_to_lm_eval(data, written, tmp_path):
    tasks = ("piqa_local", "winogrande_local", "arc_easy_local")
    scores = ours(STORIES, tasks, tmp_path, data=data, num_fewshot=2, limit=0.5, batch_size="3")
    agree(scores, theirs(STORIES, tasks, written, num_fewshot=2, limit=0.5))
    assert {(row["n"], row["of"], row["n_shot"]) for row in scores["results"]} == {(12, 24, 2)}
    assert {row["differs"] for row in scores["results"]} == {
        f"few-shot examples from {split}, without the document, for want of train" for split in ("test", "validation")
    }


def test_a_group_has_the_numbers_of_its_tasks_and_its_own(data, written, tmp_path):
    scores = ours(STORIES, ["blimp_local"], tmp_path, data=data, limit=4)
    assert agree(scores, theirs(STORIES, ["blimp_local"], written, limit=4)) == 68
    group = next(row for row in scores["results"] if row["task"] == "blimp_local")
    assert (group["n"], group["version"]) == (67 * 4, "2.0")


def test_generation_has_the_numbers_of_lm_eval_by_hand(data, written, tmp_path):
    scores = ours(STORIES, ["gsm8k_short"], tmp_path, include=written, limit=4, batch_size="auto")
    assert agree(scores, theirs(STORIES, ["gsm8k_short"], written, limit=4)) == 2
    assert scores["results"][0]["n_shot"] == 5


def test_rolling_log_likelihoods_have_the_numbers_of_lm_eval_by_hand(written, tmp_path):
    scores = ours(STORIES, ["stories"], tmp_path, include=written)
    assert agree(scores, theirs(STORIES, ["stories"], written), closeness=1e-6) == 2
    assert scores["results"][0]["version"] == "3.5"


def test_names_may_be_patterns_and_files(data, written, tmp_path):
    scores = ours(STORIES, ["arc_*_local", str(written / "stories.yaml")], tmp_path, data=data, limit=2)
    assert {row["task"] for row in scores["results"]} == {"arc_easy_local", "arc_challenge_local", "stories"}


def test_a_table_a_file_and_nothing_else_is_printed(data, tmp_path, capfd):
    ours(STORIES, ["piqa_local"], tmp_path, data=data, limit=3)
    printed = capfd.readouterr()
    reason, head, first, *_ = printed.out.splitlines()
    assert reason == "lm-eval tasks: as plain text, since the model has no chat template"
    assert head.split() == ["task", "version", "shots", "metric", "value", "±", "stderr", "n"]
    assert first.split()[:4] == ["piqa_local", "1.0", "0", "acc"]
    assert "scores.json" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": []}, "names no task"),
        ({"tasks": ["piqa_local"], "batch_size": "many"}, "must be auto or a whole number"),
        ({"tasks": ["piqa_local"], "limit": -1.0}, "--limit must be above 0"),
        ({"tasks": ["piqa_loca"]}, "'piqa_loca' is unknown"),
        ({"tasks": ["piqa_local"]}, "reads its documents from files"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_computed(settings, message, tmp_path, monkeypatch):
    monkeypatch.delenv("LOSSBENCH_EVAL_DATA", raising=False)
    monkeypatch.setattr("bench.models.loading.load_model", None)
    with pytest.raises(UsageError, match=message):
        evaluate_tasks(str(STORIES), out=tmp_path / "scores.json", **settings)
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize("checkpoint", ["nowhere", "nobody/nothing", "run:abc"])
def test_an_absent_checkpoint_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"no such folder|no finished run"):
        evaluate_tasks(checkpoint, tasks=["piqa_local"], data=tmp_path)


@pytest.mark.slow
def test_five_public_tasks_have_the_numbers_of_lm_evals_own_command(tmp_path):
    """Real documents, lm-eval as a command of its own."""
    data, folder = real_data(), tmp_path / "tasks"
    for name in MULTIPLE_CHOICE:
        write_own(name, folder, data=data)
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={SENTIMENT},dtype=float32",
    ]
    command += ["--tasks", ",".join(MULTIPLE_CHOICE), "--include_path", str(folder), "--limit", "40", "--device", "cpu"]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    subprocess.run(
        [*command, "--output_path", str(tmp_path / "hand")], check=True, env=environment, capture_output=True
    )
    (path,) = (tmp_path / "hand").rglob("results*.json")
    scores = ours(SENTIMENT, MULTIPLE_CHOICE, tmp_path, data=data, limit=40)
    assert agree(scores, json.loads(path.read_text())) == 9


@pytest.mark.slow
def test_gsm8k_and_blimp_have_the_numbers_of_lm_eval_by_hand(data, written, tmp_path):
    tasks = ["gsm8k_local", "gsm8k_cot_local", "blimp_local"]
    scores = ours(STORIES, tasks, tmp_path, data=data, limit=40)
    assert agree(scores, theirs(STORIES, tasks, written, limit=40)) == 72


def test_the_suites_own_task_is_read_from_its_folder(tmp_path):
    scores = ours(STORIES, ["blimp"], tmp_path, include=SUITES / "sentiment", limit=8)
    assert [(row["task"], row["metric"], row["n"]) for row in scores["results"]] == [("blimp", "acc", 8)]


def test_a_data_set_in_the_cache_needs_no_network(data, written, tmp_path, monkeypatch):
    """The cache as a download leaves it: the hub's own name, a version, a hash, one file for each split."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shard = next((data / "hellaswag").rglob("*.arrow"))
    datasets.load_dataset(
        "arrow", data_files={s: str(shard) for s in ("train", "validation")}, cache_dir=tmp_path / "made"
    )
    (made,) = (folder for folder in (tmp_path / "made" / "arrow").glob("*/*/*") if folder.is_dir())
    target = tmp_path / "cache" / "Rowan___hellaswag" / "default" / "0.0.0" / "0123456789abcdef"
    target.parent.mkdir(parents=True)
    shutil.copytree(made, target)
    info = json.loads((target / "dataset_info.json").read_text())
    for split in info["splits"]:
        (target / f"arrow-{split}.arrow").rename(target / f"hellaswag-{split}.arrow")
    changed = {"builder_name": "parquet", "dataset_name": "hellaswag", "config_name": "default"}
    (target / "dataset_info.json").write_text(json.dumps(info | changed))
    scores = ours(STORIES, ["hellaswag"], tmp_path)
    agree({**scores, "results": [row | {"task": "hellaswag_local"} for row in scores["results"]]},
          theirs(STORIES, ["hellaswag_local"], written))  # fmt: skip
