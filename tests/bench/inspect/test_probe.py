"""The probe: it finds a planted direction, claims nothing where there is none, and never sees what it is held to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.inspect.probe import fit_direction, fit_logistic, mean_states, train_probe
from tests.bench.inspect.tiny import HIDDEN, LAYERS, opened, random_texts, tiny


def planted(*, strength, seed=0, texts=400, width=16):
    draw = np.random.default_rng(seed)
    direction = draw.normal(size=width)
    direction /= np.linalg.norm(direction)
    labels = draw.random(texts) < 0.5
    features = draw.normal(size=(texts, width)) + strength * np.where(labels, 1, -1)[:, None] * direction
    return 30 + 7 * features, labels, np.arange(texts), direction


def test_a_planted_direction_is_found_and_tells_held_out_texts_apart():
    features, labels, groups, direction = planted(strength=3.0)
    found = fit_direction(features, labels, groups, layer=1)
    assert np.linalg.norm(found.w) == pytest.approx(1)
    assert found.w @ direction > 0.97
    assert found.accuracy > 0.97
    assert found.trained_on + len(found.held_out) == len(labels)


def test_where_nothing_is_planted_held_out_texts_are_guessed():
    features, labels, groups, _ = planted(strength=0.0, texts=1000)
    assert 0.4 < fit_direction(features, labels, groups, layer=1).accuracy < 0.6


@settings(max_examples=8, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_the_direction_does_not_depend_on_the_stream_s_scale_or_origin(scale, shift):
    features, labels, groups, _ = planted(strength=1.0)
    one, other = (fit_direction(x, labels, groups, layer=1) for x in (features, scale * features + shift))
    assert one.w @ other.w > 0.9999


def test_texts_of_one_group_are_on_one_side():
    features, labels, _, _ = planted(strength=2.0)
    groups = np.arange(400) // 8
    held = set(fit_direction(features, labels, groups, layer=1).held_out)
    assert {groups[at] for at in held}.isdisjoint({groups[at] for at in range(400) if at not in held})


def test_the_fit_is_the_minimum_of_the_stated_loss():
    features, labels, _, _ = planted(strength=0.5)
    x, sign = (features - features.mean(0)) / 7, np.where(labels, 1.0, -1.0)
    w, b = fit_logistic(x, labels, penalty=0.1)
    slope = -sign / (1 + np.exp(sign * (x @ w + b))) / len(x)
    assert np.abs(x.T @ slope + 0.1 * w).max() < 1e-4
    assert abs(slope.sum()) < 1e-4


@torch.no_grad()
def test_states_are_pooled_over_counted_tokens_before_the_final_norm():
    model, texts = tiny("llama"), random_texts()
    (decoder,) = opened(model)
    found = mean_states(decoder, texts, layer=2)
    for row, text in zip(found, texts, strict=True):
        state = model(torch.tensor([text.ids]), output_hidden_states=True).hidden_states[2][0]
        np.testing.assert_allclose(row, state[text.first :].mean(0).double().numpy(), atol=1e-5)
    assert found.shape == (len(texts), HIDDEN)


@pytest.mark.parametrize(("layer", "count", "named"), [(LAYERS + 1, 60, "layer"), (None, 12, "at least 10")])
def test_an_unknown_layer_and_too_few_texts_are_refused(layer, count, named):
    (decoder,) = opened(tiny("llama"))
    with pytest.raises(UsageError, match=named):
        train_probe(decoder, random_texts(count), layer=layer)


def test_a_probe_says_its_chance_and_that_it_is_at_chance_where_nothing_is_planted():
    from bench.core.inspection import Probe
    from bench.inspect.tables import probe_text

    texts = {}
    for strength in (0.0, 3.0):
        features, labels, groups, _ = planted(strength=strength, texts=400)
        one = fit_direction(features, labels, groups, layer=1)
        assert one.low < one.accuracy <= one.high
        held_out = labels[list(one.held_out)]
        assert one.chance == pytest.approx(max(held_out.mean(), 1 - held_out.mean()))
        probe = Probe(
            source="texts", layer=1, accuracy=one.accuracy, trained_on=one.trained_on, held_out=len(one.held_out),
            penalty=one.penalty, low=one.low, high=one.high, chance=one.chance,
        )  # fmt: skip
        assert probe.at_chance == (strength == 0.0)
        texts[strength] = probe_text(probe)
    assert "at chance, so its direction separates nothing" in texts[0.0]
    assert "at chance" not in texts[3.0]
    assert ", chance 5" in texts[3.0]
    old = Probe(source="texts", layer=1, accuracy=0.5, trained_on=9, held_out=9, penalty=1.0)
    assert not old.at_chance
    assert probe_text(old) == "probe after layer 1: right on 50.0 % of 9 held-out texts"


def test_the_interval_of_an_accuracy_is_wilsons_over_prompts():
    from scipy.stats import binomtest

    from bench.inspect.probe import accuracy_interval

    expected = binomtest(31, 40).proportion_ci(method="wilson")
    assert accuracy_interval(31 / 40, independent=40) == pytest.approx((expected.low, expected.high))
    assert accuracy_interval(31 / 40, independent=20)[0] < expected.low
