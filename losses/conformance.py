"""Owns the properties that every objective must have: ``check_objective``, for ours and for anyone's."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from losses.batch import Completion, Pairs, Singles
from losses.objective import Objective, Requires

EXAMPLES = 5
Batch = Pairs | Singles
Params = Mapping[str, float]


def check_objective(objective: Objective) -> None:
    """Check everything in ``CHECKS`` at the defaults and at both ends of each parameter's space. Takes a second.

    Raises:
        AssertionError: when a property does not hold; the message names objective, property and parameters.
    """
    for check in CHECKS:
        for params in settings(objective):
            try:
                check(objective, params)
            except AssertionError as error:
                told = check.__name__.replace("_", " ")
                raise AssertionError(f"objective {objective.name!r} at {params}: {told}: {error}") from error


def settings(objective: Objective) -> list[dict[str, float]]:
    """Return the resolved defaults, and these with one parameter at a time at either end of its space."""
    ends = [{name: end} for name, param in objective.params.items() for end in param.space.grid(2)]
    return [objective.resolve(given) for given in ({}, *ends)]


def example_batch(objective: Objective, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Return ``EXAMPLES`` made-up examples of the kind that the objective takes: ragged, with padding at the end."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (_completion(generator, width, dtype) for width in (6, 8))
    if objective.batch is Pairs:
        return Pairs(first, second, score_gap=torch.rand(EXAMPLES, generator=generator, dtype=dtype) + 0.1)
    labels = torch.arange(EXAMPLES) % 2 == 0
    return Singles(second, labels, kl_baseline=torch.tensor(0.3, dtype=dtype))


def every_reference_loss_is_as_declared(objective: Objective, params: Params) -> None:
    """At policy = reference each example's loss equals ``initial``."""
    expected = objective.initial_loss(params)
    if expected is None:
        return
    found = objective(example_batch(objective).at_reference(), **params)
    _assert_close(found, torch.full_like(found, expected), "the loss at policy = reference is not `initial`")


def gradients_are_exact(objective: Objective, params: Params) -> None:
    """Autograd agrees with finite differences in float64."""
    batch = example_batch(objective)

    def losses(*policies: Tensor) -> Tensor:
        remaining = iter(policies)
        return objective(_each(batch, lambda side: replace(side, policy_logps=next(remaining))), **params)

    inputs = tuple(side.policy_logps.clone().requires_grad_() for side in _sides(batch))
    try:
        torch.autograd.gradcheck(losses, inputs, rtol=1e-3, atol=1e-6)
    except RuntimeError as error:
        raise AssertionError(f"gradcheck: {error}") from error


def no_gradient_reaches_the_reference(objective: Objective, params: Params) -> None:
    """Neither reference log-probs nor the KL baseline receive a gradient."""
    batch = _each(example_batch(objective), _all_leaves)
    watched = [side.reference_logps for side in _sides(batch)]
    if isinstance(batch, Singles) and batch.kl_baseline is not None:
        batch = replace(batch, kl_baseline=batch.kl_baseline.clone().requires_grad_())
        watched.append(batch.kl_baseline)
    objective(batch, **params).sum().backward()
    for tensor in watched:
        reached = tensor is not None and tensor.grad is not None and bool((tensor.grad != 0).any())
        assert not reached, "the loss sends a gradient into the reference; detach it"


def inputs_are_left_as_they_were(objective: Objective, params: Params) -> None:
    """A second call gives the same losses, so nothing is kept between calls and no input is written to."""
    batch = example_batch(objective)
    first, second = objective(batch, **params), objective(batch, **params)
    assert torch.equal(first, second), "two calls on one batch differ; keep no state and use no random numbers"
    fresh = example_batch(objective)
    kept = all(torch.equal(a.policy_logps, b.policy_logps) for a, b in zip(_sides(batch), _sides(fresh), strict=True))
    assert kept, "the function writes to its input"


def order_of_examples_changes_nothing(objective: Objective, params: Params) -> None:
    """Permuted examples give permuted losses."""
    batch, order = example_batch(objective), torch.tensor([3, 0, 4, 2, 1])
    found, expected = objective(_rows(batch, order), **params), objective(batch, **params)[order]
    if Requires.WHOLE_BATCH in objective.requires:
        found, expected = found.mean()[None], expected.mean()[None]
    _assert_close(found, expected, "losses depend on the order of the examples")


def padding_changes_nothing(objective: Objective, params: Params) -> None:
    """Neither width nor place nor content of the padding matters, NaN included."""
    batch = example_batch(objective)
    found = objective(_each(batch, _repadded), **params)
    _assert_close(found, objective(batch, **params), "losses depend on padding; use the mask, by the properties")


def micro_batches_change_nothing(objective: Objective, params: Params) -> None:
    """An example's loss is the same alone as among others, unless WHOLE_BATCH is declared."""
    if Requires.WHOLE_BATCH in objective.requires:
        return
    batch = example_batch(objective)
    alone = torch.cat([objective(_rows(batch, torch.tensor([row])), **params) for row in range(EXAMPLES)])
    _assert_close(
        alone, objective(batch, **params), "a loss depends on the other examples; declare Requires.WHOLE_BATCH"
    )


def single_precision_suffices(objective: Objective, params: Params) -> None:
    """float32 input gives float32 losses close to those of float64."""
    found = objective(example_batch(objective, dtype=torch.float32), **params)
    assert found.dtype == torch.float32, f"float32 input gives {found.dtype}"
    exact = objective(_each(example_batch(objective, dtype=torch.float32), _as_double), **params)
    _assert_close(found.double(), exact, "float32 loses digits; use losses.numerics", tolerance=1e-4)


