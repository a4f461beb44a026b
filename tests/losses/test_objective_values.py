"""Each objective's value against its scalar twin, its conformance, its reductions and its known optimum."""

import importlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import Completion, Pairs, Singles, check_objective, get, names
from losses.numerics import log1mexp, log_odds, masked_mean, masked_sum

torch.set_num_threads(1)
TRIALS = settings(max_examples=25, deadline=None, derandomize=True, database=None)
BUILT_IN = [name for name in names() if get(name).fn.__module__.startswith("losses.objectives.")]
PAIRED = [name for name in BUILT_IN if get(name).batch is Pairs]

logp = st.floats(min_value=-4, max_value=-0.01)
tokens = st.lists(st.tuples(logp, logp), min_size=1, max_size=6)


def completion(*rows):
    """Rows of (policy, reference) per token; padded on the right with values that must not count."""
    width = max(map(len, rows)) + 1
    padded = torch.full((2, len(rows), width), -777.0, dtype=torch.float64)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        padded[:, i, : len(row)] = torch.tensor(row, dtype=torch.float64).T
        mask[i, : len(row)] = True
    return Completion(padded[0], padded[1], mask)


def one_pair(chosen_ratio, rejected_ratio, *, length=1):
    return Pairs(
        completion([(chosen_ratio / length - 9, -9.0)] * length),
        completion([(rejected_ratio / length - 9, -9.0)] * length),
    )


def drawn_params(data, objective):
    """Values over each parameter's space; those of the schedule stay out, as no loss sees them."""
    return {
        name: data.draw(st.sampled_from((param.default, *param.space.grid(5))), label=name)
        for name, param in objective.params.items()
        if not param.schedule
    }


def twin_of(objective):
    family = objective.fn.__module__.rsplit(".", 1)[1]
    return getattr(importlib.import_module(f"tests.losses.scalar.{family}"), objective.name)


@pytest.mark.parametrize("name", PAIRED)
@TRIALS
@given(data=st.data(), rows=st.lists(st.tuples(tokens, tokens), min_size=1, max_size=3))
def test_paired_loss_equals_its_scalar_twin(name, data, rows):
    objective = get(name)
    params = drawn_params(data, objective)
    found = objective(Pairs(completion(*(w for w, _ in rows)), completion(*(r for _, r in rows))), **params)
    for value, (chosen, rejected) in zip(found.tolist(), rows, strict=True):
        lists = [[token[k] for token in side] for side in (chosen, rejected) for k in (0, 1)]
        assert value == pytest.approx(twin_of(objective)(*lists, **params), rel=1e-9, abs=1e-12)


@TRIALS
@given(
    data=st.data(),
    rows=st.lists(st.tuples(tokens, st.booleans()), min_size=1, max_size=3),
    baseline=st.floats(-1, 5),
)
def test_kto_equals_its_scalar_twin_and_clamps_the_baseline(data, rows, baseline):
    objective = get("kto")
    params = drawn_params(data, objective)
    labels = torch.tensor([good for _, good in rows])
    batch = Singles(completion(*(row for row, _ in rows)), labels, torch.tensor(baseline, dtype=torch.float64))
    for value, (row, good) in zip(objective(batch, **params).tolist(), rows, strict=True):
        policy, reference = ([token[k] for token in row] for k in (0, 1))
        expected = twin_of(objective)(policy, reference, good, baseline, **params)
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_objective_conforms(name):
    check_objective(get(name))


@pytest.mark.parametrize(
    ("name", "params"),
    [("cdpo", {"epsilon": 0}), ("sdpo", {}), ("tr_dpo", {"alpha": 0}), ("tr_dpo_hard", {"every": 7})],
)
def test_loss_reduces_to_dpo(name, params):
    pairs = Pairs(completion([(-1, -2.5)] * 3, [(-4, -1)]), completion([(-0.2, -0.7)], [(-3, -3.5)] * 4))
    assert torch.equal(get(name)(pairs, beta=0.3, **params), get("dpo")(pairs, beta=0.3))


