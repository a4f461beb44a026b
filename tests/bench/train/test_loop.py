"""The loop: what may change the numbers and what must not."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from bench.core.specs import LoraSpec, TrainSpec
from bench.errors import RunError
from bench.train.loop import Interrupted, lr_factor
from losses import names
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_spec


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# Their kink lies where policy = reference, so at the first step the last digit of a sum chooses the slope.
KINKED = ("dpop", "minor_dpo")


@pytest.mark.parametrize("objective", [name for name in names() if name not in KINKED])
def test_micro_batches_of_8_4_and_1_give_the_same_losses(run_loop, objective, tmp_path):
    # SGD-like precision: a small learning rate keeps rounding from being amplified by Adam's division.
    spec = tiny_spec(objective, learning_rate=1e-3)
    curves = [run_loop(spec, micro_batch=size, state=tmp_path / str(size))[0].curves["loss"] for size in (8, 4, 1)]
    for other in curves[1:]:
        for a, b in zip(curves[0], other, strict=True):
            assert math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5)


@pytest.mark.parametrize("objective", names())
def test_every_objective_learns_to_tell_the_pairs_apart(run_loop, objective):
    progress, _ = run_loop(tiny_spec(objective, steps=16, learning_rate=3e-3))
    assert progress.status == "completed"
    assert progress.curves["loss"][-1] < progress.curves["loss"][0]


def test_dpo_starts_at_log_2_and_accuracy_one_half(run_loop):
    progress, _ = run_loop(tiny_spec("dpo"))
    assert math.isclose(progress.curves["loss"][0], math.log(2), abs_tol=1e-6)


def test_a_policy_that_is_not_the_reference_is_refused_at_step_0(run_loop):
    with pytest.raises(RunError, match=r"step-0 parity: dpo gives .* it is exactly 0\.693147"):
        run_loop(tiny_spec("dpo", params={"beta": 1.0}), model=tiny_model(seed=1))


@pytest.mark.parametrize(
    ("logged", "watched", "steps", "seen"),
    [(1, 3, 8, [1, 4, 7, 8]), (2, 3, 8, [2, 4, 8]), (4, 3, 9, [4, 8, 9]), (1, 0, 4, []), (1, 1, 3, [1, 2, 3])],
)
def test_confidence_is_measured_on_logged_steps_now_and_then(run_loop, logged, watched, steps, seen):
    progress, _ = run_loop(tiny_spec("dpo", steps=steps), log_every=logged, watch_every=watched)
    curves = progress.curves
    assert [step for step, value in zip(curves["step"], curves["entropy"], strict=True) if value is not None] == seen
    assert len(curves["chosen_top1"]) == len(curves["step"])


def test_reference_free_objectives_need_no_parity(run_loop):
    progress, _ = run_loop(tiny_spec("simpo"), model=tiny_model(seed=1))
    assert progress.status == "completed"


def test_same_seed_same_weights_other_seed_other_weights(run_loop, tmp_path):
    one, two, other = (
        weights(run_loop(tiny_spec("dpo", seed=seed), state=tmp_path / str(place))[1])
        for place, seed in enumerate((0, 0, 1))
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_damaged_state_is_passed_over(run_loop, tmp_path):
    spec = tiny_spec("dpo")
    _, expected = run_loop(spec, state=tmp_path / "whole")
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        run_loop(spec, state=tmp_path / "parts", should_stop=lambda: next(asked))
    (state,) = (tmp_path / "parts").glob("state-*/state.safetensors")
    state.write_bytes(state.read_bytes()[:-10])
    _, found = run_loop(spec, state=tmp_path / "parts")
    assert torch.equal(weights(expected), weights(found))


def test_a_loss_that_is_no_number_is_recorded_as_diverged(run_loop):
    progress, _ = run_loop(tiny_spec("ipo_sum", learning_rate=1e30, warmup=0.0, params={"beta": 0.001}))
    assert progress.status == "diverged"
    assert "step" in progress.error


def test_lora_trains_adapters_only_and_starts_at_the_reference(run_loop):
    before = {name: p.clone() for name, p in tiny_model().named_parameters()}
    progress, model = run_loop(tiny_spec("dpo", lora=LoraSpec(rank=4)))
    assert math.isclose(progress.curves["loss"][0], math.log(2), abs_tol=1e-6)
    assert progress.curves["loss"][-1] < progress.curves["loss"][0]
    after = {n.replace("base_model.model.", "").replace(".base_layer", ""): p for n, p in model.named_parameters()}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_sdpo_makes_the_policy_its_reference_at_the_border(run_loop):
    progress, _ = run_loop(tiny_spec("sdpo", params={"stages": 2}, steps=8))
    # The first loss of a stage is computed where policy = reference, whatever was learnt before.
    assert math.isclose(progress.curves["loss"][4], math.log(2), abs_tol=1e-5)
    assert not math.isclose(progress.curves["loss"][3], math.log(2), abs_tol=1e-3)


def test_a_moving_reference_costs_its_passes(run_loop, tmp_path):
    frozen, _ = run_loop(tiny_spec("dpo"), state=tmp_path / "a")
    hard, _ = run_loop(tiny_spec("tr_dpo_hard", params={"every": 2}), state=tmp_path / "b")
    assert frozen.forward_tokens == frozen.tokens
    assert hard.tokens == frozen.tokens
    assert hard.forward_tokens > hard.tokens


def test_kto_counts_the_tokens_of_its_baseline(run_loop):
    progress, _ = run_loop(tiny_spec("kto"))
    assert progress.forward_tokens > progress.tokens


def test_steps_are_clipped_when_the_gradient_is_large_and_counted(run_loop, tmp_path):
    tight, _ = run_loop(tiny_spec("dpo", clip=1e-6), state=tmp_path / "a")
    loose, _ = run_loop(tiny_spec("dpo", clip=1e6), state=tmp_path / "b")
    assert (tight.clipped_steps, loose.clipped_steps) == (6, 0)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rate_rises_then_falls_as_the_schedule_says(schedule):
    train = TrainSpec(steps=100, batch=1, learning_rate=1.0, lr_schedule=schedule, warmup=0.1)
    factors = [lr_factor(step, 100, train) for step in range(100)]
    assert all(a < b for a, b in itertools.pairwise(factors[:11]))
    assert max(factors) == factors[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert (factors[-1] == 1.0) == (schedule == "constant")


def test_an_objective_without_its_reference_rows_is_refused(run_loop, tmp_path: Path):
    from accelerate import Accelerator

    from bench.core.specs import Execution
    from bench.train.loop import Callbacks, train
    from tests.bench.conftest import tiny_reference

    spec = tiny_spec("dpo")
    reference = tiny_reference(tiny_model(), tiny_pairs(count=8), tiny_spec("dpo", steps=1), tmp_path / "few")
    with pytest.raises(RunError, match="reference cache has no log-probs"):
        train(
            tiny_model(), spec=spec, data=tiny_pairs(), reference=reference,
            execution=Execution(), accelerator=Accelerator(cpu=True), state=tmp_path / "state",
            callbacks=Callbacks(),
        )  # fmt: skip


def test_a_run_that_is_ended_early_stops_there_and_the_last_step_is_not_asked_about(run_loop, tmp_path):
    asked: list[int] = []
    whole, _ = run_loop(tiny_spec("dpo"), state=tmp_path / "a", ends_early=lambda step: bool(asked.append(step)))
    assert (asked, whole.status) == ([1, 2, 3, 4, 5], "completed")
    ended, _ = run_loop(tiny_spec("dpo"), state=tmp_path / "b", ends_early=lambda step: step == 3)
    assert (ended.status, ended.steps, ended.error) == ("pruned", 3, None)
    assert ended.curves["loss"] == whole.curves["loss"][:3]
