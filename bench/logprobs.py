"""Owns the log-prob path: from token ids to per-token log-probs of completions, in float32."""

import math
from typing import Any, NamedTuple

from torch import Tensor, logsumexp
from torch.nn import Module

# A final transform of the logits that a bare output embedding would leave out (Gemma-2, Cohere, Granite).
LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class TokenScores(NamedTuple):
    """What a model says of completion tokens; each ``[rows, tokens − 1]``, 0 where ``mask`` is False.

    logps: log π(y_t | x, y_<t), nats, float32. collision: log Σ_v π(v)², without gradient. kl: KL(π_ref ‖ π) over the
    vocabulary, nats. The last two are None unless they were asked for.
    """

    logps: Tensor
    mask: Tensor
    collision: Tensor | None
    kl: Tensor | None


class CompletionLogProbs(Module):
    """A causal language model whose forward gives log-probs of completion tokens.

    It is this module that DDP and FSDP wrap, so that their hooks see every forward pass.
    """

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        completion_mask: Tensor,
        *,
        collision: bool = False,
        reference_logits: Tensor | None = None,
    ) -> TokenScores:
        """Return the log-prob of each completion token, and what else was asked for.

        The vocabulary projection runs on completion positions only: prompts and padding never meet it. This is the
        padded eager path, the oracle that any faster path has to equal.

        Args:
            input_ids: prompt | completion | padding on the right, int64 ``[rows, tokens]``.
            attention_mask: bool ``[rows, tokens]``, False on padding.
            completion_mask: bool ``[rows, tokens]``, True on completion tokens.
            collision: whether log Σ_v π(v)² is wanted.
            reference_logits: ``[completion tokens, vocabulary]`` of the reference, where the KL to it is wanted.
        """
        mask = completion_mask[:, 1:]
        logits = completion_logits(self.model, input_ids, attention_mask, mask)
        return TokenScores(
            logps=spread(token_logps(logits, input_ids[:, 1:][mask]), mask),
            mask=mask,
            collision=spread(log_collision(logits), mask) if collision else None,
            kl=None if reference_logits is None else spread(token_kl(reference_logits, logits), mask),
        )


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Lay one value a completion token out as ``mask [rows, tokens]``, 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def completion_logits(model: Any, input_ids: Tensor, attention_mask: Tensor, mask: Tensor) -> Tensor:
    """Logits at the positions that predict completion tokens, ``[completion tokens, vocabulary]``, rows in order.

    Args:
        mask: bool ``[rows, tokens − 1]``: ``completion_mask[:, 1:]``.
    """
    seen = None if bool(attention_mask.all()) else attention_mask.long()
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone = getattr(causal, causal.base_model_prefix, None)
    head = causal.get_output_embeddings()
    if backbone is None or head is None or any(getattr(causal.config, name, None) for name in LOGIT_TRANSFORMS):
        return causal(input_ids=input_ids, attention_mask=seen, use_cache=False).logits[:, :-1][mask]
    hidden = backbone(input_ids=input_ids, attention_mask=seen, use_cache=False).last_hidden_state
    return head(hidden[:, :-1][mask])


def token_logps(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-softmax of ``[tokens, vocabulary]`` picked at ``labels [tokens]``, in float32 whatever the dtype given."""
    logits = logits.float()
    return logits.gather(-1, labels[:, None]).squeeze(-1) - logsumexp(logits, dim=-1)


def log_collision(logits: Tensor) -> Tensor:
    """log Σ_v π(v)² for ``[tokens, vocabulary]``, in float32 and without gradient."""
    return logsumexp(2 * logits.detach().float().log_softmax(dim=-1), dim=-1)


def token_kl(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """KL(π_ref ‖ π) in nats for ``[tokens, vocabulary]`` of both, in float32; the gradient is the policy's."""
    log_q = reference_logits.detach().float().log_softmax(dim=-1)
    return (log_q.exp() * (log_q - logits.float().log_softmax(dim=-1))).sum(dim=-1)


def relative_entropy(logits: Tensor) -> Tensor:
    """Entropy of ``[tokens, vocabulary]`` as a share of the largest, log |V|: 0 to 1, in float32."""
    log_p = logits.float().log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1) / math.log(logits.shape[-1])
