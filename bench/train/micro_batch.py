"""One micro-batch: from its units to an objective's batch with a gradient, or at once to its losses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from bench.core.specs import Execution, RunSpec
from bench.data.collate import TokenRow
from bench.data.tokens import pairs_in, singles_in
from bench.models.logprobs import CompletionLogProbs, Frozen, lay, spread
from bench.models.packed.forward import chunk_tokens
from bench.models.packed.head import Scores, Slopes, Span
from bench.models.token_stats import Confidence
from bench.train import objective_batch
from bench.train.sampler import Unit
from losses import Bound, Completion, Objective, Pairs, Ranked, Requires, Singles
from losses.batch import Batch

WATCHED = ("entropy", "top1_good", "completion_tokens", "tokens_good")
"""Sums over completion tokens: entropy of all, top-1 of the good completions', and their counts; 0 where unwatched."""
SUMS = ("loss", "hits", "reward_good", "reward_bad", "logp_good", "logp_bad", "good", "bad", "tokens", *WATCHED)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same in all steps of one run."""

    spec: RunSpec
    objective: Objective
    execution: Execution
    accelerator: Accelerator
    pad_id: int

    @property
    def loss(self) -> Bound:
        """The objective at the run's parameters, which were checked when the spec was made."""
        return self.objective.bind(self.spec.params)

    def autocast(self) -> torch.autocast:
        """bf16 matrix products where the spec asks for them; weights and losses stay in float32."""
        bf16 = self.spec.train.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=bf16)

    def as_batch(self, both: Completion, part: Sequence[Unit], *, baseline: Tensor | None) -> Batch:
        """The completions of ``rows_of`` as the objective takes them."""
        return objective_batch.as_batch(
            both,
            [row for unit in part for row in unit],
            batch=self.objective.batch,
            scored=Requires.SCORES in self.objective.requires,
            kl_baseline=baseline,
        )


def scored(
    policy: torch.nn.Module,
    part: Sequence[Unit],
    *,
    setting: Setting,
    source: objective_batch.ReferenceSource | None,
    baseline: Tensor | None,
    watch: bool = False,
) -> tuple[Batch, int, list[float]]:
    """The objective's batch, with the policy's gradient, the tokens that it cost, and ``WATCHED``."""
    with setting.autocast():
        both, tokens, seen = objective_batch.completions(
            rows_of_units(part),
            policy=policy,
            reference=source,
            requires=setting.objective.requires,
            pad_id=setting.pad_id,
            watch=watch,
        )
    return setting.as_batch(both, part, baseline=baseline), tokens, watched_sums(seen, part, both.mask)


