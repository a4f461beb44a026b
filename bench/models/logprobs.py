"""Per-token log-probs of completions, in float32, from packed or padded rows."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

from torch import Tensor, no_grad
from torch.nn import Module

from bench.data.collate import Padded, TokenRow, collate_rows
from bench.models.compat import plain_model
from bench.models.completion_logits import UNPACKED, Way, completion_logits
from bench.models.forward_check import Choice, LogProbs, choose_way
from bench.models.gradient_checkpointing import checkpointed
from bench.models.packed.forward import frozen_scores, fused_loss, packed_logps, parts_of, token_scores
from bench.models.packed.head import ChunkLoss
from bench.models.packed.layout import Layout, Span, pack
from bench.models.packed.pointwise import quicken
from bench.models.plain_head import is_plain
from bench.models.token_stats import Confidence, confidence, log_collision, relative_entropy, token_kl, token_logps

Laid = Padded | Layout
"""Rows of token ids as a model takes them."""


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

    It is this module that DDP and FSDP wrap, so that their hooks see every forward pass. ``way`` says how rows are laid
    out: the fastest way that gives what the model's own forward pass gives, one row at a time; ``reasons`` say what is
    wrong with faster ones. With ``packed`` that may be without padding and each prompt once (``packed/``).

    Args:
        longest: tokens of the longest row to come; None for the model's context, 2,048 at most.

    Raises:
        RunError: no way is right (``bench.models.forward_check``).
    """

    def __init__(
        self, model: Module, *, packed: bool = False, checkpointing: bool = False, longest: int | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.checkpointing = checkpointing
        if packed:
            quicken(model)
        self.way, self.reasons = _choice(model, packed=packed, longest=longest)

    @property
    def packed(self) -> bool:
        """Whether rows are packed."""
        return self.way == "packed"

    @property
    def layout(self) -> str:
        """The way, and why a faster one was not taken."""
        return f"{self.way} ({'; '.join(self.reasons)})" if self.reasons else self.way

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
            logits = completion_logits(self.model, laid, way=self.way)
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
            logits = completion_logits(self.model, laid, way=self.way)
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


def _choice(model: Module, *, packed: bool, longest: int | None) -> Choice:
    if not getattr(model, "packable", True):
        # The table of logits, whose rows must be of its problem: it is ours, and has tests of its own.
        return Choice("padded, own head", ())
    parts = parts_of(model) if packed else None
    ways: list[tuple[Way, LogProbs | str]] = []
    if packed:
        ways.append(("packed", parts if isinstance(parts, str) else lambda rows: packed_logps(model, rows)))
    more = (
        None
        if is_plain(plain_model(model))
        else "its logits are more than its output embedding of the last hidden state"
    )
    for way in UNPACKED:
        known = more if way == "padded" else None
        ways.append((way, known or partial(_unpacked_logps, model, way)))
    return choose_way(model, ways, longest=longest)


def _unpacked_logps(model: Module, way: Way, rows: Sequence[TokenRow]) -> Tensor:
    laid = collate_rows(rows, 0).to(next(model.parameters()).device)
    return token_logps(completion_logits(model, laid, way=way), laid.ids[:, 1:][laid.mask])


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Lay one value a completion token out as ``mask [rows, tokens]``, 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
