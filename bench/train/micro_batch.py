"""One micro-batch: from its units to losses and their gradient, in one of two ways that give the same numbers.

``score_batch`` scores all completions and returns the objective's batch with the policy's graph; the caller applies the
loss. It works for every model, and for objectives that need the whole global batch before there is a loss.

``chunked_loss`` applies the loss inside the vocabulary projection, chunk by chunk, so that the probabilities of a chunk
are used forward and backward while they are in memory. It is faster; it needs a packed model, and an objective whose
losses depend on their own example alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from bench.core.specs import Execution, RunSpec
from bench.data.collate import TokenRow
from bench.data.tokens import pairs_in, singles_in
from bench.models.dropout import row_masks
from bench.models.logprobs import CompletionLogProbs, ReferenceScores, lay, spread
from bench.models.packed.forward import chunk_tokens
from bench.models.packed.head import Scores, Slopes
from bench.models.packed.layout import Span
from bench.models.token_stats import Confidence
from bench.train import objective_batch
from bench.train.sampler import Unit
from losses import Bound, Completion, Objective, Pairs, Ranked, Requires, Singles
from losses.batch import Batch

WATCHED = ("entropy", "top1_good", "completion_tokens", "tokens_good")
"""Sums over completion tokens: entropy of all, top-1 of the good completions', and their counts; 0 where unwatched."""
SUMS = ("loss", "hits", "reward_good", "reward_bad", "logp_good", "logp_bad", "good", "bad", "tokens", *WATCHED)


@dataclass(frozen=True, kw_only=True)
class TrainContext:
    """What stays the same in all steps of one run."""

    spec: RunSpec
    objective: Objective
    execution: Execution
    accelerator: Accelerator
    pad_id: int

    @cached_property
    def loss(self) -> Bound:
        """The objective at the run's parameters, which were checked when the spec was made."""
        return self.objective.bind(self.spec.params)

    def autocast(self) -> torch.autocast:
        """Return a context of bf16 matrix products where the spec has them; weights and losses stay in float32."""
        bf16 = self.spec.train.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=bf16)

    def as_batch(self, completions: Completion, units: Sequence[Unit], *, baseline: Tensor | None) -> Batch:
        """Return the completions of ``rows_of_units`` as the objective takes them."""
        return objective_batch.as_batch(
            completions,
            [row for unit in units for row in unit],
            batch=self.objective.batch,
            scored=Requires.SCORES in self.objective.requires,
            kl_baseline=baseline,
        )


class ScoredBatch(NamedTuple):
    """An objective's batch, the tokens that went through the policy for it, and ``WATCHED``."""

    batch: Batch
    tokens: int
    watched: list[float]


def score_batch(
    policy: torch.nn.Module,
    units: Sequence[Unit],
    *,
    context: TrainContext,
    source: objective_batch.ReferenceSource | None,
    baseline: Tensor | None,
    watch: bool = False,
) -> ScoredBatch:
    """Return the objective's batch of some units, with the policy's graph."""
    with context.autocast():
        scored = objective_batch.score_rows(
            rows_of_units(units),
            policy=policy,
            reference=source,
            requires=context.objective.requires,
            pad_id=context.pad_id,
            watch=watch,
        )
    batch = context.as_batch(scored.completion, units, baseline=baseline)
    return ScoredBatch(batch, scored.tokens, watched_sums(scored.confidence, units, scored.completion.mask))


