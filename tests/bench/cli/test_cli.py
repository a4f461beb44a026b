"""The command line as a user types it: help, plans, real runs in small, bad input."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bench.cli import app
from bench.core.request import fields_where, option_of

SMALL = [
    "--set", "steps=4", "--set", "batch=4", "--set", "prompts=12", "--set", "tokens=10",
    "--set", "evaluation.pairs=8", "--set", 'lm_eval=[]', "--seeds", "1",
]  # fmt: skip


def bench(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "140", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)


def refused(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr, done.stderr


def test_help_answers_at_once_and_loads_nothing_heavy():
    probe = (
        "import sys\nsys.argv = ['bench', '--help']\nfrom bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'optuna', 'pandas', 'matplotlib', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    times = []
    for _ in range(3):
        started = time.perf_counter()
        assert bench("--help").returncode == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 1.0  # 0.3 s on an idle machine; a busy one must not fail the test


def test_every_option_of_run_reaches_the_request(tmp_path, monkeypatch):
    """Those with a default on the command line are set; the others are left to the request's own defaults."""
    requests = []
    monkeypatch.setattr("bench.cli.execute.run_command", lambda request, dry_run: requests.append(request))
    options = {
        **{"loss": "dpo", "sweep": "beta", "suite": "exact", "model": "m", "data": "d.jsonl", "judge": "start"},
        **{"strong": "gold"},
        **{"prompts": "p.json", "chat-template": "own", "protocol": "quick", "trials": 3, "seeds": 2, "set": "lr=1e-4"},
        **{"out": tmp_path, "study": "night", "storage": "s.db", "patience": 7, "lease": 8, "sampler": "tpe"},
        **{"workers": 2, "pruner": "median", "processes": 2, "loss-file": "l.py", "tracker": "tensorboard"},
        **{"until": "decided", "margin": 0.1, "budget": "2h", "select-seeds": 2},
    }
    typed = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert CliRunner().invoke(app, ["run", *typed, "--no-resume"], catch_exceptions=False).exit_code == 0
    (request,) = requests
    assert request.model_fields_set == set(type(request).model_fields)
    fields = {name: type(request).model_fields[name].default for name in request.model_fields_set}
    assert [name for name, default in fields.items() if getattr(request, name) == default] == []


def test_no_option_that_a_recipe_may_set_has_a_default_on_the_command_line():
    """A default would count as typed, and replace the recipe's value."""
    defaults = {option.name: option.default for option in get_command(app).commands["run"].params}
    names = ["settings" if field == "settings" else option_of(field) for field in fields_where(recipe=True)]
    assert {name: defaults[name] for name in names if defaults[name] is not None} == {}


