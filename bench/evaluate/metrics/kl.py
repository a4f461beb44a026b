"""The KL between policy and reference on the policy's own samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.core.samples import Samples
from bench.data.collate import collate_rows
from bench.evaluate.hidden_states import Head, final_states, head_of, in_batches, positions_at_once
from bench.evaluate.ways import scoring_together
from bench.models.context import vocabulary_size
from bench.models.eval_mode import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sequence_kl(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    samples: Samples,
    *,
    batch: int,
    states: Tensor | None = None,
    progress: Callable[[int], None] = lambda items: None,
) -> Tensor:
    """Return Σ_t KL(π(·|x, y_<t) ‖ π_ref(·|x, y_<t)) for each sampled completion y, float64 ``[prompts]``, in nats.

    This is the sequence-level KL of the DPO paper (arXiv 2305.18290, section 6.1): at each position of the policy's
    own sample the KL is exact over the vocabulary, and positions are summed. Its mean is KL(π‖π_ref) of whole
    (truncated) completions, as is that of log π(y|x) − log π_ref(y|x); but it is never negative and has a lower
    variance, because each token's part of the noise is integrated out. True of samples drawn at temperature 1.

    Logits are made a few positions at a time, so that memory does not grow with the samples.

    Args:
        batch: rows in one forward pass at most.
        states: of the policy, as ``sample_with_states`` gives them; None: they are computed. Equal but for rounding.
        progress: called with how many more rows are done.
    """
    rows = list(zip(samples.prompts, samples.completions, strict=True))
    heads = head_of(policy), head_of(reference)
    lengths = [len(prompt) + len(completion) for prompt, completion in rows]
    ways = {scoring_together(model, longest=max(lengths, default=1)) for model in (policy, reference)}
    batch, alike = 1 if "alone" in ways else batch, ways != {"padded"}
    known = None if states is None else states.split([len(completion) for completion in samples.completions])
    totals = torch.zeros(len(rows), dtype=torch.float64)
    with torch.no_grad(), evaluating(policy), evaluating(reference):
        for part in in_batches(lengths, batch=batch, alike=alike):
            ids, attended, completions = (x.to(policy.device) for x in collate_rows([rows[i] for i in part], 0))
            mask, seen = completions[:, 1:], None if bool(attended.all()) else attended
            theirs = final_states(reference, ids, seen)[:, :-1][mask]
            own = (
                final_states(policy, ids, seen)[:, :-1][mask] if known is None else torch.cat([known[i] for i in part])
            )
            per_token = _kl_of_states((own, theirs), heads, at_once=positions_at_once(vocabulary_size(policy.config)))
            totals[part] = per_token.new_zeros(mask.shape).masked_scatter(mask, per_token).sum(dim=1).cpu()
            progress(len(part))
    return totals


def _kl_of_states(states: Sequence[Tensor], heads: Sequence[Head], *, at_once: int) -> Tensor:
    """Return KL(policy ‖ reference) at each position, float64 ``[positions]``, from the states of both."""
    pieces = zip(*(each.split(at_once) for each in states), strict=True)
    kl = torch.cat([_token_kl(heads[0](p), heads[1](q)) for p, q in pieces])
    return kl.double().clamp(min=0.0)  # rounding alone can take a KL of zero below it


def _token_kl(policy_logits: Tensor, reference_logits: Tensor) -> Tensor:
    log_p, log_q = (logits.float().log_softmax(dim=-1) for logits in (policy_logits, reference_logits))
    p = log_p.exp()
    log_ratio = log_p.sub_(log_q)
    kl = (p * log_ratio).sum(dim=-1)
    if bool(kl.isnan().any()):
        # A masked token has p = 0 and log p = −∞; the term's limit is zero. A NaN in p itself stays.
        kl = (p * log_ratio.masked_fill_(p == 0, 0.0)).sum(dim=-1)
    return kl
