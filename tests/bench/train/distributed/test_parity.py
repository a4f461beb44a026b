"""Real gloo ranks under torchrun against one process, with and without a resume on other ranks."""

from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file

from tests.bench.train.distributed.material import DDP, FSDP2, ONE, job, run_many, spec_of, trained
from tests.bench.train.distributed.parity import CASES, DEEPSPEED_WAYS, STEPS, WAYS, differences

SHAPES = (
    "unpaired, KL baseline",
    "running shift",
    "stages of data sets",
    "LoRA, moving reference",
    "LoRA with dropout",
)
FEW = [each for each in CASES if each.shape in SHAPES]
FAST = ((None, DDP), (ONE, FSDP2))


def within_bounds(cases, ways, folder, *, steps):
    found = differences(cases, ways, folder, steps=steps)
    over = {
        (case.shape, way): value
        for case, row in zip(cases, found, strict=True)
        for way, value in zip(ways, row, strict=True)
        if not value <= case.bound
    }
    assert not over


def test_two_ranks_give_the_losses_of_one_process_and_take_over_from_each_other(tmp_path):
    within_bounds(FEW, FAST, tmp_path, steps=6)


@pytest.mark.slow
def test_every_shape_of_objective_is_the_same_on_every_kind_of_ranks(tmp_path):
    within_bounds(CASES, WAYS, tmp_path, steps=STEPS)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_deepspeed_gives_the_losses_of_one_process_and_takes_over_from_others(tmp_path):
    within_bounds(CASES, DEEPSPEED_WAYS, tmp_path, steps=STEPS)


@pytest.mark.slow
def test_ranks_that_stop_and_go_on_are_those_that_did_not_to_the_bit(tmp_path):
    spec = spec_of("tr_dpo", steps=8, params={"every": 2.0}, lora=0.3)
    kinds = (DDP, FSDP2)
    wholes = [(job(tmp_path, spec, results=f"{kind.name} whole", **kind.execution), kind) for kind in kinds]
    parts = [(job(tmp_path, spec, results=f"{kind.name} parts", **kind.execution), kind) for kind in kinds]
    run_many(parts, stop_at=3)
    run_many([*wholes, *parts])
    for (whole, _), (resumed, _) in zip(wholes, parts, strict=True):
        assert trained(whole)["curves"] == trained(resumed)["curves"]
        weights = [load_file(each.run / "adapter" / "adapter_model.safetensors") for each in (whole, resumed)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
