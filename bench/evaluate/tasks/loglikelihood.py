"""Log-likelihoods for lm-eval: a common prefix of requests is read once, and only the continuations are scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from bench.evaluate.compat import attention_of
from bench.evaluate.decoding import ROOMY, takes_padding
from bench.evaluate.hidden_states import final_states, head_of, in_batches, positions_at_once
from bench.evaluate.tasks.prefix_tree import Branching, branch, lay_out
from bench.evaluate.ways import scoring_together
from bench.models.compat import plain_model
from bench.models.context import vocabulary_size

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

BY_THE_LONGEST = ("longrope", "dynamic")
"""Rotary embeddings whose frequencies depend on the longest row."""
TOLERANCE = 1e-4
"""Largest difference in a state, relative to the largest state, between a branching row and plain ones."""


@torch.no_grad()
def loglikelihoods(
    model: PreTrainedModel,
    requests: Sequence[tuple[list[int], list[int]]],
    *,
    max_length: int,
    batch: int,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[float, bool]]:
    """Return each continuation's log-prob given its context (nats), and whether each of its tokens is the likeliest.

    Args:
        requests: tokens of context and continuation, at least one each. What is longer than the model's context loses
            its beginning, as in lm-eval.
        max_length: the model's context in tokens; a branching row has no more of them either.
        batch: rows in one forward pass at most.
        progress: called with the number of requests that were just answered.
    """
    # The last token is never read: nothing follows it.
    read = [(context + continuation)[-(max_length + 1) :][:-1] for context, continuation in requests]
    together = scoring_together(model, longest=max(map(len, read), default=1))
    # Where padding or the length of a row changes logits, sequences are read one by one, those of one length together.
    rows = branch(read, longest=max_length) if together == "padded" else list(map(_plain_row, count(), read))
    batch = 1 if together == "alone" else batch
    logps = torch.zeros(len(requests), dtype=torch.float64)
    greedy = torch.ones(len(requests), dtype=torch.bool)
    for part in in_batches([row.tokens for row in rows], batch=batch, alike=together != "padded"):
        tokens = _scored_tokens([rows[i] for i in part], [continuation for _, continuation in requests])
        log_probs, likeliest = _score(model, [rows[i] for i in part], tokens)
        logps.index_add_(0, tokens[0], log_probs.double())
        greedy[tokens[0][~likeliest]] = False
        if progress is not None:
            progress(sum(len(rows[i].members) for i in part))
    return list(zip(logps.tolist(), greedy.tolist(), strict=True))


def _plain_row(number: int, sequence: list[int]) -> Branching:
    return Branching((number,), sequence, ([],))


def _scored_tokens(rows: Sequence[Branching], continuations: Sequence[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each continuation's token its request, the index that predicts it (row × width + column), its id."""
    width = max(row.tokens for row in rows)
    requests, indices, targets = [], [], []
    for number, row in enumerate(rows):
        trunk = len(row.trunk)
        for member, own, start in zip(row.members, row.branches, row.starts(), strict=True):
            wanted = continuations[member]
            end = trunk + len(own)  # one past the place in the sequence that predicts the last token
            along = range(end - len(wanted), end)
            requests += [member] * len(wanted)
            indices += [number * width + (at if at < trunk else start + at - trunk) for at in along]
            targets += wanted
    return torch.tensor(requests), torch.tensor(indices), torch.tensor(targets)


def _score(
    model: PreTrainedModel, rows: Sequence[Branching], tokens: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return each requested token's log-prob, and whether it is the likeliest, on the CPU."""
    _, indices, targets = tokens
    used, which = indices.unique(return_inverse=True)
    states = _states(model, rows).flatten(0, 1)[used.to(model.device)]
    at_once, head = positions_at_once(vocabulary_size(model.config)), head_of(model)
    order = which.argsort(stable=True)
    counts = torch.bincount(which // at_once, minlength=-(-len(used) // at_once)).tolist()
    log_probs, likeliest = torch.empty(len(targets)), torch.empty(len(targets), dtype=torch.bool)
    for number, (piece, here) in enumerate(zip(states.split(at_once), order.split(counts), strict=True)):
        logits = head(piece).float()
        best = logits.argmax(dim=-1)
        row, target = (which[here] - number * at_once).to(logits.device), targets[here].to(logits.device)
        log_probs[here] = logits.log_softmax(dim=-1)[row, target].cpu()
        likeliest[here] = (best[row] == target).cpu()
    return log_probs, likeliest


def _states(model: PreTrainedModel, rows: Sequence[Branching]) -> Tensor:
    layout = lay_out(rows)
    mask = layout.mask(model.dtype)
    return final_states(
        model,
        layout.ids.to(model.device),
        None if mask is None else mask.to(model.device),
        position_ids=None if mask is None else layout.positions.to(model.device),
    )


@torch.no_grad()
def reads_branches(model: PreTrainedModel) -> bool:
    """Return whether a branching row gives the model's states of plain rows: tried on a few tokens.

    Not so for a model with a sliding window, a recurrent one, or one whose attention knows no mask of its own.
    """
    causal = plain_model(model)
    config = causal.config
    if config.is_encoder_decoder or not takes_padding(model):
        return False
    if attention_of(config.get_text_config(decoder=True)) not in ROOMY:
        return False
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return False
    trunk, branches = [1, 2], ([3, 4, 5], [6, 7])
    row = Branching((0, 1), trunk, branches)
    together = _states(model, [row])[0]
    for own, start in zip(branches, row.starts(), strict=True):
        alone = final_states(model, torch.tensor([trunk + own], device=model.device), None)[0]
        states = torch.cat([together[: len(trunk)], together[start : start + len(own)]])
        if not bool((states - alone).abs().max() <= TOLERANCE * alone.abs().max()):
            return False
    return True


def longest_alike(config: PretrainedConfig) -> float:
    """Return the tokens up to which a text's positions do not depend on longer texts beside it; ∞ where they never do.

    Some rotary embeddings (LongRoPE, dynamic NTK) read all rows of a batch by the longest one's frequencies.
    """
    text = config.get_text_config(decoder=True)
    parameters = getattr(text, "rope_parameters", None) or {}
    layers = [parameters, *(each for each in parameters.values() if isinstance(each, Mapping))]
    changing = [each for each in layers if each.get("rope_type") in BY_THE_LONGEST]
    context = getattr(text, "max_position_embeddings", None) or math.inf
    return min((each.get("original_max_position_embeddings") or context for each in changing), default=math.inf)