def chunked_loss(
    policy: torch.nn.Module,
    units: Sequence[Unit],
    *,
    context: TrainContext,
    source: objective_batch.ReferenceSource | None,
    baseline: Tensor | None,
    scale: float,
    watch: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return ``scale`` · the sum of the losses, a scalar to call ``backward`` on, and the micro-batch's ``SUMS``."""
    requires, device = context.objective.requires, context.accelerator.device
    chunks = list(_chunked(units, tokens=chunk_tokens(_vocabulary(context.accelerator.unwrap_model(policy)))))
    rows_by_chunk = [rows_of_units(chunk) for chunk in chunks]
    rows = [row for chunk in rows_by_chunk for row in chunk]
    token_ends = torch.tensor([0, *(len(completion) for _, completion in rows)]).cumsum(0).tolist()
    row_ends = torch.tensor([0, *(len(chunk) for chunk in rows_by_chunk)]).cumsum(0).tolist()
    row_spans: list[Span] = list(pairwise(row_ends))
    sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
    with context.autocast():
        laid = lay(policy, rows, pad_id=context.pad_id)
        reference = None if source is None else source(rows, laid)

        def loss_of_chunk(number: int, scores: Scores) -> tuple[Tensor, Slopes]:
            own = slice(*row_spans[number])
            with torch.enable_grad(), torch.autocast(device.type, enabled=False):
                logps = scores.logps.detach().requires_grad_()
                kl = None if scores.kl is None else scores.kl.detach().requires_grad_()
                side = _completion(scores._replace(logps=logps, kl=kl), laid.mask[own], reference, own, requires)
                batch = context.as_batch(side, chunks[number], baseline=baseline)
                losses = context.loss(batch).float()
                total = losses.sum() * scale
                leaves = [logps] if kl is None else [logps, kl]
                slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
            watched = watched_sums(scores.confidence, chunks[number], laid.mask[own])
            sums.add_(sums_of(context.objective, batch, losses.detach(), tokens=0, watched=watched))
            return total.detach(), Slopes(slopes[0], None if kl is None else slopes[1])

        spans = [(token_ends[first], token_ends[last]) for first, last in row_spans]
        with row_masks(laid):
            total = policy(
                laid,
                fused=(spans, loss_of_chunk),
                collision=Requires.COLLISION in requires,
                reference_logits=reference.logits if reference is not None and Requires.VOCAB_KL in requires else None,
                watch=watch,
            )
    sums[SUMS.index("tokens")] = laid.seen
    return total, sums


def rows_of_units(units: Sequence[Unit]) -> list[TokenRow]:
    """Return the rows to score for some units."""
    return objective_batch.rows_of(row for unit in units for row in unit)


def watched_sums(confidence: Confidence | None, units: Sequence[Unit], mask: Tensor) -> list[float]:
    """Return ``WATCHED`` of the units' completion tokens; ``mask [rows, width]`` says which token is of which row."""
    if confidence is None:
        return [0.0] * len(WATCHED)
    rows = [row for unit in units for row in unit]
    pairs, singles = len(pairs_in(rows)), [single.desirable for single in singles_in(rows)]
    good = torch.tensor([True] * pairs + [False] * pairs + singles, device=mask.device)  # as rows_of_units has them
    of_good = good.repeat_interleave(mask.sum(dim=1))
    return [
        float(confidence.entropy.double().sum()),
        float(confidence.top1[of_good].double().sum()),
        len(confidence.entropy),
        float(of_good.sum()),
    ]


def sums_of(objective: Objective, batch: Batch, losses: Tensor, *, tokens: int, watched: Sequence[float]) -> Tensor:
    """Return ``SUMS`` over a batch, float64."""
    hits = 0.0
    if isinstance(batch, Pairs):
        good, bad = objective.reward_of(batch.chosen).detach(), objective.reward_of(batch.rejected).detach()
        logp_good, logp_bad = batch.chosen.policy.detach(), batch.rejected.policy.detach()
    else:
        liked = batch.desirable if isinstance(batch, Singles) else _best(batch)
        reward, policy = objective.reward_of(batch.completion).detach(), batch.completion.policy.detach()
        good, bad, logp_good, logp_bad = reward[liked], reward[~liked], policy[liked], policy[~liked]
    if not isinstance(batch, Singles) and len(good) == len(bad):
        hits = float((good > bad).sum() + 0.5 * (good == bad).sum())
    sides = [float(x.double().sum()) for x in (good, bad, logp_good, logp_bad)]
    values = [float(losses.double().sum()), hits, *sides, len(good), len(bad), tokens, *watched]
    return torch.tensor(values, dtype=torch.float64, device=losses.device)


def _chunked(units: Sequence[Unit], *, tokens: int) -> Iterator[list[Unit]]:
    """Yield units in order, cut where a chunk has ``tokens`` completion tokens or more."""
    chunk: list[Unit] = []
    count = 0
    for unit in units:
        chunk.append(unit)
        count += sum(len(completion) for _, completion in rows_of_units([unit]))
        if count >= tokens:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk


def _completion(
    scores: Scores, mask: Tensor, reference: ReferenceScores | None, rows: slice, requires: Requires
) -> Completion:
    mask = mask[:, : int(mask.sum(dim=1).max())]
    width = mask.shape[1]
    entropy = reference.entropy if reference is not None and Requires.ENTROPY in requires else None
    return Completion(
        policy_logps=spread(scores.logps, mask),
        reference_logps=None if reference is None else reference.logps[rows, :width],
        mask=mask,
        token_kl=None if scores.kl is None else spread(scores.kl, mask),
        log_collision=None if scores.collision is None else spread(scores.collision, mask),
        reference_entropy=None if entropy is None else entropy[rows, :width],
    )


def _vocabulary(model: CompletionLogProbs) -> int:
    causal_lm: Any = model.model
    projection = causal_lm.get_output_embeddings()
    return int(projection.weight.shape[0])


def _best(batch: Ranked) -> Tensor:
    """Return which completions count as chosen, the best of each ranking; bool ``[rows]``."""
    return (batch.scores == batch.scores.amax(dim=1, keepdim=True)).flatten()
