"""Arithmetic that keeps its digits, and arguments that are clamped as the docstrings say."""

import math
from dataclasses import replace

import pytest
import torch

from losses import Pairs, get
from losses.numerics import log1mexp, log_odds, masked_mean, masked_sum
from tests.losses.made import at_rest, one_pair


def test_log1mexp_keeps_its_digits_where_the_plain_form_loses_them():
    x = torch.tensor([-2e-7, -1e-3, -0.5, -5.0, -50.0])
    exact = [math.log(-math.expm1(value)) if value > -1 else math.log1p(-math.exp(value)) for value in x.tolist()]
    assert log1mexp(x).tolist() == pytest.approx(exact, rel=1e-6)
    plain = torch.log(1 - torch.exp(x))
    assert plain[0].item() != pytest.approx(exact[0], rel=1e-3)


def test_log1mexp_and_its_gradient_stay_finite_at_certainty():
    x = torch.tensor([0.0, -1e-9, -1e30], requires_grad=True)
    log_odds(x).sum().backward()
    assert bool(log1mexp(x).isfinite().all())
    assert bool(x.grad.isfinite().all())


def test_masked_sums_ignore_what_is_masked_and_widen_half_precision():
    values = torch.tensor([[1.0, math.nan, 3.0]], dtype=torch.bfloat16)
    mask = torch.tensor([[True, False, True]])
    assert masked_sum(values, mask).tolist() == [4.0]
    assert masked_mean(values, mask).dtype == torch.float32


def test_odpo_takes_a_score_gap_of_nothing_for_a_millionth():
    none, least = (get("odpo")(one_pair(1, 0, score_gap=gap), beta=0.3, alpha=1) for gap in (0.0, 1e-6))
    assert none.item() == pytest.approx(least.item())
    # far below the margin: log 10⁶ in favour
    assert none.item() == pytest.approx(math.log1p(math.exp(-0.3 - math.log(1e6))), rel=1e-6)


def test_mallows_dpo_takes_a_reference_without_doubt_for_one_with_a_millionth():
    pairs = at_rest(one_pair(-1, 0))
    sides = (
        replace(side, reference_entropy=torch.zeros_like(side.policy_logps)) for side in (pairs.chosen, pairs.rejected)
    )
    # φ = log 10⁶ on a gap of -1
    assert get("mallows_dpo")(Pairs(*sides), beta=0.1, scale=1).item() == pytest.approx(math.log1p(10**0.6))


def test_clamped_exponentials_stop_growing():
    for name in ("dpo_forward_kl", "chi_po"):
        side = {"dpo_forward_kl": -1, "chi_po": 1}[name]
        far, further = (get(name)(one_pair(side * far, 0.0), beta=0.01).item() for far in (40, 60))
        assert math.isfinite(far)
        assert further == pytest.approx(far, rel=1e-6, abs=1e-9)


def test_losses_of_large_log_ratios_keep_their_digits():
    # -log σ(-50) = 50 + log(1 + e^-50)
    assert get("dpo")(one_pair(-500, 0), beta=0.1).item() == pytest.approx(50, rel=1e-12)
    # 1 - σ(30) = e^-30 / (1 + e^-30), which 1 - sigmoid(30) in float32 would give as 0
    assert get("apo_zero")(one_pair(300, -800), beta=0.1).item() == pytest.approx(math.exp(-30), rel=1e-3)
