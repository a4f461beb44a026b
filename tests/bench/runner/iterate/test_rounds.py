"""Rounds on the suite's own model: where each starts, what it is measured against, and that nothing is done twice."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.cli.iterate import iterate_command
from bench.core.request import RunRequest
from bench.core.results import read_record, verify_results
from bench.core.samples import Samples, read_samples
from bench.errors import UsageError
from bench.evaluate.metrics.kl import sequence_kl
from bench.models.loading import load_model, model_hash
from bench.report.figures.iterations import round_rows
from bench.runner.iterate.request import IterateRequest
from bench.runner.iterate.samples import read_sampled
from losses import get
from tests.bench.evaluate.judges.models import MODEL

SETTINGS = (
    "train.steps=4", "train.batch=8", "evaluation.prompts=16", "evaluation.pairs=16", "evaluation.judge=false",
    "evaluation.lm_eval=[]", "evaluation.tokens=12",
)  # fmt: skip


def asked(results: Path, **changes: object) -> IterateRequest:
    run = {"losses": ("dpo",), "settings": SETTINGS, "results": results, "trials": 1, "seeds": 0, "workers": 1}
    fields = {
        "rounds": 2, "samples": 3, "temperature": None, "prompts": 16, "fresh": False, "judge": "gold", "judgements": 3,
        "both_orders": False, "pairs": "best-worst", "reference": "previous", "seeds": 1, "max_cost": None,
        "dry_run": False,
    }  # fmt: skip
    of_run = {name: value for name, value in changes.items() if name in RunRequest.model_fields and name not in fields}
    of_loop = {name: value for name, value in changes.items() if name not in of_run}
    return IterateRequest.model_validate({**fields, **of_loop, "run": RunRequest.model_validate({**run, **of_run})})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two rounds of dpo tied to the policy of the round before, and two of ipo tied to the start model."""
    folder = tmp_path_factory.mktemp("iterated")
    iterate_command(asked(folder))
    iterate_command(asked(folder, losses=("ipo",), reference="start"))
    return folder


def loop_of(results: Path, objective: str) -> Path:
    """Where the loop of an objective lies."""
    loops = {path.parent for path in (results / "iterations").glob("*/loop.json")}
    (found,) = [one for one in loops if json.loads((one / "loop.json").read_text())["spec"]["objective"] == objective]
    return found


def run_of(loop: Path, number: int) -> Path:
    """Where the run of a round lies."""
    (found,) = (path.parent for path in loop.glob(f"round-{number}/runs/*/manifest.json"))
    return found


def record_of(loop: Path, number: int, split: str = "test"):
    """The record of a round on a split."""
    records = [read_record(path.parent) for path in run_of(loop, number).glob("evals/*/manifest.json")]
    (found,) = [record for record in records if record.evaluation.split == split]
    return found


def reference_models(loop: Path, number: int) -> set[str]:
    """Contents of the models whose log-probs a round's training read."""
    return {json.loads(path.read_text())["model"] for path in loop.glob(f"round-{number}/reference/*/about.json")}


def test_a_round_starts_from_the_policy_of_the_round_before_which_is_its_reference(results):
    loop, first = loop_of(results, "dpo"), model_hash(MODEL)
    policy = model_hash(run_of(loop, 1) / "checkpoint")
    assert (record_of(loop, 1).spec.model.content, reference_models(loop, 1)) == (first, {first})
    assert (record_of(loop, 2).spec.model.content, reference_models(loop, 2)) == (policy, {policy})
    for number in (1, 2):
        assert math.isclose(record_of(loop, number).curves["loss"][0], math.log(2), abs_tol=1e-6)


def test_a_round_that_keeps_an_adapter_hands_on_the_model_that_it_makes(tmp_path):
    iterate_command(asked(tmp_path, settings=(*SETTINGS, "train.steps=2", "lora.rank=2")))
    loop = loop_of(tmp_path, "dpo")
    (merged,) = loop.glob("round-1/models/merged-*")
    assert (run_of(loop, 1) / "adapter").is_dir()
    assert record_of(loop, 2).spec.model.content == model_hash(merged) != model_hash(MODEL)
    assert reference_models(loop, 2) == {model_hash(merged)}


def test_the_reference_stays_the_first_model_where_that_is_asked_for(results):
    loop, first = loop_of(results, "ipo"), model_hash(MODEL)
    one, two = record_of(loop, 1), record_of(loop, 2)
    assert two.spec.model.content == model_hash(run_of(loop, 1) / "checkpoint")
    assert reference_models(loop, 1) == reference_models(loop, 2) == {first}
    assert (one.spec.reference, two.spec.reference.content) == (None, first)
    exact = get("ipo").initial_loss(two.spec.params)
    assert math.isclose(one.curves["loss"][0], exact, abs_tol=1e-5)
    assert abs(two.curves["loss"][0] - exact) > 1e-3  # the policy has left its reference


def test_kl_of_every_round_is_to_the_first_start_model(results):
    loop = loop_of(results, "dpo")
    record = record_of(loop, 2)
    rows = read_samples(run_of(loop, 2) / "evals" / record.evaluation_key / "samples.jsonl.gz")
    samples = Samples(
        prompts=tuple(row.prompt_ids for row in rows),
        completions=tuple(row.completion_ids for row in rows),
        ended=tuple(row.ended for row in rows),
    )
    policy = load_model(run_of(loop, 2) / "checkpoint")
    first, previous = (
        float(sequence_kl(policy, load_model(folder), samples, batch=16).mean())
        for folder in (MODEL, run_of(loop, 1) / "checkpoint")
    )
    assert math.isclose(record.metric("kl").value, first, rel_tol=1e-3)
    assert abs(previous - first) > 0.1 * first
    assert record.evaluation.against == model_hash(MODEL)


