"""A run that was stopped and goes on is the run that was not: to the bit, for everything that has a state."""

import logging
import zlib
from collections.abc import Iterator

import pytest
import torch

from bench.core.specs import LoraSpec
from bench.train.checkpoint import load_state
from bench.train.loop import Interrupted
from bench.train.objective_batch import VOCABULARY
from losses import Objective, Requires, get, names
from tests.bench.conftest import tiny_spec
from tests.bench.train.distributed.many import stop_after

STEPS = 8
OFTEN = {"every": 2.0}
"""Of references that follow the policy now and then: the defaults are longer than these runs."""


def has_state(objective: Objective) -> bool:
    """Whether anything but weights, moments and the step decides how the objective goes on."""
    whole = Requires.WHOLE_BATCH | Requires.KL_BASELINE | VOCABULARY
    moves = not objective.reference_schedule({}).is_frozen
    return bool(objective.requires & whole) or moves or objective.init is not None or objective.timed is not None


STATEFUL = [name for name in names() if has_state(get(name))]
EXPRESSIONS = ["dpo(beta=linear(0.2, 0.05))", "tr_dpo+nll(0.1)", "0.5*kto+0.5*bco"]


def cases() -> Iterator[pytest.param]:
    """Each with a step to stop after that is its own, and for sDPO the border of its stages and both sides of it."""
    for name in [*STATEFUL, *EXPRESSIONS]:
        yield pytest.param(name, 1 + zlib.crc32(name.encode()) % (STEPS - 1), {}, id=name)
    for step in (3, 4, 5):
        yield pytest.param("sdpo", step, {}, id=f"sdpo after step {step} of 4 + 4")
        yield pytest.param("sdpo", step + 2, {"sets": (17, 7)}, id=f"sdpo on two sets after step {step + 2} of 6 + 2")
    for name in ("dpo", "tr_dpo", "sdpo", "tdpo2", "bco"):
        yield pytest.param(name, 5, {"lora": LoraSpec(rank=4, dropout=0.3)}, id=f"{name}, LoRA with dropout")
    yield pytest.param("dpo", 5, {"precision": "bf16"}, id="dpo, bf16")


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_there_are_objectives_of_every_kind_of_state():
    assert {"kto", "aot", "bco", "beta_dpo", "sdpo", "tr_dpo", "ema_dpo", "tdpo2", "mallows_dpo"} <= set(STATEFUL)


@pytest.mark.parametrize(("name", "stop", "changes"), cases())
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(run_loop, tmp_path, name, stop, changes):
    params = {key: value for key, value in OFTEN.items() if key in get(name).params}
    spec = tiny_spec(name, params=params, steps=STEPS, **changes)
    whole, expected = run_loop(spec, state=tmp_path / "whole", micro_batch=4)
    with pytest.raises(Interrupted):
        run_loop(spec, state=tmp_path / "parts", micro_batch=4, should_stop=stop_after(stop))
    saved = load_state(tmp_path / "parts")
    assert saved is not None
    assert saved.progress.steps == stop
    resumed, found = run_loop(spec, state=tmp_path / "parts", micro_batch=4)
    assert torch.equal(weights(expected), weights(found))
    assert whole.curves == resumed.curves
    assert whole.objective_state == resumed.objective_state
    assert (whole.tokens, whole.forward_tokens) == (resumed.tokens, resumed.forward_tokens)


def test_a_run_that_goes_on_with_other_threads_says_that_its_last_digits_differ(run_loop, tmp_path, caplog):
    spec, before = tiny_spec("dpo", steps=4), torch.get_num_threads()

    def warnings():
        return [each for each in caplog.records if each.levelno >= logging.WARNING]

    try:
        for threads, stop in ((1, 1), (1, 2), (2, None)):
            torch.set_num_threads(threads)
            if stop is None:
                run_loop(spec, state=tmp_path / "state")
                continue
            with pytest.raises(Interrupted):
                run_loop(spec, state=tmp_path / "state", should_stop=stop_after(1))
            assert not warnings()
    finally:
        torch.set_num_threads(before)
    (record,) = warnings()
    assert record.getMessage().endswith("an uninterrupted one would have: threads 1, now 2")
