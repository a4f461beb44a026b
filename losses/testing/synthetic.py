"""Made-up batches for ``losses.testing.conformance``: ragged, padded, extreme, re-ordered, re-padded."""

from dataclasses import replace

import torch
from torch import Tensor

from losses.batch import Batch, Completion, Pairs, Ranked, Singles, each, mapped
from losses.objective import Objective, Requires

EXAMPLES = 5
RANKS = 3


def example_batch(objective: Objective, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Return ``EXAMPLES`` examples of the kind the objective takes, with what it declares to require and no more.

    Completions are ragged with padding at the end; log-probs lie between -3 and 0 nats, and every one is a leaf
    that records gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    if objective.batch is Ranked:
        completion = _completion(generator, EXAMPLES * RANKS, 7, objective.requires, dtype)
        return Ranked(completion, torch.rand(EXAMPLES, RANKS, generator=generator, dtype=dtype) * 2)
    first, second = (_completion(generator, EXAMPLES, width, objective.requires, dtype) for width in (6, 8))
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
        apart = None if side.token_kl is None else torch.full_like(logps, abs(ours - theirs)).detach().requires_grad_()
        return replace(side, policy_logps=logps, reference_logps=other, token_kl=apart)

    return each(batch, fill)


def take(batch: Batch, rows: Tensor) -> Batch:
    """Return the batch with these examples only, in this order."""

    if isinstance(batch, Pairs):
        gap = None if batch.score_gap is None else batch.score_gap[rows]
        return Pairs(_pick(batch.chosen, rows), _pick(batch.rejected, rows), gap)
    if isinstance(batch, Singles):
        return Singles(_pick(batch.completion, rows), batch.desirable[rows], batch.kl_baseline)
    ranks = batch.scores.shape[1]
    spread = (rows[:, None] * ranks + torch.arange(ranks)).flatten()
    return Ranked(_pick(batch.completion, spread), batch.scores[rows])


def repadded(side: Completion) -> Completion:
    """Put a column of NaN before each column, and NaN wherever the mask is False."""

    def spread(logps: Tensor) -> Tensor:
        nan = torch.full_like(logps, torch.nan)
        return torch.stack((nan, torch.where(side.mask, logps, nan)), dim=-1).flatten(1)

    mask = torch.stack((torch.zeros_like(side.mask), side.mask), dim=-1).flatten(1)
    return mapped(side, spread, mask=mask)


def as_double(side: Completion) -> Completion:
    """Return the completion with its log-probs in float64."""
    return mapped(side, Tensor.double, mask=side.mask)


def _pick(side: Completion, rows: Tensor) -> Completion:
    return mapped(side, lambda values: values[rows], mask=side.mask[rows])


def _completion(
    generator: torch.Generator, rows: int, width: int, requires: Requires, dtype: torch.dtype
) -> Completion:
    logps = -3 * torch.rand(2, rows, width, generator=generator, dtype=torch.float64) - 0.05
    lengths = torch.randint(1, width + 1, (rows, 1), generator=generator)
    policy, reference = (values.clone().to(dtype).requires_grad_() for values in logps)
    more = torch.rand(3, rows, width, generator=generator, dtype=torch.float64)
    more[1] = -more[1] - 0.1
    kl, collision, entropy = (values.clone().to(dtype).requires_grad_() for values in more)
    return Completion(
        policy,
        reference if Requires.REFERENCE in requires else None,
        torch.arange(width) < lengths,
        token_kl=kl if Requires.VOCAB_KL in requires else None,
        log_collision=collision if Requires.COLLISION in requires else None,
        reference_entropy=entropy if Requires.ENTROPY in requires else None,
    )
