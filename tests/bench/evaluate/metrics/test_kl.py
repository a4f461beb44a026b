"""The KL between policy and reference on the policy's samples."""

import copy
import math

import numpy as np
import pytest
import torch

from bench.evaluate.metrics.kl import sequence_kl
from bench.evaluate.sampling import sample_with_states
from tests.bench.evaluate.test_sampling import PROMPTS, draw


def log_ratio(policy, reference, prompt, completion) -> float:
    total = 0.0
    for model, sign in ((policy, 1.0), (reference, -1.0)):
        with torch.no_grad():
            logps = model(torch.tensor([list(prompt + completion)])).logits[0].double().log_softmax(-1)
        total += sign * sum(logps[len(prompt) + i - 1, token].item() for i, token in enumerate(completion))
    return total


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
    monkeypatch.setattr("bench.evaluate.hidden_states.LOGITS_AT_ONCE", 1)
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


@pytest.mark.parametrize("name", ["policy", "gpt2", "eager", "sliding", "bloom", "recurrent"])
def test_kl_from_the_states_of_sampling_is_that_from_states_computed_anew(name, reference, request):
    model = request.getfixturevalue(name)
    samples, states = sample_with_states(model, PROMPTS, max_tokens=12, temperature=1.0, seed=0, end_ids=frozenset({0}))
    assert samples == draw(model)
    assert states.shape == (sum(map(len, samples.completions)), 16)
    from_states, anew = (sequence_kl(model, reference, samples, batch=3, states=each) for each in (states, None))
    torch.testing.assert_close(from_states, anew, rtol=1e-4, atol=1e-5)


def test_states_that_would_take_too_much_memory_are_not_kept(policy, monkeypatch):
    def states(kept):
        monkeypatch.setattr("bench.evaluate.sampling.STATES_KEPT", kept)
        return sample_with_states(policy, PROMPTS, max_tokens=12, temperature=1.0, seed=0, end_ids=frozenset({0}))[1]

    size = len(PROMPTS) * 12 * 16 * 4
    assert states(size) is not None
    assert states(size - 1) is None
