"""Owns the way from rows of token ids to padded tensors, and KTO's mismatched rows."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bench.data.encode import EncodedSingle
from bench.errors import RunError

Row = tuple[tuple[int, ...], tuple[int, ...]]


def collate_rows(rows: Sequence[Row], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lay (prompt, completion) rows out, padded on the right.

    Returns:
        input_ids (int64), attention_mask and completion_mask (bool), each ``[rows, tokens]``.
    """
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    seen = torch.zeros((len(rows), width), dtype=torch.bool)
    completions = torch.zeros((len(rows), width), dtype=torch.bool)
    for place, (prompt, completion) in enumerate(rows):
        end = len(prompt) + len(completion)
        ids[place, :end] = torch.tensor([*prompt, *completion])
        seen[place, :end] = True
        completions[place, len(prompt) : end] = True
    return ids, seen, completions


def mismatched(singles: Sequence[EncodedSingle]) -> list[EncodedSingle]:
    """Give each prompt the completion of the next example, cyclically, whose prompt is another one.

    Raises:
        RunError: all examples share one prompt.
    """
    found = []
    for place, single in enumerate(singles):
        rotated = (*singles[place + 1 :], *singles[:place])
        other = next((each for each in rotated if each.group != single.group), None)
        if other is None:
            raise RunError(
                f"a batch of {len(singles)} examples has one prompt only; the KL baseline needs at least two",
                fix="a larger batch (--set train.batch=…), or data with more prompts",
            )
        found.append(replace(single, completion_ids=other.completion_ids))
    return found
