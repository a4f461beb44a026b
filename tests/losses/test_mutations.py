"""The suite notices a wrong loss: the source of objectives is changed by one slip at a time, and each slip is caught.

A slip is a textual change to the function's body, compiled in place of the original. It counts as caught when the
conformance suite raises, or the values leave those of the scalar twin.
"""

import ast
import inspect
import textwrap
from dataclasses import replace

import pytest
import torch

from losses import get
from losses.testing import check_objective
from tests.losses.made import ragged_pairs, side_rows
from tests.losses.test_twins import TWINS

UNMASKED = {
    "{side}.log_ratio": "({side}.policy_logps - {side}.reference_logps).sum(-1)",
    "{side}.mean_log_ratio": "({side}.policy_logps - {side}.reference_logps).mean(-1)",
    "{side}.mean_policy": "{side}.policy_logps.mean(-1)",
    "{side}.policy": "{side}.policy_logps.sum(-1)",
}
NAMES = (
    "dpo", "cdpo", "robust", "ipo", "ipo_sum", "hinge", "nca_pair", "bco_pair", "apo_zero", "apo_down", "sppo_hard",
    "dpop", "dpo_shift", "ln_dpo", "exo_pair", "simpo", "cpo", "slic", "repo", "r_dpo",
)  # fmt: skip


def swap_sides(body):
    return (
        body.replace("pairs.chosen", "pairs.CHOSEN")
        .replace("pairs.rejected", "pairs.chosen")
        .replace("CHOSEN", "rejected")
    )


def flip_sign(body):
    """Turn the first minus between or before values, else the first plus, into its opposite."""
    at = body.find("-")
    return body[:at] + "+" + body[at + 1 :] if at >= 0 else body.replace("+", "-", 1)


def drop_beta(body):
    for product in ("beta * ", "-beta * "):
        if product in body:
            return body.replace("-beta * ", "-1 * ").replace("beta * ", "")
    return body.replace("(2 * beta)", "2")


def sum_for_mean(body):
    if "mean_" in body:
        return body.replace("mean_log_ratio", "log_ratio").replace("mean_policy", "policy")
    return body.replace(".log_ratio", ".mean_log_ratio").replace(".policy", ".mean_policy")


def forget_mask(body):
    for side in ("pairs.chosen", "pairs.rejected"):
        for masked, bare in UNMASKED.items():
            if masked.format(side=side) in body:
                body = body.replace(masked.format(side=side), bare.format(side=side))
                break
    return body


SLIPS = (swap_sides, flip_sign, drop_beta, sum_for_mean, forget_mask)


def parts(objective):
    """The function's source: its head, and its body without docstring and comments."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(objective.fn))).body[0]
    tree.decorator_list, tree.returns = [], None
    tree.body = tree.body[1:]
    head, _, body = ast.unparse(tree).partition(":\n")
    return head, body


def mutant(objective, slip):
    """The objective with the slip in it, or None where the slip changes nothing."""
    head, body = parts(objective)
    changed = slip(body)
    if changed == body:
        return None
    scope = dict(vars(inspect.getmodule(objective.fn)))
    exec(f"{head}:\n{changed}", scope)
    return replace(objective, fn=scope[objective.name])


def agrees_with_twin(objective):
    pairs = ragged_pairs()
    sides = [side_rows(side) for side in (pairs.chosen, pairs.rejected)]
    for scale in (1.0, 3.0):
        params = {
            name: param.default * scale
            for name, param in objective.params.items()
            if param.accepts(param.default * scale)
        }
        found = objective(pairs, **params).tolist()
        for value, chosen, rejected in zip(found, *sides, strict=True):
            lists = [[token[k] for token in side] for side in (chosen, rejected) for k in (0, 1)]
            values = {name: param.default for name, param in objective.params.items()} | params
            if value != pytest.approx(TWINS[objective.name](*lists, **values), rel=1e-9, abs=1e-12):
                return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_the_objective_itself_passes(name):
    check_objective(get(name))
    assert agrees_with_twin(get(name))


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("name", NAMES)
def test_a_slip_is_caught(name, slip):
    changed = mutant(get(name), slip)
    if changed is None:
        assert slip is drop_beta, "only β can be absent"
        assert "beta" not in get(name).params or name in ("ipo", "ipo_sum", "sppo_hard")
        return
    try:
        check_objective(changed)
        caught = not agrees_with_twin(changed)
    except (AssertionError, RuntimeError, TypeError, ValueError):
        caught = True
    assert caught, f"nothing noticed: {parts(get(name))[1]}"


def test_slips_reach_at_least_ten_objectives_each():
    reached = {slip.__name__: sum(mutant(get(name), slip) is not None for name in NAMES) for slip in SLIPS}
    assert min(reached.values()) >= 10, reached
    assert torch.is_tensor(get("dpo")(ragged_pairs()))
