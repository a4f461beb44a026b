"""The installed torch and transformers have the private names that ``bench.models.compat`` uses."""

import torch
from transformers import PreTrainedModel

from bench.models.compat import (
    attention_function,
    layer_class_names,
    plain_model,
    softmax_backward,
    takes_attention_functions,
)
from bench.models.gradient_checkpointing import layers_of
from tests.bench.conftest import tiny_model


def test_transformers_declares_the_names_on_its_base_class():
    assert hasattr(PreTrainedModel, "_supports_attention_backend")
    assert hasattr(PreTrainedModel, "_no_split_modules")
    assert hasattr(tiny_model().config, "_attn_implementation")


def test_a_llama_takes_attention_functions_and_names_its_layers():
    model = tiny_model()
    assert takes_attention_functions(model)
    assert layer_class_names(model) == {"LlamaDecoderLayer"}
    assert len(layers_of(model)) == model.config.num_hidden_layers
    assert plain_model(model) is model


def test_an_attention_function_is_used_in_the_block_alone():
    model = tiny_model()
    before = model.config._attn_implementation
    with attention_function(model, "lossbench_test"):
        assert model.config._attn_implementation == "lossbench_test"
    assert model.config._attn_implementation == before


def test_the_backward_pass_of_softmax_is_autograd_s():
    scores = torch.randn(3, 5, requires_grad=True)
    gradient = torch.randn(3, 5)
    probabilities = scores.softmax(dim=-1)
    (expected,) = torch.autograd.grad(probabilities, scores, gradient)
    assert torch.allclose(softmax_backward(gradient, probabilities.detach()), expected, atol=1e-7)
