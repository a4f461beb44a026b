"""Objectives whose losses depend on the whole global batch: exact on any number of micro-batches and ranks.

A loss sees a batch only through its log-probs ℓ. So the batch is scored once without gradient and gathered, the
objective gives dL/dℓ, and a second pass over the micro-batches carries that into the weights: the chain rule, with no
approximation. It costs one more forward pass of the policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor

from losses import Bound, Completion, Pairs, Ranked, Singles
from losses.batch import PER_TOKEN, Batch, each, mapped, sides
from losses.objective import State

DIFFERENTIATED = ("policy_logps", "token_kl")


@dataclass(frozen=True, kw_only=True)
class Coupled:
    """The losses of this rank's examples, the state after the batch, and for each micro-batch, each side and each
    differentiated field the gradient of the global mean loss."""

    losses: Tensor
    state: State
    gradients: tuple[tuple[dict[str, Tensor], ...], ...]


def couple(
    loss: Bound,
    parts: Sequence[Batch],
    *,
    state: State | None,
    accelerator: Accelerator,
) -> Coupled:
    """Apply a coupled objective to the global batch of which ``parts`` are this rank's micro-batches, without gradient.

    All ranks must have the same number of examples.
    """
    mine = joined(parts)
    whole = each(_gathered(mine, accelerator), _leaf)
    losses, after = loss.advance(whole, state)
    leaves = [getattr(side, name) for side in sides(whole) for name in _fields(side)]
    gradients = iter(torch.autograd.grad(losses.float().mean(), leaves, allow_unused=True, materialize_grads=True))
    by_side = [{name: next(gradients) for name in _fields(side)} for side in sides(whole)]
    start = accelerator.process_index * mine.examples
    cut = [
        tuple({name: grad[_rows(part, before)] for name, grad in side.items()} for side in by_side)
        for part, before in zip(parts, _starts(parts, start), strict=True)
    ]
    return Coupled(losses=losses.detach()[start : start + mine.examples], state=after, gradients=tuple(cut))


def surrogate(batch: Batch, gradients: Sequence[dict[str, Tensor]]) -> Tensor:
    """A scalar whose gradient with respect to the weights is that of the coupled loss."""
    terms = []
    for side, grads in zip(sides(batch), gradients, strict=True):
        for name, grad in grads.items():
            values = getattr(side, name)
            terms.append(torch.where(side.mask, values * grad[:, : values.shape[1]], 0.0).sum())
    return torch.stack(terms).sum()


def joined(parts: Sequence[Batch]) -> Batch:
    """Several batches of one kind as one, padded to the widest."""
    first = parts[0]
    columns = zip(*(sides(part) for part in parts), strict=True)
    whole = [_stacked(column) for column in columns]
    if isinstance(first, Pairs):
        gaps = [part.score_gap for part in parts if isinstance(part, Pairs)]
        score_gap = None if any(gap is None for gap in gaps) else torch.cat([gap for gap in gaps if gap is not None])
        return Pairs(whole[0], whole[1], score_gap)
    if isinstance(first, Singles):
        labels = torch.cat([part.desirable for part in parts if isinstance(part, Singles)])
        return Singles(whole[0], labels, first.kl_baseline)
    return Ranked(whole[0], torch.cat([part.scores for part in parts if isinstance(part, Ranked)]))


def _stacked(column: Sequence[Completion]) -> Completion:
    width = max(side.mask.shape[1] for side in column)

    def stack(values: Sequence[Tensor]) -> Tensor:
        return torch.cat([torch.nn.functional.pad(each, (0, width - each.shape[1])) for each in values])

    columns = {name: [getattr(side, name) for side in column] for name in PER_TOKEN}
    fields = {name: stack(values) for name, values in columns.items() if values[0] is not None}
    return replace(column[0], mask=stack([side.mask for side in column]), **fields)


def _gathered(batch: Batch, accelerator: Accelerator) -> Batch:
    """The batches of all ranks as one, in the order of the ranks."""
    if accelerator.num_processes == 1:
        return batch

    def gather(values: Tensor) -> Tensor:
        wide = accelerator.pad_across_processes(values, dim=1) if values.ndim > 1 else values
        return accelerator.gather(wide.contiguous())

    def side_of(side: Completion) -> Completion:
        # Not every backend gathers booleans.
        return mapped(side, gather, mask=gather(side.mask.to(torch.uint8)).bool())

    whole = [side_of(side) for side in sides(batch)]
    if isinstance(batch, Pairs):
        return Pairs(whole[0], whole[1], None if batch.score_gap is None else gather(batch.score_gap))
    if isinstance(batch, Singles):
        return Singles(whole[0], gather(batch.desirable.to(torch.uint8)).bool(), batch.kl_baseline)
    return Ranked(whole[0], gather(batch.scores))


def _leaf(side: Completion) -> Completion:
    return replace(side, **{name: getattr(side, name).detach().clone().requires_grad_() for name in _fields(side)})


def _fields(side: Completion) -> tuple[str, ...]:
    return tuple(name for name in DIFFERENTIATED if getattr(side, name) is not None)


def _starts(parts: Sequence[Batch], start: int) -> list[int]:
    """The first example of each micro-batch in the global batch."""
    return [start + sum(part.examples for part in parts[:index]) for index in range(len(parts))]


def _rows(part: Batch, start: int) -> slice:
    """The rows of each side that a micro-batch has in the global batch; a ranking has several rows an example."""
    ranks = part.scores.shape[1] if isinstance(part, Ranked) else 1
    return slice(start * ranks, (start + part.examples) * ranks)
