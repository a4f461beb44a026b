"""Sampling with common random numbers, and the sequence KL."""

import copy
import math

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.evaluate.generation import diversity, generation_metrics, invert_cdf, sample, sequence_kl
from bench.evaluate.samples import SampleRow

EOS = 0
PROMPTS = [[0, 5], [3], [0, 1, 2, 3], [7, 8], [4], [0, 5], [9, 9, 9], [11]]


def draw(model, prompts=PROMPTS, *, max_tokens=12, temperature=1.0, seed=0, batch=256):
    return sample(model, prompts, max_tokens=max_tokens, temperature=temperature, seed=seed, eos_id=EOS, batch=batch)


def log_ratio(policy, reference, prompt, completion) -> float:
    total = 0.0
    for model, sign in ((policy, 1.0), (reference, -1.0)):
        with torch.no_grad():
            logps = model(torch.tensor([list(prompt + completion)])).logits[0].double().log_softmax(-1)
        total += sign * sum(logps[len(prompt) + i - 1, token].item() for i, token in enumerate(completion))
    return total


@pytest.mark.parametrize("name", ["policy", "gpt2"])
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


def test_kl_is_the_sum_over_positions_of_the_kl_over_the_vocabulary(policy, reference):
    samples = draw(policy)
    expected = []
    for prompt, completion in zip(samples.prompts, samples.completions, strict=True):
        ids = torch.tensor([list(prompt + completion)])
        with torch.no_grad():
            p, q = (m(ids).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1) for m in (policy, reference))
        expected.append((p.exp() * (p - q)).sum().item())
    for batch in (1, 3, 100):
        np.testing.assert_allclose(sequence_kl(policy, reference, samples, batch=batch).numpy(), expected, rtol=1e-4)


def test_kl_chunks_by_its_logit_budget_without_changing_a_number(policy, reference, monkeypatch):
    samples = draw(policy)
    whole = sequence_kl(policy, reference, samples, batch=100)
    monkeypatch.setattr("bench.evaluate.generation.LOGITS_AT_ONCE", 1)
    torch.testing.assert_close(sequence_kl(policy, reference, samples, batch=100), whole, rtol=1e-5, atol=1e-6)


def test_kl_agrees_with_the_monte_carlo_log_ratio_at_a_lower_variance(policy, reference):
    samples = draw(policy, [[token] for token in range(1, 13)] * 50, max_tokens=6)
    kl = sequence_kl(policy, reference, samples, batch=600).numpy()
    ratio = np.array(
        [log_ratio(policy, reference, p, c) for p, c in zip(samples.prompts, samples.completions, strict=True)]
    )
    error = (kl - ratio).std(ddof=1) / math.sqrt(len(kl))
    assert kl.min() >= 0.0
    assert ratio.min() < 0.0
    assert abs(kl.mean() - ratio.mean()) < 3.5 * error
    assert kl.var() < ratio.var()


def test_kl_of_identical_models_is_zero(policy):
    kl = sequence_kl(policy, copy.deepcopy(policy), draw(policy), batch=4)
    assert torch.equal(kl, torch.zeros_like(kl))


def test_kl_stays_finite_where_both_models_mask_a_token_and_shows_a_nan_of_the_policy(policy, reference):
    for model in (policy, reference):
        head = torch.nn.Linear(16, 13)
        with torch.no_grad():
            head.weight.copy_(model.lm_head.weight)
            head.bias.zero_()[5] = -math.inf
        model.lm_head = head
    samples = draw(policy)
    kl = sequence_kl(policy, reference, samples, batch=4)
    assert bool(kl.isfinite().all())
    assert bool((kl > 0).all())
    with torch.no_grad():
        policy.lm_head.bias[3] = math.nan
    assert bool(sequence_kl(policy, reference, samples, batch=4).isnan().all())


def test_diversity_counts_distinct_n_grams_over_all_completions():
    assert diversity([(1, 2, 1), (1, 2)]) == {"distinct_1": 2 / 5, "distinct_2": 2 / 3}
    assert diversity([(1,)]) == {"distinct_1": 1.0, "distinct_2": 0.0}


def row(*, completion_ids=(2,), ended=False, gold=0.0, kl=0.0):
    return SampleRow(prompt_ids=(1,), completion_ids=completion_ids, ended=ended, prompt="", text="", gold=gold, kl=kl)


def test_the_targets_standard_error_is_of_the_difference_of_each_prompt():
    # J = gold − 0.5·kl is 1 for every prompt, so its error is 0 though gold and kl vary.
    rows = [
        row(completion_ids=(2, 0), ended=True, gold=1, kl=0),
        row(completion_ids=(2, 2), gold=2, kl=2),
        row(completion_ids=(2, 3), gold=3, kl=4),
        row(completion_ids=(0,), ended=True, gold=4, kl=6),
    ]
    metrics = generation_metrics(rows, beta0=0.5, split="test")
    found = {metric.name: metric for metric in metrics}
    assert {(metric.task, metric.split, metric.n) for metric in metrics} == {("generation", "test", 4)}
    assert (found["target"].value, found["target"].stderr) == (1.0, 0.0)
    # var(1, 2, 3, 4) = 5/3, over n = 4.
    assert found["gold_reward"].stderr == pytest.approx(math.sqrt(5 / 3 / 4))
    assert (found["kl"].value, found["length"].value, found["ended_share"].value) == (3.0, 7 / 4, 0.5)
    assert found["distinct_1"].value == 3 / 7


def test_one_row_has_no_standard_error_and_none_is_refused():
    assert {metric.stderr for metric in generation_metrics([row()], beta0=0.1, split="test")} == {None}
    with pytest.raises(ValueError, match="nothing was measured"):
        generation_metrics([], beta0=0.1, split="test")
