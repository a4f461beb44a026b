"""Checkpoints compared on tasks document by document: `bench evaluate A B --tasks …`."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.cli.evaluate_command import evaluate_command
from bench.cli.evaluate_options import Evaluation
from bench.errors import UsageError
from bench.evaluate.tasks.score import evaluate_tasks
from bench.stats.clustered import mcnemar
from tests.bench.evaluate.tasks.documents import SENTIMENT, write_documents


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """The start model with noise on its weights: worse at all that it had learnt."""
    folder = tmp_path_factory.mktemp("models") / "noisy"
    shutil.copytree(SENTIMENT, folder)
    (weights,) = folder.glob("*.safetensors")
    drawn = torch.Generator().manual_seed(0)
    noisy = {
        name: value + (3.0 * value.float().std() * torch.randn(value.shape, generator=drawn)).to(value.dtype)
        for name, value in load_file(weights).items()
    }
    save_file(noisy, weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("data"), count=60)


def test_two_checkpoints_are_compared_on_terminal_and_in_the_file(other, data, tmp_path, capsys):
    evaluate_tasks(
        str(SENTIMENT), others=[str(other)], tasks=["blimp_local,piqa_local"], data=data, out=tmp_path / "out"
    )
    shown = capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert [each["checkpoint"] for each in written["checkpoints"]] == [str(SENTIMENT), str(other)]
    tests = {test["task"]: test for test in written["comparisons"]}
    assert sorted(tests) == ["blimp_local", "piqa_local"]
    blimp = tests["blimp_local"]
    assert (blimp["first"], blimp["second"], blimp["clusters"], blimp["exact"]) == (
        str(other),
        str(SENTIMENT),
        67,
        False,
    )
    assert blimp["low"] < blimp["difference"] < blimp["high"] < 0
    assert blimp["p"] < 0.05
    assert f"loss against {SENTIMENT}: {other} −" in "".join(shown.splitlines())
    values = {
        row["metric"]: row["value"] for row in written["checkpoints"][1]["results"] if row["task"] == "blimp_local"
    }
    assert blimp["means"][0] == pytest.approx(values["acc"])
    sides = [
        [json.loads(line)["metrics"]["acc_norm"] for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
        for path in sorted((tmp_path / "out").glob("checkpoint-*/tasks/piqa_local.jsonl.gz"))
    ]
    assert len(sides) == 2
    by_hand = mcnemar(*sides)
    assert tests["piqa_local"]["exact"]
    assert tests["piqa_local"]["p"] == pytest.approx(max(by_hand, blimp["p"]))  # Holm, the second of two


def test_a_checkpoint_is_not_compared_with_itself(data):
    with pytest.raises(UsageError, match="compared with itself"):
        evaluate_tasks(str(SENTIMENT), others=[str(SENTIMENT)], tasks=["piqa_local"], data=data)


def test_every_checkpoint_is_looked_up_before_the_first_is_scored(data, capsys):
    with pytest.raises(UsageError, match="no-such-model"):
        evaluate_tasks(str(SENTIMENT), others=["./no-such-model"], tasks=["piqa_local"], data=data)
    assert "stderr" not in capsys.readouterr().out


def test_judges_take_one_checkpoint():
    with pytest.raises(UsageError, match="--judge takes one checkpoint"):
        evaluate_command(Evaluation(checkpoint="a", others=("b",), judges=("gold",)))
