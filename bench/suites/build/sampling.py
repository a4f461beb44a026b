"""Owns the sampling of completions from a causal language model: batched, cached, seeded, in fp32."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


@torch.inference_mode()
def sample_completions(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    per_prompt: int,
    max_tokens: int,
    temperature: float,
    end: int,
    batch: int,
    seed: int,
) -> list[list[list[int]]]:
    """Sample ``per_prompt`` completions of each prompt from the full distribution (no top-p, no top-k).

    Prompts of one length are sampled together, so nothing is padded. Each group of rows has its own generator, seeded
    by ``seed``, the length and the number of the group.

    Returns:
        For each prompt its completions as token ids; one that ended by itself has ``end`` as its last id.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        by_length[len(prompt)].extend([row] * per_prompt)
    found: list[list[list[int]]] = [[] for _ in prompts]
    for length in sorted(by_length):
        rows = by_length[length]
        for number, start in enumerate(range(0, len(rows), batch)):
            part = rows[start : start + batch]
            generator = torch.Generator().manual_seed((seed * 1000 + length) * 1000 + number)
            ids = torch.tensor([list(prompts[row]) for row in part])
            sampled = _sample(model, ids, max_tokens=max_tokens, temperature=temperature, end=end, generator=generator)
            for row, tokens in zip(part, sampled.tolist(), strict=True):
                found[row].append(tokens[: tokens.index(end) + 1] if end in tokens else tokens)
    return found


def _sample(
    model: PreTrainedModel, ids: Tensor, *, max_tokens: int, temperature: float, end: int, generator: torch.Generator
) -> Tensor:
    """Return sampled ids, shape ``[rows, tokens]``; what stands after a row's ``end`` is meaningless."""
    cache = DynamicCache(config=model.config)
    fed, sampled = ids, []
    ended = torch.zeros(len(ids), dtype=torch.bool)
    for _ in range(max_tokens):
        logits = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        fed = torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1, generator=generator)
        sampled.append(fed)
        ended |= fed[:, 0] == end
        if bool(ended.all()):
            break
    return torch.cat(sampled, dim=1)
