"""How far weights moved: none for the model itself, and a planted change where it was planted."""

import copy

import pytest
import torch

from bench.inspect.weights import spectrum, weight_changes
from tests.bench.inspect.tiny import CONFIGS, HIDDEN, moved, opened, tiny


@pytest.mark.parametrize("name", CONFIGS)
def test_no_weight_of_a_model_has_moved_from_itself(name):
    start, same = opened(tiny(name), tiny(name))
    layers, outside = weight_changes(start, same)
    assert all(change.moved == 0 for kinds in [*layers, outside] for change in kinds.values())


@pytest.mark.parametrize(
    ("name", "planted", "kind"),
    [
        ("llama", "layers.1.mlp.up_proj.weight", "up"),
        ("llama", "layers.1.self_attn.o_proj.weight", "o"),
        ("llama", "layers.1.input_layernorm.weight", "norm"),
        ("qwen2", "layers.1.self_attn.q_proj.", "q"),
        ("gpt2", "h.1.mlp.c_proj.", "down"),
        ("gpt2", "h.1.attn.c_proj.", "o"),
        ("gpt2", "h.1.mlp.c_fc.", "up"),
        ("neox", "layers.1.attention.query_key_value.", "qkv"),
        ("opt", "layers.1.fc2.", "down"),
    ],
)
def test_a_planted_change_shows_in_its_layer_and_kind_alone(name, planted, kind):
    model = tiny(name)
    start, other = opened(model, moved(model, names=planted))
    layers, outside = weight_changes(start, other)
    found = {(at, one): c.moved for at, kinds in enumerate(layers) for one, c in kinds.items() if c.moved > 0}
    assert set(found) == {(1, kind), (1, "all")}
    assert all(change.moved == 0 for change in outside.values())
    both = [
        (before.detach(), after.detach())
        for (path, before), after in zip(model.named_parameters(), other.causal.parameters(), strict=True)
        if planted in path
    ]
    size = sum(float(before.double().square().sum()) for before, _ in both)
    change = sum(float((after - before).double().square().sum()) for before, after in both)
    assert layers[1][kind].moved == pytest.approx(change**0.5, rel=1e-5)
    if kind != "norm":
        assert layers[1][kind].change == pytest.approx((change / size) ** 0.5, rel=1e-5)


def test_the_joint_matrix_of_gpt2_is_taken_apart():
    model = tiny("gpt2")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.transformer.h[0].attn.c_attn.weight[:, HIDDEN : 2 * HIDDEN] += 0.1
    layers, _ = weight_changes(*opened(model, other))
    assert [kind for kind, change in layers[0].items() if change.moved > 0] == ["all", "k"]


def test_tied_embeddings_count_once_and_outside_of_all_layers():
    model = tiny("gpt2")
    layers, outside = weight_changes(*opened(model, moved(model, names="wte")))
    assert set(outside) == {"all", "embedding", "norm"}
    assert outside["embedding"].moved > 0 == max(kinds["all"].moved for kinds in layers)


def test_a_change_of_rank_one_is_seen_as_that():
    torch.manual_seed(0)
    found = spectrum(torch.outer(torch.randn(30), torch.randn(20)))
    assert found == pytest.approx({"effective_rank": 1.0, "stable_rank": 1.0, "top_share": 1.0}, abs=1e-4)


def test_equal_singular_values_make_the_full_rank():
    found = spectrum(2 * torch.linalg.qr(torch.randn(32, 32))[0])
    assert found == pytest.approx({"effective_rank": 32.0, "stable_rank": 32.0, "top_share": 0.25}, rel=1e-4)


def test_large_changes_of_low_rank_have_their_first_values_without_all_of_them():
    torch.manual_seed(0)
    change = torch.randn(1100, 4) @ torch.randn(4, 1200)
    sigma = torch.linalg.svdvals(change)[:4].double().square()
    before = torch.random.get_rng_state()
    found = spectrum(change)
    assert torch.equal(before, torch.random.get_rng_state())
    assert found == pytest.approx({"stable_rank": float(sigma.sum() / sigma[0]), "top_share": 1.0}, rel=1e-3)
