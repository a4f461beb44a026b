"""Owns how sure a policy is of its next token: entropy, and how often its first choice is the completion's token."""

from typing import NamedTuple

import torch
from torch import Tensor


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


def joined(parts: list[Confidence]) -> Confidence:
    """Return consecutive chunks as one."""
    return Confidence(*(torch.cat(each) for each in zip(*parts, strict=True)))
