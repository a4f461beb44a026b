"""Objectives coupled over the global batch: two passes give the gradient of the whole, however it is cut."""

import pytest
import torch

from bench.train.whole_batch import joined, surrogate
from losses import Requires, get, names
from losses.batch import sides
from losses.testing.synthetic import example_batch, take
from tests.bench.conftest import tiny_model, tiny_spec

COUPLED = [name for name in names() if Requires.WHOLE_BATCH in get(name).requires]


def test_there_are_coupled_objectives_to_test():
    assert {"aot", "dr_dpo", "bco_pair_shift"} <= set(COUPLED)


@pytest.mark.parametrize("name", ["aot", "bco", "dpo"])
def test_joining_micro_batches_gives_the_batch_they_were_cut_from(name):
    batch = example_batch(get(name))
    whole = joined([take(batch, torch.tensor([0, 1, 2])), take(batch, torch.tensor([3, 4]))])
    assert torch.allclose(get(name)(whole), get(name)(batch))


def test_the_surrogate_has_the_gradient_of_the_loss():
    batch = example_batch(get("dpo"))
    leaves = [side.policy_logps for side in sides(batch)]
    exact = torch.autograd.grad(get("dpo")(batch).mean(), leaves)
    found = torch.autograd.grad(surrogate(batch, [{"policy_logps": grad} for grad in exact]), leaves)
    for one, two, side in zip(found, exact, sides(batch), strict=True):
        assert torch.allclose(one[side.mask], two[side.mask])


@pytest.mark.parametrize("name", COUPLED)
def test_weights_after_training_do_not_depend_on_the_micro_batch(run_loop, name, tmp_path):
    spec = tiny_spec(name, learning_rate=1e-3)
    found = []
    for size in (8, 3, 1):
        progress, model = run_loop(spec, micro_batch=size, state=tmp_path / str(size), model=tiny_model())
        found.append((progress, torch.cat([p.detach().flatten() for p in model.parameters()])))
    for progress, weights in found[1:]:
        assert progress.curves["loss"] == pytest.approx(found[0][0].curves["loss"], rel=1e-4, abs=1e-5)
        assert torch.allclose(weights, found[0][1], atol=2e-4)
        assert (progress.objective_state or {}) == pytest.approx(found[0][0].objective_state or {}, rel=1e-3, abs=1e-5)
