"""Logits of completion tokens from unpacked rows, in the ways that a model may need."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.collate import Padded
from bench.models.compat import plain_model
from bench.models.dropout import only_rows
from bench.models.plain_head import backbone_of, call, logits_in, states_in

Way = Literal["packed", "padded", "padded, own head", "equal lengths", "single rows"]
"""How rows reach a model, the fastest first.

packed: without padding, each prompt once (``bench.models.packed``). padded: rows in one batch, padded on the right; the
output embedding sees completion positions only. padded, own head: the same, but the logits are the model's own forward
pass's. equal lengths: its own forward pass on rows of one length at a time, no padding. single rows: on each row alone.
"""
NOWHERE: Mapping[str, Tensor] = MappingProxyType({})
"""No mask: every token is attended."""
UNPACKED: tuple[Way, ...] = ("padded", "padded, own head", "equal lengths", "single rows")


def completion_logits(model: nn.Module, rows: Padded, *, way: Way = "padded") -> Tensor:
    """Return logits where completion tokens are predicted, ``[completion tokens, vocabulary]``, rows in order."""
    if way == "padded":
        return _padded(model, rows)
    if way == "padded, own head":
        return _own(model, rows.ids, rows.mask, _where(rows.attended))
    if way == "equal lengths":
        return _by_length(model, rows)
    if way == "single rows":
        return torch.cat([_row(model, rows, row) for row in range(len(rows.ids))])
    raise ValueError(f"rows are laid out as {way!r}")


def _where(attended: Tensor) -> dict[str, Tensor]:
    """Return the attention mask as an argument; none where there is no padding."""
    return {} if bool(attended.all()) else {"attention_mask": attended.long()}


def _own(model: nn.Module, ids: Tensor, places: Tensor, where: Mapping[str, Tensor] = NOWHERE) -> Tensor:
    """Return the logits of the model's own forward pass at ``places`` (bool ``[rows, tokens − 1]``), rows in order.

    Positions before the first of them get no logits where the model can leave them out.
    """
    causal = plain_model(model)
    first = int(places.any(dim=0).nonzero()[0])
    logits = logits_in(call(causal, ids, where, use_cache=False, logits_to_keep=ids.shape[1] - first))
    return logits[:, first - ids.shape[1] : -1][places[:, first:]]


def _padded(model: nn.Module, rows: Padded) -> Tensor:
    causal = plain_model(model)
    states = states_in(call(backbone_of(causal), rows.ids, _where(rows.attended), use_cache=False))
    return causal.get_output_embeddings()(states[:, :-1][rows.mask])


def _by_length(model: nn.Module, rows: Padded) -> Tensor:
    lengths = rows.attended.sum(dim=1)
    counts = rows.mask.sum(dim=1).tolist()
    parts: dict[int, Tensor] = {}
    for length in lengths.unique().tolist():
        members = (lengths == length).nonzero().squeeze(1)
        with only_rows(members, length=length):
            logits = _own(model, rows.ids[members, :length], rows.mask[members, : length - 1])
        sizes = [counts[row] for row in members.tolist()]
        parts |= zip(members.tolist(), logits.split(sizes), strict=True)
    return torch.cat([parts[row] for row in range(len(counts))])


def _row(model: nn.Module, rows: Padded, row: int) -> Tensor:
    length = int(rows.attended[row].sum())
    one = slice(row, row + 1)
    with only_rows(one, length=length):
        return _own(model, rows.ids[one, :length], rows.mask[one, : length - 1])
