"""Per-token log-probs of completions, in float32, from packed or padded rows."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from torch import Tensor, no_grad
from torch.nn import Module

from bench.data.collate import Padded, TokenRow, collate_rows
from bench.models.compat import plain_model
from bench.models.gradient_checkpointing import checkpointed
from bench.models.packed.forward import frozen_scores, fused_loss, token_scores, why_padded
from bench.models.packed.head import ChunkLoss
from bench.models.packed.layout import Layout, Span, pack
from bench.models.packed.pointwise import quicken
from bench.models.token_stats import Confidence, confidence, log_collision, relative_entropy, token_kl, token_logps

Laid = Padded | Layout
"""Rows of token ids as a model takes them."""

# A final transform of the logits that a bare output embedding would leave out (Gemma-2, Cohere, Granite).
LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class TokenScores(NamedTuple):
    """What a model says of completion tokens; each ``[rows, width]``, 0 where ``mask`` is False.

    logps: log π(y_t | x, y_<t), nats, float32. collision: log Σ_v π(v)², without gradient. kl: KL(π_ref ‖ π) over the
    vocabulary, nats. The last two are None unless requested. confidence: of the completion tokens in order,
    not spread; None unless requested.
    """

    logps: Tensor
    mask: Tensor
    collision: Tensor | None
    kl: Tensor | None
    confidence: Confidence | None = None


class ReferenceScores(NamedTuple):
    """The reference on a batch: log-probs ``[rows, width]``; where the whole vocabulary is needed, its logits at any
    span of completion tokens ``[tokens, vocabulary]``, and its entropy ``[rows, width]``."""

    logps: Tensor
    logits: Callable[[Span], Tensor] | None
    entropy: Tensor | None


class CompletionLogProbs(Module):
    """A causal language model whose forward gives log-probs of completion tokens.

    It is this module that DDP and FSDP wrap, so that their hooks see every forward pass. ``packed`` says how rows are
    laid out: without padding and each prompt once (``packed/``), or padded, which is the oracle that the packed
    path has to equal, and the way for models that cannot be packed; ``why`` says why that is so.
    """

    def __init__(self, model: Module, *, packed: bool = False, checkpointing: bool = False) -> None:
        super().__init__()
        self.model = model
        self.checkpointing = checkpointing
        self.why = why_padded(model, lambda rows: _padded_logps(model, rows)) if packed else "so asked for"
        self.packed = self.why is None
        if self.packed:
            quicken(model)

    @property
    def layout(self) -> str:
        """``packed``, or ``padded`` with the reason."""
        return "packed" if self.packed else f"padded: {self.why}"

    def lay(self, rows: Sequence[TokenRow], *, pad_id: int) -> Laid:
        """Lay rows out for this model, on its device."""
        device = next(self.model.parameters()).device
        return pack(rows, device=device) if self.packed else collate_rows(rows, pad_id).to(device)

    def forward(
        self,
        laid: Laid,
        *,
        collision: bool = False,
        reference_logits: Callable[[Span], Tensor] | None = None,
        fused: tuple[Sequence[Span], ChunkLoss] | None = None,
        watch: bool = False,
    ) -> "TokenScores | Tensor":
        """Return the log-prob of each completion token, and what else was requested.

        The vocabulary projection runs on completion positions only: prompts and padding never meet it.

        Args:
            collision: whether log Σ_v π(v)² is wanted.
            reference_logits: span of completion tokens to ``[tokens, vocabulary]`` of the reference, where the KL to
                it is wanted.
            fused: chunks of completion tokens and their loss; the sum of the losses is then returned, a scalar with
                its gradient. Of packed rows only.
            watch: whether the confidence is wanted.
        """
        if isinstance(laid, Layout):
            if fused is not None:
                spans, loss = fused
                return fused_loss(
                    self.model,
                    laid,
                    spans,
                    loss,
                    collision=collision,
                    reference_logits=reference_logits,
                    watch=watch,
                    checkpointing=self.checkpointing,
                )
            return self._packed_scores(laid, collision=collision, reference_logits=reference_logits, watch=watch)
        mask = laid.mask
        with checkpointed(self.model) if self.checkpointing else nullcontext():
            logits = completion_logits(self.model, laid.ids, laid.attended, mask)
        known = None if reference_logits is None else reference_logits((0, len(logits)))
        labels = laid.ids[:, 1:][mask]
        return TokenScores(
            logps=spread(token_logps(logits, labels), mask),
            mask=mask,
            collision=spread(log_collision(logits), mask) if collision else None,
            kl=None if known is None else spread(token_kl(known, logits), mask),
            confidence=confidence(logits, labels) if watch else None,
        )

    def _packed_scores(
        self, layout: Layout, *, collision: bool, reference_logits: Callable[[Span], Tensor] | None, watch: bool
    ) -> TokenScores:
        scores = token_scores(
            self.model,
            layout,
            collision=collision,
            reference_logits=reference_logits,
            watch=watch,
            checkpointing=self.checkpointing,
        )
        return TokenScores(
            logps=spread(scores.logps, layout.mask),
            mask=layout.mask,
            collision=None if scores.collision is None else spread(scores.collision, layout.mask),
            kl=None if scores.kl is None else spread(scores.kl, layout.mask),
            confidence=scores.confidence,
        )

    @no_grad()
    def frozen(self, laid: Laid, *, vocabulary: bool) -> ReferenceScores:
        """Return the reference's log-probs on a batch, and with ``vocabulary`` its logits and their entropy."""
        if isinstance(laid, Layout):
            logps, entropy, logits_at = frozen_scores(self.model, laid, entropy=vocabulary)
        else:
            logits = completion_logits(self.model, laid.ids, laid.attended, laid.mask)
            logps = token_logps(logits, laid.ids[:, 1:][laid.mask])
            entropy = relative_entropy(logits) if vocabulary else None
            logits_at = lambda span: logits[slice(*span)]  # noqa: E731
        return ReferenceScores(
            logps=spread(logps, laid.mask),
            logits=logits_at if vocabulary else None,
            entropy=None if entropy is None else spread(entropy, laid.mask),
        )


