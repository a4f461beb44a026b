"""`bench data` and foreign data in `bench run`, as a user types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.request import RunRequest
from bench.data.preferences import read_preferences
from bench.data.rows import Pair
from bench.errors import UsageError
from bench.runner.plan import make_plan
from bench.runner.study_manifest import _absolute_setting
from bench.suites.settings import get_suite
from tests.bad_inputs.trying import bench
from tests.bench.cli.test_cli import SMALL
from tests.bench.cli.test_cli import bench as own_process
from tests.bench.data.test_formats import DECIDED, FILES, HERE, options_of


def plan(results: Path, data: Path, *settings: str, loss: str = "dpo"):
    notes: list[str] = []
    request = RunRequest(
        losses=(loss,), suite="sentiment", data=(data,), settings=settings, results=results, workers=1, resume=False
    )
    return make_plan(request, note=notes.append), notes


@pytest.mark.parametrize("name", [name for name in FILES if name != "trl_unpaired.jsonl"])
def test_what_is_converted_reads_back_as_the_same_rows(tmp_path, name):
    settings = [part for setting in DECIDED.get(name, {}).items() for part in ("--set", "=".join(setting))]
    told = bench("data", "convert", HERE / name, "--out", tmp_path / "a.jsonl", *settings)
    assert told.code == 0, told.err
    source = read_preferences(HERE / name, options_of(name))
    assert read_preferences(tmp_path / "a.jsonl").content_hash == source.content_hash


def test_a_data_set_is_described_on_the_terminal_and_in_files(tmp_path):
    told = bench(
        "data", "describe", HERE / "alpaca.json", HERE / "trl_pairs.jsonl", "--against", HERE / "alpaca.json",
        "--model", get_suite("sentiment").folder / "model", "--max-length", 32,
        "--out", tmp_path / "card.json", "--figures", tmp_path / "f",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "Lengths in tokens" in told.out
    assert "0 prompts are in both" in told.out
    first, second = json.loads((tmp_path / "card.json").read_text())
    assert (first["rows"], first["format"], second["format"]) == (6, "alpaca", "plain")
    assert len(first["contamination"]["found"]) == 6
    assert second["contamination"]["found"] == []
    assert first["too_long"] + first["cut"] > 0
    assert {path.name for path in (tmp_path / "f").iterdir()} == {
        "lengths-1.png", "lengths-1.svg", "lengths-2.png", "lengths-2.svg",
    }  # fmt: skip


def test_the_splits_of_a_folder_are_described_one_by_one(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text((HERE / "trl_pairs.jsonl").read_text())
    told = bench("data", "describe", tmp_path)
    assert told.code == 0, told.err
    assert "5 prompts are in both" in told.out
    assert "(train)" in told.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["describe", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["describe", HERE / "trl_implicit_text.jsonl"], "unknown where the prompt ends"),
        (["describe", HERE / "alpaca.json", "--max-length", "5"], "add --model FOLDER"),
        (["describe", HERE / "alpaca.json", "--out", "card.pdf"], "must end in .json, .md or .html"),
        (["describe", HERE / "alpaca.json", "--set", "forms=text"], "data.form"),
        (["describe", HERE / "alpaca.json", "--set", "pairs=some"], "data.pairs='some'"),
        (["describe", HERE / "alpaca.json", "--data-format", "alpacca"], "did you mean 'alpaca'"),
        (["convert", HERE / "alpaca.json", "--out", "a.csv"], "must end in .jsonl"),
    ],
)
def test_what_cannot_be_described_or_converted_is_refused(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    told = bench("data", *arguments)
    assert told.code == 2
    assert said in told.err
    assert "→" in told.err


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("alpaca.json", ()),
        ("hh.jsonl", ("data.form=text",)),
        ("orca_distilabel.jsonl", ("data.form=text",)),
        ("torchtune_hh.json", ("data.form=text",)),
        ("saferlhf.jsonl", ("data.format=saferlhf",)),
        ("ultrafeedback_ties.jsonl", ("data.pairs=all", "data.score=overall_score")),
    ],
)
def test_a_run_takes_another_projects_file(tmp_path, name, settings):
    made, notes = plan(tmp_path, HERE / name, *settings, "train.max_length=256")
    pairs = [*made.workspace.data.pairs, *(p for split in made.workspace.held_out.values() for p in split.pairs)]
    assert len(pairs) == FILES[name][1] + 4 * (name == "ultrafeedback_ties.jsonl")
    said = ", ".join(each.removeprefix("data.") for each in settings)
    assert made.workspace.data_spec.source == (f"{name} ({said})" if said else name)
    assert any("tie" in note for note in notes) == (name in ("ultrafeedback_ties.jsonl", "orca_distilabel.jsonl"))


def test_messages_without_a_template_are_refused_with_the_option_that_helps(tmp_path):
    with pytest.raises(UsageError, match=r"messages need a chat template.*\n.*data\.form=text"):
        plan(tmp_path, HERE / "orca_distilabel.jsonl")


def test_demonstrations_alone_train_no_preference(tmp_path):
    for loss, said in (("kto", "needs wanted and unwanted answers"), ("dpo", "needs pairs")):
        with pytest.raises(UsageError, match=said):
            plan(tmp_path, HERE / "alpaca_sft.json", loss=loss)


def test_a_joining_worker_gets_files_of_data_by_their_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _absolute_setting("data.test=t.jsonl") == f"data.test={tmp_path / 't.jsonl'}"
    for setting in ("data.validation=org/name:validation", "data.form=text", "beta=0.1"):
        assert _absolute_setting(setting) == setting


def test_options_of_data_are_refused_without_data(tmp_path):
    told = bench("run", "--loss", "dpo", "--data-format", "hh", "--out", tmp_path)
    assert told.code == 2
    assert "add --data FILE" in told.err


def test_a_plan_is_on_the_renamed_columns_of_a_csv_file(tmp_path):
    lines = ["question,good,bad", *(f"This film {i}, is good, is bad {i}" for i in range(20))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    made, _ = plan(tmp_path, tmp_path / "a.csv", "data.columns=prompt=question,chosen=good,rejected=bad")
    assert len(made.workspace.data.rows) == 16
    assert {split: len(rows.rows) for split, rows in made.workspace.held_out.items()} == {"validation": 2, "test": 2}


def test_an_objective_that_needs_scores_reads_the_share_of_the_votes(tmp_path):
    votes = ("AAB", "BBB", "AAA", "BBA")
    rows = [{"q": f"This film {i}", "a": ", is good", "b": ", is bad", "votes": list(votes[i % 4])} for i in range(20)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = "data.columns=prompt=q,first=a,second=b,winner=votes"
    meaning = "data.winner=A=first,B=second"
    with pytest.raises(UsageError, match="odpo"):
        plan(tmp_path, tmp_path / "a.jsonl", columns, meaning, loss="odpo")
    made, _ = plan(tmp_path, tmp_path / "a.jsonl", columns, meaning, "data.score=agreement", loss="odpo")
    gaps = {round(pair.score_gap, 6) for pair in made.workspace.data.pairs}
    assert gaps == {round(1 / 3, 6), 1.0}


def test_the_objective_of_the_documentation_imitates_demonstrations(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (tmp_path / "imitate.py").write_text(text.split("```python\n")[1].split("```")[0])
    lines = ["question,answer", *(f'Film {i},"It is good, and very good."' for i in range(20))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    columns = "prompt=question,completion=answer"
    # In a process of its own: an objective that is registered here would be seen by every later test.
    done = own_process(
        "run", "--loss", f"{tmp_path / 'imitate.py'}:imitate", "--data", tmp_path / "a.csv", "--columns", columns,
        "--data-format", "demonstrations", "--out", tmp_path / "o", "--workers", "1", *SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in tmp_path.glob("o/runs/*/evals/*/record.json")]
    curves = [record["curves"]["loss"] for record in found if record["spec"]["objective"] == "imitate"]
    assert curves
    assert all(curve[-1] < curve[0] for curve in curves)


CACHED = """
import os, shutil, sys
from pathlib import Path
os.chdir(sys.argv[1])
import datasets
from datasets.packaged_modules.parquet.parquet import Parquet
from bench.data.preferences import read_preferences
from bench.errors import UsageError

