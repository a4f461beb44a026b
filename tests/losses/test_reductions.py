"""Objectives that become one another at some parameter or on some data."""

import math
import re
from dataclasses import replace

import pytest
import torch

from losses import Pairs, get
from losses.objective import Requires
from tests.losses.made import BUILT_IN, at_rest, completion, one_pair, ragged_pairs, ranked, side_rows, singles


def assert_same(found, expected, *, rel=1e-12):
    assert found.tolist() == pytest.approx(expected.tolist(), rel=rel, abs=1e-13)


def claims():
    """Return (objective, parameter, value, other) for each «param = value: other» of the metadata."""
    for name in BUILT_IN:
        for text in get(name).reduces_to:
            match = re.fullmatch(r"(\w+) = (-?[\d.]+): (\w+)", text)
            if match and match[1] in get(name).params:
                yield name, match[1], float(match[2]), match[3]


@pytest.mark.parametrize(("name", "param", "value", "other"), list(claims()))
def test_equality_claimed_in_the_metadata_holds_in_value_and_schedule(name, param, value, other):
    ours, theirs = get(name), get(other)
    shared = {key: float(theirs.params[key].default) for key in theirs.params if key in ours.params and key != param}
    pairs = ragged_pairs()
    batch = {"Pairs": pairs, "Singles": singles(pairs), "Ranked": ranked(pairs)}[ours.batch.__name__]
    found, expected = ours(batch, **shared, **{param: value}), theirs(batch, **shared)
    coupled = Requires.WHOLE_BATCH in theirs.requires  # then only the mean is a claim
    assert_same(*((found.mean(), expected.mean()) if coupled else (found, expected)))
    steps = range(1, 101)
    schedules = ours.reference_schedule({**shared, param: value}), theirs.reference_schedule(shared)
    assert [schedules[0].weight_after(t, 100) for t in steps] == [schedules[1].weight_after(t, 100) for t in steps]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("cdpo", {"epsilon": 0}),
        ("robust", {"epsilon": 0}),
        ("focal_po", {"gamma": 0}),
        ("r_dpo", {"alpha": 0}),
        ("odpo", {"alpha": 0}),
        ("dpop", {"lam": 0}),
        ("dpo_shift", {"lam": 1}),
        ("ld_dpo", {"alpha": 1}),
        ("tdpo2", {"alpha": 0}),
        ("sdpo", {}),
        ("tr_dpo", {}),
        ("tr_dpo_hard", {}),
        ("ema_dpo", {}),
    ],
)
def test_loss_is_that_of_dpo(name, params):
    assert_same(get(name)(ragged_pairs(), beta=0.3, **params), get("dpo")(ragged_pairs(), beta=0.3))


@pytest.mark.parametrize(
    ("name", "params"), [("sdpo", {"stages": 1}), ("tr_dpo", {"alpha": 0}), ("ema_dpo", {"decay": 1})]
)
def test_reference_that_never_moves_makes_it_dpo(name, params):
    assert get(name).reference_schedule(params).is_frozen


def test_alpha_divergence_near_one_is_nearly_dpo():
    found = get("dpo_alpha")(ragged_pairs(), beta=0.3, alpha=0.99)
    assert found.tolist() == pytest.approx(get("dpo")(ragged_pairs(), beta=0.3).tolist(), rel=0.02)


@pytest.mark.parametrize("name", ["sampo", "ld_dpo"])
def test_equal_lengths_leave_nothing_to_cut(name):
    pairs = one_pair(3, 1, length=4)
    assert_same(get(name)(pairs, beta=0.3), get("dpo")(pairs, beta=0.3))


def test_ln_dpo_at_n_times_beta_is_dpo_on_completions_of_n_tokens():
    pairs = one_pair(3, 1, length=4)
    assert_same(get("ln_dpo")(pairs, beta=4 * 0.3), get("dpo")(pairs, beta=0.3))


def test_tdpo1_without_drift_is_dpo_and_tdpo2_at_one_has_its_value():
    pairs = ragged_pairs()
    assert_same(get("tdpo1")(at_rest(pairs), beta=0.3), get("dpo")(pairs, beta=0.3))
    assert_same(get("tdpo2")(pairs, beta=0.3, alpha=1), get("tdpo1")(pairs, beta=0.3))


