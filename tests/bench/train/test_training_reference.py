"""The reference of trainings: what they draw is scored, and the numbers are the same however it came to be there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.data.tokens import Encoded
from bench.errors import RunError
from bench.models import reference_parts
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import compute
from bench.models.reference_parts import Scoring
from bench.train.drawn_rows import cached_steps, completions_of, needs_of
from bench.train.objective_batch import rows_of
from bench.train.sampler import batch_units, schedule_of, stage_order, step_rows
from bench.train.training_reference import needs_of_run, open_references, read_training_reference
from losses import Requires, get, names
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_spec

LARGE = tiny_pairs(1000, seed=3)
"""A training of six steps of eight draws 48 of these rows: two blocks."""


def scoring_in(folder: Path, counted: list[int] | None = None, notes: list[str] | None = None, **more) -> Scoring:
    return Scoring(
        model_content="tiny", precision="fp32", layout="packed", folder=folder, pad_id=1,
        load=lambda: CompletionLogProbs(tiny_model(), packed=True), scored=([] if counted is None else counted).append,
        note=([] if notes is None else notes).append, **more,
    )  # fmt: skip


def values(folder: Path, spec, data: Encoded = LARGE) -> dict[int, list[float]]:
    """By number, the log-probs that a training reads."""
    reference = read_training_reference(open_references(data, spec, scoring_in(folder)))
    assert reference is not None
    return {int(number): reference.rows.of(number).tolist() for number in reference.rows.numbers}


def test_what_a_training_draws_is_scored_and_nothing_else(tmp_path):
    counted: list[int] = []
    spec = tiny_spec("dpo", seed=5)
    reference = read_training_reference(open_references(LARGE, spec, scoring_in(tmp_path, counted)))
    units, schedule = batch_units(LARGE, get("dpo")), schedule_of(get("dpo"), spec)
    stages = stage_order(LARGE, schedule, None)
    for step in range(6):
        drawn = step_rows(stages, schedule, spec=spec, step=step)
        known = reference.at_step(step, drawn, [units[row] for row in drawn], spec.train).known
        for prompt, completion in known:
            ids = torch.tensor([[*prompt, *completion]])
            logps = tiny_model()(input_ids=ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
            exact = logps[torch.arange(len(completion)), list(completion)]
            torch.testing.assert_close(known[prompt, completion], exact, rtol=1e-5, atol=1e-5)
    # Two blocks of 32 pairs: equal completions of a block are scored once.
    assert completions_of(needs_of_run(LARGE, spec)) == 128 >= sum(counted) > 120


def test_all_rows_have_the_numbers_of_one_list_of_them_to_the_last_bit(tmp_path):
    data, model = tiny_pairs(300), CompletionLogProbs(tiny_model(), packed=True)
    reference = read_training_reference(open_references(data, tiny_spec("sdpo"), scoring_in(tmp_path)))
    rows = list(dict.fromkeys(rows_of(data.rows)))
    listed = dict(zip(rows, compute(rows, model, pad_id=1, precision="fp32", batch=64), strict=True))
    for index, pair in enumerate(data.rows):
        for side, ids in enumerate((pair.chosen_ids, pair.rejected_ids)):
            assert reference.rows.of(2 * index + side).equal(listed[pair.prompt_ids, ids])


def test_small_data_are_scored_whole_and_once_for_all_seeds_and_losses(tmp_path):
    counted: list[int] = []
    for name in ("dpo", "ipo", "sdpo"):
        for seed in (0, 1):
            open_references(tiny_pairs(), tiny_spec(name, seed=seed), scoring_in(tmp_path, counted))
    rows = {(p.prompt_ids, ids) for p in tiny_pairs().rows for ids in (p.chosen_ids, p.rejected_ids)}
    assert sum(counted) == len(rows)


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_longer_run_adds_to_what_is_there_and_reads_what_it_would_have_read_alone(tmp_path, objective):
    short, long = tiny_spec(objective, steps=6), tiny_spec(objective, steps=20)
    counted: list[int] = []
    first = values(tmp_path / "grown", short)
    open_references(LARGE, long, scoring_in(tmp_path / "grown", counted))
    values(tmp_path / "grown", tiny_spec(objective, steps=6, seed=9))
    assert 0 < sum(counted) < completions_of(needs_of_run(LARGE, long))
    grown, alone = values(tmp_path / "grown", long), values(tmp_path / "alone", long)
    assert grown == alone
    assert {number: grown[number] for number in first} == first


def test_every_objective_reads_all_that_its_steps_ask_for(tmp_path):
    scoring = scoring_in(tmp_path)
    for name in names():
        spec = tiny_spec(name)
        if Requires.REFERENCE not in get(name).requires:
            assert open_references(LARGE, spec, scoring) == ()
            continue
        objective, schedule = get(name), schedule_of(get(name), spec)
        reference = read_training_reference(open_references(LARGE, spec, scoring))
        units = batch_units(LARGE, objective)
        stages = stage_order(LARGE, schedule, None if reference is None else reference.mean)
        for step in range(cached_steps(objective, schedule, 6)):
            drawn = step_rows(stages, schedule, spec=spec, step=step)
            reference.at_step(step, drawn, [units[row] for row in drawn], spec.train)


def test_stages_by_margin_need_all_rows_and_stages_by_set_the_first_one_alone():
    (by_margin,) = needs_of_run(LARGE, tiny_spec("sdpo"))
    (by_set,) = needs_of_run(LARGE, tiny_spec("sdpo", sets=(600, 400), params={"stages": 2}))
    assert (by_margin.seed, by_margin.completions) == (None, 2000)
    assert (by_set.seed, by_set.first, by_set.last, by_set.completions) == (0, 0, 600, 64)
    assert cached_steps(get("tdpo2"), schedule_of(get("tdpo2"), tiny_spec("tdpo2")), 6) == 0


def test_of_160_000_completions_those_that_60_steps_of_16_pairs_draw():
    spec = tiny_spec("dpo", steps=60, batch=16)
    schedule = schedule_of(get("dpo"), spec)
    needs = [needs_of(get("dpo"), schedule, spec.train, seed=seed, rows=80_000, paired=True) for seed in range(3)]
    assert completions_of(needs[0]) == 1920
    assert completions_of(need for each in needs for need in each) == 3 * 1920


@pytest.mark.parametrize("damage", ["flip", "truncate", "about"])
def test_a_damaged_part_is_made_again(tmp_path, damage, monkeypatch):
    monkeypatch.setattr(reference_parts, "PART_SECONDS", 0.0)
    spec = tiny_spec("dpo", steps=20)
    parts = open_references(LARGE, spec, scoring_in(tmp_path))
    assert len(parts) == 5
    before, path = values(tmp_path, spec), parts[2] / "logps.safetensors"
    whole = path.read_bytes()
    if damage == "about":
        (parts[2] / "about.json").write_text("{")
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage == "flip" else whole[:40])
    counted: list[int] = []
    notes: list[str] = []
    assert open_references(LARGE, spec, scoring_in(tmp_path, counted, notes)) == parts
    assert sum(counted) <= 64
    assert any("damaged" in note for note in notes)
    assert values(tmp_path, spec) == before


def test_a_wish_to_stop_writes_what_is_there(tmp_path):
    spec, counted = tiny_spec("dpo", steps=20), []
    with pytest.raises(KeyboardInterrupt):
        open_references(LARGE, spec, scoring_in(tmp_path, counted, should_stop=lambda: True))
    assert len(counted) == 1
    open_references(LARGE, spec, scoring_in(tmp_path, counted))
    assert len(counted) == 5


def test_a_row_of_other_data_is_refused(tmp_path):
    spec = tiny_spec("dpo")
    reference = read_training_reference(open_references(LARGE, spec, scoring_in(tmp_path)))
    never = next(row for row in range(1000) if 2 * row not in set(reference.rows.numbers.tolist()))
    with pytest.raises(RunError, match="no log-probs of completion"):
        reference.at_step(0, [never], [(LARGE.rows[never],)], spec.train)
    drawn = int(reference.rows.numbers[0]) // 2
    other = next(p for p in LARGE.rows if len(p.chosen_ids) != len(LARGE.rows[drawn].chosen_ids))
    with pytest.raises(RunError, match="belongs to other data"):
        reference.at_step(0, [drawn], [(other,)], spec.train)


SCRIPT = """
import sys, time
from pathlib import Path
from bench.models import reference_parts
from tests.bench.train.test_training_reference import LARGE, open_references, scoring_in, tiny_spec
from dataclasses import replace

