"""Checks of the text of a sweep, its grid and its distributions."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from losses.space import Choice, Linear, Log
from sweeps.errors import SweepError, SweepSyntaxError
from sweeps.search import Axis, distributions, parse_sweep, points

SPACES = {"beta": Log(0.01, 10.0), "lr": Log(1e-5, 1e-3), "alpha": Linear(0.0, 1.0), "order": Choice((1.0, 2.0))}

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True).filter(
    lambda name: name.lower() not in {"nan", "inf", "infinity"}
)
VALUES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5, unique=True).map(tuple)
AXES = st.lists(
    st.builds(Axis, NAMES, st.none() | VALUES), min_size=1, max_size=4, unique_by=lambda axis: axis.name
).map(tuple)


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("beta", (Axis("beta", None),)),
        ("beta,lr", (Axis("beta", None), Axis("lr", None))),
        ("beta=0.01,0.1,1", (Axis("beta", (0.01, 0.1, 1.0)),)),
        ("beta=0.01,0.1,lr=1e-4,3e-4", (Axis("beta", (0.01, 0.1)), Axis("lr", (1e-4, 3e-4)))),
        ("beta,lr=1e-4,3e-4", (Axis("beta", None), Axis("lr", (1e-4, 3e-4)))),
        ("beta=-.5,+2.,lr", (Axis("beta", (-0.5, 2.0)), Axis("lr", None))),
        (" beta = 0.01 , 0.1 , lr ", (Axis("beta", (0.01, 0.1)), Axis("lr", None))),
    ],
)
def test_a_number_continues_an_axis_and_a_name_starts_one(text, axes):
    assert parse_sweep(text) == axes


@given(AXES)
def test_the_text_of_axes_reads_back_as_the_same_axes(axes):
    assert parse_sweep(",".join(map(str, axes))) == axes


@given(st.text(alphabet="beta_lr.=,+-0123e n if", max_size=20))
def test_any_text_is_read_or_refused_with_advice(text):
    refused = None
    try:
        axes = parse_sweep(text)
    except SweepSyntaxError as error:
        refused = error
    if refused is None:
        assert parse_sweep(",".join(map(str, axes))) == axes
    else:
        assert repr(text) in refused.problem
        assert refused.fix


@pytest.mark.parametrize(
    ("text", "part", "advice"),
    [
        ("", "''", "drop the comma"),
        ("beta,,lr", "''", "drop the comma"),
        ("beta=0.1,", "''", "drop the comma"),
        ("beta=", "'beta='", "write numbers"),
        ("beta=x", "'beta=x'", "write numbers"),
        ("beta=1e999", "'beta=1e999'", "write numbers"),
        ("beta=nan", "'beta=nan'", "write numbers"),
        ("beta=0.1,inf", "'inf'", "finite numbers only"),
        ("=0.1", "'=0.1'", "write name=value"),
        ("0.1", "'0.1'", 'write "beta=0.1"'),
        ("lr,0.1", "'0.1'", 'write "lr=0.1"'),
        ("beta=0.1,0.10", "'0.10'", "each value once"),
        ("beta=0.1,lr,beta", "'beta'", "in one place"),
        ("beta=0.1 0.2", "'beta=0.1 0.2'", "write numbers"),
        ("beta:0.1", "'beta:0.1'", "beta=0.01,0.1,lr"),
        ("beta=1_000", "'beta=1_000'", "write numbers"),
    ],
)
def test_a_syntax_error_names_the_text_the_part_and_the_remedy(text, part, advice):
    with pytest.raises(SweepSyntaxError) as caught:
        parse_sweep(text)
    assert f"sweep {text!r}, at {part}:" in caught.value.problem
    assert advice in caught.value.fix


@pytest.mark.parametrize("values", [(), (0.1, 0.1), (math.nan,), (math.inf,)])
def test_an_axis_refuses_values_that_make_no_grid(values):
    with pytest.raises(SweepError, match="axis 'beta'"):
        Axis("beta", values)


def test_one_axis_gets_the_whole_budget_and_five_values_without_one():
    axes = parse_sweep("beta")
    assert points(axes, spaces=SPACES, trials=None) == tuple({"beta": value} for value in SPACES["beta"].grid(5))
    assert points(axes, spaces=SPACES, trials=7) == tuple({"beta": value} for value in SPACES["beta"].grid(7))


def test_explicit_values_are_kept_in_order_whatever_the_budget_and_the_range():
    axes = parse_sweep("lr=5,1e-4,beta=99,0.1")
    assert points(axes, spaces=SPACES, trials=1) == (
        {"lr": 5.0, "beta": 99.0},
        {"lr": 5.0, "beta": 0.1},
        {"lr": 1e-4, "beta": 99.0},
        {"lr": 1e-4, "beta": 0.1},
    )


def test_explicit_values_take_their_part_of_the_budget():
    # 9 trials // 2 explicit learning rates = 4 values of β.
    grid = points(parse_sweep("beta,lr=1e-4,3e-4"), spaces=SPACES, trials=9)
    assert len(grid) == 8
    assert len({point["beta"] for point in grid}) == 4


@pytest.mark.parametrize(
    ("trials", "shape"), [(4, (2, 2)), (5, (2, 2)), (6, (3, 2)), (8, (3, 2)), (9, (3, 3)), (12, (4, 3)), (16, (4, 4))]
)
def test_two_axes_share_the_budget_evenly_and_the_first_gets_the_odd_value(trials, shape):
    grid = points(parse_sweep("beta,lr"), spaces=SPACES, trials=trials)
    assert tuple(len({point[name] for point in grid}) for name in ("beta", "lr")) == shape


@given(st.integers(min_value=8, max_value=200))
def test_a_shared_grid_fits_the_budget_has_two_values_an_axis_and_cannot_grow_evenly(trials):
    grid = points(parse_sweep("beta,lr,alpha"), spaces=SPACES, trials=trials)
    shape = sorted(len({point[name] for point in grid}) for name in ("beta", "lr", "alpha"))
    assert len(grid) == math.prod(shape) <= trials
    assert shape[0] >= 2
    assert shape[2] - shape[0] <= 1
    assert (shape[0] + 1) * shape[1] * shape[2] > trials


def test_what_a_short_choice_leaves_goes_to_the_other_axis():
    grid = points(parse_sweep("order,beta"), spaces=SPACES, trials=12)
    assert tuple(len({point[name] for point in grid}) for name in ("order", "beta")) == (2, 6)


@pytest.mark.parametrize(("text", "trials", "least"), [("beta,lr", 3, 4), ("beta,lr=1,2", 1, 2), ("beta", 0, 1)])
def test_a_budget_below_the_smallest_grid_is_refused(text, trials, least):
    with pytest.raises(SweepError, match=f"the smallest grid has {least} point") as caught:
        points(parse_sweep(text), spaces=SPACES, trials=trials)
    assert f"{least} trial" in caught.value.fix


@pytest.mark.parametrize(
    "make", [lambda axes: points(axes, spaces=SPACES, trials=4), lambda axes: distributions(axes, SPACES)]
)
def test_an_unknown_axis_is_refused_with_the_nearest_name(make):
    with pytest.raises(SweepError, match="no parameter 'bta' to sweep") as caught:
        make(parse_sweep("bta"))
    assert caught.value.fix == "did you mean 'beta'? known: alpha, beta, lr, order"


def test_distributions_keep_the_scale_of_a_range_and_the_values_of_an_axis():
    axes = parse_sweep("beta,alpha,order,lr=1e-4,3e-4")
    assert distributions(axes, SPACES) == {
        "beta": FloatDistribution(0.01, 10.0, log=True),
        "alpha": FloatDistribution(0.0, 1.0),
        "order": CategoricalDistribution((1.0, 2.0)),
        "lr": CategoricalDistribution((1e-4, 3e-4)),
    }


def test_the_package_loads_neither_torch_nor_bench():
    code = (
        "import sys, sweeps.search, sweeps.study, sweeps.worker; "
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'bench', 'transformers')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