def test_mallows_dpo_of_the_entropy_whose_dispersion_is_one_is_dpo():
    pairs = ragged_pairs()
    sides = [
        replace(side, reference_entropy=torch.full_like(side.policy_logps, math.exp(-1)))
        for side in (pairs.chosen, pairs.rejected)
    ]
    assert_same(get("mallows_dpo")(Pairs(*sides), beta=0.3, scale=1), get("dpo")(pairs, beta=0.3))


def test_minor_dpo_is_dpo_where_the_rejected_has_risen_and_ignores_its_fall():
    assert_same(get("minor_dpo")(one_pair(2, 1.5), beta=0.3), get("dpo")(one_pair(2, 1.5), beta=0.3))
    assert_same(get("minor_dpo")(one_pair(2, -1.5), beta=0.3), get("dpo")(one_pair(2, 0), beta=0.3))


def test_dpop_is_dpo_where_the_chosen_has_risen():
    assert_same(get("dpop")(one_pair(2, 1.5), beta=0.3), get("dpo")(one_pair(2, 1.5), beta=0.3))


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "dr_dpo", "beta_dpo"])
def test_batch_of_one_pair_is_dpo(name):
    usual = {"beta_dpo": {"gap_mean": 2.0}}.get(name)  # as if gaps had always been as this one: β unchanged
    found, _ = get(name).advance(one_pair(3, 1), usual, {"beta": 0.3})
    assert_same(found, get("dpo")(one_pair(3, 1), beta=0.3))


def test_dr_dpo_of_a_large_temperature_is_the_mean_of_dpo():
    most = get("dr_dpo").params["beta_prime"].high
    found, expected = get("dr_dpo")(ragged_pairs(), beta=0.3, beta_prime=most), get("dpo")(ragged_pairs(), beta=0.3)
    assert found.mean().item() == pytest.approx(expected.mean().item(), rel=10 / most)


def test_beta_dpo_that_keeps_all_at_a_constant_beta_is_dpo():
    keeping = {"beta": 0.3, "alpha": 0, "keep": 1}
    assert_same(get("beta_dpo")(ragged_pairs(), **keeping), get("dpo")(ragged_pairs(), beta=0.3))


def test_alpha_dpo_without_its_reference_is_simpo():
    params = {"beta": 2, "gamma_ratio": 0.5}
    assert_same(get("alpha_dpo")(ragged_pairs(), alpha=0, **params), get("simpo")(ragged_pairs(), **params))


def test_ipo_and_ipo_sum_agree_on_single_tokens_and_only_there():
    assert torch.equal(get("ipo")(one_pair(3, 1), beta=0.5), get("ipo_sum")(one_pair(3, 1), beta=0.5))
    # gap 2 nats in sum, 1 per token; target 1: (1 - 1)² and (2 - 1)²
    longer = one_pair(3, 1, length=2)
    assert get("ipo")(longer, beta=0.5).item() == pytest.approx(0)
    assert get("ipo_sum")(longer, beta=0.5).item() == pytest.approx(1)


def test_sppo_of_certain_scores_is_half_of_sppo_hard():
    sure = Pairs(ragged_pairs().chosen, ragged_pairs().rejected, torch.full((4,), 50.0, dtype=torch.float64))
    assert_same(2 * get("sppo")(sure, beta=0.1), get("sppo_hard")(sure, beta=0.1))


def test_cal_dpo_is_dpo_at_beta_one_and_half_of_sppo_hard():
    pairs = ragged_pairs()
    parts = get("dpo")(pairs, beta=1) + get("sppo_hard")(pairs, beta=0.1) / 2
    assert_same(get("cal_dpo")(pairs, beta=0.1), parts)


def test_hinge_and_rso_are_one_formula():
    assert_same(get("rso")(ragged_pairs(), beta=0.3), get("hinge")(ragged_pairs(), beta=0.3))


def without_reference(pairs):
    """The pairs with a reference that gives every completion the same log-prob, 0."""

    def flat(side):
        return completion(*([(policy, 0.0) for policy, _ in row] for row in side_rows(side)))

    return Pairs(flat(pairs.chosen), flat(pairs.rejected), pairs.score_gap)


