"""Hidden states before the output head, from which logits are made a few positions at a time; batches by tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.compat import plain_model

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
TOKENS_AT_ONCE = 2048
"""Tokens in one forward pass: what lies between layers then stays in a CPU's cache (docs/benchmarks.md)."""
LOGITS_AT_ONCE = 1 << 20
"""Logits that are held at once (4 MiB in float32): more of them go through memory, which takes four times as long."""

Head = Callable[[Tensor], Tensor]
"""From states ``[positions, …]`` to logits ``[positions, vocabulary]``."""


def final_states(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None, *, position_ids: Tensor | None = None
) -> Tensor:
    """Return what ``head_of`` takes at every position, ``[rows, tokens, …]``.

    Args:
        attention_mask: bool ``[rows, tokens]``, or an additive one ``[rows, 1, tokens, tokens]``; None: all is seen.
        position_ids: where they are not 0, 1, 2, …
    """
    causal = plain_model(model)
    seen = attention_mask.long() if attention_mask is not None and attention_mask.ndim == 2 else attention_mask
    where = {} if position_ids is None else {"position_ids": position_ids}
    if is_plain(causal):
        backbone = getattr(causal, causal.base_model_prefix)
        return backbone(input_ids=input_ids, attention_mask=seen, use_cache=False, **where).last_hidden_state
    return causal(input_ids=input_ids, attention_mask=seen, use_cache=False, **where).logits


def last_state(model: PreTrainedModel, input_ids: Tensor, cache: Cache, where: Mapping[str, Tensor]) -> Tensor:
    """Return what ``head_of`` takes at the last position, ``[rows, …]``; the tokens are added to ``cache``.

    Args:
        where: mask and positions, for a model that reads them.
    """
    causal = plain_model(model)
    if is_plain(causal):
        backbone = getattr(causal, causal.base_model_prefix)
        return backbone(input_ids=input_ids, past_key_values=cache, use_cache=True, **where).last_hidden_state[:, -1]
    return causal(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **where).logits[:, -1]


def head_of(model: PreTrainedModel) -> Head:
    """Return the output embedding; the identity where ``final_states`` makes logits, which are more than that."""
    causal = plain_model(model)
    return causal.get_output_embeddings() if is_plain(causal) else _identity


def is_plain(causal: PreTrainedModel) -> bool:
    """Return whether the logits are the output embedding of the last hidden state, and no more."""
    transformed = any(getattr(causal.config, name, None) for name in LOGIT_TRANSFORMS)
    return (
        getattr(causal, causal.base_model_prefix, None) is not None
        and causal.get_output_embeddings() is not None
        and not transformed
    )


def _identity(logits: Tensor) -> Tensor:
    return logits


def in_batches(lengths: Sequence[int], *, batch: int) -> Iterator[list[int]]:
    """Yield indices of rows that share a forward pass, from short rows to long ones.

    Args:
        batch: rows at most; fewer where they would have more than ``TOKENS_AT_ONCE`` with their padding.
    """
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if part and (len(part) == batch or lengths[index] * (len(part) + 1) > TOKENS_AT_ONCE):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def positions_at_once(vocabulary: int) -> int:
    """Return how many positions' logits are made at once."""
    return max(1, LOGITS_AT_ONCE // vocabulary)
