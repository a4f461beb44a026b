"""Both sides compute the same, and the command says so only then."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks.__main__ import main
from tests.benchmarks.alone import ROOT, Side, measured
from tests.benchmarks.steps import CHECKED, TOLERANCE

SHORT = (
    "steps",
    "--sizes",
    "tiny",
    "--settings",
    "fp32",
    "--steps",
    "4",
    "--repeats",
    "1",
    "--no-memory",
    "--peak-seconds",
    "0.02",
)
TWICE = ("--steps", "4", "--repeats", "2")
MISSING_ON_GPU_MACHINES = ("optuna", "lm_eval", "alpaca_eval")


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    """What the command writes for three objectives."""
    out = tmp_path_factory.mktemp("steps") / "found.json"
    assert main([*SHORT, "--objectives", "dpo,simpo,kto", "--out", str(out)]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("objective", ["dpo", "simpo", "kto"])
def test_losses_follow_those_of_trl_through_ten_steps(record, objective):
    (row,) = [row for row in record["rows"] if row["objective"] == objective]
    trl, ours = row["losses"]["trl"], row["losses"]["fp32"]
    assert len(trl) == len(ours) == CHECKED
    assert max(abs(a - b) for a, b in zip(trl, ours, strict=True)) < TOLERANCE
    assert max(trl) - min(trl) > 100 * TOLERANCE
    assert row["equal"]


@pytest.mark.filterwarnings("ignore")
def test_figures_are_of_the_timed_steps(record):
    for row in record["rows"]:
        for side in ("ours-fp32", "ours-bf16"):
            assert row[side]["ratio_with_reference"]["median"] <= row[side]["ratio"]["median"]
            assert row[side]["seconds"]["low"] <= row[side]["seconds"]["median"] <= row[side]["seconds"]["high"]
        assert row["steps"] == CHECKED - record["protocol"]["warm_up"]
        assert 0 < row["trl"]["share_of_peak"] < 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_the_command_fails_where_the_losses_are_not_equal(tmp_path, capsys):
    out = tmp_path / "found.json"
    assert main([*SHORT, "--objectives", "dpo", "--our-beta", "0.3", "--out", str(out)]) == 1
    assert "our float32 losses differ" in capsys.readouterr().err
    assert not json.loads(out.read_text(encoding="utf-8"))["rows"][0]["equal"]


@pytest.mark.slow
def test_each_side_alone_tells_its_memory():
    found = measured(Side(size="tiny", objective="dpo", side="ours-fp32", steps=2))
    assert len(found["seconds"]) == 2
    assert 50e6 < found["peak_bytes"] < 5e9


@pytest.mark.slow
def test_steps_needs_nothing_that_a_gpu_machine_may_lack():
    blocked = f"import sys; sys.modules.update(dict.fromkeys({MISSING_ON_GPU_MACHINES!r}))"
    imported = "import tests.benchmarks.steps, tests.benchmarks.ours, tests.benchmarks.theirs, tests.benchmarks.alone"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}; {imported}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_settings_run_and_each_side_tells_its_memory(tmp_path):
    out = tmp_path / "found.json"
    arguments = ("steps", "--sizes", "tiny", "--objectives", "dpo,kto,simpo,ipo", *TWICE, "--out", str(out))
    assert main(list(arguments)) == 0
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["setting"] for row in rows] == ["fp32", "default", "best"] * 4
    assert all(set(row["peak_bytes"]) == {f"trl-{row['setting']}", "ours-fp32", "ours-bf16"} for row in rows)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_short_comparison_runs_on_a_gpu(tmp_path: Path):
    out = tmp_path / "found.json"
    arguments = ("steps", "--sizes", "tiny,1M", "--objectives", "dpo,kto,simpo", *TWICE, "--out", str(out))
    assert main(list(arguments)) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["machine"]["device"] == "cuda"
    assert all(0 < value < 80e9 for row in found["rows"] for value in row["peak_bytes"].values())
