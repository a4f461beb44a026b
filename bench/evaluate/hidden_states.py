"""Hidden states before the output head, from which logits are made a few positions at a time; batches by tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.compat import plain_model
from bench.models.plain_head import backbone_of, call, is_plain, logits_in, states_in, takes

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

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
    where = {} if seen is None else {"attention_mask": seen}
    if position_ids is not None:
        where["position_ids"] = position_ids
    if is_plain(causal):
        return states_in(call(backbone_of(causal), input_ids, where, use_cache=False))
    return logits_in(call(causal, input_ids, where, use_cache=False))


def last_state(
    model: PreTrainedModel, input_ids: Tensor, cache: Cache | None, where: Mapping[str, Tensor] = MappingProxyType({})
) -> Tensor:
    """Return what ``head_of`` takes at the last position, ``[rows, …]``; the tokens are added to ``cache``.

    Args:
        cache: None: the whole rows are read.
        where: mask and positions, for a model that reads them.
    """
    causal = plain_model(model)
    module, more = (backbone_of(causal), {}) if is_plain(causal) else (causal, {"logits_to_keep": 1})
    if cache is None:
        output = call(module, input_ids, where, use_cache=False, **more)
    else:
        name = "cache_params" if takes(module, "cache_params") else "past_key_values"  # the first: Mamba and its kind
        output = call(module, input_ids, where, use_cache=True, **{name: cache}, **more)
    return (logits_in(output) if module is causal else states_in(output))[:, -1]


def head_of(model: PreTrainedModel) -> Head:
    """Return the output embedding; the identity where ``final_states`` makes logits, which are more than that."""
    causal = plain_model(model)
    return causal.get_output_embeddings() if is_plain(causal) else _identity


def _identity(logits: Tensor) -> Tensor:
    return logits


def in_batches(lengths: Sequence[int], *, batch: int, alike: bool = False) -> Iterator[list[int]]:
    """Yield indices of rows that share a forward pass, from short rows to long ones.

    Args:
        batch: rows at most; fewer where they would have more than ``TOKENS_AT_ONCE`` with their padding.
        alike: whether rows must be of one length.
    """
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = len(part) == batch or lengths[index] * (len(part) + 1) > TOKENS_AT_ONCE
        if part and (full or (alike and lengths[index] != lengths[part[0]])):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def positions_at_once(vocabulary: int) -> int:
    """Return how many positions' logits are made at once."""
    return max(1, LOGITS_AT_ONCE // vocabulary)