def test_ipo_and_ipo_sum_agree_on_single_tokens_and_only_there():
    assert torch.equal(get("ipo")(one_pair(3, 1), beta=0.5), get("ipo_sum")(one_pair(3, 1), beta=0.5))
    # gap 2 nats in sum, 1 per token; target 1: (1 - 1)² and (2 - 1)²
    longer = one_pair(3, 1, length=2)
    assert get("ipo")(longer, beta=0.5).item() == pytest.approx(0)
    assert get("ipo_sum")(longer, beta=0.5).item() == pytest.approx(1)


def test_orpo_without_odds_is_sft():
    pairs = Pairs(completion([(-1, -1)], [(-2, -1)] * 3), completion([(-3, -1)], [(-4, -1)]))
    assert torch.equal(get("orpo")(pairs, lam=0), get("sft")(pairs))


def test_kto_without_baseline_is_unpaired_apo_zero():
    singles = Singles(
        completion([(-1, -2)], [(-3, -1)]), torch.tensor([True, False]), torch.tensor(0.0, dtype=torch.float64)
    )
    # desirable 1 - σ(β·1), undesirable σ(β·(-2)), at β = 0.5
    expected = [1 - 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(1.0))]
    assert get("kto")(singles, beta=0.5).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["dpo", "cdpo", "ipo", "ipo_sum", "sdpo", "tr_dpo", "tr_dpo_hard"])
def test_a_shift_of_both_log_ratios_changes_nothing(name):
    shifted, plain = get(name)(one_pair(5, 4)), get(name)(one_pair(2, 1))
    assert torch.allclose(shifted, plain, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "params", "slope"),
    [
        ("dpo", {"beta": 0.3}, -0.15),  # -β/2
        ("cdpo", {"beta": 0.3, "epsilon": 0.2}, -0.09),  # -β(1 - 2ε)/2
        ("ipo", {"beta": 0.1}, -10),  # -1/τ
        ("ipo_sum", {"beta": 0.1}, -10),
    ],
)
def test_gradient_at_step_0_is_the_one_derived(name, params, slope):
    pairs = one_pair(0, 0)
    leaf = pairs.chosen.policy_logps.requires_grad_()
    other = pairs.rejected.policy_logps.requires_grad_()
    get(name)(pairs, **params).sum().backward()
    assert leaf.grad[0, 0].item() == pytest.approx(slope)
    assert other.grad[0, 0].item() == pytest.approx(-slope)


def test_dpo_starts_at_log_2_whatever_beta():
    for beta in (0.01, 0.1, 1):
        assert get("dpo")(one_pair(0, 0), beta=beta).item() == pytest.approx(math.log(2))


def descend(name, *, length, steps=4000, rate, **params):
    """Move the chosen completion's log-probs by gradient descent; return the gap of the summed log-ratios."""
    pairs = one_pair(0, 0, length=length)
    policy = pairs.chosen.policy_logps.clone().requires_grad_()
    for _ in range(steps):
        moved = Pairs(Completion(policy, pairs.chosen.reference_logps, pairs.chosen.mask), pairs.rejected)
        (grad,) = torch.autograd.grad(get(name)(moved, **params).sum(), policy)
        policy = (policy - rate * grad).detach().requires_grad_()
    return moved.chosen.log_ratio.item()


def test_descent_on_ipo_ends_at_half_inverse_tau_per_token():
    assert descend("ipo", length=4, steps=300, rate=1.0, beta=0.25) / 4 == pytest.approx(2.0)


def test_descent_on_ipo_sum_ends_at_half_inverse_tau():
    assert descend("ipo_sum", length=4, steps=300, rate=0.05, beta=0.25) == pytest.approx(2.0)


def test_descent_on_cdpo_ends_at_the_logit_of_the_noise():
    # logit(1 - 0.2)/β = log(4)/0.5
    assert descend("cdpo", length=2, rate=1.0, steps=500, beta=0.5, epsilon=0.2) == pytest.approx(2 * math.log(4))


def test_descent_on_dpo_has_no_end():
    assert descend("dpo", length=1, rate=5.0, steps=200, beta=1.0) < descend(
        "dpo", length=1, rate=5.0, steps=800, beta=1.0
    )


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
