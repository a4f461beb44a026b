"""Activations, residual states and the groups' shares: against sums written out, and the identities that must hold."""

import numpy as np
import pytest
import torch

from bench.core.inspection import GROUPS
from bench.inspect.activations import measure_means, relative_shifts
from bench.inspect.neuron_groups import group_changes, layer_groups, masks_of, neurons_of, projection_of
from tests.bench.inspect.tiny import CONFIGS, LAYERS, moved, opened, random_direction, random_texts, silent, tiny


def measured(model, other, *, layer=LAYERS):
    start, trained = opened(model, other)
    w = random_direction()
    means = measure_means(start, trained, random_texts(), w=w, layer=layer, tick=silent)
    return start, trained, means, neurons_of(start, trained, means, w=w)


@torch.no_grad()
def by_hand(model, texts, at):
    """Neurons and states after a layer of each counted token, one text at a time, without padding."""
    (decoder,) = opened(model)
    neurons, states = [], []
    layer = decoder.layers[at]
    hooks = [
        layer.down_projection.register_forward_pre_hook(
            lambda m, given: neurons.append(given[0].reshape(-1, given[0].shape[-1]))
        ),
        layer.block.register_forward_hook(
            lambda m, given, out: states.append((out[0] if isinstance(out, tuple) else out)[0])
        ),
    ]
    for text in texts:
        model(torch.tensor([text.ids]))
    for hook in hooks:
        hook.remove()
    return [
        torch.cat([x[t.first :] for x, t in zip(found, texts, strict=True)]).double() for found in (neurons, states)
    ]


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "opt"])
def test_means_are_those_of_texts_read_one_by_one(name):
    model = tiny(name)
    other = moved(model)
    _, _, means, _ = measured(model, other)
    for at in range(LAYERS):
        (a, h), (b, k) = by_hand(model, random_texts(), at), by_hand(other, random_texts(), at)
        found = means.layers[at]
        close = {"atol": 1e-5, "rtol": 1e-4}
        torch.testing.assert_close(found.start, a.mean(0), **close)
        torch.testing.assert_close(found.trained, b.mean(0), **close)
        torch.testing.assert_close(found.spread, a.std(0, correction=0), **close)
        torch.testing.assert_close(found.moved, (b - a).abs().mean(0), **close)
        assert found.cosine == pytest.approx(float(torch.cosine_similarity(h, k).mean()), rel=1e-4)
        assert found.distance == pytest.approx(float((k - h).norm() / h.norm()), rel=1e-4)
        shifts = relative_shifts(found)
        assert shifts["absolute"] == pytest.approx(
            float((b - a).abs().mean() / a.std(0, correction=0).mean()), rel=1e-3
        )
    last = by_hand(model, random_texts(), LAYERS - 1)[1] @ random_direction().double()
    assert means.projection[0] == pytest.approx(float(last.mean()), abs=1e-5)
    assert means.tokens == len(last)


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_of_a_model_differs_from_itself(name):
    _, _, means, neurons = measured(tiny(name), tiny(name))
    for layer in means.layers:
        assert relative_shifts(layer) == {"absolute": 0, "systematic": 0, "signed": 0}
        assert layer.distance == 0
        assert layer.cosine == pytest.approx(1)
    groups = group_changes(neurons, layer=LAYERS)
    assert all(group.change == 0 and group.share is None for group in groups.values())
    found = projection_of(means, neurons, layer=LAYERS)
    assert found.trained == found.start
    assert found.mlps == found.attention == found.bias == 0