def lay(policy: Module, rows: Sequence[TokenRow], *, pad_id: int) -> Laid:
    """Lay rows out as a policy takes them, be it wrapped by DDP or not."""
    own = getattr(policy, "module", policy)
    assert isinstance(own, CompletionLogProbs)
    return own.lay(rows, pad_id=pad_id)


def _padded_logps(model: Module, rows: Sequence[TokenRow]) -> Tensor:
    laid = collate_rows(rows, 0).to(next(model.parameters()).device)
    return token_logps(completion_logits(model, laid.ids, laid.attended, laid.mask), laid.ids[:, 1:][laid.mask])


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Lay one value a completion token out as ``mask [rows, tokens]``, 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def completion_logits(model: Module, input_ids: Tensor, attention_mask: Tensor, mask: Tensor) -> Tensor:
    """Return logits where completion tokens are predicted, ``[completion tokens, vocabulary]``, rows in order.

    Args:
        mask: bool ``[rows, tokens − 1]``: ``completion_mask[:, 1:]``.
    """
    seen = None if bool(attention_mask.all()) else attention_mask.long()
    causal = plain_model(model)
    backbone = getattr(causal, causal.base_model_prefix, None)
    head = causal.get_output_embeddings()
    if backbone is None or head is None or any(getattr(causal.config, name, None) for name in LOGIT_TRANSFORMS):
        return causal(input_ids=input_ids, attention_mask=seen, use_cache=False).logits[:, :-1][mask]
    hidden = backbone(input_ids=input_ids, attention_mask=seen, use_cache=False).last_hidden_state
    return head(hidden[:, :-1][mask])
