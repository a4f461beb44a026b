"""Where the neurons are: found by structure in plain and gated MLPs, refused where the identity would not hold."""

import pytest
import torch
from transformers import LlamaConfig

from bench.errors import UsageError
from bench.inspect.decoder import decoder_of
from bench.models.loading import load_model
from bench.suites.exact.problem import make_problem
from bench.suites.exact.start_model import write_start_model
from bench.suites.settings import get_suite
from tests.bench.inspect.tiny import CONFIGS, HIDDEN, LAYERS, LIKE_LLAMA, NEURONS, OTHERS, make, tiny

DOWN_PROJECTIONS = {
    "gpt2": "mlp.c_proj",
    "neox": "mlp.dense_4h_to_h",
    "neox_in_turn": "mlp.dense_4h_to_h",
    "opt": "fc2",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_reader_of_an_mlp_s_neurons_is_found_in_each_layer(name):
    decoder = decoder_of(tiny(name), name="it")
    assert decoder.shape == ((NEURONS, HIDDEN),) * LAYERS
    for layer in decoder.layers:
        assert layer.down_projection is layer.block.get_submodule(DOWN_PROJECTIONS.get(name, "mlp.down_proj"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_neuron_of_activation_one_adds_its_value_vector(name):
    layer = decoder_of(tiny(name), name="it").layers[1]
    one = torch.zeros(1, 1, NEURONS)
    one[..., 7] = 1.0
    with torch.no_grad():
        added = layer.down_projection(one)[0, 0] - (0 if layer.bias is None else layer.bias)
    torch.testing.assert_close(added, layer.values[7].detach(), atol=1e-6, rtol=1e-5)


def test_as_many_neurons_as_the_stream_is_wide_are_told_apart_by_name():
    decoder = decoder_of(make(LlamaConfig(**LIKE_LLAMA | {"intermediate_size": HIDDEN})), name="it")
    assert all(layer.down_projection is layer.block.mlp.down_proj for layer in decoder.layers)


@pytest.mark.parametrize("name", OTHERS)
def test_layers_that_add_their_mlp_otherwise_are_refused_by_name(name):
    with pytest.raises(UsageError, match="it"):
        decoder_of(make(OTHERS[name]()), name="it")


def test_a_table_of_logits_is_refused(tmp_path):
    problem = get_suite("exact").problem
    write_start_model(make_problem(problem), tmp_path)
    with pytest.raises(UsageError, match="layers"):
        decoder_of(load_model(tmp_path), name="it")
