"""Every built-in objective gives the value of its scalar twin: plain floats, written from the equation alone."""

import importlib
import inspect
import pkgutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import Pairs, Ranked, Singles, get
from losses.objective import Requires
from tests.losses import scalar
from tests.losses.made import BUILT_IN, completion

TRIALS = settings(max_examples=15, deadline=None, derandomize=True, database=None)
FIELDS = {
    "policy_logps": (Requires.NOTHING, st.floats(-3, -0.01)),
    "reference_logps": (Requires.REFERENCE, st.floats(-3, -0.01)),
    "token_kl": (Requires.VOCAB_KL, st.floats(0, 2)),
    "reference_entropy": (Requires.ENTROPY, st.floats(0.05, 0.95)),
    "log_collision": (Requires.COLLISION, st.floats(-3, -0.1)),
}
SHORT = {"token_kl": "kl", "reference_entropy": "entropy", "log_collision": "collision"}
JITTER = 0.0123457
"""Taken off one token, times the number of the example: equal examples would let ties decide who is kept."""


def all_twins():
    """Functions of tests.losses.scalar by name; helpers begin with «_» or stand in arithmetic.py."""
    found = {}
    for info in pkgutil.iter_modules(scalar.__path__):
        module = importlib.import_module(f"{scalar.__name__}.{info.name}")
        for name, fn in inspect.getmembers(module, inspect.isfunction):
            if fn.__module__ == module.__name__ and not name.startswith("_") and info.name != "arithmetic":
                assert name not in found, f"two scalar twins are named {name!r}"
                found[name] = fn
    return found


TWINS = all_twins()


def fields_of(objective):
    return tuple(field for field, (need, _) in FIELDS.items() if need in objective.requires)


def draw_side(data, objective, label):
    strategies = [FIELDS[field][1] for field in fields_of(objective)]
    return data.draw(st.lists(st.tuples(*strategies), min_size=1, max_size=4), label=label)


def columns(objective, row):
    """Return a completion's policy and reference log-probs (None without), and the other lists by short name."""
    lists = dict(zip(fields_of(objective), map(list, zip(*row, strict=True)), strict=True))
    more = {SHORT[field]: values for field, values in lists.items() if field in SHORT}
    return [lists["policy_logps"], lists.get("reference_logps")], more


def kept_by_sampo(chosen, rejected):
    """Places of the longer completion drawn by a generator that only the two lengths seed; the shorter keeps all."""
    fewer, more = sorted((len(chosen), len(rejected)))
    generator = torch.Generator().manual_seed(len(chosen) * 65536 + len(rejected))
    drawn = torch.randperm(more, generator=generator)[:fewer].tolist()
    return [list(range(fewer)) if len(side) == fewer else drawn for side in (chosen, rejected)]


def draw_pairs(data, objective):
    """Return pairs, and for each the arguments of the twin: positional and by keyword."""
    whole = Requires.WHOLE_BATCH in objective.requires
    rows, calls, gaps = [], [], []
    for i in range(data.draw(st.integers(1, 5 if whole else 3), label="pairs")):
        chosen, rejected = draw_side(data, objective, "chosen"), draw_side(data, objective, "rejected")
        if whole:
            chosen[0] = (chosen[0][0] - JITTER * (i + 1), *chosen[0][1:])
        rows.append((chosen, rejected))
        gaps.append(data.draw(st.floats(0.05, 3), label="score gap"))
        (win, win_more), (lose, lose_more) = (columns(objective, side) for side in (chosen, rejected))
        more = {f"chosen_{name}": values for name, values in win_more.items()}
        more |= {f"rejected_{name}": values for name, values in lose_more.items()}
        more |= dict(zip(("chosen_kept", "rejected_kept"), kept_by_sampo(chosen, rejected), strict=True))
        calls.append(((*win, *lose), {**more, "score_gap": gaps[-1]}))
    fields = fields_of(objective)
    sides = (completion(*side, fields=fields) for side in zip(*rows, strict=True))
    scored = torch.tensor(gaps, dtype=torch.float64) if Requires.SCORES in objective.requires else None
    return Pairs(*sides, scored), calls


