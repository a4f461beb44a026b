"""Real gloo ranks under torchrun against one process, with and without a resume on other ranks."""

from importlib.util import find_spec

import pytest

from tests.ranks.material import DDP, FSDP2, ONE
from tests.ranks.parity import CASES, DEEPSPEED_WAYS, STEPS, WAYS, differences

FEW = [each for each in CASES if each.shape in ("unpaired, KL baseline", "running shift", "LoRA, moving reference")]
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
