"""Tiling of packed attention into batched matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from bench.models.packed.layout import Layout, Span

WASTE = 1.2
"""What the products of a tile may cost, as a multiple of what its blocks alone would."""


class Block(NamedTuple):
    """Queries that share their keys: a prompt on itself, or a completion on its prompt and itself."""

    prompt: Span
    completion: Span | None

    @property
    def queries(self) -> Span:
        """Span of the tokens that attend."""
        return self.prompt if self.completion is None else self.completion

    @property
    def before(self) -> int:
        """How many keys stand before the first query."""
        return 0 if self.completion is None else _length(self.prompt)

    @property
    def size(self) -> tuple[int, int]:
        """Queries and keys."""
        count = _length(self.queries)
        return count, self.before + count


@dataclass(frozen=True, eq=False, kw_only=True)
class Tile:
    """Blocks of like size, computed together.

    Fields:
        shape: blocks, queries a block, keys a block; shorter blocks are filled up.
        queries: for each slot the row of ``[tokens · heads, size]``, in the order blocks, heads, queries.
        keys: the same of the keys' heads.
        alive: 1 where a query is a token, 0 where it fills up, ``[blocks, 1, queries, 1]``.
        before: keys before the first query of a block, ``[blocks]``.
        window: how many tokens a query sees, itself counted; None: all before it.
    """

    shape: tuple[int, int, int]
    queries: Tensor
    keys: Tensor
    alive: Tensor
    before: Tensor
    window: int | None

    @cached_property
    def bias(self) -> Tensor:
        """0 where a query sees a key, −∞ elsewhere, ``[blocks, 1, queries, keys]``."""
        _, wide, long = self.shape
        position = self.before[:, None, None] + torch.arange(wide, device=self.before.device)[:, None]
        column = torch.arange(long, device=self.before.device)
        seen = column <= position
        if self.window is not None:
            seen &= position - column < self.window
        return torch.zeros(seen.shape, dtype=self.alive.dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[
            :, None
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Tiling:
    """All tiles of a layout, and the way back from their slots to the tokens.

    Fields:
        tiles: they make two long lists of slots, one of queries and one of keys.
        query_home: the slot of each (token, head) as a query, ``[tokens · heads]``.
        key_homes: slots of each (token, head) as a key; the first holds all tokens, each later one only so many of
            the first tokens as are seen from yet another block.
        query_places, key_places: the lengths of the two lists.
    """

    tiles: tuple[Tile, ...]
    query_home: Tensor
    key_homes: tuple[Tensor, ...]
    query_slots: int
    key_slots: int


def tile_layout(layout: Layout, *, heads: int, key_heads: int, window: int | None, dtype: torch.dtype) -> Tiling:
    """Cut the attention of a layout into tiles.

    Args:
        window: of a model with a sliding window, how many tokens a query sees, itself counted; None: all.
    """
    device = layout.ids.device
    tiles: list[Tile] = []
    tiled: list[_TiledBlock] = []
    query_slots = key_slots = 0
    for blocks in _alike(layout):
        wide, long = (max(block.size[side] for block in blocks) for side in (0, 1))
        tiled += [
            _TiledBlock(block, query_slots + number * heads * wide, wide, key_slots + number * key_heads * long, long)
            for number, block in enumerate(blocks)
        ]
        tiles.append(_tile(blocks, wide, long, heads, key_heads, window=window, dtype=dtype, device=device))
        query_slots += len(blocks) * heads * wide
        key_slots += len(blocks) * key_heads * long
    by_token = sorted(tiled, key=lambda each: each.block.queries)
    query_home = _homes([(each.query, each.wide, each.block.size[0]) for each in by_token], heads)
    own = _homes([(each.key + each.block.before, each.long, each.block.size[0]) for each in by_token], key_heads)
    later = []
    of_completion = {each.block.completion: each for each in tiled}
    for depth in range(len(layout.completions[0])):
        seeing = [of_completion[branches[depth]] for branches in layout.completions if len(branches) > depth]
        later.append(_homes([(each.key, each.long, each.block.before) for each in seeing], key_heads).to(device))
    return Tiling(
        tiles=tuple(tiles),
        query_home=query_home.to(device),
        key_homes=(own.to(device), *later),
        query_slots=query_slots,
        key_slots=key_slots,
    )


class _TiledBlock(NamedTuple):
    """A block with its first slot as queries and as keys, and the width of a head's slots in each list."""

    block: Block
    query: int
    wide: int
    key: int
    long: int


def _alike(layout: Layout) -> list[list[Block]]:
    """Return all blocks in tiles that waste little: sorted by size, cut where a tile would waste more."""
    blocks = [Block(prompt, None) for prompt in layout.prompts]
    blocks += [
        Block(prompt, completion)
        for prompt, branches in zip(layout.prompts, layout.completions, strict=True)
        for completion in branches
    ]
    tiles: list[list[Block]] = []
    needed = 0
    for block in sorted(blocks, key=lambda block: (block.size[0] * block.size[1], block.size)):
        wide, long = block.size
        if tiles:
            widest = max(wide, *(other.size[0] for other in tiles[-1]))
            longest = max(long, *(other.size[1] for other in tiles[-1]))
            if (len(tiles[-1]) + 1) * widest * longest <= WASTE * (needed + wide * long):
                tiles[-1].append(block)
                needed += wide * long
                continue
        tiles.append([block])
        needed = wide * long
    return tiles


def _tile(
    blocks: Sequence[Block],
    wide: int,
    long: int,
    heads: int,
    key_heads: int,
    *,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tile:
    before = torch.tensor([block.before for block in blocks])[:, None]
    counts = torch.tensor([block.size[0] for block in blocks])[:, None]
    first = torch.tensor([block.queries[0] for block in blocks])[:, None]
    prompt = torch.tensor([block.prompt[0] for block in blocks])[:, None]
    row, column = torch.arange(wide), torch.arange(long)
    alive = row < counts
    # What fills a block up looks at real tokens, and no token looks at what fills up: it stands behind them all.
    queries = first + row.clamp(max=counts - 1)
    keys = torch.where(column < before, prompt + column, first + (column - before).clamp(max=counts - 1))
    return Tile(
        shape=(len(blocks), wide, long),
        queries=_rows(queries, heads).to(device),
        keys=_rows(keys, key_heads).to(device),
        alive=alive[:, None, :, None].to(device, dtype),
        before=before.flatten().to(device),
        window=window,
    )


def _rows(tokens: Tensor, heads: int) -> Tensor:
    """Return rows of ``[tokens · heads]`` in the order blocks, heads, tokens."""
    return (tokens[:, None] * heads + torch.arange(heads)[:, None]).flatten()


def _homes(runs: Sequence[tuple[int, int, int]], heads: int) -> Tensor:
    """Return the slots of runs of tokens, one run after another, ``[tokens · heads]``.

    Args:
        runs: the slot of a run's first token under the first head, the width of a head's slots, tokens.
    """
    firsts, widths, counts = torch.tensor(runs, dtype=torch.int64).view(-1, 3).unbind(dim=1)
    run = torch.arange(len(counts)).repeat_interleave(counts)
    offset = torch.arange(len(run)) - (counts.cumsum(0) - counts)[run]
    return ((firsts[run] + offset)[:, None] + torch.arange(heads) * widths[run][:, None]).flatten()


def _length(span: Span) -> int:
    return span[1] - span[0]
