"""Patching: the two models are 0 and 100 %, and where only neurons were trained all of them restore all of it."""

import copy

import numpy as np
import pytest
import torch

from bench.evaluate.sampling import sample
from bench.inspect.patching import gold_measure, probe_measure, sample_continuations
from tests.bench.inspect.tiny import LAYERS, NEURONS, moved, opened, random_direction, random_texts, silent, tiny

ENDS = frozenset({0})
PROMPTS = [(0, 5, 9), (0, 7), (0, 30, 2, 11), (0, 5)]
INTO_NEURONS = {"llama": "mlp.up_proj", "gpt2": "mlp.c_fc", "neox": "mlp.dense_h_to_4h"}


def masks(*, layers=range(LAYERS), neurons=range(NEURONS)):
    found = [torch.zeros(NEURONS, dtype=torch.bool) for _ in range(LAYERS)]
    for at in layers:
        found[at][list(neurons)] = True
    return found


def by_probe(model, other, sets, *, layer=LAYERS):
    start, trained = opened(model, other)
    return probe_measure(start, trained, random_texts(), sets, w=random_direction(), layer=layer, tick=silent)


def by_gold(model, other, sets):
    start, trained = opened(model, other)
    return gold_measure(
        start, trained, PROMPTS * 8, sets,
        score=lambda texts: np.array([sum(ids) for ids in texts], dtype=float),
        tokens=9, temperature=1.0, seed=0, end_ids=ENDS, tick=silent,
    )  # fmt: skip


@pytest.mark.parametrize("name", INTO_NEURONS)
@pytest.mark.parametrize("measure", [by_probe, by_gold])
def test_where_one_layer_s_way_into_its_neurons_was_trained_they_restore_all_and_the_others_nothing(name, measure):
    model = tiny(name)
    other = moved(model, names=f".1.{INTO_NEURONS[name]}", size=0.5)
    sets = {"all": masks(), "layer": masks(layers=[1]), "before": masks(layers=[0]), "none": masks(layers=[])}
    found = measure(model, other, sets)
    assert abs(found.effect) > 1e-3
    for one in ("all", "layer"):
        assert found.sets[one].restored == pytest.approx(1, abs=1e-4)
        assert found.sets[one].removed == pytest.approx(1, abs=1e-4)
        assert found.sets[one].into_start == pytest.approx(found.trained, abs=1e-5)
        assert found.sets[one].out_of_trained == pytest.approx(found.start, abs=1e-5)
    for one in ("before", "none"):
        assert found.sets[one].restored == pytest.approx(0, abs=1e-4)
        assert found.sets[one].removed == pytest.approx(0, abs=1e-4)
    assert found.sets["layer"].neurons == NEURONS


@pytest.mark.parametrize("measure", [by_probe, by_gold])
def test_a_model_against_itself_has_no_effect_and_no_share(measure):
    model = tiny("llama")
    found = measure(model, copy.deepcopy(model), {"all": masks()})
    assert found.effect == found.effect_error == 0
    assert found.start == found.trained == pytest.approx(found.sets["all"].into_start, abs=1e-6)
    assert found.sets["all"].restored is None is found.sets["all"].removed_error


def test_where_value_vectors_alone_were_trained_neurons_restore_nothing():
    model = tiny("llama")
    found = by_probe(model, moved(model, names=f".{LAYERS - 1}.mlp.down_proj"), {"all": masks()})
    assert abs(found.effect) > 1e-3
    assert found.sets["all"].restored == pytest.approx(0, abs=1e-5)


def test_one_neuron_of_the_last_layer_restores_what_it_adds_along_the_probe():
    model = tiny("gpt2")
    other = moved(model, names="", size=0.1)
    start, trained = opened(model, other)
    found = by_probe(model, other, {"one": masks(layers=[LAYERS - 1], neurons=[4])})
    shift = [[], []]
    for side, decoder in enumerate((start, trained)):
        hook = decoder.layers[-1].down_projection.register_forward_pre_hook(
            lambda m, given, side=side: shift[side].append(given[0][0, :, 4])
        )
        with torch.no_grad():
            for text in random_texts():
                decoder.causal(torch.tensor([text.ids]))
        hook.remove()
    means = [torch.cat([x[t.first :] for x, t in zip(one, random_texts(), strict=True)]).mean() for one in shift]
    added = float((means[1] - means[0]) * (start.layers[-1].values[4].detach() @ random_direction()))
    assert found.sets["one"].into_start - found.start == pytest.approx(added, abs=1e-5)


def test_layers_after_the_probe_do_not_matter_to_it():
    model = tiny("llama")
    other = moved(model, size=0.1)
    sets = {"upto": masks(layers=[0, 1]), "all": masks()}
    found = by_probe(model, other, sets, layer=2)
    assert found.sets["upto"].restored == pytest.approx(found.sets["all"].restored, abs=1e-6)


def test_the_effect_s_error_is_that_of_a_mean_over_texts():
    model = tiny("llama")
    found = by_gold(model, moved(model, size=0.3), {})
    start, trained = opened(model, moved(model, size=0.3))
    noise = torch.rand((32, 9), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"noise": noise, "temperature": 1.0, "end_ids": ENDS}
    sums = [
        np.array([sum(ids) for ids in sample_continuations(one, one, None, PROMPTS * 8, **options)])
        for one in (start, trained)
    ]
    difference = sums[1] - sums[0]
    assert found.effect == pytest.approx(difference.mean())
    assert found.effect_error == pytest.approx(difference.std() / 32**0.5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_without_a_patch_continuations_are_the_sampler_s(name):
    model = tiny(name)
    (decoder,) = opened(model)
    noise = torch.rand((len(PROMPTS), 9), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = sample_continuations(decoder, decoder, None, PROMPTS, noise=noise, temperature=1.0, end_ids=ENDS)
    drawn = sample(model, PROMPTS, max_tokens=9, temperature=1.0, seed=3, end_ids=ENDS)
    assert found == [[*p, *c] for p, c in zip(drawn.prompts, drawn.completions, strict=True)]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_patched_continuations_do_not_depend_on_which_prompts_share_a_batch(name):
    model = tiny(name)
    host, donor = opened(model, moved(model, size=0.3))
    noise = torch.rand((len(PROMPTS), 9), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    some = masks(neurons=range(0, NEURONS, 2))
    together = sample_continuations(host, donor, some, PROMPTS, noise=noise, temperature=1.0, end_ids=ENDS)
    alone = [
        sample_continuations(host, donor, some, [p], noise=noise[at : at + 1], temperature=1.0, end_ids=ENDS)[0]
        for at, p in enumerate(PROMPTS)
    ]
    assert together == alone
    assert together != sample_continuations(host, donor, None, PROMPTS, noise=noise, temperature=1.0, end_ids=ENDS)
