"""Attention over a packed layout, as a function that transformers' own model code calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from bench.models.compat import attention_function, softmax_backward
from bench.models.packed.context import Context
from bench.models.packed.kernels import LONGEST, kernels
from bench.models.packed.layout import Layout
from bench.models.packed.tiles import Tile, Tiling, tile_layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "lossbench_packed"
"""As transformers knows it."""
Tilings = dict[tuple[int, int, int | None, torch.dtype], Tiling]
"""How a layout is cut into tiles, by heads, heads of keys, window and type of the products."""
_current: ContextVar[tuple[Layout, Tilings]] = ContextVar("current")


@contextmanager
def packed_attention(model: "PreTrainedModel", layout: Layout, tilings: Tilings) -> Iterator[None]:
    """Let a transformers model attend as ``layout`` says; afterwards it attends as before. ``tilings`` are added to."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    token = _current.set((layout, tilings))
    try:
        with attention_function(model, NAME):
            yield
    finally:
        _current.reset(token)


def _no_mask(*args: object, **kwargs: object) -> None:
    """Return no mask: the layout is the mask."""


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Return attention of ``query [1, heads, tokens, size]`` on ``key`` and ``value``, whose heads may be fewer."""
    layout, tilings = _current.get()
    if torch.is_autocast_enabled(query.device.type):
        lower = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(lower), key.to(lower), value.to(lower)
    kind = (query.shape[1], key.shape[1], sliding_window, query.dtype)
    if kind not in tilings:
        tilings[kind] = tile_layout(layout, heads=kind[0], key_heads=kind[1], window=kind[2], dtype=kind[3])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return PackedAttention.apply(query, key, value, tilings[kind], scale), None


class AttentionContext(Context, Protocol):
    """What the forward pass leaves to the backward pass, besides tensors."""

    tiling: Tiling
    scale: float
    heads: int
    key_heads: int


class PackedAttention(torch.autograd.Function):
    """softmax(scale · q kᵀ + bias) v, tile after tile. Heads that share a key stand below each other in its product."""

    @staticmethod
    def forward(
        ctx: AttentionContext, query: Tensor, key: Tensor, value: Tensor, tiling: Tiling, scale: float
    ) -> Tensor:
        """Return ``[1, tokens, heads, size]`` for ``query [1, heads, tokens, size]``."""
        _, heads, tokens, size = query.shape
        key_heads = key.shape[1]
        flat_q, flat_k, flat_v = _flat(query), _flat(key), _flat(value)
        out = query.new_empty(tiling.query_slots, value.shape[-1])
        saved: list[Tensor] = []
        start = 0
        for tile in tiling.tiles:
            blocks, wide, long = tile.shape
            q = flat_q.index_select(0, tile.queries).mul_(scale).view(blocks * key_heads, -1, size)
            k = flat_k.index_select(0, tile.keys).view(blocks * key_heads, long, size)
            v = flat_v.index_select(0, tile.keys).view(blocks * key_heads, long, -1)
            p = _probabilities(torch.bmm(q, k.mT), tile, (blocks, heads, wide, long))
            rows = out[start : start + blocks * heads * wide]
            torch.bmm(p, v, out=rows.view(blocks * key_heads, -1, v.shape[-1]))
            start += len(rows)
            saved += (q, k, v, p)
        ctx.save_for_backward(*saved)
        ctx.tiling, ctx.scale, ctx.heads, ctx.key_heads = tiling, scale, heads, key_heads
        return out.index_select(0, tiling.query_home).view(1, tokens, heads, -1)

    @staticmethod
    def backward(ctx: AttentionContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of query, key and value."""
        saved, tiling = ctx.saved_tensors, ctx.tiling
        size, flat = saved[0].shape[-1], grad.reshape(-1, grad.shape[-1])
        d_query = grad.new_empty(tiling.query_slots, size)
        d_key, d_value = grad.new_empty(tiling.key_slots, size), grad.new_empty(tiling.key_slots, grad.shape[-1])
        query_start = key_start = 0
        for number, tile in enumerate(tiling.tiles):
            q, k, v, p = saved[4 * number : 4 * number + 4]
            blocks, wide, long = tile.shape
            do = flat.index_select(0, tile.queries).view(blocks, ctx.heads, wide, -1).mul_(tile.alive)
            do = do.view(len(k), -1, do.shape[-1])
            queries = slice(query_start, query_start + blocks * ctx.heads * wide)
            keys = slice(key_start, key_start + blocks * ctx.key_heads * long)
            torch.bmm(p.mT, do, out=d_value[keys].view(v.shape))
            ds = _by_scores(torch.bmm(do, v.mT), p)
            torch.bmm(ds, k, out=d_query[queries].view(q.shape))
            torch.bmm(ds.mT, q, out=d_key[keys].view(k.shape))
            query_start, key_start = queries.stop, keys.stop
        whole = d_query.index_select(0, tiling.query_home).mul_(ctx.scale)
        return (
            _heads(whole, ctx.heads),
            _heads(_summed(d_key, tiling), ctx.key_heads),
            _heads(_summed(d_value, tiling), ctx.key_heads),
            None,
            None,
        )


def _probabilities(scores: Tensor, tile: Tile, shape: tuple[int, int, int, int]) -> Tensor:
    """Return the softmax over the keys that each query sees; ``scores`` is used up."""
    fast = kernels()
    if fast is not None and shape[-1] <= LONGEST and fast.takes(scores):
        return fast.softmax_tile(scores, tile.before, shape, tile.window)
    scores.view(shape).add_(tile.bias)
    return torch.softmax(scores, dim=-1)


def _by_scores(slopes: Tensor, p: Tensor) -> Tensor:
    """Return the derivative by the scores from that by the probabilities ``p``; ``slopes`` is used up."""
    fast = kernels()
    if fast is not None and fast.takes(slopes, p):
        return fast.softmax_backward(p, slopes)
    return softmax_backward(slopes, p)


def _flat(values: Tensor) -> Tensor:
    """Return ``[1, heads, tokens, size]`` as ``[tokens · heads, size]``: the order in memory after a projection."""
    return values[0].transpose(0, 1).reshape(-1, values.shape[-1])


def _heads(values: Tensor, heads: int) -> Tensor:
    """Return ``[tokens · heads, size]`` as ``[1, heads, tokens, size]``."""
    return values.view(-1, heads, values.shape[-1]).transpose(0, 1)[None]


def _summed(rows: Tensor, tiling: Tiling) -> Tensor:
    """Sum what each key got from every block that sees it."""
    first, *later = tiling.key_homes
    total = rows.index_select(0, first)
    for homes in later:
        total[: len(homes)] += rows.index_select(0, homes)
    return total
