"""Presets: what is searched for each objective, and that every objective gets the same number of trials."""

import pytest

from bench.errors import UsageError
from bench.runner.search import own_axes, points_text
from bench.suites.settings import get_suite, suite_names
from losses import get, names
from losses.space import Log
from sweeps.search import parse_sweep, points

PRESETS = [(suite, preset) for suite in suite_names() for preset in get_suite(suite).presets]


@pytest.mark.parametrize(("suite", "preset"), PRESETS)
def test_every_objective_gets_the_same_number_of_different_trials(suite, preset):
    one = get_suite(suite)
    terms = one.presets[preset]
    for name in names():
        objective = get(name)
        axes = own_axes(objective, parse_sweep(",".join(terms.axes)), fixed=())
        spaces = {key: param.space for key, param in objective.params.items()} | {"lr": Log(*one.learning_rates)}
        found = points(axes, spaces=spaces, trials=terms.trials)
        assert len({tuple(sorted(point.items())) for point in found}) == terms.trials, name


@pytest.mark.parametrize(
    ("name", "text", "fixed", "searched"),
    [
        ("dpo", "own", (), ["beta"]),
        ("orpo", "own", (), ["lam"]),
        ("sft", "own", (), ["lr"]),
        ("sft", "own,lr", (), ["lr"]),
        ("dpo", "own,lr", (), ["beta", "lr"]),
        ("dpo", "own,beta", (), ["lr", "beta"]),
        ("dpo", "own", ("beta",), ["lr"]),
        ("cdpo", "own", ("beta",), ["epsilon"]),
        ("dpo", "beta", (), ["beta"]),
    ],
)
def test_own_is_the_main_parameter_that_is_left(name, text, fixed, searched):
    assert [axis.name for axis in own_axes(get(name), parse_sweep(text), fixed=fixed)] == searched


def test_the_first_preset_is_the_default_and_an_unknown_one_is_refused():
    suite = get_suite("sentiment")
    assert suite.preset(None)[0] == "quick"
    assert suite.preset("paper")[1].final_seeds == 10
    with pytest.raises(UsageError, match=r"no protocol 'standart'"):
        suite.preset("standart")


@pytest.mark.parametrize("name", suite_names())
def test_quick_and_standard_share_a_learning_rate(name):
    # The suite's own rate is one of those that standard tries, so that runs of one serve the other.
    suite = get_suite(name)
    terms = suite.presets["standard"]
    spaces = {"beta": get("dpo").params["beta"].space, "lr": Log(*suite.learning_rates)}
    grid = points(own_axes(get("dpo"), parse_sweep(",".join(terms.axes)), fixed=()), spaces=spaces, trials=terms.trials)
    assert suite.train.learning_rate in {point["lr"] for point in grid}


def test_values_of_one_parameter_stand_in_a_row_and_settings_of_several_one_a_line():
    assert points_text([{"beta": 0.01}, {"beta": 0.1}]) == "beta 0.01, 0.1"
    assert points_text([{"beta": 0.01, "lr": 1e-4}, {"beta": 1, "lr": 1e-3}]) == "beta=0.01 lr=0.0001\nbeta=1 lr=0.001"
    assert points_text([{}]) == "defaults"
