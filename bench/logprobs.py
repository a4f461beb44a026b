"""Owns the log-prob path: from token ids to per-token log-probs of completions, in float32."""

from typing import Any

from torch import Tensor, logsumexp
from torch.nn import Module

# A final transform of the logits that a bare output embedding would leave out (Gemma-2, Cohere, Granite).
LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class CompletionLogProbs(Module):
    """A causal language model whose forward gives log-probs of completion tokens.

    It is this module that DDP and FSDP wrap, so that their hooks see every forward pass.
    """

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return log π(y_t | x, y_<t) in nats for each completion token, and the mask that says where.

        The vocabulary projection runs on completion positions only: prompts and padding never meet it. This is the
        padded eager path, the oracle that any faster path has to equal.

        Args:
            input_ids: prompt | completion | padding on the right, int64 ``[rows, tokens]``.
            attention_mask: bool ``[rows, tokens]``, False on padding.
            completion_mask: bool ``[rows, tokens]``, True on completion tokens.

        Returns:
            float32 log-probs ``[rows, tokens − 1]``, 0 where the mask (bool, same shape) is False.
        """
        mask = completion_mask[:, 1:]
        logits = completion_logits(self.model, input_ids, attention_mask, mask)
        picked = token_logps(logits, input_ids[:, 1:][mask])
        return picked.new_zeros(mask.shape).masked_scatter(mask, picked), mask


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