def test_reference_free_losses_are_referenced_ones_under_a_flat_reference():
    pairs = ragged_pairs()
    flat = without_reference(pairs)
    assert_same(get("simpo")(pairs, beta=2, gamma_ratio=0), get("ln_dpo")(flat, beta=2))
    assert_same(get("cpo")(pairs, beta=0.3, lam=0), get("dpo")(flat, beta=0.3))
    assert_same(get("slic")(pairs, delta=1, lam=0), get("hinge")(flat, beta=1))


@pytest.mark.parametrize("name", ["orpo", "asft", "unlikelihood"])
def test_loss_without_its_second_term_is_sft(name):
    weight = {"unlikelihood": {"alpha": 0}}.get(name, {"lam": 0})
    assert_same(get(name)(ragged_pairs(), **weight), get("sft")(ragged_pairs()))


def test_cpo_adds_lambda_times_sft():
    pairs = ragged_pairs()
    added = get("cpo")(pairs, beta=0.3, lam=0.7) - get("cpo")(pairs, beta=0.3, lam=0)
    assert_same(added, 0.7 * get("sft")(pairs))


def test_alphapo_at_zero_is_simpo_and_continuous_there():
    params = {"beta": 2, "gamma_ratio": 0.3}
    expected = get("simpo")(ragged_pairs(), **params)
    assert_same(get("alphapo")(ragged_pairs(), alpha=0, **params), expected)
    for near in (1e-7, -1e-7):
        assert_same(get("alphapo")(ragged_pairs(), alpha=near, **params), expected, rel=1e-5)


def test_rainbow_po_runs_from_simpo_to_ln_dpo():
    pairs = ragged_pairs()
    apart = get("rainbow_po")(pairs, beta=2, alpha=0, advantage=0.3)
    assert_same(apart, get("simpo")(pairs, beta=2, gamma_ratio=0.3))
    assert_same(get("rainbow_po")(pairs, beta=2, alpha=1, advantage=0.3), get("ln_dpo")(pairs, beta=2))


def test_repo_is_the_limit_of_simpo_over_beta():
    steep = get("simpo")(ragged_pairs(), beta=1000, gamma_ratio=0.5) / 1000
    assert steep.tolist() == pytest.approx(get("repo")(ragged_pairs(), gamma=0.5).tolist(), abs=1e-3)


def test_kto_without_baseline_is_unpaired_apo_zero():
    batch = singles(ragged_pairs())
    assert_same(get("kto")(batch, beta=0.3), get("apo_zero_unpaired")(batch, beta=0.3))


def test_unpaired_terms_of_a_pair_add_up_to_the_paired_loss():
    pairs = ragged_pairs()
    for single, paired in (("apo_zero_unpaired", "apo_zero"), ("bco", "bco_pair_shift")):
        terms = get(single)(singles(pairs), beta=0.3).view(2, pairs.examples)
        assert_same(terms.sum(0), get(paired)(pairs, beta=0.3))


def test_bco_shift_of_nothing_is_bco_pair():
    balanced = one_pair(2, -2)
    assert_same(get("bco_pair_shift")(balanced, beta=0.3), get("bco_pair")(balanced, beta=0.3))


def test_nca_and_infonca_of_two_and_certain_labels_are_nca_pair_and_dpo():
    pairs, sure = ragged_pairs(), ranked(ragged_pairs(), score_gap=100.0)
    assert_same(get("nca")(sure, beta=0.3, alpha=1), get("nca_pair")(pairs, beta=0.3))
    assert_same(get("infonca")(sure, beta=0.3, alpha=1), get("dpo")(pairs, beta=0.3))


def test_plackett_luce_of_two_is_dpo_and_rrhf_of_two_without_imitation_repo():
    pairs = ragged_pairs()
    assert_same(get("dpo_pl")(ranked(pairs), beta=0.3), get("dpo")(pairs, beta=0.3))
    assert_same(get("rrhf")(ranked(pairs), lam=0), get("repo")(pairs, gamma=0))
    assert_same(get("rrhf_sum")(ranked(pairs), lam=0), get("rrhf")(ranked(pairs), lam=0))
