"""One optimiser step: from a global batch of token ids to updated weights and the step's numbers."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from bench.data.collate import mismatched
from bench.data.tokens import singles_in
from bench.errors import RunError
from bench.train import objective_batch
from bench.train.distributed import parallelize
from bench.train.micro_batch import SUMS, ScoredBatch, TrainContext, chunked_loss, score_batch, sums_of
from bench.train.sampler import Unit, micro_batches, rank_share
from bench.train.whole_batch import couple, surrogate
from losses import Completion, Requires
from losses.batch import each, mapped
from losses.objective import State

PARITY_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Sums over the global batch by name (see ``SUMS``), the gradient norm, tokens of passes without gradient, and the
    objective's state after the step."""

    sums: dict[str, float]
    examples: int
    grad_norm: float
    extra_tokens: int
    state: State

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are finite."""
        return math.isfinite(self.sums["loss"]) and math.isfinite(self.grad_norm)

    def curve_row(self) -> dict[str, float | None]:
        """Return means for the training curves; None where the batch does not define them."""
        s, good, bad = self.sums, self.sums["good"], self.sums["bad"]
        paired = self.examples == good
        both = good > 0 and bad > 0
        return {
            "loss": s["loss"] / self.examples,
            "accuracy": s["hits"] / good if paired else None,
            "margin": s["reward_good"] / good - s["reward_bad"] / bad if both else None,
            "chosen_logp": s["logp_good"] / good if good else None,
            "rejected_logp": s["logp_bad"] / bad if bad else None,
            "grad_norm": self.grad_norm,
            "entropy": s["entropy"] / s["completion_tokens"] if s["completion_tokens"] else None,
            "chosen_top1": s["top1_good"] / s["tokens_good"] if s["tokens_good"] else None,
        }


@dataclass(frozen=True, kw_only=True)
class _MicroBatches:
    """The micro-batches of one step on this rank, and what their losses need.

    DDP takes the mean over ranks: ``scale`` (ranks / examples of the global batch) makes sums of losses a global mean.
    """

    policy: torch.nn.Module
    parts: list[list[Unit]]
    context: TrainContext
    source: objective_batch.ReferenceSource | None
    baseline: Tensor | None
    scale: float
    watch: bool

    def score(self, units: Sequence[Unit], *, model: torch.nn.Module | None = None, watch: bool) -> ScoredBatch:
        """Score one micro-batch by the policy, or by ``model``."""
        return score_batch(
            self.policy if model is None else model,
            units,
            context=self.context,
            source=self.source,
            baseline=self.baseline,
            watch=watch,
        )

    def sum(self, backward: Callable[[int, list[Unit]], Tensor]) -> Tensor:
        """Run ``backward`` (number and units of a micro-batch → its ``SUMS``) on each one; return the sums of all."""
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self.context.accelerator.device)
        for number, units in enumerate(self.parts):
            # Ranks exchange gradients once a step, with the last micro-batch.
            with parallelize.accumulating(self.policy, last=number == len(self.parts) - 1):
                sums += backward(number, units)
        return sums


def optimiser_step(
    policy: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    units: Sequence[Unit],
    *,
    context: TrainContext,
    source: objective_batch.ReferenceSource | None,
    state: State | None,
    check_parity: bool,
    watch: bool = False,
) -> StepResult:
    """Accumulate the gradient of the mean loss over ``units`` (the *global* batch), clip it, step.

    A step whose loss or gradient is not finite changes no weight.
    """
    accelerator, requires = context.accelerator, context.objective.requires
    examples = sum(len(unit) for unit in units)
    baseline, extra_tokens = None, 0
    after: State = {}
    if Requires.KL_BASELINE in requires:
        baseline, extra_tokens = kl_baseline(policy, units, context=context, source=source)
    parts = micro_batches(
        rank_share(list(units), accelerator.process_index, accelerator.num_processes), context.execution.micro_batch
    )
    if check_parity and source is not None:
        _check_parity(policy, parts[0], context=context, source=source, state=state)
    batches = _MicroBatches(
        policy=policy,
        parts=parts,
        context=context,
        source=source,
        baseline=baseline,
        scale=accelerator.num_processes / examples,
        watch=watch,
    )
    if Requires.WHOLE_BATCH in requires:
        sums, after, scored_twice = _backward_whole_batch(batches, state)
        extra_tokens += scored_twice
    elif accelerator.unwrap_model(policy).packed:
        sums = _backward_chunked(batches)
    else:
        sums = _backward_scored(batches)
    norm = parallelize.clipped(policy, context.spec.train.clip)
    total = dict(zip(SUMS, accelerator.reduce(sums, reduction="sum").tolist(), strict=True))
    if math.isfinite(total["loss"]) and math.isfinite(norm):
        norm = parallelize.update(policy, optimizer, norm)
    optimizer.zero_grad(set_to_none=True)
    return StepResult(sums=total, examples=examples, grad_norm=norm, extra_tokens=extra_tokens, state=after)


def _backward_chunked(batches: _MicroBatches) -> Tensor:
    """Add the gradient of every micro-batch, the loss applied inside the vocabulary projection; return ``SUMS``."""

    def backward(number: int, units: list[Unit]) -> Tensor:
        loss, sums = chunked_loss(
            batches.policy,
            units,
            context=batches.context,
            source=batches.source,
            baseline=batches.baseline,
            scale=batches.scale,
            watch=batches.watch,
        )
        parallelize.backward(batches.policy, loss)
        return sums

    return batches.sum(backward)


def _backward_scored(batches: _MicroBatches) -> Tensor:
    """Add the gradient of every micro-batch, scored first and the loss applied then; return ``SUMS``."""
    context = batches.context

    def backward(number: int, units: list[Unit]) -> Tensor:
        batch, tokens, watched = batches.score(units, watch=batches.watch)
        losses = context.loss(batch).float()
        parallelize.backward(batches.policy, losses.sum() * batches.scale)
        return sums_of(context.objective, batch, losses.detach(), tokens=tokens, watched=watched)

    return batches.sum(backward)


def _backward_whole_batch(batches: _MicroBatches, state: State | None) -> tuple[Tensor, State, int]:
    """Add the gradient of an objective that needs the whole global batch.

    Returns ``SUMS``, the objective's state after the step, and the tokens of passes that were made twice, on all ranks.
    """
    context, accelerator = batches.context, batches.context.accelerator
    single = len(batches.parts) == 1
    # A single micro-batch is scored once: its graph waits until the gradient of the whole batch is known.
    model = batches.policy if single else accelerator.unwrap_model(batches.policy)
    with contextlib.nullcontext() if single else torch.no_grad():
        first = [batches.score(units, model=model, watch=batches.watch and single) for units in batches.parts]
    coupled = couple(
        context.loss, [each(scored.batch, _detached) for scored in first], state=state, accelerator=accelerator
    )
    examples = [0, *accumulate(scored.batch.examples for scored in first)]
    scored_twice = 0 if single else sum(scored.tokens for scored in first) * accelerator.num_processes
    kept = first[0] if single else None
    del first

    def backward(number: int, units: list[Unit]) -> Tensor:
        batch, tokens, watched = kept or batches.score(units, watch=batches.watch)
        losses = coupled.losses[examples[number] : examples[number + 1]]
        gradient = surrogate(batch, coupled.gradients[number])
        parallelize.backward(batches.policy, gradient * accelerator.num_processes)
        return sums_of(context.objective, batch, losses.detach(), tokens=tokens, watched=watched)

    return batches.sum(backward), coupled.state, scored_twice


@torch.no_grad()
def kl_baseline(
    policy: torch.nn.Module,
    units: Sequence[Unit],
    *,
    context: TrainContext,
    source: objective_batch.ReferenceSource | None,
) -> tuple[Tensor, int]:
    """Return KTO's z, max(0, mean log-ratio of mismatched completions) of the *global* batch, nats (arXiv 2402.01306).

    Each prompt is scored with the completion of another prompt of the same step. Every rank sees the same global batch
    and scores its share; the mean is taken over all shares and then clamped, so micro-batches and ranks change nothing.
    Also returns the tokens of these passes on all ranks.
    """
    accelerator = context.accelerator
    rows = objective_batch.single_rows(
        mismatched(singles_in(row for unit in units for row in unit), max_length=context.spec.train.max_length)
    )
    sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
    model = accelerator.unwrap_model(policy)  # a forward without backward must not wake DDP's gradient hooks
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    size = 2 * context.execution.micro_batch
    # Ranks with fewer rows take part in the passes of the others: shards of the weights are exchanged in each.
    for start in range(0, math.ceil(len(rows) / accelerator.num_processes), size):
        part = mine[start : start + size]
        with context.autocast():
            scored = objective_batch.score_rows(
                part or rows[:1],
                policy=model,
                reference=source,
                requires=Requires.REFERENCE,
                pad_id=context.pad_id,
            )
        if not part:
            continue
        sums += sums.new_tensor([float(scored.completion.log_ratio.double().sum()), len(part), scored.tokens])
    total, count, tokens_seen = accelerator.reduce(sums, reduction="sum")
    return (total / count).clamp(min=0).float(), int(tokens_seen)


def _detached(side: Completion) -> Completion:
    return mapped(side, torch.Tensor.detach, mask=side.mask)


@torch.no_grad()
def _check_parity(
    policy: torch.nn.Module,
    part: Sequence[Unit],
    *,
    context: TrainContext,
    source: objective_batch.ReferenceSource,
    state: State | None,
) -> None:
    """Stop unless each loss of the first micro-batch is what it must be where policy = reference."""
    objective = context.objective
    zero = torch.zeros((), device=context.accelerator.device)
    model = context.accelerator.unwrap_model(policy)
    batch = score_batch(model, part, context=context, source=source, baseline=zero).batch
    losses, _ = context.loss.advance(batch, state)
    exact, _ = context.loss.advance(batch.at_reference(), state)
    if Requires.WHOLE_BATCH in objective.requires:
        losses, exact = losses.mean()[None], exact.mean()[None]  # single losses may depend on how ties are broken
    loose = PARITY_TOLERANCE[context.spec.train.precision]
    excess = ((losses - exact).abs() - loose * (1 + exact.abs())).nan_to_num(nan=math.inf)
    if bool((excess > 0).any()):
        i = int(excess.argmax())
        raise RunError(
            f"step-0 parity: {objective.name} gives {losses[i].item():.6g} on example {i} before any training; "
            f"with policy = reference it is exactly {exact[i].item():.6g} (tolerance {loose:g})",
            fix="policy and reference differ (weights, precision or template): remove results/reference and run again",
        )