def test_loops_of_one_seed_share_prompts_and_noise_whatever_their_loss(results):
    one, other = (
        read_sampled(loop_of(results, name) / "round-1" / "samples" / "samples.jsonl.gz") for name in ("dpo", "ipo")
    )
    assert one == other
    assert len(one) == 16
    assert all(len(row.completions) == 3 for row in one)
    assert one != read_sampled(loop_of(results, "dpo") / "round-2" / "samples" / "samples.jsonl.gz")


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("round-*/**/*") if path.is_file()}


def test_the_same_command_again_does_nothing_and_more_rounds_add_to_the_loop(results, tmp_path):
    shutil.copytree(results, tmp_path / "copy")
    before = snapshot(tmp_path / "copy")
    iterate_command(asked(tmp_path / "copy"))
    assert snapshot(tmp_path / "copy") == before
    loop = loop_of(tmp_path / "copy", "dpo")
    expected = load_file(run_of(loop, 2) / "checkpoint" / "model.safetensors")
    shutil.rmtree(loop / "round-2")
    iterate_command(asked(tmp_path / "copy"))
    assert run_of(loop, 2).name == run_of(loop_of(results, "dpo"), 2).name
    found = load_file(run_of(loop, 2) / "checkpoint" / "model.safetensors")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_a_command_that_was_killed_goes_on_to_the_same_runs(results, tmp_path):
    options = ["--loss", "dpo", "--rounds", "2", "--samples", "3", "--prompts", "16", "--out", str(tmp_path)]
    options += [text for setting in SETTINGS for text in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "iterate", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("iterations/*/round-1/runs/*/manifest.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    loop = loop_of(tmp_path, "dpo")
    assert not list(loop.glob("round-2/runs/*/manifest.json"))
    iterate_command(asked(tmp_path))
    assert run_of(loop, 1).name == run_of(loop_of(results, "dpo"), 1).name
    assert verify_results(tmp_path) == []
    assert [row["round"] for row in round_rows(tmp_path) if row["split"] == "test"] == [0, 1, 2]


def test_the_report_has_every_round_and_begins_at_the_start_model(results):
    rows = [row for row in round_rows(results) if row["split"] == "test"]
    assert [(row["objective"], row["round"]) for row in rows] == [
        (name, number) for name in ("dpo", "ipo") for number in (0, 1, 2)
    ]
    assert [row["kl"] for row in rows if row["round"] == 0] == [0.0, 0.0]
    assert all(row["pairs"] + row["ties"] + row["unjudged"] == 16 for row in rows if row["round"] > 0)
    names = {path.name for path in (results / "iterations").glob("iterations*")}
    assert names == {"iterations.csv", *(f"iterations-sentiment.{kind}" for kind in ("pdf", "png", "svg"))}


def test_what_rounds_left_is_verified(results, tmp_path):
    assert verify_results(results) == []
    shutil.copytree(results, tmp_path / "copy")
    labels = loop_of(tmp_path / "copy", "dpo") / "round-2" / "labels" / "about.json"
    labels.write_text(labels.read_text().replace("gold", "gild"))
    assert [problem.path for problem in verify_results(tmp_path / "copy")] == [labels]


def test_prompts_of_fresh_rounds_are_disjoint_and_those_of_others_are_the_same():
    from bench.runner.iterate.prompts import Prompt, prompts_a_round, prompts_of_round

    prompts = [Prompt(ids=(n,), text=str(n)) for n in range(50)]
    count = prompts_a_round(50, requested=None, rounds=3, fresh=True, needed=1024)
    rounds = [prompts_of_round(prompts, round_number=n, count=count, fresh=True, seed=1) for n in (1, 2, 3)]
    assert count == 16
    assert len({prompt.ids for part in rounds for prompt in part}) == 48
    same = [prompts_of_round(prompts, round_number=n, count=20, fresh=False, seed=1) for n in (1, 2)]
    assert same[0] == same[1] != prompts_of_round(prompts, round_number=1, count=20, fresh=False, seed=2)
    assert prompts_a_round(50, requested=None, rounds=3, fresh=False, needed=32) == 32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"suite": "exact", "settings": ()}, "suite exact lists every completion"),
        ({"losses": ("tdpo2",), "reference": "start"}, "tdpo2 needs a reference in memory beside the policy"),
        ({"losses": ("tr_dpo",), "reference": "start"}, "tr_dpo needs a reference in memory"),
        ({"reference": "first"}, "--reference: unknown 'first'"),
        ({"prompts": 10_000}, "there are 600 training prompts (got 10000)"),
        ({"prompts": 400, "fresh": True}, "300 for each of 2 rounds"),
        ({"both_orders": True}, "judge gold sees one answer at a time"),
        ({"pairs": "best"}, "best-worst"),
        ({"judge": "selfish"}, "unknown judge"),
    ],
)
def test_what_rounds_cannot_do_is_refused_before_anything_is_sampled(tmp_path, changes, said):
    with pytest.raises(UsageError) as caught:
        iterate_command(asked(tmp_path, **changes))
    assert said in str(caught.value)
    assert not (tmp_path / "iterations").exists()


def test_a_policy_judges_itself_with_the_weights_of_its_round(tmp_path):
    iterate_command(asked(tmp_path, judge="self", judgements=0, prompts=4, samples=2))
    loop = loop_of(tmp_path, "dpo")
    abouts = [json.loads((loop / f"round-{n}" / "labels" / "about.json").read_text()) for n in (1, 2)]
    assert [about["outcomes"] for about in abouts] == [{"judged": 8}, {"judged": 8}]
    assert abouts[0]["mass"] != abouts[1]["mass"]
    assert record_of(loop, 2).metric("kl").value > 0
