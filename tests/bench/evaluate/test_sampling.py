"""Sampling with common random numbers."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers.cache_utils import DynamicLayer

from bench.errors import UsageError
from bench.evaluate.decoding import GOING, RoomyLayer, invert_cdf, takes_padding
from bench.evaluate.sampling import batches, sample, sample_with_states

EOS = 0
PROMPTS = [[0, 5], [3], [0, 1, 2, 3], [7, 8], [4], [0, 5], [9, 9, 9], [11]]


def draw(model, prompts=PROMPTS, *, max_tokens=12, temperature=1.0, seed=0, batch=256):
    return sample(
        model, prompts, max_tokens=max_tokens, temperature=temperature, seed=seed, end_ids=frozenset({EOS}), batch=batch
    )


@pytest.mark.parametrize("name", ["policy", "gpt2", "eager", "sliding", "bloom", "recurrent"])
def test_each_token_inverts_the_cdf_of_an_uncached_forward_pass_at_its_own_uniform(name, request):
    model, temperature = request.getfixturevalue(name), 0.7
    samples = draw(model, temperature=temperature, seed=4)
    uniform = torch.rand((len(PROMPTS), 12), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for row, (prompt, completion) in enumerate(zip(samples.prompts, samples.completions, strict=True)):
        for step, token in enumerate(completion):
            with torch.no_grad():
                logits = model(torch.tensor([list(prompt + completion[:step])])).logits[0, -1].double()
            cdf = (logits / temperature).softmax(-1).cumsum(-1)
            assert token == int((cdf <= uniform[row, step]).sum())


def test_more_samples_of_a_prompt_have_noise_of_their_own_and_leave_the_first_as_it_was(policy):
    def one(index):
        drawn, _ = sample_with_states(
            policy, PROMPTS, max_tokens=12, temperature=1.0, seed=4, end_ids=frozenset({EOS}), index=index
        )
        return drawn

    first, second, third = map(one, range(3))
    assert first == draw(policy, seed=4)
    assert len({drawn.completions for drawn in (first, second, third)}) == 3
    # the stream goes on: 2 samples of these prompts are 1 sample of the prompts twice over
    assert draw(policy, PROMPTS * 2, seed=4).completions == (*first.completions, *second.completions)


@pytest.mark.parametrize(
    ("name", "padded"),
    [("policy", True), ("gpt2", True), ("sliding", True), ("bloom", False), ("recurrent", False)],
)
def test_only_models_that_padding_is_nothing_to_are_padded(name, padded, request):
    model = request.getfixturevalue(name)
    shapes = shapes_of(model)
    draw(model, [[3], [0, 5], [9, 9]])
    assert takes_padding(model) == padded
    assert shapes[0] == ((3, 2) if padded else (1, 1))


def shapes_of(model):
    """Filled with the shape of the tokens of each forward pass."""
    seen = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return seen


def test_rows_that_have_ended_leave_the_batch_and_the_others_stay_as_they_were(policy, monkeypatch):
    prompts = [[token] for token in range(1, 13)] * 4
    shapes = shapes_of(policy)
    samples = draw(policy, prompts, max_tokens=60)
    rows = [rows for rows, _ in shapes]
    for step in range(1, len(rows)):
        going = sum(len(completion) > step for completion in samples.completions)
        assert going <= rows[step] < going / GOING + 1
    assert len(set(rows)) > 2
    monkeypatch.setattr("bench.evaluate.decoding.GOING", 0.0)
    assert draw(policy, prompts, max_tokens=60) == samples


def test_prompts_share_a_batch_while_padding_stays_a_quarter_of_its_cells():
    lengths = [9, 3, 3, 100, 7, 5, 90]
    assert list(batches(lengths, batch=256, extra=40, padding=0.25)) == [[1, 2, 5, 4, 0], [6, 3]]
    assert list(batches(lengths, batch=3, extra=40, padding=0.25)) == [[1, 2, 5], [4, 0], [6, 3]]
    assert list(batches(lengths, batch=256, extra=40, padding=0.0)) == [[1, 2], [5], [4], [0], [6], [3]]


def test_the_room_for_keys_and_values_grows_in_blocks_and_keeps_what_it_holds():
    layer, plain = RoomyLayer(37), DynamicLayer()
    for tokens in (5, 1, 1, 12, 1, 16, 1):
        states = torch.randn(2, 3, tokens, 4), torch.randn(2, 3, tokens, 2)
        expected_places, tokens_after = layer.get_mask_sizes(tokens)[0], layer.get_seq_length() + tokens
        for states_after, expected in zip(layer.update(*states), plain.update(*states), strict=True):
            assert states_after.shape[-2] == expected_places
            assert torch.equal(states_after[:, :, :tokens_after], expected)
            assert not states_after[:, :, tokens_after:].any()
        assert layer.get_seq_length() == tokens_after
    assert layer.keys.shape[-2] == 37


def test_the_batch_size_changes_nothing(policy):
    whole = draw(policy)
    assert len({len(completion) for completion in whole.completions}) > 1
    assert all(draw(policy, batch=batch) == whole for batch in (1, 2, 3))


def test_a_completion_ends_at_the_end_token_or_at_the_limit(policy):
    samples = draw(policy, [[1]] * 200, max_tokens=8)
    assert 0 < sum(samples.ended) < 200
    for completion, ended in zip(samples.completions, samples.ended, strict=True):
        assert EOS not in completion[:-1]
        assert (completion[-1] == EOS) == ended
        assert ended or len(completion) == 8


def test_models_share_the_noise_so_a_small_change_leaves_most_completions_as_they_were(policy):
    near = copy.deepcopy(policy)
    with torch.no_grad():
        near.lm_head.weight.mul_(1.001)
    prompts = [[token] for token in range(1, 13)] * 20
    first, second, other = draw(policy, prompts), draw(near, prompts), draw(policy, prompts, seed=1)

    def share_equal(left, right):
        return np.mean([a == b for a, b in zip(left.completions, right.completions, strict=True)])

    assert share_equal(first, second) > 0.9 > 0.5 > share_equal(first, other)


def test_first_tokens_have_the_frequencies_of_the_softmax(policy):
    samples = draw(policy, [[0, 5]] * 20_000, max_tokens=1)
    with torch.no_grad():
        expected = policy(torch.tensor([[0, 5]])).logits[0, -1].softmax(-1).numpy()
    counted = np.bincount([completion[0] for completion in samples.completions], minlength=len(expected)) / 20_000
    assert np.all(np.abs(counted - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-4)


def test_a_token_of_probability_zero_is_never_drawn():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).expand(3, 5)
    uniform = torch.tensor([0.0, 0.5, 1.0 - 2**-53], dtype=torch.float64)
    assert invert_cdf(logits, uniform).tolist() == [1, 3, 3]


def test_each_module_keeps_its_mode_and_global_generators_their_state(policy):
    policy.train()
    policy.lm_head.eval()
    before = torch.get_rng_state()
    draw(policy)
    assert policy.training
    assert not policy.lm_head.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("prompts", "named"), [([[1], []], "prompt 1 is empty"), ([[1] * 60], "60 tokens; with 12")])
def test_prompts_that_cannot_be_continued_are_refused_by_number(policy, prompts, named):
    with pytest.raises(UsageError, match=named):
        draw(policy, prompts)
