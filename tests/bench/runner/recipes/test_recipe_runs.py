"""Recipes carried out: real trainings in small, with options typed over a recipe's own."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.assets import SUITES

MODEL = SUITES / "sentiment" / "model"
TINY = (
    "train.steps=2", "batch=4", "lr=1e-3", "precision=fp32", "train.max_length=64", "data.validation=null",
    "evaluation.prompts=6", "evaluation.tokens=6", "evaluation.pairs=8", "execution.shard=ddp",
    "execution.gradient_checkpointing=false",
)  # fmt: skip


def bench(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=environment, check=False, cwd=folder
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_recipe_runs_to_its_leaderboard_with_what_was_typed_over_it(tmp_path):
    small = ("--suite", "exact", "--loss", "dpo", "--set", "train.steps=4", "--set", "problem.pairs=128")
    done = bench("run", "--recipe", "sentiment-quick", *small, "--workers", 1, "--out", "results", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("runs/*/spec.json")]
    assert {run["suite"] for run in runs} == {"exact"}
    assert {run["train"]["steps"] for run in runs} == {4}
    tried = [row for row in rows(tmp_path / "results" / "trials.csv") if row["objective"] == "dpo"]
    assert len({row["param_beta"] for row in tried}) == 2  # the recipe's trials


@pytest.mark.slow
def test_parts_run_one_after_another_into_the_same_results_and_nothing_twice(tmp_path):
    prefs = "".join(
        json.dumps({"prompt": f"film {n} is", "chosen": f" great number {n}.", "rejected": f" bad number {n}."}) + "\n"
        for n in range(60)
    )
    (tmp_path / "prefs.jsonl").write_text(prefs, encoding="utf-8")
    settings = [word for setting in TINY for word in ("--set", setting)]
    words = (
        "run", "--recipe", "hf-blog", "--loss", "dpo", "--sweep", "beta=0.1", "--model", MODEL, "--data", "prefs.jsonl",
        "--judge", "gold", "--processes", 1, "--workers", 1, "--out", "results", *settings,
    )  # fmt: skip
    done = bench(*words, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("part 1 of 2: zephyr") < done.stdout.index("part 2 of 2: openhermes")
    # Typed options have made the two parts the same command, so the second finds all done: start, trial, fresh seed.
    assert len(list((tmp_path / "results").glob("runs/*/manifest.json"))) == 3
    assert (tmp_path / "results" / "leaderboard.csv").is_file()
