"""Packed forward pass of a transformers model."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from bench.data.collate import TokenRow
from bench.models.compat import plain_model, takes_attention_functions
from bench.models.gradient_checkpointing import checkpointed
from bench.models.packed.attention import Tilings, packed_attention
from bench.models.packed.head import ChunkLoss, FusedLoss, Head, HeadScores, Scores
from bench.models.packed.last_layer import only_read_tokens
from bench.models.packed.layout import Layout, Span, pack
from bench.models.packed.pointwise import quick_rotary
from bench.models.plain_head import head_factor
from bench.models.token_stats import Confidence

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = 1 << 22
"""Logits that a chunk of the head holds (16 MiB in float32), but for ``FEWEST`` tokens in any case."""
FEWEST = 128


class ModelParts(NamedTuple):
    """A causal language model as the packed path sees it: the layers, the head's weights, the logits' factor."""

    causal: "PreTrainedModel"
    backbone: nn.Module
    head: nn.Linear
    factor: float


def parts_of(model: nn.Module) -> ModelParts | str:
    """Take a model apart, or say why that cannot be done."""
    causal = plain_model(model)
    backbone = getattr(causal, getattr(causal, "base_model_prefix", ""), None)
    head = causal.get_output_embeddings() if hasattr(causal, "get_output_embeddings") else None
    if not takes_attention_functions(causal):
        return "its attention does not go through transformers' attention interface"
    if not isinstance(backbone, nn.Module) or type(head) is not nn.Linear:
        return "its layers end in something else than a linear head"
    factor = head_factor(causal)
    if factor is None:
        return "its logits are more than a multiple of its output embedding of the states"
    return ModelParts(causal, backbone, head, factor)


def packed_logps(model: nn.Module, rows: Sequence[TokenRow]) -> Tensor:
    """Return the log-probs of all completion tokens of ``rows`` in order, packed."""
    layout = pack(rows, device=next(model.parameters()).device)
    return token_scores(model, layout, collision=False, reference_logits=None).logps


def hidden_states(parts: ModelParts, layout: Layout, *, checkpointing: bool = False) -> Tensor:
    """Return the last hidden state at the tokens that predict a completion token, ``[completion tokens, size]``.

    With ``checkpointing`` each layer keeps its inputs alone, and is computed again in the backward pass.
    """
    tilings: Tilings = {}

    @contextmanager
    def as_packed() -> Iterator[None]:
        backbone = parts.backbone
        with (
            packed_attention(parts.causal, layout, tilings),
            quick_rotary(backbone),
            only_read_tokens(backbone, layout),
        ):
            yield

    layers = checkpointed(parts.causal, within=as_packed) if checkpointing else nullcontext()
    with as_packed(), layers:
        outputs = parts.backbone(input_ids=layout.ids, position_ids=layout.positions, use_cache=False)
    picked = outputs.last_hidden_state[0].index_select(0, layout.sources)
    return picked if parts.factor == 1.0 else picked * parts.factor


def token_scores(
    model: nn.Module,
    layout: Layout,
    *,
    collision: bool,
    reference_logits: Callable[[Span], Tensor] | None,
    watch: bool = False,
    checkpointing: bool = False,
) -> Scores:
    """Return the policy's scores of every completion token. Gradients flow through log-probs and KL.

    Args:
        collision, reference_logits, watch: whether the log-collision, the KL from a reference and the policy's
            confidence are wanted.
    """
    parts = _parts(model)
    spans = chunks(layout, parts.head.out_features)
    head = _head(parts, layout, spans, collision=collision, reference=reference_logits, watch=watch)
    hidden = hidden_states(parts, layout, checkpointing=checkpointing)
    logps, kl, far, entropy, top1 = HeadScores.apply(hidden, parts.head.weight, parts.head.bias, head)
    return Scores(
        logps=logps,
        kl=kl if reference_logits is not None else None,
        collision=far if collision else None,
        confidence=Confidence(entropy, top1) if watch else None,
    )


def fused_loss(
    model: nn.Module,
    layout: Layout,
    spans: Sequence[Span],
    loss: ChunkLoss,
    *,
    collision: bool,
    reference_logits: Callable[[Span], Tensor] | None,
    watch: bool = False,
    checkpointing: bool = False,
) -> Tensor:
    """Return the sum of the chunks' losses, a scalar whose gradient is computed already.

    Args:
        spans: the chunks as spans of completion tokens.
        watch: whether the loss gets the policy's confidence, too.
    """
    parts = _parts(model)
    head = _head(parts, layout, spans, collision=collision, reference=reference_logits, watch=watch)
    hidden = hidden_states(parts, layout, checkpointing=checkpointing)
    return FusedLoss.apply(hidden, parts.head.weight, parts.head.bias, head, loss)


@torch.no_grad()
def frozen_scores(
    model: nn.Module, layout: Layout, *, entropy: bool
) -> tuple[Tensor, Tensor | None, Callable[[Span], Tensor]]:
    """Return a reference's log-probs, its entropy where wanted (as a share of the largest), and its logits.

    The first two are ``[completion tokens]``; the logits are computed for a span on request.
    """
    parts = _parts(model)
    hidden = hidden_states(parts, layout)

    def logits_at(span: Span) -> Tensor:
        return parts.head(hidden[slice(*span)])

    logps, spreads = [], []
    for span in chunks(layout, parts.head.out_features):
        log_p = logits_at(span).float().log_softmax(dim=-1)
        logps.append(log_p.gather(-1, layout.labels[slice(*span), None]).squeeze(-1))
        if entropy:
            spreads.append(-(log_p.exp() * log_p).sum(dim=-1) / math.log(log_p.shape[-1]))
    return torch.cat(logps), torch.cat(spreads) if entropy else None, logits_at


def chunks(layout: Layout, vocabulary: int) -> list[Span]:
    """Return spans of completion tokens whose logits are few enough to be held at once."""
    count, tokens = len(layout.labels), chunk_tokens(vocabulary)
    return [(start, min(start + tokens, count)) for start in range(0, count, tokens)]


def chunk_tokens(vocabulary: int) -> int:
    """Return how many completion tokens a chunk of the head has."""
    return max(FEWEST, LOGITS_AT_ONCE // vocabulary)


def _parts(model: nn.Module) -> ModelParts:
    parts = parts_of(model)
    if isinstance(parts, str):
        raise ValueError(f"the model cannot be packed: {parts}")
    return parts


def _head(
    parts: ModelParts,
    layout: Layout,
    spans: Sequence[Span],
    *,
    collision: bool,
    reference: Callable[[Span], Tensor] | None,
    watch: bool,
) -> Head:
    kind = layout.ids.device.type
    lower = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if lower else parts.head.weight.dtype
    return Head(labels=layout.labels, spans=spans, reference=reference, collision=collision, watch=watch, dtype=dtype)