def extreme_inputs_stay_finite(objective: Objective, params: Params) -> None:
    """Impossible and certain tokens, on either side, give finite losses and gradients in float32."""
    for policy, reference in ((-1e3, -1e-3), (-1e-3, -1e3), (0.0, 0.0), (-1e3, -1e3)):
        for exchanged in (0, 1):
            batch = _extreme(objective, policy, reference, exchanged)
            losses = objective(batch, **params)
            losses.sum().backward()
            grads = [side.policy_logps.grad for side in _sides(batch)]
            finite = all(grad is None or bool(grad.isfinite().all()) for grad in grads)
            at = f"policy log-probs {policy}, reference {reference}"
            assert bool(losses.isfinite().all()), f"the loss is not finite at token {at}"
            assert finite, f"the gradient is not finite at token {at}"


def gradient_step_lowers_the_loss(objective: Objective, params: Params) -> None:
    """Some step against the gradient lowers the mean loss."""
    batch = _each(example_batch(objective), _all_leaves)
    before = objective(batch, **params).mean()
    before.backward()
    grads = [side.policy_logps.grad for side in _sides(batch)]
    norm = sum(float(grad.square().sum()) for grad in grads if grad is not None) ** 0.5
    assert norm > 0, "the loss has no gradient"
    for size in (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5):
        remaining = iter(grads)
        moved = _each(batch, lambda side, step=size / norm, rest=remaining: _stepped(side, next(rest), step))
        if float(objective(moved, **params).mean()) < float(before):
            return
    raise AssertionError("no step against the gradient lowers the loss: the gradient is not the loss's")


def schedule_can_be_built(objective: Objective, params: Params) -> None:
    """The reference schedule exists and gives a weight for each step."""
    schedule = objective.reference_schedule(params)
    weights = [schedule.weight_after(step, 1000) for step in range(1, 1001)]
    assert all(0 <= weight <= 1 for weight in weights), f"weights outside 0 to 1: {weights}"


CHECKS: tuple[Callable[[Objective, Params], None], ...] = (
    every_reference_loss_is_as_declared,
    gradients_are_exact,
    no_gradient_reaches_the_reference,
    inputs_are_left_as_they_were,
    order_of_examples_changes_nothing,
    padding_changes_nothing,
    micro_batches_change_nothing,
    single_precision_suffices,
    extreme_inputs_stay_finite,
    gradient_step_lowers_the_loss,
    schedule_can_be_built,
)


def _assert_close(found: Tensor, expected: Tensor, problem: str, *, tolerance: float = 1e-9) -> None:
    close = torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert close, f"{problem}: {found.tolist()} instead of {expected.tolist()}"


def _completion(generator: torch.Generator, width: int, dtype: torch.dtype) -> Completion:
    logps = -3 * torch.rand(2, EXAMPLES, width, generator=generator, dtype=torch.float64) - 0.05
    lengths = torch.randint(1, width + 1, (EXAMPLES, 1), generator=generator)
    return Completion(logps[0].to(dtype), logps[1].to(dtype), torch.arange(width) < lengths)


def _sides(batch: Batch) -> tuple[Completion, ...]:
    return (batch.chosen, batch.rejected) if isinstance(batch, Pairs) else (batch.completion,)


def _each(batch: Batch, change: Callable[[Completion], Completion]) -> Batch:
    if isinstance(batch, Pairs):
        return replace(batch, chosen=change(batch.chosen), rejected=change(batch.rejected))
    return replace(batch, completion=change(batch.completion))


def _rows(batch: Batch, rows: Tensor) -> Batch:
    def pick(side: Completion) -> Completion:
        reference = None if side.reference_logps is None else side.reference_logps[rows]
        return Completion(side.policy_logps[rows], reference, side.mask[rows])

    picked = [pick(side) for side in _sides(batch)]
    if isinstance(batch, Pairs):
        gap = None if batch.score_gap is None else batch.score_gap[rows]
        return Pairs(*picked, score_gap=gap)
    return Singles(*picked, batch.desirable[rows], batch.kl_baseline)


def _mapped(side: Completion, change: Callable[[Tensor], Tensor]) -> Completion:
    reference = None if side.reference_logps is None else change(side.reference_logps)
    return replace(side, policy_logps=change(side.policy_logps), reference_logps=reference)


def _all_leaves(side: Completion) -> Completion:
    return _mapped(side, lambda logps: logps.detach().clone().requires_grad_())


def _as_double(side: Completion) -> Completion:
    return _mapped(side, Tensor.double)


def _stepped(side: Completion, grad: Tensor | None, step: float) -> Completion:
    return side if grad is None else replace(side, policy_logps=side.policy_logps.detach() - step * grad)


def _repadded(side: Completion) -> Completion:
    """Put NaN wherever the mask is False, and a column of NaN before each column."""

    def spread(logps: Tensor) -> Tensor:
        nan = torch.full_like(logps, torch.nan)
        return torch.stack((nan, torch.where(side.mask, logps, nan)), dim=-1).flatten(1)

    mask = torch.stack((torch.zeros_like(side.mask), side.mask), dim=-1).flatten(1)
    reference = None if side.reference_logps is None else spread(side.reference_logps)
    return Completion(spread(side.policy_logps), reference, mask)


def _extreme(objective: Objective, policy: float, reference: float, exchanged: int) -> Batch:
    """Fill the sides with the given log-probs of policy and reference, exchanged on one side of a pair."""
    batch = example_batch(objective, dtype=torch.float32)
    sides = iter(range(2))

    def fill(side: Completion) -> Completion:
        ours, theirs = (reference, policy) if next(sides) == exchanged else (policy, reference)
        logps = torch.full_like(side.policy_logps, ours).requires_grad_()
        return replace(side, policy_logps=logps, reference_logps=torch.full_like(side.policy_logps, theirs))

    return _each(batch, fill)
