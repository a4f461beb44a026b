"""Vocabulary projection of the packed path: log-probs and their gradient, one chunk of tokens at a time.

No tensor of [tokens, vocabulary] is ever whole. Where the loss of a chunk hangs on that chunk alone, its gradient is
taken while the probabilities are at hand (three matrix products); otherwise the chunks are computed again on the way
back (four).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bench.models.packed.context import Context
from bench.models.packed.kernels import kernels
from bench.models.packed.layout import Span
from bench.models.token_stats import Confidence, concatenate, confidence


class Scores(NamedTuple):
    """What the policy says of a chunk's completion tokens, each ``[tokens]``, float32; None where it is not wanted.

    logps: log π(y_t | x, y_<t), nats. kl: KL(π_ref ‖ π) over the vocabulary, nats. collision: log Σ_v π(v)².
    confidence: what is watched, and no loss sees.
    """

    logps: Tensor
    kl: Tensor | None
    collision: Tensor | None
    confidence: Confidence | None = None


class Slopes(NamedTuple):
    """Derivatives of the loss by ``Scores.logps`` and ``Scores.kl``, each ``[tokens]``."""

    logps: Tensor
    kl: Tensor | None


ToLogits = Callable[[Slopes], Tensor]
"""Slopes of a chunk's loss → its derivative by the logits, ``[tokens, vocabulary]``."""
ChunkLoss = Callable[[int, Scores], tuple[Tensor, Slopes]]
"""(number of the chunk, what the policy says of it) → its loss, a scalar, and the slopes."""
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Of hidden states, weight and bias; None where none is needed."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a chunk needs besides hidden states and weights.

    Fields:
        labels: the completion tokens, ``[tokens]``.
        spans: the chunks, in order and without gaps.
        reference: span to the reference's logits ``[tokens, vocabulary]`` where the KL is wanted.
        collision: whether log Σ_v π(v)² is wanted.
        dtype: of the matrix products; all else is float32.
        watch: whether the policy's confidence is wanted: one more pass over the logits.
    """

    labels: Tensor
    spans: Sequence[Span]
    reference: Callable[[Span], Tensor] | None
    collision: bool
    dtype: torch.dtype
    watch: bool = False

    def scores(self, span: Span, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Scores, ToLogits]:
        """Return a chunk's scores, and the function from their slopes to those of its logits; call it once."""
        logits = torch.mm(hidden, weight.T) if bias is None else torch.addmm(bias, hidden, weight.T)
        labels = self.labels[slice(*span)]
        watched = confidence(logits, labels) if self.watch else None
        fast = kernels()
        if fast is not None and self.reference is None and not self.collision and fast.takes(logits):
            logps, kept = fast.head_scores(logits, labels)
            scores = Scores(logps, None, None, watched)
            return scores, lambda slopes: fast.head_slopes(logits, labels, kept, slopes.logps)
        scores, to_logits = self._plain(span, logits.float(), labels[:, None])
        return scores._replace(confidence=watched), to_logits

    def _plain(self, span: Span, logits: Tensor, labels: Tensor) -> tuple[Scores, ToLogits]:
        picked = logits.gather(-1, labels)
        known = None if self.reference is None else self.reference(span).float().log_softmax(dim=-1)
        q = None if known is None else known.exp()
        cross = None if q is None or known is None else (q * (known - logits)).sum(dim=-1)
        p = torch.softmax(logits, dim=-1)
        # The largest probability is at least 1/vocabulary, so its logarithm is always a number.
        top, log_top = logits.amax(dim=-1), p.amax(dim=-1).log()

        def to_logits(slopes: Slopes) -> Tensor:
            own = slopes.logps[:, None]
            if q is not None and slopes.kl is not None:
                p.mul_(slopes.kl[:, None] - own).addcmul_(q, slopes.kl[:, None], value=-1)
            else:
                p.mul_(-own)
            return p.scatter_add_(-1, labels, own)

        return (
            Scores(
                logps=picked.squeeze(-1) - top + log_top,
                kl=None if cross is None else cross + top - log_top,
                collision=(p * p).sum(dim=-1).log() if self.collision else None,
            ),
            to_logits,
        )


class ScoresContext(Context, Protocol):
    """What the forward pass of ``HeadScores`` leaves to the backward pass, besides tensors."""

    head: Head


