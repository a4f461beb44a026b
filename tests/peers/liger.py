"""Calls of Liger-Kernel's chunked losses, uncompiled on a CPU; the logits go in as inputs of an identity head."""

from typing import Any

import torch
from liger_kernel import chunked_loss
from torch import Tensor

from tests.peers.sample import Sample, desirable


def paired(sample: Sample, name: str, *, reference: bool = False, **arguments: Any) -> Tensor:
    """Loss of the class LigerFusedLinear<name>Loss on the pairs of a sample; it works in float32."""
    loss = getattr(chunked_loss, f"LigerFusedLinear{name}Loss")(compiled=False, **arguments)
    more = {"ref_input": sample.reference[:, :-1], "ref_weight": _identity(sample)} if reference else {}
    return loss(_identity(sample), sample.logits[:, :-1], sample.labels[:, 1:], **more)[0]


def kto(sample: Sample, *, kl: Tensor | None, **arguments: Any) -> Tensor:
    """Loss of LigerFusedLinearKTOLoss on all rows of a sample, the first half desirable."""
    loss = chunked_loss.LigerFusedLinearKTOLoss(compiled=False, use_ref_model=True, **arguments)
    found = loss(
        sample.logits[:, :-1], _identity(sample), sample.labels[:, 1:], preference_labels=desirable(sample),
        ref_input=sample.reference[:, :-1], ref_weight=_identity(sample), kl=kl,
    )  # fmt: skip
    return found[0]


def _identity(sample: Sample) -> Tensor:
    return torch.eye(sample.logits.shape[-1], dtype=sample.logits.dtype)