reference_parts.PART_SECONDS = 0.0
def scored(count):
    print(count, flush=True)
    time.sleep(0.1)
print("ready", flush=True)
sys.stdin.readline()
open_references(LARGE, tiny_spec("dpo", steps=30), replace(scoring_in(Path(sys.argv[1])), scored=scored))
"""


def process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def let_go(*processes: subprocess.Popen[str]) -> None:
    for each in processes:
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        each.stdin.write("\n")
        each.stdin.flush()


def test_killed_by_force_it_goes_on_where_it_was_with_the_same_numbers(tmp_path):
    torch.set_num_threads(1)
    spec, counted = tiny_spec("dpo", steps=30), []
    one = process(tmp_path / "killed")
    let_go(one)
    for _ in range(3):
        assert one.stdout.readline()
    os.kill(one.pid, signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL
    open_references(LARGE, spec, scoring_in(tmp_path / "killed", counted))
    assert 0 < len(counted) <= 8 - 3
    assert values(tmp_path / "killed", spec) == values(tmp_path / "whole", spec)


def test_two_processes_at_once_score_each_block_once(tmp_path):
    two = [process(tmp_path / "both") for _ in range(2)]
    let_go(*two)
    counts = [[int(line) for line in each.communicate(timeout=120)[0].split()] for each in two]
    assert [each.returncode for each in two] == [0, 0]
    assert sorted(len(count) for count in counts) == [0, 8]
    abouts = [json.loads(path.read_text()) for path in sorted((tmp_path / "both").glob("*/about.json"))]
    assert [(about["first"], about["last"]) for about in abouts] == [(i, i + 1) for i in range(8)]
    assert values(tmp_path / "both", tiny_spec("dpo", steps=30)) == values(
        tmp_path / "alone", tiny_spec("dpo", steps=30)
    )
    assert not list((tmp_path / "both").glob(".*"))
