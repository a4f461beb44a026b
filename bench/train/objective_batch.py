"""Batches of an objective from token ids: log-probs of policy and reference side by side."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bench.data.collate import TokenRow
from bench.data.tokens import EncodedPair, EncodedSingle, pairs_in, singles_in
from bench.models.dropout import row_masks
from bench.models.logprobs import CompletionLogProbs, Laid, ReferenceScores, lay
from bench.models.token_stats import Confidence
from bench.train.drawn_rows import VOCABULARY
from losses import Completion, Objective, Pairs, Ranked, Requires, Singles
from losses.batch import Batch, mapped

ReferenceSource = Callable[[Sequence[TokenRow], Laid], ReferenceScores]
"""(rows, the same laid out) → the reference on them."""


def needs_vocabulary(objective: Objective) -> bool:
    """Say whether an objective needs the reference's whole distribution over the vocabulary."""
    return bool(objective.requires & VOCABULARY)


class ScoredRows(NamedTuple):
    """Rows as the objective takes them, the tokens that went through the policy (each row's own, no padding), and the
    policy's confidence on the completion tokens in order, where it was asked for."""

    completion: Completion
    tokens: int
    confidence: Confidence | None


class Padded(Protocol):
    """Reference log-probs that are looked up by rows."""

    def padded(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        """Lay rows out as ``mask [rows, tokens]`` says: one value where it is True, 0 elsewhere."""


def cached_source(reference: Padded) -> ReferenceSource:
    """Read the reference from its cache."""
    return lambda rows, laid: ReferenceScores(logps=reference.padded(rows, laid.mask), logits=None, entropy=None)


def live_source(model: CompletionLogProbs, *, vocabulary: bool) -> ReferenceSource:
    """Compute the reference now: it moved since the cache was made (sDPO, TR-DPO), or all its logits are needed."""
    return lambda rows, laid: model.frozen(laid, vocabulary=vocabulary)


def pair_rows(pairs: Sequence[EncodedPair]) -> list[TokenRow]:
    """Return all chosen completions, then all rejected ones, each with its prompt."""
    return [(p.prompt_ids, p.chosen_ids) for p in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]


def rows_of(rows: Iterable[EncodedPair | EncodedSingle]) -> list[TokenRow]:
    """Return the rows to score: both sides of pairs, or single completions."""
    every = list(rows)
    return pair_rows(pairs_in(every)) + single_rows(singles_in(every))


def single_rows(singles: Sequence[EncodedSingle]) -> list[TokenRow]:
    """Return each completion with its prompt."""
    return [(s.prompt_ids, s.completion_ids) for s in singles]


def score_rows(
    rows: Sequence[TokenRow],
    *,
    policy: torch.nn.Module,
    reference: ReferenceSource | None,
    requires: Requires,
    pad_id: int,
    watch: bool = False,
) -> ScoredRows:
    """Score all rows as one ``Completion``; with ``watch`` also measure how sure the policy is of their tokens."""
    laid = lay(policy, rows, pad_id=pad_id)
    frozen = None if reference is None else reference(rows, laid)
    with row_masks(laid):
        scores = policy(
            laid,
            collision=Requires.COLLISION in requires,
            reference_logits=frozen.logits if frozen is not None and Requires.VOCAB_KL in requires else None,
            watch=watch,
        )
    completion = Completion(
        policy_logps=scores.logps,
        reference_logps=None if frozen is None else frozen.logps,
        mask=scores.mask,
        token_kl=scores.kl,
        log_collision=scores.collision,
        reference_entropy=frozen.entropy if frozen is not None and Requires.ENTROPY in requires else None,
    )
    return ScoredRows(completion, laid.seen, scores.confidence)


def as_batch(
    completion: Completion,
    rows: Sequence[EncodedPair | EncodedSingle],
    *,
    batch: type[Batch],
    scored: bool,
    kl_baseline: Tensor | None,
) -> Batch:
    """Cut the completions of ``rows_of`` into what an objective takes.

    Args:
        scored: whether the scores of a ranking count, or only the labels.
    """
    if batch is Pairs:
        return as_pairs(completion, pairs_in(rows))
    if batch is Ranked:
        return as_ranked(completion, pairs_in(rows), scored=scored)
    return as_singles(completion, singles_in(rows), kl_baseline=kl_baseline)


def as_pairs(both: Completion, pairs: Sequence[EncodedPair]) -> Pairs:
    """Cut the rows of ``pair_rows`` into the two sides."""
    count = len(pairs)
    gaps = [pair.score_gap for pair in pairs]
    score_gap = None if any(gap is None for gap in gaps) else both.policy_logps.new_tensor(gaps)
    return Pairs(
        chosen=take_rows(both, slice(None, count)), rejected=take_rows(both, slice(count, None)), score_gap=score_gap
    )


def as_singles(completion: Completion, singles: Sequence[EncodedSingle], *, kl_baseline: Tensor | None) -> Singles:
    """Add the labels and the batch's KL baseline."""
    labels = torch.tensor([s.desirable for s in singles], dtype=torch.bool, device=completion.mask.device)
    return Singles(completion=completion, desirable=labels, kl_baseline=kl_baseline)


def as_ranked(both: Completion, pairs: Sequence[EncodedPair], *, scored: bool) -> Ranked:
    """Take each pair as a ranking of two: chosen, rejected.

    Args:
        scored: whether the scores themselves count. If not, the label alone ranks, and the gap is one: an annotator
            may have preferred what has the lower score.
    """
    count = len(pairs)
    order = torch.arange(2 * count, device=both.mask.device).view(2, count).T.flatten()
    gaps = [pair.score_gap if scored and pair.score_gap is not None else 1.0 for pair in pairs]
    chosen = both.policy_logps.new_tensor(gaps)
    return Ranked(completion=take_rows(both, order), scores=torch.stack((chosen, torch.zeros_like(chosen)), dim=1))


def take_rows(side: Completion, rows: slice | Tensor) -> Completion:
    """Return the completion with these rows only."""
    return mapped(side, lambda values: values[rows], mask=side.mask[rows])
