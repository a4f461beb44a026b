"""One optimiser step: from a global batch of token ids to updated weights and the step's numbers."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data.collate import mismatched
from bench.data.tokens import singles_in
from bench.errors import RunError
from bench.train import objective_batch
from bench.train.distributed import parallelize
from bench.train.micro_batch import SUMS, Setting, fused, scored, sums_of
from bench.train.sampler import Unit, micro_batches, shard
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
        """Whether loss and gradient are numbers."""
        return math.isfinite(self.sums["loss"]) and math.isfinite(self.grad_norm)

    def curve_row(self) -> dict[str, float | None]:
        """Means for the training curves; None where the batch does not define them."""
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


def optimiser_step(
    policy: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    units: Sequence[Unit],
    *,
    setting: Setting,
    source: objective_batch.ReferenceSource | None,
    state: State | None,
    check_parity: bool,
    watch: bool = False,
) -> StepResult:
    """Accumulate the gradient of the mean loss over ``units`` (the *global* batch), clip it, step.

    A step whose loss or gradient is no number changes no weight.
    """
    accelerator, objective = setting.accelerator, setting.objective
    examples = sum(len(unit) for unit in units)
    baseline, extra = None, 0
    if Requires.KL_BASELINE in objective.requires:
        baseline, extra = kl_baseline(policy, units, setting=setting, source=source)
    mine = shard(list(units), accelerator.process_index, accelerator.num_processes)
    parts = list(micro_batches(mine, setting.execution.micro_batch))
    if check_parity and source is not None:
        _check_parity(policy, parts[0], setting=setting, source=source, state=state)
    coupled, kept = None, None
    if Requires.WHOLE_BATCH in objective.requires:
        # One micro-batch is scored once: its graph waits until the whole batch has said what its gradient is.
        with contextlib.nullcontext() if len(parts) == 1 else torch.no_grad():
            model = policy if len(parts) == 1 else accelerator.unwrap_model(policy)
            once = watch and len(parts) == 1
            first = [
                scored(model, part, setting=setting, source=source, baseline=baseline, watch=once) for part in parts
            ]
        kept = first[0] if len(parts) == 1 else None
        coupled = couple(
            setting.loss,
            [each(batch, _detached) for batch, _, _ in first],
            state=state,
            accelerator=accelerator,
        )
        extra += 0 if kept else sum(tokens for _, tokens, _ in first) * accelerator.num_processes
    sums = torch.zeros(len(SUMS), dtype=torch.float64, device=accelerator.device)
    # DDP takes the mean over ranks: × world size makes it a sum, ÷ the global batch a mean of all examples.
    scale = accelerator.num_processes / examples
    done = 0
    for number, part in enumerate(parts):
        # Ranks exchange gradients once a step, with the last micro-batch.
        with parallelize.accumulating(policy, last=number == len(parts) - 1):
            if coupled is None and accelerator.unwrap_model(policy).packed:
                loss, part_sums = fused(
                    policy, part, setting=setting, source=source, baseline=baseline, scale=scale, watch=watch
                )
                parallelize.backward(policy, loss)
                sums += part_sums
                continue
            batch, tokens, watched = kept or scored(
                policy, part, setting=setting, source=source, baseline=baseline, watch=watch
            )
            if coupled is None:
                losses = setting.loss(batch).float()
                parallelize.backward(policy, losses.sum() * scale)
            else:
                losses = coupled.losses[done : done + batch.examples]
                parallelize.backward(policy, surrogate(batch, coupled.gradients[number]) * accelerator.num_processes)
        done += batch.examples
        sums += sums_of(objective, batch, losses.detach(), tokens=tokens, watched=watched)
    norm = parallelize.clipped(policy, setting.spec.train.clip)
    total = dict(zip(SUMS, accelerator.reduce(sums, reduction="sum").tolist(), strict=True))
    if math.isfinite(total["loss"]) and math.isfinite(norm):
        norm = parallelize.update(policy, optimizer, norm)
    optimizer.zero_grad(set_to_none=True)
    after = {} if coupled is None else coupled.state
    return StepResult(sums=total, examples=examples, grad_norm=norm, extra_tokens=extra, state=after)


@torch.no_grad()
def kl_baseline(
    policy: torch.nn.Module, units: Sequence[Unit], *, setting: Setting, source: objective_batch.ReferenceSource | None
) -> tuple[Tensor, int]:
    """KTO's z: max(0, mean log-ratio of mismatched completions) over the *global* batch, in nats (arXiv 2402.01306).

    Each prompt meets the completion of another prompt of the same step. Every rank sees the same global batch and
    scores its share; the mean is taken over all shares and then clamped, so micro-batches and ranks change nothing.
    Also returns the tokens that this cost on all ranks.
    """
    accelerator = setting.accelerator
    rows = objective_batch.single_rows(
        mismatched(singles_in(row for unit in units for row in unit), max_length=setting.spec.train.max_length)
    )
    sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
    model = accelerator.unwrap_model(policy)  # a forward without backward must not wake DDP's gradient hooks
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    size = 2 * setting.execution.micro_batch
    # Ranks with fewer rows take part in the passes of the others: shards of the weights are exchanged in each.
    for start in range(0, math.ceil(len(rows) / accelerator.num_processes), size):
        part = mine[start : start + size]
        with setting.autocast():
            found, tokens, _ = objective_batch.completions(
                part or rows[:1],
                policy=model,
                reference=source,
                requires=Requires.REFERENCE,
                pad_id=setting.pad_id,
            )
        if not part:
            continue
        sums += sums.new_tensor([float(found.log_ratio.double().sum()), len(part), tokens])
    total, count, tokens_seen = accelerator.reduce(sums, reduction="sum")
    return (total / count).clamp(min=0).float(), int(tokens_seen)


def _detached(side: Completion) -> Completion:
    return mapped(side, torch.Tensor.detach, mask=side.mask)


@torch.no_grad()
def _check_parity(
    policy: torch.nn.Module,
    part: Sequence[Unit],
    *,
    setting: Setting,
    source: objective_batch.ReferenceSource,
    state: State | None,
) -> None:
    """Stop unless each loss of the first micro-batch is what it must be where policy = reference."""
    objective = setting.objective
    zero = torch.zeros((), device=setting.accelerator.device)
    model = setting.accelerator.unwrap_model(policy)
    batch, _, _ = scored(model, part, setting=setting, source=source, baseline=zero)
    found, _ = setting.loss.advance(batch, state)
    exact, _ = setting.loss.advance(batch.at_reference(), state)
    if Requires.WHOLE_BATCH in objective.requires:
        found, exact = found.mean()[None], exact.mean()[None]  # single losses may hang on ties
    loose = PARITY_TOLERANCE[setting.spec.train.precision]
    excess = ((found - exact).abs() - loose * (1 + exact.abs())).nan_to_num(nan=math.inf)
    if bool((excess > 0).any()):
        i = int(excess.argmax())
        raise RunError(
            f"step-0 parity: {objective.name} gives {found[i].item():.6g} on example {i} before any training; "
            f"with policy = reference it is exactly {exact[i].item():.6g} (tolerance {loose:g})",
            fix="policy and reference differ (weights, precision or template): remove results/reference and run again",
        )
