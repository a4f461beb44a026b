"""Packed layout: each prompt once, then every completion, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bench.data.collate import TokenRow
from bench.errors import RunError

Span = tuple[int, int]
"""Half-open span of tokens, or of rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """Rows of (prompt, completion), packed.

    Fields:
        ids: token ids, ``[1, tokens]``: all prompts, then all completions in the order of the rows. The last token of a
            completion predicts nothing and is left out.
        positions: each token's place in its own sequence, ``[1, tokens]``: a completion goes on where its prompt ends.
        prompts: the spans of the prompts; those with more completions behind them first.
        completions: for each prompt the spans of its completions, without those of one token, which are not fed.
        sources: for every completion token, rows in order, the token that predicts it, ``[completion tokens]``.
        read: the different tokens among ``sources``, ascending, ``[tokens that predict]``.
        labels: the completion tokens themselves, ``[completion tokens]``.
        mask: where they stand among ``[rows, longest completion]``: row r has its tokens in its first columns.
        seen: tokens of all rows as they are without sharing, padding left out.
    """

    ids: Int[Tensor, "1 tokens"]
    positions: Int[Tensor, "1 tokens"]
    prompts: tuple[Span, ...]
    completions: tuple[tuple[Span, ...], ...]
    sources: Int[Tensor, " completion_tokens"]
    read: Int[Tensor, " predicting_tokens"]
    labels: Int[Tensor, " completion_tokens"]
    mask: Bool[Tensor, "rows width"]
    seen: int


def pack(rows: Sequence[TokenRow], *, device: torch.device | str = "cpu") -> Layout:
    """Lay rows out: those of one prompt share it, whatever their order; results are in the order of ``rows``.

    Raises:
        RunError: no rows, or a row without prompt or completion.
    """
    if not rows or any(not prompt or not completion for prompt, completion in rows):
        raise RunError("a packed batch needs rows, each with a prompt and a completion", fix="remove the empty rows")
    members: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt, _) in enumerate(rows):
        members.setdefault(prompt, []).append(row)
    fed = {prompt: [row for row in indices if len(rows[row][1]) > 1] for prompt, indices in members.items()}
    order = sorted(members, key=lambda prompt: -len(fed[prompt]))
    ids: list[int] = []
    positions: list[int] = []
    prompts: list[Span] = []
    last: dict[tuple[int, ...], int] = {}
    for prompt in order:
        prompts.append((len(ids), len(ids) + len(prompt)))
        ids += prompt
        positions += range(len(prompt))
        last[prompt] = len(ids) - 1
    sources: list[int] = []
    spans: list[Span] = []
    for prompt, completion in rows:
        spans.append((len(ids), len(ids) + len(completion) - 1))
        sources.append(last[prompt])
        sources += range(*spans[-1])
        ids += completion[:-1]
        positions += range(len(prompt), len(prompt) + len(completion) - 1)
    lengths = torch.tensor([len(completion) for _, completion in rows])
    return Layout(
        ids=torch.tensor([ids], device=device),
        positions=torch.tensor([positions], device=device),
        prompts=tuple(prompts),
        completions=tuple(tuple(spans[row] for row in fed[prompt]) for prompt in order),
        sources=torch.tensor(sources, device=device),
        read=torch.tensor(sorted(set(sources)), device=device),
        labels=torch.tensor([token for _, completion in rows for token in completion], device=device),
        mask=(torch.arange(int(lengths.max())) < lengths[:, None]).to(device),
        seen=sum(len(prompt) + len(completion) for prompt, completion in rows),
    )
