"""Properties that every objective must have: ``check_objective``, for ours and for anyone's."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from losses.batch import Completion, Singles, each, sides
from losses.objective import Objective, Requires
from losses.testing.stop_gradient import hold_detached
from losses.testing.synthetic import EXAMPLES, as_double, example_batch, extreme_batch, repadded, take

Params = Mapping[str, float]


def check_objective(objective: Objective) -> None:
    """Check everything in ``CHECKS`` at the defaults and at both ends of each parameter's space.

    Takes well under a second and needs no test framework. The batches hold what ``requires`` declares and no more.

    Raises:
        AssertionError: when a property does not hold; the message names objective, parameters and property.
    """
    for check in CHECKS:
        for params in settings(objective):
            try:
                check(objective, params)
            except Exception as error:
                message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                raise AssertionError(
                    f"objective {objective.name!r} at {params}: {check.__name__.replace('_', ' ')}: {message}"
                ) from error


def settings(objective: Objective) -> list[dict[str, float]]:
    """Return the resolved defaults, and these with one parameter at a time at either end of its space."""
    ends = [{name: end} for name, param in objective.params.items() for end in param.space.grid(2)]
    return [objective.resolve(params) for params in ({}, *ends)]


def defaults_lie_in_their_spaces(objective: Objective, params: Params) -> None:
    """A sweep can find the default, and every value of a grid is accepted."""
    for name, param in objective.params.items():
        _require(param.space.contains(param.default), f"default {param.default!r} of {name} is not in {param.space}")
        for value in param.space.grid(7):
            _require(param.accepts(value), f"{name}={value!r} is in the space but not accepted")


def loss_at_the_reference_is_initial(objective: Objective, params: Params) -> None:
    """At policy = reference each example's loss equals ``initial``, where that is declared."""
    expected = objective.initial_loss(params)
    if expected is None:
        return
    actual = objective(example_batch(objective).at_reference(), **params)
    _require_close(actual, torch.full_like(actual, expected), "the loss at policy = reference is not `initial`")


def gradients_are_exact(objective: Objective, params: Params) -> None:
    """Autograd agrees with finite differences in float64; what the function detaches is held at its value."""
    losses, leaves = _as_function(objective, params)
    torch.autograd.gradcheck(hold_detached(losses, *leaves), leaves, rtol=1e-3, atol=1e-6, fast_mode=True)


def no_gradient_reaches_the_reference(objective: Objective, params: Params) -> None:
    """Neither what the reference gave nor the KL baseline receive a gradient."""
    batch = example_batch(objective)
    fixed = ("reference_logps", "log_collision", "reference_entropy")
    watched = [getattr(side, name) for side in sides(batch) for name in fixed]
    if isinstance(batch, Singles):
        watched.append(batch.kl_baseline)
    objective(batch, **params).sum().backward()
    for tensor in watched:
        reached = tensor is not None and tensor.grad is not None and bool((tensor.grad != 0).any())
        _require(not reached, "the loss sends a gradient into the reference or the KL baseline; detach it")


def calls_leave_no_trace(objective: Objective, params: Params) -> None:
    """A second call gives the same losses: nothing is random, kept between calls, or written to the input."""
    batch = example_batch(objective)
    first, second = objective(batch, **params), objective(batch, **params)
    _require_close(first, second, "two calls on one batch differ; keep no state and use no random numbers")
    for used, fresh in zip(sides(batch), sides(example_batch(objective)), strict=True):
        _require(torch.equal(used.policy_logps, fresh.policy_logps), "the function writes to its input")


def order_of_examples_changes_nothing(objective: Objective, params: Params) -> None:
    """Permuted examples give permuted losses; for WHOLE_BATCH, the same mean."""
    batch, order = example_batch(objective), torch.tensor([3, 0, 4, 2, 1])
    actual, expected = objective(take(batch, order), **params), objective(batch, **params)[order]
    if Requires.WHOLE_BATCH in objective.requires:
        actual, expected = actual.mean(), expected.mean()
    _require_close(actual, expected, "losses depend on the order of the examples")


def padding_changes_nothing(objective: Objective, params: Params) -> None:
    """Neither width nor place nor content of the padding matters, NaN included; it receives no gradient."""
    batch = example_batch(objective)
    losses = objective(each(batch, repadded), **params)
    _require_close(losses, objective(batch, **params), "losses depend on padding; use the mask, or the properties")
    losses.sum().backward()
    for side in sides(batch):
        grad = side.policy_logps.grad
        clean = grad is None or bool((grad[~side.mask] == 0).all() and grad.isfinite().all())
        _require(clean, "padding receives a gradient, or spoils that of tokens; use torch.where on the mask")


def micro_batches_change_nothing(objective: Objective, params: Params) -> None:
    """An example's loss is the same alone as among others, unless WHOLE_BATCH is declared."""
    if Requires.WHOLE_BATCH in objective.requires:
        return
    batch = example_batch(objective)
    alone = torch.cat([objective(take(batch, torch.tensor([row])), **params) for row in range(EXAMPLES)])
    together = objective(batch, **params)
    _require_close(alone, together, "a loss depends on the other examples; declare Requires.WHOLE_BATCH")


