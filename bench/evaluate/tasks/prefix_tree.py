"""Branching rows: sequences with a common prefix laid out as one, so that a model reads the prefix once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHARED = 0.25
"""Share of a sequence that has to be common before it joins others: attention over a longer row must pay."""
Ids = Sequence[int]


@dataclass(frozen=True)
class Branching:
    """Sequences ``members`` (by number) whose first ``common`` tokens are the same, and what each has after them."""

    members: tuple[int, ...]
    trunk: Ids
    branches: tuple[Ids, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the row."""
        return len(self.trunk) + sum(map(len, self.branches))

    def starts(self) -> list[int]:
        """Return where each branch begins in the row."""
        offsets = [len(self.trunk)]
        for branch in self.branches[:-1]:
            offsets.append(offsets[-1] + len(branch))
        return offsets


def branch(sequences: Sequence[Ids], *, longest: int) -> list[Branching]:
    """Group sequences by common beginnings, so that few tokens are read; every sequence is in one group.

    Neighbours in lexicographic order share the most. One joins the group before it where that saves tokens, where at
    least ``SHARED`` of it is common, and where the row has at most ``longest`` tokens then.
    """
    order = sorted(range(len(sequences)), key=lambda number: tuple(sequences[number]))
    groups: list[tuple[list[int], int]] = []
    total = 0  # tokens of the last group's sequences, each counted whole
    for number in order:
        own = sequences[number]
        if groups:
            members, common = groups[-1]
            size = len(members)
            shared = min(common, _common(sequences[members[-1]], own))
            row = total + len(own) - size * shared
            if shared >= max(1.0, SHARED * len(own)) and size * shared > (size - 1) * common and row <= longest:
                members.append(number)
                groups[-1] = (members, shared)
                total += len(own)
                continue
        groups.append(([number], len(own)))
        total = len(own)
    return [
        Branching(tuple(members), sequences[members[0]][:common], tuple(sequences[m][common:] for m in members))
        for members, common in groups
    ]


def _common(one: Ids, other: Ids) -> int:
    """Return how many tokens both begin with."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(index for index in range(length) if one[index] != other[index])


@dataclass(frozen=True)
class Layout:
    """Rows ready for a model, padded on the right: ids, positions, and which segment each place belongs to.

    Each ``[rows, tokens]``; a segment is 0 on the trunk, n on the n-th branch, −1 on padding.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """Return the additive mask ``[rows, 1, tokens, tokens]``: a branch sees trunk and itself. None: plain rows."""
        if int(self.segments.max()) <= 1:
            return None
        reader, read = self.segments[:, :, None], self.segments[:, None, :]
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = ((read == 0) | (read == reader)) & (columns[:, None] >= columns)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)[
            :, None
        ]


def lay_out(rows: Sequence[Branching]) -> Layout:
    """Lay rows out for one forward pass."""
    width = max(row.tokens for row in rows)
    ids, positions, segments = [], [], []
    for row in rows:
        empty = width - row.tokens
        trunk = len(row.trunk)
        ids.append([*row.trunk, *(token for each in row.branches for token in each), *[0] * empty])
        positions.append([*range(trunk), *(trunk + i for each in row.branches for i in range(len(each))), *[0] * empty])
        segments.append([0] * trunk + [n for n, each in enumerate(row.branches, 1) for _ in each] + [-1] * empty)
    return Layout(torch.tensor(ids), torch.tensor(positions), torch.tensor(segments))