def attempt(text):
    try:
        return len(read_preferences(Path(text)).rows)
    except UsageError as error:
        return str(error)

found = {"before": attempt("org/name:train")}
rows = [{"prompt": str(i), "chosen": "b", "rejected": "c"} for i in range(3)]
datasets.Dataset.from_list(rows).to_parquet("x.parquet")
files = {"train": ["x.parquet"]}
made = Parquet(cache_dir="made", dataset_name="name", config_name="default", hash="0" * 40, data_files=files)
made.download_and_prepare()
shutil.copytree(made.cache_dir, "hf/datasets/org___name/default/0.0.0/" + "0" * 40)
for text in ("org/name", "org/name:train", "org/name@v1:train", "org/name:test"):
    found[text] = attempt(text)
import json
print(json.dumps(found))
"""


def test_a_data_set_of_the_hub_is_read_from_the_local_cache_and_refused_without_one(tmp_path):
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", CACHED, tmp_path], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert "the hub gave no data set of that name" in found["before"]
    assert "--local-dir DIR" in found["before"]
    assert [found[text] for text in ("org/name", "org/name:train", "org/name@v1:train")] == [3, 3, 3]
    assert "Unknown split" in found["org/name:test"]


def test_rows_of_the_fixtures_are_pairs_or_singles_with_their_number():
    for name in FILES:
        rows = read_preferences(HERE / name, options_of(name)).rows
        assert [row.id for row in rows] == sorted(row.id for row in rows)
        assert len({isinstance(row, Pair) for row in rows}) == 1
