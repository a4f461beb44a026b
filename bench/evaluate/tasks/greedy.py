"""Greedy generation for lm-eval: prompts of many lengths in one batch, each row until its own stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.evaluate.decoding import Way, decode
from bench.evaluate.hidden_states import head_of
from bench.evaluate.sampling import batches_of
from bench.evaluate.ways import decoding_way

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PLAIN = (None, 0, 1, False)
"""Values of a generation setting that change nothing."""
CHANGING = (
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
    *("bad_words_ids", "min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id", "num_beams"),
    *("suppress_tokens", "begin_suppress_tokens", "sequence_bias", "guidance_scale", "penalty_alpha", "stop_strings"),
    *("exponential_decay_length_penalty", "remove_invalid_values", "watermarking_config", "constraints", "max_time"),
    *("prompt_lookup_num_tokens", "dola_layers"),
)
"""Settings of a model's own ``generation_config`` that change or end a greedy continuation."""
LOOK = 4
"""Tokens after which texts are looked at: to decode them at each one would take as long as a small model's step."""


@dataclass(frozen=True, kw_only=True)
class Until:
    """Where a continuation ends: after ``max_tokens``, at a token of ``ends``, or where its text has a stop string."""

    max_tokens: int
    ends: frozenset[int]
    stops: tuple[str, ...]


def is_plain_greedy(model: PreTrainedModel) -> bool:
    """Return whether a model's own generation settings do not change greedy decoding: the likeliest token each time."""
    config = model.generation_config
    return all(getattr(config, name, None) in PLAIN for name in CHANGING)


@torch.no_grad()
def continue_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    until: Until,
    *,
    tokenizer: PreTrainedTokenizerBase,
    batch: int,
    progress: Callable[[int], None],
) -> list[str]:
    """Return the likeliest continuation of each prompt, token by token, as text without special tokens.

    A text ends with the first stop string that is complete in it, if there is one: cutting it off is for the caller.
    How prompts are batched changes nothing but rounding.

    Args:
        prompts: token ids, at least one each.
        batch: rows in one forward pass at most; half of them where they do not fit the memory, and so on.
        progress: called with the number of prompts that were just finished.
    """
    way = decoding_way(model, longest=max(map(len, prompts), default=1) + until.max_tokens)
    texts = [""] * len(prompts)
    lengths = [len(prompt) for prompt in prompts]
    parts = list(batches_of(way, lengths, batch=batch, extra=until.max_tokens))
    while parts:
        part = parts.pop()  # long ones first, which is where memory runs out
        try:
            continued = _continue(model, [prompts[i] for i in part], until, tokenizer=tokenizer, way=way)
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
            parts += [part[: len(part) // 2], part[len(part) // 2 :]]
            continue
        for index, text in zip(part, continued, strict=True):
            ends = [start + len(stop) for stop in until.stops if (start := text.find(stop)) >= 0]
            texts[index] = text[: min(ends, default=len(text))]
        progress(len(part))
    return texts


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    until: Until,
    *,
    tokenizer: PreTrainedTokenizerBase,
    way: Way,
) -> list[str]:
    head = head_of(model)
    drawn: list[list[int]] = [[] for _ in prompts]
    over = [False] * len(prompts)

    def likeliest(step: int, rows: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        tokens = head(state).float().argmax(dim=-1)
        going = [(row, token) for row, token in zip(rows.tolist(), tokens.tolist(), strict=True) if not over[row]]
        for row, token in going:
            if token in until.ends:
                over[row] = True
            else:
                drawn[row].append(token)
        if step % LOOK == LOOK - 1:
            for row in _stopped(drawn, [row for row, _ in going if not over[row]], until, tokenizer):
                over[row] = True
        return tokens, torch.tensor([over[row] for row in rows.tolist()], device=rows.device)

    decode(model, prompts, likeliest, steps=until.max_tokens, pad_id=next(iter(until.ends), 0), way=way)
    return tokenizer.batch_decode(drawn, skip_special_tokens=True)


def _stopped(
    drawn: Sequence[list[int]], rows: Sequence[int], until: Until, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Return rows whose text has a stop string.

    Only a text's end is new: a character has at most four bytes, and a token one at least.
    """
    if not until.stops or not rows:
        return []
    new = 4 * max(map(len, until.stops)) + LOOK + 8
    ends = tokenizer.batch_decode([drawn[row][-new:] for row in rows], skip_special_tokens=True)
    near = [row for row, text in zip(rows, ends, strict=True) if any(stop in text for stop in until.stops)]
    # One by one: transformers reads an empty batch as one empty text.
    texts = [tokenizer.decode(drawn[row], skip_special_tokens=True) for row in near]
    return [row for row, text in zip(near, texts, strict=True) if any(stop in text for stop in until.stops)]
