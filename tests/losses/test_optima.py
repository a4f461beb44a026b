"""Where the losses start and where they end: values and slopes at policy = reference, optima found by descent."""

import math
from dataclasses import replace

import pytest
import torch

from losses import Completion, Pairs, Ranked, Singles, get
from tests.losses.made import at_rest, completion, one_pair, with_ratio

LN2 = math.log(2)


EXO_START = 0.5 * (math.log(0.5 / 0.999) + math.log(0.5 / 0.001))
STARTS = [  # objective, parameters, loss, slope on Δw, slope on Δl
    ("dpo", {"beta": 0.3}, LN2, -0.15, 0.15),  # -β/2
    ("cdpo", {"beta": 0.3, "epsilon": 0.2}, LN2, -0.09, 0.09),  # -β(1 - 2ε)/2
    ("robust", {"beta": 0.3, "epsilon": 0.2}, LN2, -0.25, 0.25),  # -β/(2(1 - 2ε))
    # d/dx [-σ^γ log σ] = -σ^γ (1 - σ)(1 + γ log σ), at σ = 1/2, γ = 1
    ("focal_po", {"beta": 0.3, "gamma": 1}, LN2 / 2, -0.3 * (1 - LN2) / 4, 0.3 * (1 - LN2) / 4),
    ("ln_dpo", {"beta": 5}, LN2, -2.5, 2.5),
    ("r_dpo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("odpo", {"beta": 0.3}, LN2, -0.15, 0.15),  # log(score_gap) = 0
    ("dpo_shift", {"beta": 0.3, "lam": 0.5}, LN2, -0.15, 0.075),  # -β/2, +λβ/2
    ("ld_dpo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("sampo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("tdpo1", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("tdpo2", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("dr_dpo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("beta_dpo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("mallows_dpo", {"beta": 0.3, "scale": 1}, LN2, -0.15 * LN2, 0.15 * LN2),  # -φβ/2, φ = -log(1/2)
    ("dpo_forward_kl", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("dpo_js", {"beta": 0.3}, LN2, -0.075, 0.075),  # g' = 1 - σ = 1/2 at 0
    ("dpo_alpha", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("chi_po", {"beta": 0.3}, LN2, -0.3, 0.3),  # φ' = 2 at 0
    ("exo_pair", {"beta": 0.1, "epsilon": 1e-3}, EXO_START, 0.1 / 4 * math.log(1e-3 / 0.999), 0.17267),
    # m' = 1/(4τ) = 5: 5(1 - log 2) - 3/4 on βΔ, uphill
    ("discopop", {"beta": 0.1, "tau": 0.05}, (LN2 + 1) / 2, 0.1 * (5 * (1 - LN2) - 0.75), -0.07843),
    ("hinge", {"beta": 0.3}, 1, -0.3, 0.3),
    ("rso", {"beta": 0.3}, 1, -0.3, 0.3),
    ("nca_pair", {"beta": 0.1}, 2 * LN2, -0.025, 0.025),  # -β/2 + β/4
    ("bco_pair", {"beta": 0.1}, 2 * LN2, -0.05, 0.05),
    ("bco_pair_shift", {"beta": 0.1}, 2 * LN2, -0.05, 0.05),
    ("apo_zero", {"beta": 0.1}, 1, -0.025, 0.025),
    ("apo_down", {"beta": 0.1}, 1, 0, 0.025),  # the chosen one gets no gradient
    ("ipo", {"beta": 0.1}, 25, -10, 10),  # -1/τ
    ("ipo_sum", {"beta": 0.1}, 25, -10, 10),
    ("sppo_hard", {"beta": 0.001}, 5e5, -1000, 1000),  # -1/β
    ("cal_dpo", {"beta": 0.01}, LN2 + 2500, -50.5, 50.5),  # -1/2 - 1/(2β)
    ("aot", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("aot_unpaired", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("sdpo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("tr_dpo", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("tr_dpo_hard", {"beta": 0.3}, LN2, -0.15, 0.15),
    ("ema_dpo", {"beta": 0.3}, LN2, -0.15, 0.15),
]


@pytest.mark.parametrize(("name", "params", "loss", "on_chosen", "on_rejected"), STARTS)
def test_start_is_the_one_derived(name, params, loss, on_chosen, on_rejected):
    pairs = at_rest(one_pair(0, 0, score_gap=1.0))
    leaves = [side.policy_logps.requires_grad_() for side in (pairs.chosen, pairs.rejected)]
    found = get(name)(pairs, **params)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert get(name).initial_loss(params) in (None, pytest.approx(loss))
    assert [leaf.grad[0, 0].item() for leaf in leaves] == pytest.approx([on_chosen, on_rejected], rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "loss", "slope"),
    [("kto", 0.5, -0.05), ("apo_zero_unpaired", 0.5, -0.05), ("bco", LN2, -0.1)],  # -β/4, -β/4, -β/2 at β = 0.2
)
@pytest.mark.parametrize("wanted", [True, False])
def test_start_of_an_unpaired_loss_is_the_one_derived(name, loss, slope, wanted):
    rest = Singles(with_ratio(0), torch.tensor([wanted]), torch.tensor(0.0, dtype=torch.float64))
    leaf = rest.completion.policy_logps.requires_grad_()
    found = get(name)(rest, beta=0.2)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert leaf.grad[0, 0].item() == pytest.approx(slope if wanted else -slope)


def descend(objective, batch, *, rate, steps, **params):
    """Return the batch whose policy log-probs are where gradient descent on the summed losses leads."""
    sides = ("chosen", "rejected") if isinstance(batch, Pairs) else ("completion",)
    for _ in range(steps):
        leaves = [getattr(batch, side).policy_logps.detach().requires_grad_() for side in sides]
        kept = [getattr(batch, side) for side in sides]
        moved = [replace(side, policy_logps=leaf) for side, leaf in zip(kept, leaves, strict=True)]
        batch = replace(batch, **dict(zip(sides, moved, strict=True)))
        grads = torch.autograd.grad(objective(batch, **params).sum(), leaves, allow_unused=True)
        stepped = [leaf - rate * (0 if grad is None else grad) for leaf, grad in zip(leaves, grads, strict=True)]
        still = [replace(side, policy_logps=leaf.detach()) for side, leaf in zip(moved, stepped, strict=True)]
        batch = replace(batch, **dict(zip(sides, still, strict=True)))
    return batch


def ratios(pairs):
    return pairs.chosen.log_ratio.item(), pairs.rejected.log_ratio.item()


@pytest.mark.parametrize(
    ("name", "params", "rate", "gap"),
    [
        ("ipo", {"beta": 0.25}, 0.5, 2 * 4),  # 1/(2τ) on each of the 4 tokens
        ("ipo_sum", {"beta": 0.25}, 0.05, 2),  # 1/(2τ)
        ("cdpo", {"beta": 0.5, "epsilon": 0.2}, 1, 2 * math.log(4)),  # logit(1 - ε)/β
        ("exo_pair", {"beta": 0.5, "epsilon": 1e-2}, 0.5, 2 * math.log(99)),  # σ(βΔ) = 1 - ε
        ("hinge", {"beta": 0.5}, 1e-3, 2),  # 1/β
        ("repo", {"gamma": 0.5}, 1.6e-3, 2),  # γ on each of the 4 tokens
    ],
)
def test_descent_ends_at_the_known_gap(name, params, rate, gap):
    win, lose = ratios(descend(get(name), one_pair(0, 0, length=4), rate=rate, steps=700, **params))
    assert win - lose == pytest.approx(gap, rel=2e-3)


def cal_target(beta):
    """The x at which the slope of Cal-DPO, x - 1/(2β) - σ(-2x), is zero; Δw = x and Δl = -x."""
    low, high = 0.0, 1 / beta
    for _ in range(80):
        x = (low + high) / 2
        low, high = (low, x) if x - 0.5 / beta - 1 / (1 + math.exp(2 * x)) > 0 else (x, high)
    return low


@pytest.mark.parametrize(
    ("name", "params", "rate", "win", "lose"),
    [
        ("sppo_hard", {"beta": 0.1}, 0.05, 5, -5),  # ±1/(2β)
        ("sppo", {"beta": 0.1}, 0.1, 10 * (0.75 - 0.5), 10 * (0.25 - 0.5)),  # (P - ½)/β, P = σ(log 3) = 3/4
        ("cal_dpo", {"beta": 0.5}, 0.1, cal_target(0.5), -cal_target(0.5)),
        # -log σ(x) - ½ log σ(-x) is least at σ(x) = 2/3; the rejected one falls without end
        ("nca_pair", {"beta": 0.1}, 20, 10 * LN2, None),
    ],
)
def test_descent_ends_at_the_known_log_ratios(name, params, rate, win, lose):
    found = ratios(descend(get(name), one_pair(0, 0, length=2, score_gap=math.log(3)), rate=rate, steps=300, **params))
    assert found[0] == pytest.approx(win, rel=1e-4)
    assert found[1] == pytest.approx(lose, rel=1e-4) if lose is not None else found[1] < -10


@pytest.mark.parametrize("name", ["infonca", "nca"])
def test_descent_on_scored_lists_ends_at_their_soft_labels(name):
    scores = torch.tensor([[math.log(4), math.log(3), 0.0]], dtype=torch.float64)  # labels 4/8, 3/8, 1/8 at α = 1
    rest = Ranked(completion(*([(-9.0, -9.0)] for _ in range(3))), scores)
    found = descend(get(name), rest, rate=1.0, steps=1500, beta=0.5, alpha=1).completion.log_ratio
    labels = torch.tensor([4, 3, 1], dtype=torch.float64) / 8
    if name == "infonca":  # softmax(βΔ) = p
        assert (0.5 * found).softmax(0).tolist() == pytest.approx(labels.tolist(), rel=1e-4)
    else:  # σ(βΔ_i) = p_i / (p_i + 1/K), so βΔ_i = log(K p_i)
        assert (0.5 * found).tolist() == pytest.approx((3 * labels).log().tolist(), rel=1e-4)


@pytest.mark.parametrize("name", ["dpo", "bco_pair", "apo_zero", "simpo", "cpo"])
def test_descent_has_no_end_where_none_is_known(name):
    early, late = (ratios(descend(get(name), one_pair(0, 0), rate=1.0, steps=steps)) for steps in (100, 400))
    assert late[0] - late[1] > early[0] - early[1] + 0.1


def test_a_tie_of_scores_makes_no_pair():
    rows = [[(-1.0, -1.0)], [(-2.0, -1.0)], [(-3.0, -1.0)]]
    tied = Ranked(completion(*rows), torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))
    # both tied ones lie above the best, by 2 and 1; between them there is no term
    assert get("rrhf")(tied, lam=0).item() == pytest.approx(3)


def test_running_shift_counts_all_completions_seen():
    state = None
    for chosen, rejected in ((4, 2), (0, -1), (3, 1)):
        _, state = get("bco_pair_shift").advance(one_pair(chosen, rejected), state, {"beta": 0.5})
    assert state == pytest.approx({"mean": 0.5 * 9 / 6, "count": 6})


def test_completion_without_reference_can_be_given_to_losses_that_need_none():
    bare = Pairs(*(Completion(side.policy_logps, None, side.mask) for side in (with_ratio(1), with_ratio(-1))))
    for name in ("cpo", "slic", "alphapo", "repo", "simper", "asft", "unlikelihood", "simpo", "orpo", "sft"):
        assert get(name)(bare).isfinite().all()
