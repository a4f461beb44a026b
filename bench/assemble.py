"""Owns the way from token ids to an objective's batch: log-probs of policy and reference side by side."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from bench.data.collate import collate_rows
from bench.data.tokens import EncodedPair, EncodedSingle, pairs_in, singles_in
from bench.logprobs import CompletionLogProbs
from bench.reference import ReferenceLogProbs, Row
from losses import Completion, Pairs, Singles

ReferenceSource = Callable[[Sequence[Row], tuple[Tensor, Tensor, Tensor], Tensor], Tensor]
"""(rows, their collated tensors, mask) → reference log-probs laid out as the mask says."""


def cached(reference: ReferenceLogProbs) -> ReferenceSource:
    """Read the reference from its cache."""
    return lambda rows, tensors, mask: reference.padded(rows, mask)


def live(model: CompletionLogProbs) -> ReferenceSource:
    """Compute the reference now: it moved since the cache was made (sDPO, TR-DPO)."""

    def source(rows: Sequence[Row], tensors: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
        with torch.no_grad():
            return model(*tensors)[0]

    return source


def pair_rows(pairs: Sequence[EncodedPair]) -> list[Row]:
    """All chosen completions, then all rejected ones, each with its prompt."""
    return [(p.prompt_ids, p.chosen_ids) for p in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]


def rows_of(rows: Iterable[EncodedPair | EncodedSingle]) -> list[Row]:
    """What has to be scored: both sides of pairs, or single completions."""
    held = list(rows)
    return pair_rows(pairs_in(held)) + single_rows(singles_in(held))


def single_rows(singles: Sequence[EncodedSingle]) -> list[Row]:
    """Each completion with its prompt."""
    return [(s.prompt_ids, s.completion_ids) for s in singles]


def completions(
    rows: Sequence[Row],
    *,
    policy: torch.nn.Module,
    reference: ReferenceSource | None,
    pad_id: int,
    device: torch.device,
) -> tuple[Completion, int]:
    """One ``Completion`` over all rows, and how many tokens went through the policy (padding left out)."""
    ids, seen, completion = (tensor.to(device) for tensor in collate_rows(rows, pad_id))
    tensors = (ids, seen, completion)
    logps, mask = policy(*tensors)
    known = None if reference is None else reference(rows, tensors, mask)
    return Completion(policy_logps=logps, reference_logps=known, mask=mask), int(tensors[1].sum())


def as_pairs(both: Completion, pairs: Sequence[EncodedPair]) -> Pairs:
    """Cut the rows of ``pair_rows`` into the two sides."""
    gaps = [pair.score_gap for pair in pairs]
    known = None if any(gap is None for gap in gaps) else both.policy_logps.new_tensor(gaps)
    return Pairs(chosen=_part(both, 0, len(pairs)), rejected=_part(both, len(pairs), None), score_gap=known)


def as_singles(completion: Completion, singles: Sequence[EncodedSingle], *, kl_baseline: Tensor | None) -> Singles:
    """Add the labels and the batch's KL baseline."""
    labels = torch.tensor([s.desirable for s in singles], dtype=torch.bool, device=completion.mask.device)
    return Singles(completion=completion, desirable=labels, kl_baseline=kl_baseline)


def _part(both: Completion, start: int, end: int | None) -> Completion:
    reference = None if both.reference_logps is None else both.reference_logps[start:end]
    return Completion(policy_logps=both.policy_logps[start:end], reference_logps=reference, mask=both.mask[start:end])
