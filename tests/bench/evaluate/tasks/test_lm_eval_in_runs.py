"""Tasks of lm-eval that a run is evaluated by: settings, the check before anything trains, and what is recorded."""

import gzip
import json
from pathlib import Path

import pytest

from bench.core.artifacts import verify_folder
from bench.core.request import RunRequest
from bench.errors import UsageError
from bench.evaluate.tasks.run import run_lm_eval
from bench.evaluate.tasks.score import evaluate_tasks
from bench.runner.hooks import hooks_of
from bench.runner.keys import run_spec
from bench.runner.plan import make_plan
from bench.runner.run import run
from bench.utils.stop_signals import Stop
from tests.bench.evaluate.tasks.documents import write_documents


def request(results: Path, *settings: str, suite: str = "sentiment", loss: str = "ipo") -> RunRequest:
    return RunRequest(
        losses=(loss,), suite=suite, settings=settings, results=results, sampler="tpe", workers=1, resume=False
    )


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    folder = write_documents(tmp_path / "data")
    monkeypatch.setenv("LOSSBENCH_EVAL_DATA", str(folder))
    return folder


def test_examples_limit_and_names_are_settings_of_the_evaluation(data, tmp_path):
    names = "lm_eval=blimp,piqa_local,arc_*_local"
    plan = make_plan(request(tmp_path, names, "lm_eval_fewshot=1", "lm_eval_limit=6"))
    workspace = plan.workspace
    assert workspace.evaluation.lm_eval == ("blimp", "piqa_local", "arc_*_local")
    assert workspace.tasks is not None
    metrics = run_lm_eval(workspace.start_model, workspace.tokenizer, workspace.tasks).metrics
    assert {(each.task, each.n) for each in metrics} == {
        (name, 6) for name in ("blimp", "piqa_local", "arc_easy_local", "arc_challenge_local")
    }
    assert all(each.stderr is not None for each in metrics)
    shots = {name: task.get_config("num_fewshot") for name, task in workspace.tasks.loaded["tasks"].items()}
    assert shots == {"blimp": 0, "piqa_local": 1, "arc_easy_local": 1, "arc_challenge_local": 1}
    assert workspace.tasks.versions == dict.fromkeys(shots, "1.0")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lm_eval=blimp,hellasag", r"'hellasag' is unknown\n.*'hellaswag'"),
        ('lm_eval=["hellaswag"]', "hellaswag needs a network"),
        ("lm_eval=humaneval", "runs code that the model writes"),
        ("lm_eval=gsm8k_local", r"generates 256 tokens; the model's context has 256"),
        ("lm_eval_limit=0", "lm_eval_limit=0: input should be greater than 0"),
    ],
)
def test_a_task_that_cannot_be_run_is_refused_before_anything_trains(setting, message, data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=message):
        make_plan(request(tmp_path, setting))


def test_a_suite_of_tables_refuses_tasks_of_text(data, tmp_path):
    with pytest.raises(UsageError, match="this one is a table"):
        make_plan(request(tmp_path, "lm_eval=piqa_local", suite="exact"))


def test_a_run_records_what_a_later_evaluation_of_its_checkpoint_gives(data, tmp_path):
    small = ("steps=2", "batch=2", "prompts=2", "tokens=3", "evaluation.pairs=4", "judge=false")
    plan = make_plan(
        request(tmp_path / "results", *small, "lm_eval=blimp,piqa_local", "lm_eval_limit=12", loss="simpo")
    )
    workspace, (search,) = plan.workspace, plan.searches
    hooks = hooks_of(plan, advance=lambda units, text: None, note=lambda text: None, stop=Stop())
    spec = run_spec(workspace, search.objective, {"beta": 2.0, "gamma_ratio": 0.5}, learning_rate=1e-3, seed=0)
    record = run(workspace, spec, "validation", hooks, tuning=plan.protocol)
    assert record.provenance["lm_eval_tasks"] == {"blimp": "1.0", "piqa_local": "1.0"}
    assert record.evaluation.lm_eval_limit == 12
    kept = {(m.task, m.name): (m.value, m.stderr, m.n) for m in record.metrics if m.task in ("blimp", "piqa_local")}
    evaluate_tasks(
        f"run:{record.key[:8]}", tasks=["blimp,piqa_local"], include=workspace.suite.folder, limit=12,
        out=tmp_path / "again", results=tmp_path / "results",
    )  # fmt: skip
    place = tmp_path / "results" / "runs" / record.key / "evals" / record.evaluation_key
    assert verify_folder(place) == []
    for task, metric in (("blimp", "acc"), ("piqa_local", "acc"), ("piqa_local", "acc_norm")):
        stored = (place / "tasks" / f"{task}.jsonl.gz").read_bytes()
        documents = [json.loads(line) for line in gzip.decompress(stored).decode().splitlines()]
        assert [each["doc_id"] for each in documents] == list(range(12))
        assert sum(each["metrics"][metric] for each in documents) / 12 == pytest.approx(kept[task, metric][0])
        assert all(len(each["filtered_resps"]) == 2 for each in documents)
        again = gzip.decompress((tmp_path / "again" / "tasks" / f"{task}.jsonl.gz").read_bytes()).decode().splitlines()
        assert [json.loads(line)["metrics"] for line in again] == [each["metrics"] for each in documents]
    rows = json.loads((tmp_path / "again" / "tasks.json").read_text())["results"]
    assert len(kept) == 3
    assert {(row["task"], row["metric"]): (row["value"], row["stderr"], row["n"]) for row in rows} == kept