def single_precision_suffices(objective: Objective, params: Params) -> None:
    """float32 input gives float32 losses that agree with those computed in float64."""
    batch = example_batch(objective, dtype=torch.float32)
    single, exact = objective(batch, **params), objective(each(batch, as_double), **params)
    _require(single.dtype == torch.float32, f"float32 input gives losses of {single.dtype}")
    _require_close(single.double(), exact, "float32 loses digits; see losses.numerics", tolerance=1e-4)


def extreme_inputs_stay_finite(objective: Objective, params: Params) -> None:
    """Impossible and certain tokens, on either side, give finite losses and gradients in float32."""
    for policy, reference in ((-1e4, -1e-3), (-1e-3, -1e4), (0.0, 0.0), (-1e4, -1e4)):
        for exchanged in (0, 1):
            batch = extreme_batch(objective, policy=policy, reference=reference, exchanged=exchanged)
            losses = objective(batch, **params)
            losses.sum().backward()
            where = f"at token log-probs of {policy} (policy) and {reference} (reference)"
            _require(bool(losses.isfinite().all()), f"the loss is not finite {where}: {losses.tolist()}")
            grads = [side.policy_logps.grad for side in sides(batch)]
            finite = all(grad is None or bool(grad.isfinite().all()) for grad in grads)
            _require(finite, f"the gradient is not finite {where}")


def gradient_step_lowers_the_loss(objective: Objective, params: Params) -> None:
    """Some step against the gradient lowers the mean loss; what the function detaches is held at its value."""
    losses, leaves = _as_function(objective, params)
    before = losses(*leaves).mean()
    grads = torch.autograd.grad(before, leaves, allow_unused=True, materialize_grads=True)
    norm = sum(grad.square().sum().item() for grad in grads) ** 0.5
    _require(norm > 0, "the loss has no gradient")
    frozen = hold_detached(losses, *leaves)
    for size in (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5):
        moved = [leaf.detach() - size / norm * grad for leaf, grad in zip(leaves, grads, strict=True)]
        if frozen(*moved).mean().item() < before.item():
            return
    raise AssertionError("no step against the gradient lowers the loss")


def state_is_plain_numbers(objective: Objective, params: Params) -> None:
    """A running quantity starts at finite numbers, stays finite, keeps its names, and is the same for any order."""
    if objective.init is None:
        return
    batch, before = example_batch(objective), objective.init()
    _, after = objective.advance(batch, before, params)
    _require(before == objective.init(), "the function writes to its state; return a new one")
    _require(after.keys() == before.keys(), f"the state had {sorted(before)}, now {sorted(after)}")
    plain = all(type(value) is float and math.isfinite(value) for value in (*before.values(), *after.values()))
    _require(plain, f"the state must hold finite floats, so that a checkpoint can: {after}")
    _, other = objective.advance(take(batch, torch.tensor([3, 0, 4, 2, 1])), before, params)
    close = all(math.isclose(other[name], value, rel_tol=1e-9, abs_tol=1e-12) for name, value in after.items())
    _require(close, f"the state depends on the order of the examples: {after} or {other}")


def schedule_covers_every_step(objective: Objective, params: Params) -> None:
    """The reference schedule can be built and gives each step a weight from 0 to 1."""
    schedule = objective.reference_schedule(params)
    weights = [schedule.weight_after(step, 100) for step in range(1, 101)]
    _require(all(0 <= weight <= 1 for weight in weights), f"weights outside 0 to 1: {sorted(set(weights))}")


CHECKS: tuple[Callable[[Objective, Params], None], ...] = (
    defaults_lie_in_their_spaces,
    loss_at_the_reference_is_initial,
    gradients_are_exact,
    no_gradient_reaches_the_reference,
    calls_leave_no_trace,
    order_of_examples_changes_nothing,
    padding_changes_nothing,
    micro_batches_change_nothing,
    single_precision_suffices,
    extreme_inputs_stay_finite,
    gradient_step_lowers_the_loss,
    state_is_plain_numbers,
    schedule_covers_every_step,
)


def _as_function(objective: Objective, params: Params) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The losses of the example batch as a function of what carries the policy's gradient, and these tensors."""
    batch = example_batch(objective)

    def losses(*values: Tensor) -> Tensor:
        remaining = iter(values)

        def put(side: Completion) -> Completion:
            return replace(side, **{name: next(remaining) for name in _differentiated(side)})

        return objective(each(batch, put), **params)

    return losses, tuple(getattr(side, name) for side in sides(batch) for name in _differentiated(side))


def _differentiated(side: Completion) -> tuple[str, ...]:
    """What of a completion carries the policy's gradient."""
    return ("policy_logps",) if side.token_kl is None else ("policy_logps", "token_kl")


def _require(holds: bool, problem: str) -> None:
    # Not an assert statement: python -O would make every objective conform.
    if not holds:
        raise AssertionError(problem)


def _require_close(actual: Tensor, expected: Tensor, problem: str, *, tolerance: float = 1e-9) -> None:
    close = torch.allclose(actual, expected, rtol=tolerance, atol=tolerance)
    _require(close, f"{problem}: {actual.tolist()} instead of {expected.tolist()}")