@pytest.mark.parametrize("layer", [1, LAYERS])
@pytest.mark.parametrize("name", CONFIGS)
def test_groups_and_bias_add_up_to_the_mlps_and_modules_to_the_whole_change(name, layer):
    model = tiny(name)
    start, trained, means, neurons = measured(model, moved(model), layer=layer)
    found = projection_of(means, neurons, layer=layer)
    groups = group_changes(neurons, layer=layer)
    size = sum(group.raised - group.lowered for group in groups.values())
    assert size > 0.01
    assert abs(found.gap) < 1e-5 * size
    assert sum(group.change for group in groups.values()) + found.bias == pytest.approx(found.mlps, abs=1e-5 * size)
    assert sum(one.share for one in groups.values()) + found.bias / found.mlps == pytest.approx(1, abs=1e-4)
    for group in groups.values():
        assert group.change == pytest.approx(group.by_activation + group.by_vector)
        assert group.change == pytest.approx(group.after - group.before)
        assert group.change == pytest.approx(group.raised + group.lowered)
    by_layer = [sum(layer_groups(one).values()) + one.bias for one in neurons]
    written = [one.written[1] - one.written[0] for one in means.layers]
    assert by_layer == pytest.approx(written, abs=1e-5 * size)
    # what is left is what the embeddings say, read at the first layer's door
    doors = []
    for decoder in (start, trained):
        seen = []
        hook = decoder.layers[0].block.register_forward_pre_hook(
            lambda m, given, named, seen=seen: seen.append((given[0] if given else named["hidden_states"])[0]),
            with_kwargs=True,
        )
        with torch.no_grad():
            for text in random_texts():
                decoder.causal(torch.tensor([text.ids]))
        hook.remove()
        counted = torch.cat([x[t.first :] for x, t in zip(seen, random_texts(), strict=True)])
        doors.append(float((counted @ random_direction()).mean()))
    assert found.embeddings == pytest.approx(doors[1] - doors[0], abs=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_planted_change_in_one_layer_s_neurons_shows_there_and_not_before(name):
    model = tiny(name)
    planted = {"llama": "layers.1.mlp.up_proj", "gpt2": "h.1.mlp.c_fc"}[name]
    _, _, means, _ = measured(model, moved(model, names=planted))
    shifts = [relative_shifts(layer)["absolute"] for layer in means.layers]
    assert shifts[0] == 0 == means.layers[0].distance
    assert shifts[1] > 0.01


def test_a_change_of_the_last_value_vectors_moves_no_neuron_and_is_theirs_alone():
    model = tiny("llama")
    _, _, means, neurons = measured(model, moved(model, names=f"layers.{LAYERS - 1}.mlp.down_proj"))
    assert all(relative_shifts(layer)["absolute"] == 0 for layer in means.layers)
    groups = group_changes(neurons, layer=LAYERS)
    assert all(group.by_activation == 0 for group in groups.values())
    found = projection_of(means, neurons, layer=LAYERS)
    assert sum(group.by_vector for group in groups.values()) == pytest.approx(found.trained - found.start, rel=1e-4)


def test_a_neuron_s_group_is_its_vector_s_side_and_its_mean_s_sign():
    model = tiny("gpt2")
    start, _, means, neurons = measured(model, moved(model))
    w = random_direction()
    for layer, mean, found in zip(start.layers, means.layers, neurons, strict=True):
        for at, vector in enumerate(layer.values.detach()):
            side = "aligned" if torch.cosine_similarity(vector, w, dim=0) > 0 else "anti"
            sign = "positive" if mean.start[at] >= 0 else "negative"
            assert GROUPS[found.group[at]] == f"{side}_{sign}"
            along = float(vector.double() @ w.double())
            assert float(found.before[at]) == pytest.approx(float(mean.start[at]) * along, abs=1e-9)
            shift = float(mean.trained[at] - mean.start[at])
            assert float(found.by_activation[at]) == pytest.approx(shift * along, abs=1e-9)


def test_the_four_groups_part_all_neurons_and_those_toward_the_effect_shift_with_it():
    model = tiny("llama")
    _, _, means, neurons = measured(model, moved(model))
    effect = means.projection[1] - means.projection[0]
    masks = {name: masks_of(neurons, name, effect=effect, device=torch.device("cpu")) for name in (*GROUPS, "toward")}
    for at, layer in enumerate(neurons):
        assert torch.equal(sum(masks[name][at].long() for name in GROUPS), torch.ones(len(layer.group)).long())
        assert (np.sign(layer.by_activation[masks["toward"][at]]) == np.sign(effect)).all()
        assert (np.sign(layer.by_activation[~masks["toward"][at]]) != np.sign(effect)).all()
