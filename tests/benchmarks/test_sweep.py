"""A sweep of five processes and one of one process end at the same scores; cost is drawn against size."""

import csv
import math
from dataclasses import asdict, replace

import pytest

from tests.benchmarks.alone import in_child
from tests.benchmarks.growth import Curve, Plan, measure, write
from tests.benchmarks.shapes import shape_of
from tests.benchmarks.sweep import BETAS, Job, compare, disagreements, run_theirs, write_material
from tests.benchmarks.sweep import Plan as SweepPlan

PLAN = SweepPlan(sizes=("tiny",), betas=2, pairs=16, setting="fp32", repeats=1)


@pytest.mark.filterwarnings("ignore")
def test_both_sides_end_at_the_same_held_out_scores(tmp_path):
    shape = shape_of("tiny")
    write_material(shape, tmp_path, pairs=PLAN.pairs, seed=0)
    job = Job(folder=str(tmp_path), betas=BETAS[:2], max_length=shape.context, how="fp32")
    ours = in_child("sweep-ours", asdict(job))["found"]["scores"]
    for mine, beta in zip(ours, job.betas, strict=True):
        (theirs,) = run_theirs(replace(job, betas=(beta,)))["scores"]
        assert mine["beta"] == theirs["beta"] == beta
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert mine["loss"] < math.log(2) - 1e-3
        assert mine["accuracy"] == pytest.approx(theirs["accuracy"])


@pytest.mark.slow
def test_the_time_of_a_sweep_is_that_of_all_its_processes():
    record = compare(PLAN, note=lambda text: None)
    (row,) = record["rows"]
    assert row["equal"]
    trl, ours = row["trl"]["seconds"]["median"], row["ours-fp32"]["seconds"]["median"]
    assert trl > 2.0  # two processes, each of which imports torch and TRL
    assert row["ours-fp32"]["ratio"]["median"] == pytest.approx(trl / ours)


def test_sweeps_with_other_scores_are_told():
    told = disagreements({"rows": [{"size": "5M", "difference": 0.2, "equal": False}]})
    assert len(told) == 1
    assert "differ from TRL's by 0.2" in told[0]
    assert disagreements({"rows": [{"size": "5M", "difference": 0.0, "equal": True}]}) == []


def test_slopes_are_those_of_a_power():
    curve = Curve(name="a", label="a", places=(1, 2, 4), seconds=(3, 12, 48), of="step")
    assert curve.slope == pytest.approx(2)


@pytest.mark.slow
def test_growth_is_measured_at_each_place_and_drawn(tmp_path):
    plan = Plan(pairs=(64, 128), shares=(0.1, 0.9), vocabularies=(256, 512), trials=(1, 2), repeats=1)
    curves = measure(plan, note=lambda text: None)
    drawn, numbers = write(curves, tmp_path)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(numbers.read_text(encoding="utf-8").splitlines()))
    assert [(row["curve"], float(row["place"])) for row in rows] == [
        ("pairs", 64), ("pairs", 128), ("prompt_share", 0.1), ("prompt_share", 0.9),
        ("vocabulary", 256), ("vocabulary", 512), ("trials", 1), ("trials", 2),
    ]  # fmt: skip
    assert all(float(row["seconds"]) > 0 for row in rows)