def draw_singles(data, objective):
    """Return labelled completions, and for each the arguments of the twin: positional and by keyword."""
    rows = [draw_side(data, objective, "completion") for _ in range(data.draw(st.integers(1, 4), label="completions"))]
    wanted = [data.draw(st.booleans(), label="desirable") for _ in rows]
    baseline = data.draw(st.floats(-1, 5), label="baseline")
    needed = Requires.KL_BASELINE in objective.requires
    zero = torch.tensor(baseline, dtype=torch.float64) if needed else None
    calls = [
        ((*columns(objective, row)[0], good), {"kl_baseline": baseline}) for row, good in zip(rows, wanted, strict=True)
    ]
    return Singles(completion(*rows, fields=fields_of(objective)), torch.tensor(wanted), zero), calls


def draw_ranked(data, objective):
    """Return rankings, and for each the arguments of the twin; no two scores of a prompt are equal."""
    ranks = data.draw(st.integers(2, 4), label="ranks")
    rows, scores, calls = [], [], []
    for _ in range(data.draw(st.integers(1, 3), label="prompts")):
        mine = [draw_side(data, objective, "completion") for _ in range(ranks)]
        tenths = st.lists(st.integers(-30, 30), min_size=ranks, max_size=ranks, unique=True)
        scores.append([tenth / 10 for tenth in data.draw(tenths, label="scores in tenths")])
        rows += mine
        policies, references = zip(*(columns(objective, row)[0] for row in mine), strict=True)
        calls.append(((list(policies), list(references), scores[-1]), {}))
    batch = Ranked(completion(*rows, fields=fields_of(objective)), torch.tensor(scores, dtype=torch.float64))
    return batch, calls


DRAW = {Pairs: draw_pairs, Singles: draw_singles, Ranked: draw_ranked}


def drawn_params(data, objective):
    """Values over each parameter's space; those of the schedule stay out, as no loss sees them."""
    return {
        name: data.draw(st.sampled_from((param.default, *param.space.grid(5))), label=name)
        for name, param in objective.params.items()
        if not param.schedule
    }


def one_by_one(twin, calls, params):
    taken = inspect.signature(twin).parameters
    return [twin(*args, **{k: v for k, v in more.items() if k in taken}, **params) for args, more in calls]


def assert_close(found, expected):
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_objective_has_a_scalar_twin(name):
    assert name in TWINS, (
        f"objective {name!r} of {get(name).file} has no scalar twin: write a function {name} of plain floats, from the "
        f"equation and not from the tensor code, in tests/losses/scalar/{get(name).fn.__module__.rsplit('.', 1)[1]}.py"
    )


def test_scalar_twin_has_an_objective():
    assert set(TWINS) <= set(BUILT_IN), "twins without an objective"


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name in TWINS and get(name).init is None])
@TRIALS
@given(data=st.data())
def test_losses_equal_those_of_the_scalar_twin(name, data):
    objective, twin = get(name), TWINS[name]
    params = drawn_params(data, objective)
    batch, calls = DRAW[objective.batch](data, objective)
    if Requires.WHOLE_BATCH in objective.requires:
        expected = twin([args for args, _ in calls], **params)
    else:
        expected = one_by_one(twin, calls, params)
    assert_close(objective(batch, **params).tolist(), expected)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name in TWINS and get(name).init is not None])
@TRIALS
@given(data=st.data())
def test_losses_and_state_equal_those_of_the_scalar_twin_over_three_steps(name, data):
    objective, twin = get(name), TWINS[name]
    params = drawn_params(data, objective)
    state, other = objective.init(), objective.init()
    for _ in range(3):
        batch, calls = DRAW[objective.batch](data, objective)
        losses, state = objective.advance(batch, state, params)
        expected, other = twin([args for args, _ in calls], other, **params)
        assert_close(losses.tolist(), expected)
        assert_close(state, other)
