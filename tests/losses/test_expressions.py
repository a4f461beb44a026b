"""Composed objectives: their grammar, what they equal, what they refuse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from losses import Pairs, get, names
from losses.fingerprint import fingerprint
from losses.grammar import ExpressionError, Term, format_terms, parse, split_expressions
from losses.objective import Requires
from losses.schedule import ValueSchedule
from losses.testing import check_objective
from losses.testing.synthetic import example_batch
from tests.losses.made import completion

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
NAME = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True)
SCHEDULE = st.builds(ValueSchedule, st.sampled_from(["linear", "cosine"]), NUMBER, NUMBER)
TERMS = st.lists(
    st.builds(
        Term, NUMBER, NAME, st.lists(st.tuples(st.none() | NAME, NUMBER | SCHEDULE), max_size=3).map(tuple)
    ),
    min_size=1,
    max_size=4,
).map(tuple)  # fmt: skip


@given(terms=TERMS)
def test_an_expression_round_trips(terms):
    assert parse(format_terms(terms)) == terms


@given(texts=st.lists(TERMS.map(format_terms), min_size=1, max_size=4))
def test_a_list_of_expressions_is_split_outside_parentheses_only(texts):
    assert split_expressions(", ".join(texts)) == tuple(texts)


def test_spaces_and_needless_digits_do_not_make_another_objective():
    assert get(" 0.80 * dpo( beta = 1e-1 ) + sft ").name == "0.8*dpo(beta=0.1)+sft"


@pytest.mark.parametrize(
    "text", ["dpo+", "+dpo", "dpo++sft", "dpo(0.1", "dpo)0.1(", "dpo(a=b)", "dpo(nan)", "2*", "dpo sft", "dpo+(sft)"]
)
def test_what_is_no_expression_is_refused_with_an_example(text):
    with pytest.raises(ExpressionError, match=r"expected.*for example 'dpo\+nll\(0\.2\)'"):
        parse(text)


def batch_of(name: str) -> Pairs:
    return example_batch(get(name))


@pytest.mark.parametrize(
    ("expression", "given", "name", "params"),
    [
        ("dpo+smooth(0.2)", {"beta": 0.3}, "cdpo", {"beta": 0.3, "epsilon": 0.2}),
        ("dpo+smooth", {"beta": 0.3, "smooth_epsilon": 0.2}, "cdpo", {"beta": 0.3, "epsilon": 0.2}),
        ("dpo+length_norm", {"beta": 5}, "ln_dpo", {"beta": 5}),
        ("ipo_sum+length_norm", {"beta": 0.4}, "ipo", {"beta": 0.4}),
        ("dpo+forward_kl", {"beta": 0.3}, "dpo_forward_kl", {"beta": 0.3}),
        ("dpo+js", {"beta": 0.3}, "dpo_js", {"beta": 0.3}),
        ("dpo+alpha_divergence(0.3)", {"beta": 0.3}, "dpo_alpha", {"beta": 0.3, "alpha": 0.3}),
        ("dpo+humanline(-100,100)", {"beta": 0.3}, "dpo", {"beta": 0.3}),
        ("1*dpo(beta=0.3)", {}, "dpo", {"beta": 0.3}),
    ],
)
def test_a_composition_equals_the_objective_that_has_a_name_of_its_own(expression, given, name, params):
    batch = batch_of(name)
    assert torch.allclose(get(expression)(batch, **given), get(name)(batch, **params), rtol=1e-12)


def test_an_nll_term_adds_the_mean_nll_of_the_chosen_completion():
    batch = batch_of("dpo")
    expected = get("dpo")(batch, beta=0.3) - 0.2 * batch.chosen.mean_policy
    assert torch.allclose(get("dpo+nll(0.2)")(batch, beta=0.3), expected, rtol=1e-12)


def test_a_mixture_is_the_weighted_sum_and_its_parameters_carry_the_names_of_its_parts():
    mixture, batch = get("0.8*dpo+0.2*bco_pair(beta=0.05)+sft"), batch_of("dpo")
    assert set(mixture.params) == {"dpo_beta"}
    expected = 0.8 * get("dpo")(batch, beta=0.3) + 0.2 * get("bco_pair")(batch, beta=0.05) + get("sft")(batch)
    assert torch.allclose(mixture(batch, dpo_beta=0.3), expected, rtol=1e-12)


def test_modifiers_apply_to_everything_before_them():
    batch = batch_of("dpo")
    summed = get("dpo")(batch, beta=0.3) + get("sft")(batch)
    assert torch.allclose(get("dpo(beta=0.3)+sft+nll(0.5)")(batch), summed - 0.5 * batch.chosen.mean_policy)


def test_a_running_quantity_survives_composition():
    composed, plain = get("bco_pair_shift+nll(0)"), get("bco_pair_shift")
    batch = example_batch(plain)
    one, state = composed.advance(batch, None, {"beta": 0.1})
    two, expected = plain.advance(batch, None, {"beta": 0.1})
    assert torch.allclose(one, two)
    assert list(state.values()) == list(expected.values())
    mixed = get("0.5*bco_pair_shift+0.5*dpo")
    _, after = mixed.advance(example_batch(plain, seed=1), None, {})
    later, _ = mixed.advance(batch, after, {})
    assert not torch.equal(later, mixed(batch))


@pytest.mark.parametrize(
    "expression",
    [
        "dpo+nll(0.2)", "ipo+wpo", "hinge+smooth", "dpo+js", "dpo+forward_kl", "dpo+alpha_divergence",
        "kto+humanline", "dpo+humanline", "nca_pair+length_norm", "0.8*dpo+0.2*bco_pair+sft", "aot+nll",
        "bco_pair_shift+nll", "simpo+nll", "dpo+wpo+nll(0.1)", "dpo+wpo_clamped", "cdpo+length_norm", "sdpo+nll(0.1)",
    ],
)  # fmt: skip
def test_a_composition_conforms(expression):
    check_objective(get(expression))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("kto+nll", "it takes Singles, and this is defined for pairs"),
        ("nca_pair+smooth", "depends on more than the gap"),
        ("apo_zero+js", "depends on more than the gap"),
        ("ipo+js", "defined for losses of summed log-ratios"),
        ("ipo+length_norm", "not sums over tokens"),
        ("simpo+humanline", "it has no reference"),
        ("aot+wpo", "coupled over the batch"),
        ("dpo+kto", "only objectives on the same kind of batch"),
        ("dpo+dpo", "names an objective twice"),
        ("nll+dpo", "an objective must stand before it"),
        ("dpo+2*nll", "a modifier has no weight"),
        ("dpo+nll(0.1,0.2)", "has 1 parameters, but more values are listed"),
        ("dpo+nll(-1)", "weight=-1.0 cannot be used"),
        ("dpo(gamma=1)", "has no parameter 'gamma'"),
        ("dpo(0.1,beta=0.2)", "gives beta twice"),
        ("dpoo+nll", "did you mean 'dpo'"),
        ("sdpo+tr_dpo", "both 'sdpo' and 'tr_dpo' move the reference"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(expression, reason):
    with pytest.raises(ExpressionError, match=reason):
        get(expression)


def test_a_schedule_moves_a_value_over_the_steps():
    moving, batch = get("dpo(beta=linear(0.1,0.3))"), batch_of("dpo")
    assert moving.params == {}
    for step, beta in ((1, 0.1), (6, 0.2), (11, 0.3)):
        assert torch.allclose(moving.at(step, 11)(batch), get("dpo")(batch, beta=beta))
    assert torch.equal(moving(batch), moving.at(1, 11)(batch))
    assert get("dpo").at(3, 11) is get("dpo")


@pytest.mark.parametrize("text", ["dpo(beta=linear(0.1,-1))", "dpo(beta=linear(0.1))", "dpo(beta=square(0.1,1))"])
def test_a_schedule_with_an_end_out_of_range_or_of_no_known_kind_is_refused(text):
    with pytest.raises(ExpressionError):
        get(text)


def test_weights_of_the_authors_code_are_those_of_the_paper_but_at_most_one():
    rows = [[(math.log(p), 2 * math.log(q)) for p, q in side] for side in (((0.9, 0.7), (0.2, 0.8)), ((0.5, 0.9),))]
    side = completion(*rows, fields=("policy_logps", "log_collision"))
    pairs = Pairs(side, side)
    weights = get("sft+wpo")(pairs) / get("sft")(pairs)
    expected = [0.9 * 0.2 / (0.7 * 0.8) ** 2, (0.5 / 0.81) ** 2]
    assert weights.tolist() == pytest.approx(expected)
    # of the first pair w_w w_l = 0.57; of one that the policy is surer of than of its average it is above 1
    sure = completion([(math.log(0.9), 2 * math.log(0.7))], fields=("policy_logps", "log_collision"))
    twice = Pairs(sure, sure)
    assert (get("sft+wpo")(twice) / get("sft")(twice)).item() == pytest.approx((0.9 / 0.49) ** 2)
    assert torch.equal(get("sft+wpo_clamped")(twice), get("sft")(twice))
    assert torch.equal(get("sft+wpo_clamped")(pairs), get("sft+wpo")(pairs))


def test_composition_keeps_needs_schedule_and_reward():
    assert Requires.COLLISION in get("dpo+wpo").requires
    assert get("dpo+length_norm").reward == "mean_log_ratio"
    assert get("sdpo+nll(0.1)").reference_schedule({"stages": 3}).stages == 3
    assert get("0.5*sdpo(stages=3)+sft").reference_schedule({}).stages == 3


def test_versions_of_the_parts_reach_the_composition():
    parts = get("dpo").version, get("sft").version
    assert get("0.5*dpo+sft").version == sum(parts)


def fingerprint_of(name: str, params: dict[str, float]) -> dict[str, object]:
    objective = get(name)
    return fingerprint(objective.bind(objective.resolve(params)))


def test_fingerprints_tell_losses_and_parameters_apart_and_repeat():
    found = {name: fingerprint_of(name, {})["hash"] for name in ("dpo", "ipo", "ipo_sum", "hinge", "simpo", "orpo")}
    assert len(set(found.values())) == len(found)
    assert fingerprint_of("dpo", {"beta": 0.2}) != fingerprint_of("dpo", {"beta": 0.1})
    assert fingerprint_of("dpo", {}) == fingerprint_of("dpo+smooth(0)", {})


def test_every_objective_has_a_fingerprint():
    assert all(len(fingerprint_of(name, {})["hash"]) == 12 for name in names())
