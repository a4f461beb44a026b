"""What an objective says about itself, and which parameters it refuses."""

import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from losses import Completion, Pairs, Singles, get, names
from losses.objective import CheckedAgainst, Requires, objective
from losses.param import Param, ParameterOutOfRange, UnknownParameter
from losses.space import Log
from tests.losses.made import BUILT_IN

CROSS_CHECKS = Path(__file__).parents[2] / "docs" / "cross_checks.md"


def pairs():
    logps, mask = torch.tensor([[-1.0, -2.0], [-3.0, -1.0]]), torch.ones(2, 2, dtype=torch.bool)
    return Pairs(Completion(logps, logps - 0.5, mask), Completion(logps, logps + 0.5, mask))


@pytest.mark.parametrize("name", BUILT_IN)
def test_docstring_says_equation_source_parameters_and_differences(name):
    found = get(name)
    for heading in (
        "Equation: ",
        "Optimum: ",
        "Source: ",
        "Checked against: ",
        "Differs from: ",
        *(f"    {param}: " for param in found.params),
    ):
        assert heading in found.doc
    assert found.doc.count("Equation:") == 1, "the equation stands in the decorator, which appends it"
    assert found.checked_against, "say what the formula was compared with"
    assert set(found.checked_against) <= set(get_args(CheckedAgainst))
    assert "arXiv" in found.paper


def test_formula_that_the_peer_tests_compare_is_checked_against_peer_code():
    compared = set(re.findall(r"^\| `(\w+)` \|", CROSS_CHECKS.read_text(encoding="utf-8").split("## Limits")[0], re.M))
    assert len(compared) > 20
    assert {name for name in compared if "peer code" not in get(name).checked_against} == set()


@pytest.mark.parametrize("name", BUILT_IN)
def test_equality_named_in_metadata_refers_to_a_known_objective_and_an_accepted_value(name):
    found = get(name)
    for text in found.reduces_to:
        claim = re.fullmatch(r"(?P<where>[^:]+): (?P<other>\w+)", text)
        assert claim, f"{text!r} must read «param = value: name», or another condition before «: name»"
        assert claim["other"] in names(), f"{text!r} refers to no known objective"
        for param, value in re.findall(r"(\w+) = (-?[\d.]+)", claim["where"]):
            assert param in {*found.params, "kl_baseline", "ranks"}, f"{text!r}: there is no parameter {param!r}"
            assert param not in found.params or found.params[param].accepts(float(value)), f"{text!r} is not accepted"


def test_unknown_parameter_says_which_there_are():
    with pytest.raises(UnknownParameter) as caught:
        get("ipo").resolve({"gamma": 1.0})
    assert str(caught.value) == ("objective 'ipo' has no parameter 'gamma'; it has: beta (τ, 0.01 to 10, default 0.1)")
    with pytest.raises(UnknownParameter, match=r"did you mean 'stages'.*stages \(k, one of 2, 3, default 2\)"):
        get("sdpo").resolve({"stage": 2})
    with pytest.raises(UnknownParameter, match="it has: no parameters"):
        get("sft").resolve({"beta": 0.1})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dpo", {"beta": 0}),
        ("dpo", {"beta": -1.0}),
        ("dpo", {"beta": float("nan")}),
        ("dpo", {"beta": float("inf")}),
        ("cdpo", {"epsilon": 0.5}),
        ("sdpo", {"stages": 2.5}),
        ("sdpo", {"stages": 0}),
        ("tr_dpo", {"alpha": 1.1}),
        ("dpo", {"beta": True}),
    ],
)
def test_value_without_meaning_is_refused_with_the_range(name, given):
    with pytest.raises(ParameterOutOfRange, match=r"it takes (values|whole numbers) from .* to "):
        get(name).resolve(given)
    with pytest.raises(ParameterOutOfRange):
        get(name)(pairs(), **given)


def test_resolve_fills_defaults_and_gives_floats():
    resolved = get("sdpo").resolve({"stages": 3})
    assert resolved == {"beta": 0.1, "stages": 3.0}
    assert all(type(value) is float for value in resolved.values())


BETA = Param(0.1, Log(0.01, 1), "β", "1/nat", "a strength", 0.001, 10)
METADATA = {
    "params": {"beta": BETA},
    "batch": Pairs,
    "requires": Requires.REFERENCE,
    "reward": "log_ratio",
    "aggregation": "sum",
    "paper": "none",
    "equation": "none",
    "optimum": "none",
    "version": 1,
}


def test_signature_that_does_not_match_the_parameters_is_refused():
    def other_name(pairs, *, gamma):
        """A loss."""

    def with_default(pairs, *, beta=0.1):
        """A loss."""

    for fn in (other_name, with_default):
        with pytest.raises(ValueError, match=r"must have the signature \w+\(batch, \*, beta\)"):
            objective(**METADATA)(fn)


def test_running_quantity_needs_the_state_as_second_argument_and_the_whole_batch():
    def without_state(batch, *, beta):
        """A loss."""

    def with_state(batch, state, *, beta):
        """A loss."""

    running = {**METADATA, "init": lambda: {"mean": 0.0}}
    with pytest.raises(ValueError, match=r"must have the signature \w+\(batch, state, \*, beta\)"):
        objective(**running)(without_state)
    with pytest.raises(ValueError, match="WHOLE_BATCH"):
        objective(**running)(with_state)


def test_metadata_that_contradict_each_other_are_refused():
    def odd(pairs, *, beta):
        """A loss."""

    with pytest.raises(ValueError, match="KL_BASELINE"):
        objective(**{**METADATA, "requires": Requires.KL_BASELINE})(odd)
    with pytest.raises(ValueError, match="needs the reference"):
        objective(**{**METADATA, "requires": Requires.NOTHING})(odd)
    with pytest.raises(ValueError, match="SCORES"):
        objective(**{**METADATA, "batch": Singles, "requires": Requires.REFERENCE | Requires.SCORES})(odd)


def test_parameter_whose_default_or_space_is_refused_by_itself_cannot_be_made():
    with pytest.raises(ValueError, match="outside"):
        Param(20.0, Log(0.01, 1), "β", "1/nat", "a strength", 0.001, 10)
    with pytest.raises(ValueError, match="outside"):
        Param(0.1, Log(0.01, 100), "β", "1/nat", "a strength", 0.001, 10)
    with pytest.raises(ValueError, match="Choice"):
        Param(2, Log(1, 100), "k", "1", "a count", 1, 100, integer=True)
