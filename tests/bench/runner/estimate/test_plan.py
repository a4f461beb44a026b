"""The dry run's promises: no weights read, no folder left, the same refusals, and what cannot be known said."""

import json
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import bench.models.loading as loading
from bench.core.request import RunRequest
from bench.errors import RunError, UsageError
from bench.runner.estimate.forecast import Forecast, forecast
from bench.runner.estimate.outline import make_outline
from bench.runner.estimate.table import clock, plan_lines
from bench.utils.files import could_be_written
from tests.bench.runner.plan_accuracy import SUITE


def planned(tmp_path: Path, **options: object) -> Forecast:
    """Forecast a request without a command line; ``tmp_path/results`` is never made."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    request = RunRequest.from_options({"out": tmp_path / "results", "loss": "dpo", "workers": "1", **options})
    return forecast(make_outline(request, scratch=scratch, note=lambda text: None), started=0.0)


@pytest.fixture
def no_weights(monkeypatch):
    """Fail wherever a model's weights would be read."""

    def refused(*arguments: object, **named: object) -> None:
        raise AssertionError("weights were loaded")

    import transformers

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(refused))
    monkeypatch.setattr(loading, "load_model", refused)


def test_no_weights_are_loaded_and_nothing_is_left(tmp_path, no_weights):
    made = planned(tmp_path, loss="dpo,kto", set=["train.steps=8"], trials=1, seeds=1)
    assert not (tmp_path / "results").exists()
    assert made.work is not None
    assert made.work > 0
    assert [row.runs for row in made.rows] == [2, 2]
    assert [row.steps for row in made.rows] == [16, 16]


def test_the_command_leaves_no_folder(tmp_path, no_weights, monkeypatch):
    import tempfile

    from bench.cli import app

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    options = ["run", "--suite", "exact", "--loss", "ipo", "--dry-run", "--workers", "1"]
    done = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "results" / "deep")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
    assert not [path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("bench-plan")]


def test_a_judge_of_weights_is_planned_without_them(tmp_path, no_weights):
    data = write_pairs_quietly(tmp_path / "own.jsonl", rows=200)
    more = ["train.max_length=128", "evaluation.tokens=16", "lora.rank=4"]
    made = planned(tmp_path, suite="chat", model=str(SUITE / "model"), data=(data,), judge=["fitted"], set=more)
    assert made.outline.plan.workspace.judge_inputs is not None
    assert made.outline.shape.trained < made.outline.shape.parameters / 10


def write_pairs_quietly(path: Path, *, rows: int) -> Path:
    """Write pairs without a model: words of the suite's own vocabulary."""
    lines = [
        {"prompt": f"the movie number {row}", "chosen": f"was good {row} times", "rejected": f"was bad {row}"}
        for row in range(rows)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def test_only_the_first_rows_of_a_large_file_are_read(tmp_path, no_weights):
    data = write_pairs_quietly(tmp_path / "own.jsonl", rows=9000)
    made = planned(tmp_path, data=(data,), trials=1, seeds=1, set=["train.steps=4"])
    outline = made.outline
    assert outline.sampled
    assert outline.read < 4000
    assert outline.raw == 9000
    # eight tenths of the prompts are trained on
    assert outline.rows == pytest.approx(7200, rel=0.03)
    assert any("of 9,000 rows" in line for line in plan_lines(made))
    assert made.reference is not None
    assert made.reference.all == pytest.approx(14400, rel=0.05)


def test_a_row_that_cannot_be_read_is_refused_as_by_a_run(tmp_path):
    data = write_pairs_quietly(tmp_path / "own.jsonl", rows=40)
    data.write_text(data.read_text() + '{"prompt": "x", "chosen": "", "rejected": "y"}\n')
    with pytest.raises(UsageError, match="row 41"):
        planned(tmp_path, data=(data,))


def test_a_device_that_is_not_here_leaves_the_time_open(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    made = planned(tmp_path, suite="sentiment", set=["execution.device=cuda", "train.steps=4"], trials=1, seeds=1)
    assert made.work is None
    assert all(row.seconds is None for row in made.rows)
    assert made.memory.device is not None
    lines = list(plan_lines(made))
    assert any("no cuda to measure on" in line for line in lines)
    assert any("PFLOP" in line for line in lines)


def test_finished_runs_are_counted_by_names_where_the_data_are_not_read_whole(tmp_path):
    from bench.core.artifacts import write_whole

    data = write_pairs_quietly(tmp_path / "own.jsonl", rows=9000)
    options = {"data": (data,), "trials": 1, "seeds": 1, "set": ["train.steps=4"]}
    first = planned(tmp_path, **options)
    assert first.rows[0].done == 0
    search, plan = first.rows[0].search, first.outline.plan
    spec = search.spec(plan.workspace, search.points[0], seed=0)
    # as a run writes it, with the contents of model and data that a plan does not know
    there = spec.model_copy(update={"model": spec.model.model_copy(update={"content": "f" * 64})})

    def write(partial: Path) -> None:
        (partial / "spec.json").write_text(there.model_dump_json(), encoding="utf-8")

    write_whole(tmp_path / "results" / "runs" / there.key, write, stage="train")
    second = planned(tmp_path, **options)
    assert second.rows[0].done == 1
    assert any(line.startswith("done: by the names") for line in plan_lines(second))
    third = planned(tmp_path, **{**options, "set": ["train.steps=5"]})
    assert third.rows[0].done == 0


def test_a_results_folder_may_be_missing_but_not_be_a_file(tmp_path):
    could_be_written(tmp_path / "none" / "deep")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("x")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="cannot be written"):
            could_be_written(wrong)
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(RunError, match="cannot be written"):
            could_be_written(tmp_path / "closed")


def test_memory_grows_with_what_is_held(tmp_path):
    plain = planned(tmp_path, loss="dpo,tdpo1", trials=1, seeds=1, set=["train.steps=4"])
    frozen, moving = (row.memory.process for row in plain.rows)
    assert moving - frozen == pytest.approx(4 * plain.outline.shape.parameters)
    wide = planned(tmp_path, trials=1, seeds=1, set=["train.steps=4", "train.batch=64", "execution.micro_batch=64"])
    less = planned(tmp_path, trials=1, seeds=1, set=["train.steps=4", "execution.gradient_checkpointing=true"])
    assert wide.memory.process > plain.rows[0].memory.process > less.memory.process


def test_times_are_written_for_people():
    assert [clock(each) for each in (None, 4.4, 61, 3700)] == ["?", "4 s", "1 min 1 s", "1 h 1 min"]
