"""Gradient checkpointing changes what is kept, and not one number."""

import copy

import pytest
import torch

from bench.core.specs import LoraSpec
from bench.models.logprobs import CompletionLogProbs
from tests.bench.conftest import tiny_spec
from tests.bench.models.packed.test_models import PACKABLE, REFUSED, ROWS, made


def kept(model, *, packed, checkpointing):
    """Log-probs, gradients by name, and bytes that the forward pass keeps besides the weights."""
    scored = CompletionLogProbs(copy.deepcopy(model), packed=packed, checkpointing=checkpointing)
    assert scored.packed is packed
    weights = {p.untyped_storage().data_ptr() for p in scored.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = scored(scored.lay(ROWS, pad_id=1))
    scores.logps.exp().sum().backward()
    return scores.logps.detach(), {name: p.grad for name, p in scored.named_parameters()}, sum(sizes.values())


@pytest.mark.parametrize(
    ("name", "packed"),
    [(name, packed) for name in ("llama", "mistral, window of 4", "gpt2", "opt") for packed in (True, False)]
    + [("gemma2", False)],
)
def test_log_probs_and_gradients_are_the_same_to_the_bit_and_less_is_kept(name, packed):
    model = made(PACKABLE[name] if name in PACKABLE else REFUSED[name][0])
    logps, gradients, all_of_it = kept(model, packed=packed, checkpointing=False)
    again, slopes, less = kept(model, packed=packed, checkpointing=True)
    assert torch.equal(logps, again)
    assert all(torch.equal(gradients[each], slopes[each]) for each in gradients if gradients[each] is not None)
    assert less < 0.5 * all_of_it


@pytest.mark.parametrize("objective", ["dpo", "tdpo2", "sdpo"])
def test_a_training_is_the_same_to_the_bit(run_loop, objective, tmp_path):
    runs = [run_loop(tiny_spec(objective), state=tmp_path / str(on), gradient_checkpointing=on) for on in (False, True)]
    assert runs[0][0].curves == runs[1][0].curves
    for one, other in zip(*(model.parameters() for _, model in runs), strict=True):
        assert torch.equal(one, other)


def test_so_it_is_with_adapters_whose_dropout_draws_random_numbers(run_loop, tmp_path):
    spec = tiny_spec("dpo", lora=LoraSpec(rank=4, dropout=0.3))
    one, other = (run_loop(spec, state=tmp_path / str(on), gradient_checkpointing=on)[0].curves for on in (False, True))
    assert one == other
