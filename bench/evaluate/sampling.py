"""Drawing completions from a model with common random numbers, prompts of many lengths in one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.core.samples import Samples
from bench.errors import UsageError
from bench.models.context import context_length as length_of_config
from bench.models.eval_mode import evaluating

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from bench.evaluate.decoding import Way

PADDING = 0.25
"""Prompts share a batch while padding makes its cells (rows × longest prompt and completion) at most this much more."""

STATES_KEPT = 1 << 26
"""Bytes of states that are kept at most (64 MiB)."""


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    end_ids: frozenset[int],
    batch: int = 256,
) -> Samples:
    """Sample one completion for each prompt from softmax(logits / temperature): no top-k, no top-p.

    Common random numbers: prompt i's token t inverts the model's CDF at u[i, t], and ``u [prompts, max_tokens]`` is
    drawn from ``seed`` before anything else. Two models that are sampled on the same prompts share u, so their
    completions agree until the models differ, and differences between the models are paired.

    How prompts are batched changes nothing but rounding. It can decide where u lies within 1e-7 of a border between
    two tokens (one token of some four thousand with a vocabulary of 4,096), as another CPU can.

    Args:
        model: a causal language model of transformers. It is left in the mode (train, eval) that it had, and no
            global generator is touched. Prompts share a batch as far as its own forward pass is equalled
            (``bench.evaluate.ways``).
        prompts: token ids; at least one each (start an empty text with BOS).
        max_tokens: the longest completion, the end token counted.
        end_ids: the tokens that end a completion (``bench.models.end_tokens``), one at least.
        batch: rows in one forward pass at most.

    Raises:
        UsageError: an empty prompt, or a prompt and completion longer than the model's context.
    """
    samples, _ = sample_with_states(
        model,
        prompts,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        end_ids=end_ids,
        batch=batch,
        keep=False,
    )
    return samples


def sample_with_states(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    end_ids: frozenset[int],
    batch: int = 256,
    keep: bool = True,
    index: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Samples, "Tensor | None"]:
    """Sample as ``sample``; return also the states that tokens were drawn from, ``[completion tokens, hidden]``.

    They save whoever needs the model's logits again all but its head. None without ``keep``, where they would take
    more than ``STATES_KEPT`` bytes, and for a model whose logits are more than its output embedding of a state.

    Args:
        index: which completion of each prompt, from 0 on. Its noise follows that of the earlier ones in one stream, so
            the first is the same however many there are.
        progress: called with how many prompts are done; tokens of a batch count as parts of its prompts.
    """
    import torch

    from bench.evaluate.decoding import continue_prompts
    from bench.evaluate.ways import decoding_way
    from bench.models.compat import plain_model
    from bench.models.plain_head import is_plain

    _check_prompts(model, prompts, max_tokens=max_tokens)
    # Drawn on the CPU, so that the noise is the same on every device.
    generator = torch.Generator().manual_seed(seed)
    for _ in range(index + 1):
        noise = torch.rand((len(prompts), max_tokens), generator=generator, dtype=torch.float64)
    lengths = [len(prompt) for prompt in prompts]
    way = decoding_way(model, longest=max(lengths, default=1) + max_tokens)
    keep = (
        keep
        and not way.by_prefix
        and is_plain(plain_model(model))
        and 4 * noise.numel() * _hidden(model) <= STATES_KEPT
    )
    completions: list[tuple[int, ...]] = [()] * len(prompts)
    states: dict[int, Tensor] = {}
    before = 0
    with torch.no_grad(), evaluating(model):
        for part in batches_of(way, lengths, batch=batch, extra=max_tokens):
            drawn, kept = continue_prompts(
                model,
                [prompts[index] for index in part],
                noise[part].to(model.device),
                temperature=temperature,
                end_ids=end_ids,
                way=way,
                keep=keep,
                progress=partial(_part_of_batch, progress, before, len(part), max_tokens),
            )
            before += len(part)
            progress(before)
            for row, (index, tokens) in enumerate(zip(part, drawn.tolist(), strict=True)):
                completions[index] = until_end(tokens, end_ids)
                if kept is not None:
                    states[index] = kept[row, : len(completions[index])]
    samples = Samples(
        prompts=tuple(tuple(prompt) for prompt in prompts),
        completions=tuple(completions),
        ended=tuple(completion[-1] in end_ids for completion in completions),
    )
    return samples, torch.cat([states[index] for index in range(len(prompts))]) if keep else None


def _part_of_batch(progress: Callable[[int], None], before: int, rows: int, max_tokens: int, step: int) -> None:
    """Report the prompts that are done before a batch, and of its rows the share that ``step`` tokens are."""
    progress(before + rows * step // max_tokens)


def until_end(tokens: Sequence[int], end_ids: frozenset[int]) -> tuple[int, ...]:
    """Return drawn tokens up to the first end token, which is kept."""
    place = next((place for place, token in enumerate(tokens) if token in end_ids), len(tokens))
    return tuple(tokens[: place + 1])


def context_length(model: PreTrainedModel) -> float:
    """Return the longest text that a model reads, in tokens; ∞ where its config does not say."""
    return length_of_config(model.config) or math.inf


def _hidden(model: PreTrainedModel) -> int:
    return int(model.get_output_embeddings().weight.shape[1])


def _check_prompts(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, max_tokens: int) -> None:
    context = context_length(model)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise UsageError(f"prompt {index} is empty: there is nothing to continue", fix="start a text with BOS")
        if len(prompt) + max_tokens > context:
            raise UsageError(
                f"prompt {index} has {len(prompt)} tokens; with {max_tokens} sampled ones it exceeds the model's "
                f"context of {context}",
                fix=f"sample at most {max(0, context - len(prompt))} tokens, or leave out long prompts",
            )


def batches_of(way: Way, lengths: Sequence[int], *, batch: int, extra: int) -> Iterator[list[int]]:
    """Yield indices of prompts that are decoded together in a way: of several lengths, of one, or one at a time."""
    padding = PADDING if way.together == "padded" else 0.0
    return batches(lengths, batch=1 if way.together == "alone" else batch, extra=extra, padding=padding)


def batches(lengths: Sequence[int], *, batch: int, extra: int, padding: float) -> Iterator[list[int]]:
    """Yield indices of rows that share a batch, from short rows to long ones.

    Args:
        extra: cells that every row has besides its length.
        padding: how much more cells padding may make, as a share; 0: rows of one length only.
    """
    part: list[int] = []
    cells = 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        own = lengths[index] + extra
        if part and (len(part) == batch or own * (len(part) + 1) > (1 + padding) * (cells + own)):
            yield part
            part, cells = [], 0
        part.append(index)
        cells += own
    if part:
        yield part
