"""Data sets as stages: sdpo over several files is dpo on each of them in turn, and other losses see their union."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bench.core.request import RunRequest
from bench.data.tokens import encoded_of
from bench.errors import UsageError
from bench.runner.plan import make_plan
from bench.train.sampler import schedule_of, stage_order, stage_span, step_rows
from losses import get
from losses.schedule import ReferenceSchedule
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_spec

SETS = (16, 8)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def part(data, start, end):
    rows = data.rows[start:end]
    return encoded_of(rows, kind="pairs", eos_id=data.eos_id, pad_id=data.pad_id)


def test_sdpo_on_two_sets_is_dpo_on_the_first_and_then_dpo_on_the_second(run_loop, tmp_path):
    # At a larger rate Adam's division would blow up the rounding between a live reference and a cached one.
    data, shared = tiny_pairs(), {"params": {"beta": 0.5}, "learning_rate": 1e-3}
    spec = tiny_spec("sdpo", steps=9, sets=SETS, **{**shared, "params": {"beta": 0.5, "stages": 2}})
    staged, found = run_loop(spec, state=tmp_path / "s")
    first, middle = run_loop(tiny_spec("dpo", steps=6, **shared), data=part(data, 0, 16), state=tmp_path / "1")
    start = tiny_model()
    start.load_state_dict(middle.state_dict())
    model = tiny_model()
    model.load_state_dict(middle.state_dict())
    # The cache of reference log-probs is by content, and the content of these tests is always «tiny».
    (tmp_path / "reference").rename(tmp_path / "reference of the first")
    second, expected = run_loop(
        tiny_spec("dpo", steps=3, **shared), data=part(data, 16, 24), state=tmp_path / "2", start=start, model=model
    )
    assert staged.curves["learning_rate"] == [*first.curves["learning_rate"], *second.curves["learning_rate"]]
    torch.testing.assert_close(
        torch.tensor(staged.curves["loss"]), torch.tensor([*first.curves["loss"], *second.curves["loss"]]),
        atol=1e-6, rtol=0,
    )  # fmt: skip
    assert (weights(expected) - weights(tiny_model())).abs().max() > 1e-3
    assert (weights(found) - weights(expected)).abs().max() < 1e-6


def test_stages_get_steps_in_proportion_to_their_rows_and_each_at_least_one():
    def lengths(shares, steps):
        borders = (0, *ReferenceSchedule(weight=1.0, stages=len(shares), shares=shares).boundaries(steps), steps)
        return [b - a for a, b in pairwise(borders)]

    assert lengths((16, 8), 9) == [6, 3]
    assert lengths((1, 1000), 5) == [1, 4]
    assert lengths((1000, 1), 5) == [4, 1]
    assert lengths((1, 1, 1000), 3) == [1, 1, 1]
    for steps in range(3, 50):  # alike shares are the stages of one data set
        plain = ReferenceSchedule(weight=1.0, stages=3)
        assert replace(plain, shares=(7, 7, 7)).boundaries(steps) == plain.boundaries(steps)
    with pytest.raises(ValueError, match="3 stages need 3 optimiser steps"):
        lengths((1, 1, 1), 2)


def test_a_stage_draws_from_its_own_set_alone_and_other_losses_from_all():
    data = tiny_pairs()
    spec = tiny_spec("sdpo", steps=9, sets=SETS, params={"stages": 2})
    units = [(row,) for row in range(24)]
    schedule = schedule_of(get("sdpo"), spec)
    members = stage_order(data, schedule, None)
    for step in range(9):
        drawn = {units[row][0] for row in step_rows(members, schedule, spec=spec, step=step)}
        assert drawn <= (set(range(16)) if stage_span(schedule, step, 9)[0] == 0 else set(range(16, 24)))
    for name in ("dpo", "tr_dpo", "ema_dpo"):
        several, one = tiny_spec(name, sets=SETS), tiny_spec(name)
        assert schedule_of(get(name), several) == schedule_of(get(name), one)
        assert stage_order(data, schedule_of(get(name), several), None) == [range(24)]


def test_sets_are_part_of_the_key_by_content_and_not_by_name():
    one, two = tiny_spec("sdpo"), tiny_spec("sdpo", sets=SETS)
    renamed = [each.model_copy(update={"source": "elsewhere"}) for each in two.data.sets]
    same = two.model_copy(update={"data": two.data.model_copy(update={"sets": tuple(renamed)})})
    assert one.key != two.key == same.key
    assert tiny_spec("sdpo", sets=SETS[::-1]).key != two.key
    assert "sets" not in json.loads(one.model_dump_json())["data"]


def write(path: Path, prompts) -> Path:
    rows = [{"prompt": f"film {n}:", "chosen": f" good {n}", "rejected": f" bad {n}"} for n in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plan(tmp_path, *losses, data=None, settings=(), sweep=None):
    return make_plan(
        RunRequest(
            losses=losses, sweep=sweep, suite="sentiment", model=None, data=data, protocol=None, trials=None,
            seeds=None, settings=("train.steps=8", "train.batch=4", *settings), results=tmp_path / "results",
            study=None, storage=None, sampler="grid", workers=1, processes=1, resume=True, loss_files=(),
        )
    )  # fmt: skip


def test_files_in_order_become_stages_of_sdpo_and_one_data_set_for_the_others(tmp_path):
    files = (write(tmp_path / "a.jsonl", range(40)), write(tmp_path / "b.jsonl", range(30, 50)))
    found = plan(tmp_path, "sdpo", "dpo", "sdpo+nll(0.1)", "0.5*sdpo+sft", data=files)
    spec = found.workspace.data_spec
    assert spec.source == "a.jsonl + b.jsonl"
    assert [each.source for each in spec.sets] == ["a.jsonl", "b.jsonl"]
    assert sum(each.rows for each in spec.sets) == spec.rows == len(found.workspace.data.rows)
    staged, plain, *composed = [each.spec(found.workspace, {}, seed=0) for each in found.searches]
    assert (staged.params["stages"], staged.data) == (2, plain.data)
    assert schedule_of(get("sdpo"), staged).shares == tuple(each.rows for each in spec.sets)
    for each in composed:
        assert schedule_of(get(each.objective), each).stages == 2
    turned = plan(tmp_path, "sdpo", data=files[::-1])
    assert turned.workspace.data_spec.content != spec.content
    assert turned.protocol.hash != found.protocol.hash


def test_three_files_are_three_stages_whatever_the_default_says(tmp_path):
    files = tuple(write(tmp_path / f"{n}.jsonl", range(20 * n, 20 * n + 20)) for n in range(3))
    found = plan(tmp_path, "sdpo", data=files)
    assert found.searches[0].spec(found.workspace, {}, seed=0).params["stages"] == 3


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        ("sdpo", {"settings": ("stages=3",)}, "stages=3, and --data gives 2 sets"),
        ("sdpo", {"sweep": "stages"}, "--sweep stages, and --data gives 2 sets"),
        ("sdpo(stages=3)+nll(0.1)", {}, "has 3 stages, and --data gives 2 sets"),
        ("sdpo", {"settings": ("train.steps=1",)}, "2 stages need 2 optimiser steps"),
    ],
)
def test_another_number_of_stages_than_of_sets_is_refused(tmp_path, loss, options, said):
    files = (write(tmp_path / "a.jsonl", range(20)), write(tmp_path / "b.jsonl", range(20, 40)))
    with pytest.raises(UsageError) as caught:
        plan(tmp_path, loss, data=files, **options)
    assert said in str(caught.value)


def test_pairs_and_unpaired_rows_in_two_files_are_refused(tmp_path):
    pairs, single = write(tmp_path / "a.jsonl", range(20)), tmp_path / "b.jsonl"
    single.write_text(
        "".join(json.dumps({"prompt": f"p {n}", "completion": " c", "label": True}) + "\n" for n in range(9))
    )
    with pytest.raises(UsageError, match=r"a\.jsonl has pairs rows and b\.jsonl has unpaired rows"):
        plan(tmp_path, "dpo", data=(pairs, single))