def test_every_option_of_run_has_an_example():
    text = bench("run", "--help").stdout
    options = {word for word in text.split() if word.startswith("--") and word.strip("-").isalpha()}
    assert "--sweep" in options
    from bench.cli.run import run

    for hint in run.__annotations__.values():
        for option in getattr(hint, "__metadata__", ()):
            assert getattr(option, "hidden", False) or "Example" in option.help, option.param_decls


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real sweep in small, through the whole path."""
    out = tmp_path_factory.mktemp("finished")
    done = bench("run", "--loss", "dpo,kto", "--sweep", "beta=0.03,0.3", "--out", out, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "gold reward" in done.stdout
    return out


def test_a_run_writes_leaderboard_figures_records_and_checkpoints(finished):
    board = (finished / "leaderboard.csv").read_text()
    assert {"dpo", "kto", "start"} <= {line.split(",")[0] for line in board.splitlines()} | set(board.split(","))
    assert (finished / "leaderboard.md").exists()
    assert list((finished / "figures").rglob("*.png"))
    assert list((finished / "figures").rglob("*.pdf"))
    from transformers import AutoModelForCausalLM

    checkpoints = sorted(finished.glob("runs/*/checkpoint"))
    assert len(checkpoints) == 6  # two objectives: two settings and one final each
    AutoModelForCausalLM.from_pretrained(checkpoints[0])


def test_records_have_what_each_measure_needs(finished):
    records = [json.loads(path.read_text()) for path in finished.glob("runs/*/evals/*/record.json")]
    trained = [record for record in records if record["spec"]["objective"] != "start"]
    assert len(trained) == 6
    assert len(records) == 8
    for record in trained:
        found = {(metric["task"], metric["name"]) for metric in record["metrics"]}
        assert {
            ("generation", "gold_reward"), ("generation", "kl"), ("generation", "target"), ("preference", "accuracy"),
            ("judge", "win_rate"), ("judge", "lc_win_rate"), ("train", "clipped_share"),
        } <= found  # fmt: skip
        assert record["provenance"]["packages"]["torch"]
        assert record["cost"]["tokens"] > 0


def test_the_same_command_again_trains_nothing_and_changes_no_table(finished):
    before = {path: path.read_bytes() for path in finished.glob("leaderboard.*")}
    stamps = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/manifest.json")}
    done = bench("run", "--loss", "dpo,kto", "--sweep", "beta=0.03,0.3", "--out", finished, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/manifest.json")}
    assert before == {path: path.read_bytes() for path in before}


def test_tables_and_figure_data_come_back_byte_for_byte_from_the_records(finished):
    paths = [*finished.glob("leaderboard*.csv"), *finished.glob("leaderboard.md"), *finished.glob("figures/**/*.csv")]
    assert len(paths) > 4
    before = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    assert bench("leaderboard", "--out", finished).returncode == 0
    assert bench("figures", "--out", finished).returncode == 0
    pictures = {path.suffix for path in finished.glob("figures/**/*.*")}
    assert pictures == {".csv", ".pdf", ".png", ".svg"}
    assert before == {path: path.read_bytes() for path in paths}


def test_reports_never_load_torch(finished):
    probe = (
        "import sys\nfrom pathlib import Path\nfrom bench.cli.reports import figures, leaderboard\n"
        f"results = Path({str(finished)!r})\nleaderboard(results)\n"
        "figures(results, formats='svg')\n"
        "assert not {'torch', 'transformers', 'optuna'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_verify_finds_a_flipped_bit_and_names_the_file(finished):
    assert bench("verify", "--out", finished).returncode == 0
    victim = sorted(finished.glob("runs/*/checkpoint/model.safetensors"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        refused(bench("verify", "--out", finished), 1, "model.safetensors", victim.parent.parent.name)
    finally:
        victim.write_bytes(whole)


def test_dry_run_prices_the_plan_and_trains_nothing(tmp_path):
    done = bench("run", "--loss", "ipo,kto", "--sweep", "beta", "--dry-run", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("ipo", "kto", "settings", "runs", "steps", "policy", "tokens", "min"):
        assert word in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "simop"], ["unknown loss 'simop'", "did you mean 'simpo'", "`bench losses` lists all"]),
        (["--loss", "dpo", "--suite", "sentimental"], ["unknown suite", "did you mean 'sentiment'"]),
        (["--loss", "dpo", "--sweep", "bta"], ["bta", "did you mean 'beta'"]),
        (["--loss", "dpo", "--sweep", "beta=0.1,x"], ["beta=0.1,x"]),
        (["--loss", "dpo", "--set", "beta=-1"], ["beta", "-1"]),
        (["--loss", "dpo", "--set", "train.stpes=5"], ["did you mean 'train.steps'"]),
        (["--loss", "dpo", "--set", "train.batch=many"], ["train.batch='many'"]),
        (["--loss", "dpo", "--set", "beta=0.1", "--sweep", "beta"], ["both swept and set"]),
        (["--loss", "dpo", "--model", "nowhere"], ["no such folder"]),
        (["--loss", "dpo", "--model", "run:abc"], ["no finished run"]),
        (["--loss", "dpo", "--data", "nowhere.jsonl"], ["nowhere.jsonl"]),
        (["--loss", "sdpo", "--set", "steps=1"], ["stages"]),
        (["--loss", "dpo", "--processes", "3"], ["cannot be shared by 3 processes"]),
        (["--loss", "dpo", "--set", "max_length=100000"], ["context"]),
        (["--loss", "dpo", "--sampler", "magic"], ["unknown sampler"]),
        (["--loss", "dpo", "--loss-file", "nowhere.py"], ["nowhere.py"]),
    ],
)
def test_bad_requests_are_told_in_one_message_and_exit_with_2(arguments, said, tmp_path):
    refused(bench("run", *arguments, "--out", tmp_path), 2, *said)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_option_exits_with_2():
    refused(bench("run", "--loss", "dpo", "--lr", "3"), 2, "--lr")


def test_a_bad_row_is_named_by_file_row_and_field(tmp_path):
    data = tmp_path / "prefs.jsonl"
    data.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b"}\n')
    refused(
        bench("run", "--loss", "dpo", "--data", data, "--out", tmp_path / "o"), 2, "prefs.jsonl", "row 2", "rejected"
    )


def test_a_model_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refused(bench("run", "--loss", "dpo", "--model", tmp_path, "--out", tmp_path / "o"), 2, "no weights")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    refused(bench("run", "--loss", "dpo", "--out", tmp_path / "o"), 1, "cannot be written")


def test_an_output_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "results").write_text("")
    refused(bench("run", "--loss", "dpo", "--out", tmp_path / "results"), 1, "cannot be written")


def test_a_diverged_run_is_recorded_and_the_sweep_goes_on(tmp_path):
    done = bench("run", "--loss", "ipo_sum", "--sweep", "lr=1e-4,1e30", "--out", tmp_path, *SMALL, "--set", "clip=1e30")
    assert done.returncode == 0, done.stderr[-3000:]
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/evals/*/record.json")]
    statuses = [record["status"] for record in records if record["spec"]["objective"] == "ipo_sum"]
    assert sorted(statuses) == ["completed", "completed", "diverged"]
    assert "diverged" in (tmp_path / "leaderboard.csv").read_text()


@pytest.mark.slow
def test_own_pairs_unpaired_rows_and_own_loss_run(tmp_path):
    rows = [{"prompt": f"This film {i}", "chosen": " is good", "rejected": f" is bad {i}"} for i in range(40)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    singles = tmp_path / "singles.jsonl"
    singles.write_text("".join(
        json.dumps({"prompt": r["prompt"], "completion": r[k], "label": k == "chosen"}) + "\n"
        for r in rows for k in ("chosen", "rejected")
    ))  # fmt: skip
    loss = tmp_path / "mine.py"
    loss.write_text(OWN_LOSS)
    out = tmp_path / "out"
    own = bench("run", "--loss", "dpo,mine", "--loss-file", loss, "--data", pairs, "--out", out, *SMALL)
    assert own.returncode == 0, own.stderr[-3000:]
    losses = {
        record["spec"]["objective"]: record["curves"]["loss"]
        for record in (json.loads(p.read_text()) for p in out.glob("runs/*/evals/*/record.json"))
        if record["evaluation"]["split"] == "validation" and record["spec"]["objective"] != "start"
    }
    assert losses["mine"] == losses["dpo"]
    unpaired = bench("run", "--loss", "kto", "--data", singles, "--out", out, *SMALL)
    assert unpaired.returncode == 0, unpaired.stderr[-3000:]
    refused(bench("run", "--loss", "dpo", "--data", singles, "--out", out), 2, "needs pairs")


@pytest.mark.slow
def test_sft_then_dpo_on_it_is_two_commands(tmp_path):
    first = bench("run", "--loss", "sft", "--out", tmp_path, *SMALL)
    assert first.returncode == 0, first.stderr[-3000:]
    specs = [(path.parent.name, json.loads(path.read_text())) for path in tmp_path.glob("runs/*/spec.json")]
    key = next(name for name, spec in specs if spec["objective"] == "sft" and spec["seed"] == 0)
    second = bench("run", "--loss", "dpo", "--model", f"run:{key[:8]}", "--out", tmp_path, *SMALL)
    assert second.returncode == 0, second.stderr[-3000:]


OWN_LOSS = '''
from torch.nn.functional import logsigmoid
from losses import Pairs, Param, Requires
from losses.objective import objective
from losses.space import Log

@objective(
    params={"beta": Param(default=0.1, space=Log(0.01, 1), symbol="β", unit="1/nat", meaning="m", low=0.001, high=10)},
    batch=Pairs, requires=Requires.REFERENCE, reward="log_ratio", aggregation="sum",
    paper="none", equation="-log σ(β Δ)", optimum="not known", version=1,
)
def mine(pairs: Pairs, *, beta: float):
    """One number per example."""
    return -logsigmoid(beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio))
'''
