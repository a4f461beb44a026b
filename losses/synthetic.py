"""Owns made-up batches for ``losses.conformance``: ragged, padded, extreme, re-ordered, re-padded."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from losses.batch import Completion, Pairs, Singles
from losses.objective import Objective, Requires

EXAMPLES = 5
Batch = Pairs | Singles


def example_batch(objective: Objective, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Return ``EXAMPLES`` examples of the kind the objective takes, with what it declares to require and no more.

    Completions are ragged with padding at the end; log-probs lie between -3 and 0 nats, and every one is a leaf
    that records gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = (_completion(generator, width, objective.requires, dtype) for width in (6, 8))
    if objective.batch is Pairs:
        scores = torch.rand(EXAMPLES, generator=generator, dtype=dtype) + 0.1
        return Pairs(first, second, score_gap=scores if Requires.SCORES in objective.requires else None)
    baseline = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    return Singles(
        second,
        desirable=torch.arange(EXAMPLES) % 2 == 0,
        kl_baseline=baseline if Requires.KL_BASELINE in objective.requires else None,
    )


def extreme_batch(objective: Objective, *, policy: float, reference: float, exchanged: int) -> Batch:
    """Return a float32 batch of these two log-probs everywhere, exchanged on side number ``exchanged``."""
    batch = example_batch(objective, dtype=torch.float32)
    number = iter(range(2))

    def fill(side: Completion) -> Completion:
        ours, theirs = (reference, policy) if next(number) == exchanged else (policy, reference)
        logps = torch.full_like(side.policy_logps, ours).requires_grad_()
        other = None if side.reference_logps is None else torch.full_like(side.policy_logps, theirs)
        return replace(side, policy_logps=logps, reference_logps=other)

    return each(batch, fill)


def sides(batch: Batch) -> tuple[Completion, ...]:
    """Return the completions of a batch: chosen and rejected, or the only ones."""
    return (batch.chosen, batch.rejected) if isinstance(batch, Pairs) else (batch.completion,)


def each(batch: Batch, change: Callable[[Completion], Completion]) -> Batch:
    """Return the batch with ``change`` applied to each side, in the order of ``sides``."""
    if isinstance(batch, Pairs):
        return replace(batch, chosen=change(batch.chosen), rejected=change(batch.rejected))
    return replace(batch, completion=change(batch.completion))


def take(batch: Batch, rows: Tensor) -> Batch:
    """Return the batch with these examples only, in this order."""

    def pick(side: Completion) -> Completion:
        reference = None if side.reference_logps is None else side.reference_logps[rows]
        return Completion(side.policy_logps[rows], reference, side.mask[rows])

    if isinstance(batch, Pairs):
        gap = None if batch.score_gap is None else batch.score_gap[rows]
        return Pairs(pick(batch.chosen), pick(batch.rejected), gap)
    return Singles(pick(batch.completion), batch.desirable[rows], batch.kl_baseline)


def repadded(side: Completion) -> Completion:
    """Put a column of NaN before each column, and NaN wherever the mask is False."""

    def spread(logps: Tensor) -> Tensor:
        nan = torch.full_like(logps, torch.nan)
        return torch.stack((nan, torch.where(side.mask, logps, nan)), dim=-1).flatten(1)

    reference = None if side.reference_logps is None else spread(side.reference_logps)
    mask = torch.stack((torch.zeros_like(side.mask), side.mask), dim=-1).flatten(1)
    return Completion(spread(side.policy_logps), reference, mask)


def as_double(side: Completion) -> Completion:
    """Return the completion with its log-probs in float64."""
    reference = None if side.reference_logps is None else side.reference_logps.double()
    return replace(side, policy_logps=side.policy_logps.double(), reference_logps=reference)


def _completion(generator: torch.Generator, width: int, requires: Requires, dtype: torch.dtype) -> Completion:
    logps = -3 * torch.rand(2, EXAMPLES, width, generator=generator, dtype=torch.float64) - 0.05
    lengths = torch.randint(1, width + 1, (EXAMPLES, 1), generator=generator)
    policy, reference = (values.clone().to(dtype).requires_grad_() for values in logps)
    return Completion(policy, reference if Requires.REFERENCE in requires else None, torch.arange(width) < lengths)
