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
    """Give each prompt the completion of the next row, cyclically, of another prompt and of the row's own label.

    Both halves stay what they are, so the mean log-ratio estimates that over all (prompt, other completion). KTO's
    authors (arXiv 2402.01306, HALOs) take the next row's completion whatever its label, after they shuffled single
    completions. Here the two of a pair stand side by side, and the next row with another prompt is always a chosen one.
    A label of which no other prompt has a completion takes the next completion of the other label.

    A long prompt may meet a long completion: with ``max_length``, in tokens, such a completion is cut to fit.

    Raises RunError where all rows share one prompt: the KL baseline would then be the own reward.
    """
    if len({row.group for row in rows}) < 2:
        raise RunError(
            f"the coupled batch of {len(rows)} examples holds one prompt only; the KL baseline needs at least two "
            "prompts",
            fix="use a larger batch (--set train.batch=…), or data with more prompts",
        )
    every = range(len(rows))
    other = _next_of_another_prompt(rows, every)
    for label in (True, False):
        other |= _next_of_another_prompt(rows, [index for index in every if rows[index].desirable == label])
    mixed = []
    for index, row in enumerate(rows):
        ids = rows[other[index]].completion_ids
        room = None if max_length is None else max_length - len(row.prompt_ids)
        mixed.append(replace(row, completion_ids=ids[:room]))
    return mixed


def _next_of_another_prompt(rows: Sequence[EncodedSingle], indices: Sequence[int]) -> dict[int, int]:
    """Return for each of some rows the next one of them, cyclically, with another prompt; empty where all share one."""
    if len({rows[index].group for index in indices}) < 2:
        return {}
    other: dict[int, int] = {}
    twice = [*indices, *indices]  # so that a row at the end meets those at the start
    for index, following in zip(twice[-2::-1], twice[:0:-1], strict=True):
        other[index] = following if rows[following].group != rows[index].group else other.get(following, following)
    return other
