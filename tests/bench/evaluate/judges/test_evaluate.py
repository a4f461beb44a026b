"""`bench evaluate` as a user types it: judgements, judges in this process, costs, and what does not go together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.evaluate_command import evaluate_command
from bench.cli.evaluate_options import Evaluation
from bench.errors import UsageError
from tests.bench.evaluate.judges.data import judgements, length_control
from tests.bench.evaluate.judges.models import ANSWERS, MODEL, chat_model, template_file
from tests.bench.evaluate.judges.server import completion, serving

STARTS = ["This movie was", "The plot of this film", "I did not expect", "The actors are", "In the end it"]


def answers(folder, name, texts):
    path = folder / f"{name}.json"
    records = [
        {"instruction": start, "output": text, "generator": name} for start, text in zip(STARTS, texts, strict=True)
    ]
    path.write_text(json.dumps(records))
    return path


@pytest.fixture
def files(tmp_path):
    base = answers(tmp_path, "base", [" fine, nothing more"] * 5)
    mine = answers(
        tmp_path, "mine", [" wonderful", " awful and long, a waste", " great", " fine, nothing more", " poor"]
    )
    return {"baseline": base, "outputs": (mine,), "out": tmp_path / "out"}


def local_judge(folder):
    chat_model(folder / "judge-model")
    template_file(folder)
    (folder / "lm.toml").write_text(
        f'kind = "lm"\nname = "small"\nfolder = "judge-model"\ntemplate = "very.txt"\nanswers = {json.dumps(ANSWERS)}\n'
    )
    return str(folder / "lm.toml")


def test_judgements_become_a_table_from_the_command_line(tmp_path):
    difficulty, gamed = length_control(tmp_path)
    for name, seed in (("x", 0), ("y", 1)):
        pd.concat([judgements(model=model, seed=seed + k, judge=name) for k, model in enumerate("abc")]).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    command = [sys.executable, "-m", "bench", "evaluate", "--difficulty", difficulty, "--gamed", gamed]
    for name in ("x", "y"):
        command += ["--judgements", tmp_path / f"{name}.csv"]
    environment = {**os.environ, "COLUMNS": "140", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "table.csv")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Kendall" in done.stdout
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["judge"]) == ["x"] * 3 + ["y"] * 3
    assert table["length_controlled_winrate"].notna().all()
    wrong = subprocess.run([*map(str, command[:4]), "--judgements", "none.csv"], capture_output=True, text=True,
                           env=environment, check=False)  # fmt: skip
    assert wrong.returncode == 2
    assert "none.csv" in wrong.stderr or "two files" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_two_judges_compare_a_checkpoint_and_a_file_with_the_baseline(tmp_path, files, capsys):
    evaluate_command(
        Evaluation(checkpoint=str(MODEL), judges=("gold", local_judge(tmp_path)), tokens=12, both_orders=True, **files)
    )
    table = pd.read_csv(files["out"] / "judgements.csv")
    assert set(zip(table["judge"], table["model"], strict=True)) == {
        (judge, model) for judge in ("gold", "small") for model in ("mine", "model")
    }
    assert (table["n"] == 5).all()
    assert (table["length_control"] == "lengths").all()
    gold = table[(table["judge"] == "gold") & (table["model"] == "mine")].iloc[0]
    assert gold["ties"] == 1  # one answer is the baseline's own
    outputs = json.loads((files["out"] / "outputs.json").read_text())
    assert [one["instruction"] for one in outputs] == STARTS
    printed = capsys.readouterr().out
    assert "do the judges agree?" in printed
    assert "first shown" in printed
    # what was stored gives the same table again
    evaluate_command(Evaluation(judgements=(files["out"] / "annotations.json",), out=tmp_path / "again.csv"))
    again = pd.read_csv(tmp_path / "again.csv")
    assert list(again["win_rate"].sort_values()) == pytest.approx(list(table["win_rate"].sort_values()))


def test_the_same_command_samples_the_same_answers_and_reads_verdicts_from_disk(tmp_path, files):
    request = Evaluation(checkpoint=str(MODEL), judges=(local_judge(tmp_path),), tokens=12, **files)
    evaluate_command(request)
    first = (files["out"] / "annotations.json").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in (files["out"] / "verdicts").rglob("*.json")}
    evaluate_command(request)
    assert (files["out"] / "annotations.json").read_bytes() == first
    assert {path: path.stat().st_mtime_ns for path in (files["out"] / "verdicts").rglob("*.json")} == kept


def test_the_cost_is_printed_and_limited_before_any_request(tmp_path, files, capsys):
    with serving(lambda body, number: (200, completion("m"))) as server:
        (tmp_path / "api.toml").write_text(
            f'kind = "api"\nmodel = "m"\nurl = "{server.url}"\nprice_in = 1000.0\nprice_out = 1000.0\n'
        )
        request = {"judges": (str(tmp_path / "api.toml"),), **files}
        evaluate_command(Evaluation(dry_run=True, **request))
        assert "4 requests" in capsys.readouterr().out
        with pytest.raises(UsageError, match="nothing was asked"):
            evaluate_command(Evaluation(max_cost=0.01, **request))
        with pytest.raises(UsageError, match="price of m is unknown"):
            evaluate_command(Evaluation(max_cost=1.0, judges=(f"api:m@{server.url}",), **files))
        assert not server.bodies
        evaluate_command(Evaluation(max_cost=1000.0, **request))
        assert len(server.bodies) == 4
        capsys.readouterr()
        evaluate_command(Evaluation(dry_run=True, **request))
        assert "0 requests" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Evaluation(), "nothing to evaluate"),
        (Evaluation(tasks="x", judges=("gold",)), "--tasks and --judge at once"),
        (Evaluation(judgements=(Path("a.csv"),), join="name"), "--join"),
        (Evaluation(judges=("gold",)), "baseline"),
        (Evaluation(judgements=(Path("a.csv"),), gamed=Path("g.csv")), "--difficulty is absent"),
    ],
)
def test_options_that_do_not_go_together_are_refused(request_, message):
    with pytest.raises(UsageError, match=message):
        evaluate_command(request_)


def test_answers_that_are_absent_or_of_two_models_of_one_name_are_refused(files):
    with pytest.raises(UsageError, match="answers to judge"):
        evaluate_command(Evaluation(judges=("gold",), baseline=files["baseline"]))
    with pytest.raises(UsageError, match="answers of one model"):
        evaluate_command(Evaluation(judges=("gold",), baseline=files["baseline"], outputs=files["outputs"] * 2))
    with pytest.raises(UsageError, match="two judges are called 'gold'"):
        evaluate_command(Evaluation(judges=("gold", "gold"), **files))


def test_every_option_has_an_example():
    from bench.cli.evaluate import evaluate

    for hint in evaluate.__annotations__.values():
        for option in getattr(hint, "__metadata__", ()):
            assert "Example" in option.help, option.param_decls