def fused(
    policy: torch.nn.Module,
    part: Sequence[Unit],
    *,
    setting: Setting,
    source: objective_batch.ReferenceSource | None,
    baseline: Tensor | None,
    scale: float,
    watch: bool = False,
) -> tuple[Tensor, Tensor]:
    """``scale`` · the sum of the losses, a scalar to call ``backward`` on, and the micro-batch's ``SUMS``.

    For packed models, and objectives whose losses hang on their own example alone: each chunk of examples goes through
    the vocabulary projection, its loss and back while its probabilities are at hand.
    """
    objective, accelerator = setting.objective, setting.accelerator
    model = accelerator.unwrap_model(policy)
    chunks = list(_chunked(part, tokens=chunk_tokens(_vocabulary(model))))
    by_chunk = [rows_of_units(chunk) for chunk in chunks]
    rows = [row for each in by_chunk for row in each]
    ends = torch.tensor([0, *(len(completion) for _, completion in rows)]).cumsum(0).tolist()
    borders = torch.tensor([0, *(len(each) for each in by_chunk)]).cumsum(0).tolist()
    row_spans: list[Span] = list(pairwise(borders))
    sums = torch.zeros(len(SUMS), dtype=torch.float64, device=accelerator.device)
    with setting.autocast():
        laid = lay(policy, rows, pad_id=setting.pad_id)
        known = None if source is None else source(rows, laid)

        def loss(number: int, scores: Scores) -> tuple[Tensor, Slopes]:
            own = slice(*row_spans[number])
            with torch.enable_grad(), torch.autocast(accelerator.device.type, enabled=False):
                logps = scores.logps.detach().requires_grad_()
                kl = None if scores.kl is None else scores.kl.detach().requires_grad_()
                side = _completion(scores._replace(logps=logps, kl=kl), laid.mask[own], known, own, objective.requires)
                batch = setting.as_batch(side, chunks[number], baseline=baseline)
                losses = setting.loss(batch).float()
                total = losses.sum() * scale
                leaves = [logps] if kl is None else [logps, kl]
                found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
            seen = watched_sums(scores.confidence, chunks[number], laid.mask[own])
            sums.add_(sums_of(objective, batch, losses.detach(), tokens=0, watched=seen))
            return total.detach(), Slopes(found[0], None if kl is None else found[1])

        total = policy(
            laid,
            fused=([(ends[first], ends[last]) for first, last in row_spans], loss),
            collision=Requires.COLLISION in objective.requires,
            reference_logits=known.logits if known is not None and Requires.VOCAB_KL in objective.requires else None,
            watch=watch,
        )
    sums[SUMS.index("tokens")] = laid.seen
    return total, sums


def rows_of_units(part: Sequence[Unit]) -> list[TokenRow]:
    """What has to be scored of some units."""
    return objective_batch.rows_of(row for unit in part for row in unit)


def watched_sums(seen: Confidence | None, part: Sequence[Unit], mask: Tensor) -> list[float]:
    """``WATCHED`` of the units' completion tokens, of which ``mask [rows, width]`` says whose is whose."""
    if seen is None:
        return [0.0] * len(WATCHED)
    rows = [row for unit in part for row in unit]
    pairs, singles = len(pairs_in(rows)), [single.desirable for single in singles_in(rows)]
    good = torch.tensor([True] * pairs + [False] * pairs + singles, device=mask.device)  # as rows_of_units has them
    of_good = good.repeat_interleave(mask.sum(dim=1))
    return [
        float(seen.entropy.double().sum()),
        float(seen.top1[of_good].double().sum()),
        len(seen.entropy),
        float(of_good.sum()),
    ]


def sums_of(objective: Objective, batch: Batch, losses: Tensor, *, tokens: int, watched: Sequence[float]) -> Tensor:
    """``SUMS`` over a batch, float64."""
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


def _chunked(part: Sequence[Unit], *, tokens: int) -> Iterator[list[Unit]]:
    """Units in order, cut where a chunk has ``tokens`` completion tokens or more."""
    chunk: list[Unit] = []
    held = 0
    for unit in part:
        chunk.append(unit)
        held += sum(len(completion) for _, completion in rows_of_units([unit]))
        if held >= tokens:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _completion(scores: Scores, mask: Tensor, known: Frozen | None, rows: slice, requires: Requires) -> Completion:
    mask = mask[:, : int(mask.sum(dim=1).max())]
    width = mask.shape[1]
    entropy = known.entropy if known is not None and Requires.ENTROPY in requires else None
    return Completion(
        policy_logps=spread(scores.logps, mask),
        reference_logps=None if known is None else known.logps[rows, :width],
        mask=mask,
        token_kl=None if scores.kl is None else spread(scores.kl, mask),
        log_collision=None if scores.collision is None else spread(scores.collision, mask),
        reference_entropy=None if entropy is None else entropy[rows, :width],
    )


def _vocabulary(model: CompletionLogProbs) -> int:
    found: Any = model.model
    return int(found.get_output_embeddings().weight.shape[0])


def _best(batch: Ranked) -> Tensor:
    """Of a ranking the best completion counts as chosen, all others as rejected; bool ``[rows]``."""
    return (batch.scores == batch.scores.amax(dim=1, keepdim=True)).flatten()
