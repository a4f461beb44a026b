"""Statistics of next-token distributions: log-probs, entropy, collision probability, KL, top-1 agreement."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, logsumexp


class Confidence(NamedTuple):
    """Of completion tokens, each ``[tokens]``, float32, without gradient.

    entropy: H(π(· | x, y_<t)) over the vocabulary, nats. top1: 1 where the likeliest token is the completion's own (a
    tie counts for the first in the vocabulary), else 0.
    """

    entropy: Tensor
    top1: Tensor


@torch.no_grad()
def confidence(logits: Tensor, labels: Tensor) -> Confidence:
    """Return both for ``logits [tokens, vocabulary]`` and the completion's tokens ``labels [tokens]``."""
    top1 = (logits.argmax(dim=-1) == labels).float()
    log_p = logits.float().log_softmax(dim=-1)
    return Confidence(entropy=-(log_p.exp() * log_p).sum(dim=-1), top1=top1)


def concatenate(parts: list[Confidence]) -> Confidence:
    """Return consecutive chunks as one."""
    return Confidence(*(torch.cat(each) for each in zip(*parts, strict=True)))


def token_logps(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-softmax of ``[tokens, vocabulary]`` at ``labels [tokens]``, in float32 whatever the dtype."""
    logits = logits.float()
    return logits.gather(-1, labels[:, None]).squeeze(-1) - logsumexp(logits, dim=-1)


def log_collision(logits: Tensor) -> Tensor:
    """Return log Σ_v π(v)² for ``[tokens, vocabulary]``, in float32 and without gradient."""
    return logsumexp(2 * logits.detach().float().log_softmax(dim=-1), dim=-1)


def token_kl(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """Return KL(π_ref ‖ π) in nats for ``[tokens, vocabulary]`` of both, in float32; the gradient is the policy's."""
    log_q = reference_logits.detach().float().log_softmax(dim=-1)
    return (log_q.exp() * (log_q - logits.float().log_softmax(dim=-1))).sum(dim=-1)


def relative_entropy(logits: Tensor) -> Tensor:
    """Return entropy of ``[tokens, vocabulary]`` as a share of the largest, log |V|: 0 to 1, in float32."""
    log_p = logits.float().log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1) / math.log(logits.shape[-1])
