"""Padded batches of token ids, and KTO's mismatched rows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bench.data.tokens import EncodedSingle, Ids
from bench.errors import RunError

TokenRow = tuple[Ids, Ids]
"""A prompt and its completion."""


class Padded(NamedTuple):
    """Rows of prompt | completion | padding: ids (int64), what is no padding, what is completion."""

    ids: Int[Tensor, "rows tokens"]
    attended: Bool[Tensor, "rows tokens"]
    completion: Bool[Tensor, "rows tokens"]

    @property
    def mask(self) -> Bool[Tensor, "rows width"]:
        """Where a completion token is predicted, ``[rows, tokens − 1]``."""
        return self.completion[:, 1:]

    @property
    def seen(self) -> int:
        """Tokens that are no padding."""
        return int(self.attended.sum())

    def to(self, device: torch.device | str) -> "Padded":
        """Return the same on another device."""
        return Padded(*(tensor.to(device) for tensor in self))


def collate_rows(rows: Sequence[TokenRow], pad_id: int) -> Padded:
    """Lay (prompt, completion) rows out, padded on the right to the longest.

    The masks come from lengths, never from ids, so ``pad_id`` may be EOS. Raises RunError for no rows.
    """
    if not rows:
        raise RunError("a batch must have at least one row (got none)", fix="draw at least one row a batch")
    # Laid out by one assignment: a tensor a row costs more than a small model's whole forward pass.
    starts = torch.tensor([len(prompt) for prompt, _ in rows])[:, None]
    ends = starts + torch.tensor([len(completion) for _, completion in rows])[:, None]
    places = torch.arange(int(ends.max()))
    seen = places < ends
    ids = torch.full(seen.shape, pad_id, dtype=torch.int64)
    ids[seen] = torch.tensor([token for row in rows for part in row for token in part], dtype=torch.int64)
    completions = seen & (places >= starts)
    return Padded(ids, seen, completions)


def longest_of(rows: Iterable[TokenRow]) -> int:
    """Return the tokens of the longest row, prompt and completion together; 0 for no rows."""
    return max((len(prompt) + len(completion) for prompt, completion in rows), default=0)


def mismatched(rows: Sequence[EncodedSingle], *, max_length: int | None = None) -> list[EncodedSingle]:
    """Give each prompt the completion of the next row, cyclically, whose prompt is another one (arXiv 2402.01306).

    A long prompt may meet a long completion: with ``max_length``, in tokens, such a completion is cut to fit.

    Raises RunError where all rows share one prompt: the KL baseline would then be the own reward.
    """
    count = len(rows)
    if len({row.group for row in rows}) < 2:
        raise RunError(
            f"the coupled batch of {count} examples holds one prompt only; the KL baseline needs at least two prompts",
            fix="use a larger batch (--set train.batch=…), or data with more prompts",
        )
    other = [0] * (2 * count)  # of the rows written twice: the next place with another prompt
    for place in range(2 * count - 2, -1, -1):
        differs = rows[(place + 1) % count].group != rows[place % count].group
        other[place] = place + 1 if differs else other[place + 1]
    mixed = []
    for place, row in enumerate(rows):
        ids = rows[other[place] % count].completion_ids
        room = None if max_length is None else max_length - len(row.prompt_ids)
        mixed.append(replace(row, completion_ids=ids[:room]))
    return mixed
