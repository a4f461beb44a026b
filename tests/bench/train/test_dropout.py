"""A training whose adapters drop features: the same in every micro-batch and layout, and none in the reference."""

import pytest
import torch

from bench.core.specs import LoraSpec
from bench.models.dropout import RowDropout
from tests.bench.conftest import tiny_spec

STEPS, BOUND = 20, 1e-5
LORA = LoraSpec(rank=4, dropout=0.1)
WAYS = {
    "micro-batches of 1": {"micro_batch": 1},
    "micro-batches of 2": {"micro_batch": 2},
    "checkpointing": {"micro_batch": 4, "gradient_checkpointing": True},
    "padded": {"layout": "padded"},
    "padded, micro-batches of 2": {"layout": "padded", "micro_batch": 2},
}


def losses(run_loop, folder, spec, **way):
    progress, _ = run_loop(spec, state=folder, **way)
    return torch.tensor(progress.curves["loss"])


OBJECTIVES = (
    "dpo",  # its loss is applied chunk by chunk
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("kto", "aot", "tdpo2", "tr_dpo")),
)
"""The slow ones: with a pass without gradient, scored twice, with a live reference, with a reference that moves."""


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_micro_batches_checkpointing_and_layout_change_nothing_but_rounding(run_loop, tmp_path, objective):
    params = {"every": 4.0} if objective == "tr_dpo" else {}
    spec = tiny_spec(objective, params=params, lora=LORA, steps=STEPS, learning_rate=1e-3)
    expected = losses(run_loop, tmp_path / "whole", spec, micro_batch=8)
    far = {
        name: float((losses(run_loop, tmp_path / name, spec, **way) - expected).abs().max())
        for name, way in WAYS.items()
    }
    assert {name: value for name, value in far.items() if not value <= BOUND} == {}
    without = tiny_spec(objective, params=params, lora=LoraSpec(rank=4), steps=STEPS, learning_rate=1e-3)
    assert float((losses(run_loop, tmp_path / "none", without) - expected).abs().max()) > 10 * BOUND


def test_another_seed_draws_other_masks(run_loop, tmp_path):
    one, other = (
        losses(run_loop, tmp_path / f"{seed}", tiny_spec("dpo", lora=LORA, steps=4, seed=seed, batch=24))
        for seed in (0, 1)
    )
    assert not torch.equal(one, other)


def test_a_live_reference_drops_nothing(run_loop, tmp_path, monkeypatch):
    dropped: dict[RowDropout, bool] = {}
    plain = RowDropout.forward

    def watched(self, x):
        out = plain(self, x)
        dropped[self] = dropped.get(self, False) or out is not x
        return out

    monkeypatch.setattr(RowDropout, "forward", watched)
    run_loop(tiny_spec("tdpo2", lora=LORA, steps=2), state=tmp_path / "state")
    assert sorted(dropped.values()) == [False] * 14 + [True] * 14  # of the reference, and of the policy