class HeadScores(torch.autograd.Function):
    """Scores of all completion tokens; the chunks are computed again on the way back."""

    @staticmethod
    def forward(
        ctx: ScoresContext, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: Head
    ) -> tuple[Tensor, ...]:
        """Return log-probs, KL, log-collision, entropy and top-1 of all tokens; empty where they are not wanted."""
        h, w, b = _cast(hidden, head), _cast(weight, head), None if bias is None else _cast(bias, head)
        scores = [head.scores(span, h[slice(*span)], w, b)[0] for span in head.spans]
        ctx.save_for_backward(hidden, weight, bias)
        ctx.head = replace(head, watch=False)  # it is seen once
        logps = torch.cat([each.logps for each in scores])
        kl = (
            logps.new_empty(0)
            if head.reference is None
            else torch.cat([each.kl for each in scores if each.kl is not None])
        )
        collision = (
            torch.cat([each.collision for each in scores if each.collision is not None])
            if head.collision
            else logps.new_empty(0)
        )
        watched = (
            concatenate([each.confidence for each in scores if each.confidence is not None]) if head.watch else None
        )
        entropy, top1 = (logps.new_empty(0), logps.new_empty(0)) if watched is None else watched
        ctx.mark_non_differentiable(collision, entropy, top1)
        return logps, kl, collision, entropy, top1

    @staticmethod
    def backward(ctx: ScoresContext, d_logps: Tensor, d_kl: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden states, weight and bias."""
        hidden, weight, bias = ctx.saved_tensors
        gradients = _Gradients(hidden, weight, bias, ctx.head, ctx.needs_input_grad)
        for span in ctx.head.spans:
            tokens = slice(*span)
            to_logits = ctx.head.scores(span, gradients.hidden[tokens], gradients.weight, gradients.bias)[1]
            kl = d_kl[tokens] if ctx.head.reference is not None else None
            gradients.add(span, to_logits(Slopes(d_logps[tokens], kl)))
        return (*gradients.sums(), None)


class LossContext(Context, Protocol):
    """Gradients that the forward pass of ``FusedLoss`` leaves to the backward pass."""

    gradients: Gradients | None


class FusedLoss(torch.autograd.Function):
    """The sum of the chunks' losses; their gradients are taken on the way forward, and only scaled on the way back."""

    @staticmethod
    def forward(
        ctx: LossContext, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: Head, loss: ChunkLoss
    ) -> Tensor:
        """Return the sum of the losses; the gradients are there by then."""
        gradients = _Gradients(hidden, weight, bias, head, ctx.needs_input_grad)
        total = hidden.new_zeros((), dtype=torch.float32)
        for number, span in enumerate(head.spans):
            scores, to_logits = head.scores(span, gradients.hidden[slice(*span)], gradients.weight, gradients.bias)
            value, slopes = loss(number, scores)
            total += value
            gradients.add(span, to_logits(slopes))
        ctx.gradients = gradients.sums()
        return total

    @staticmethod
    def backward(ctx: LossContext, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden states, weight and bias."""
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None
        return (*(None if each is None else each.mul_(scale) for each in gradients), None, None)


class _Gradients:
    """Gradients of hidden states, weight and bias, added up chunk by chunk in float32."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: Head, needed: Sequence[bool]) -> None:
        self.hidden, self.weight = _cast(hidden, head), _cast(weight, head)
        self.bias = None if bias is None else _cast(bias, head)
        self.d_hidden = torch.empty_like(hidden) if needed[0] else None
        self.d_weight = torch.zeros_like(weight) if needed[1] else None
        self.d_bias = torch.zeros_like(bias) if bias is not None and needed[2] else None

    def add(self, span: Span, slopes: Tensor) -> None:
        d_logits = slopes.to(self.hidden.dtype)
        tokens = slice(*span)
        if self.d_hidden is not None:
            self.d_hidden[tokens] = d_logits @ self.weight
        if self.d_weight is not None:
            if d_logits.dtype == self.d_weight.dtype:
                self.d_weight.addmm_(d_logits.T, self.hidden[tokens])
            else:
                self.d_weight += d_logits.T @ self.hidden[tokens]
        if self.d_bias is not None:
            self.d_bias += slopes.sum(dim=0, dtype=self.d_bias.dtype)

    def sums(self) -> Gradients:
        return self.d_hidden, self.d_weight, self.d_bias


def _cast(values: Tensor, head: Head) -> Tensor:
    return values.detach().to(head.dtype)
