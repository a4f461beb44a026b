"""The decoding loop: prompts padded on the left, keys and values with room to grow, ended rows dropped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from bench.evaluate.compat import attention_of
from bench.evaluate.hidden_states import head_of, last_state
from bench.models.compat import plain_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 16
"""Tokens by which the room for keys and values grows."""
ROOMY = ("eager", "sdpa")
"""Attention that skips the empty places of a layer by the mask."""
GOING = 0.75
"""Rows that have ended are dropped from a batch once at most this share of its rows goes on."""
Together = Literal["padded", "alike", "alone"]
"""Rows that share a forward pass: of any length, of one length, or none."""
Choose = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a step, rows ``[rows]`` and their states ``[rows, hidden]`` to their next tokens and which of them ended."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the next tokens' logits of several prompts are computed.

    Fields:
        together: which prompts share a batch; ``padded`` ones are padded on the left.
        cached: whether keys, values or states of earlier tokens are kept; else whole rows are read at each step.
        roomy: whether the cache is ours, with room to grow, where the attention allows it.
        by_prefix: whether logits equal those of the row so far alone, and not those within the whole row: positions
            depend on a row's length.
    """

    together: Together
    cached: bool
    roomy: bool = False
    by_prefix: bool = False

    def __str__(self) -> str:
        rows = {"padded": "padded prompts", "alike": "prompts of one length", "alone": "one prompt at a time"}
        return f"{rows[self.together]}, {'with' if self.cached else 'without'} a cache"


class RoomyLayer(DynamicLayer):
    """Keys and values ``[rows, heads, capacity, size]`` that are written in place, where transformers' layer copies.

    Attention gets the whole capacity, places still empty (zeros) with it: the mask hides them, and what is dense needs
    no copy. ``room`` is the most tokens that will ever be held.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new tokens; return all that are held, and the empty places after them.

        Of the first tokens nothing but themselves is returned, since a mask may be left out for a prompt.
        """
        end, first = self.length + key_states.shape[-2], not self.length
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (s.new_zeros((*s.shape[:2], 0, s.shape[3])) for s in (key_states, value_states))
        if end > self.keys.shape[-2]:
            more = self._capacity(end) - self.keys.shape[-2]
            self.keys, self.values = (
                torch.nn.functional.pad(states, (0, 0, 0, more)) for states in (self.keys, self.values)
            )
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return (key_states, value_states) if first else (self.keys, self.values)

    def get_seq_length(self) -> int:
        """Return the number of tokens in the layer."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many columns a mask needs once ``query_length`` tokens are added, and where they begin."""
        return self._capacity(self.length + query_length) if self.length else query_length, 0

    def _capacity(self, tokens: int) -> int:
        return min(self.room, -(-tokens // BLOCK) * BLOCK)


def continue_prompts(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    noise: Tensor,
    *,
    temperature: float,
    end_ids: frozenset[int],
    way: Way,
    keep: bool,
    progress: Callable[[int], None] = lambda step: None,
) -> tuple[Tensor, Tensor | None]:
    """Return sampled ids ``[rows, max_tokens]``; what stands after a row's end token is meaningless.

    With ``keep`` also the state that each id was drawn from, ``[rows, max_tokens, hidden]``, else None.

    Args:
        prompts: of one length, or of several where the way pads them.
        noise: u of every row and token, ``[rows, max_tokens]``, on the model's device.
        way: how logits are computed; without padding a cache keeps all rows.
        progress: called before each step with its number.
    """
    pad_id, ends = min(end_ids), torch.tensor(sorted(end_ids), device=noise.device)
    drawn = torch.full(noise.shape, pad_id, device=noise.device)
    head = head_of(model)
    states: Tensor | None = None

    def draw(step: int, rows: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal states
        progress(step)
        if keep:
            states = state.new_zeros((*noise.shape, state.shape[1])) if states is None else states
            states[rows, step] = state
        tokens = invert_cdf(head(state).float() / temperature, noise[rows, step])
        drawn[rows, step] = tokens
        return tokens, torch.isin(tokens, ends)

    decode(model, prompts, draw, steps=noise.shape[1], pad_id=pad_id, way=way)
    return drawn, states


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choose: Choose,
    *,
    steps: int,
    pad_id: int,
    way: Way,
) -> None:
    """Continue prompts token by token until all have ended, for ``steps`` tokens at most.

    Args:
        choose: given a step, the rows that go on (and others that have ended but are still there) and the state of each
            at its last token, returns their next tokens and which of them have ended with it.
        way: how logits are computed (``bench.evaluate.ways``); prompts may have several lengths where it pads them.
    """
    padded, cached = way.together == "padded", way.cached
    device = model.device
    width = max(len(prompt) for prompt in prompts)
    pads = torch.tensor([[width - len(prompt)] for prompt in prompts], device=device)
    fed = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    columns = torch.arange(width + steps, device=device)
    cache = _cache(model, room=width + steps - 1 if way.roomy else 0) if cached else None
    rows = torch.arange(len(prompts), device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(steps):
        end = width + step
        where: dict[str, Tensor] = {}
        if padded:
            # The mask covers the places that are still empty: without it, attention would take them for tokens.
            where["attention_mask"] = ((columns >= pads) & (columns < end)).long()
            where["position_ids"] = (columns[end - fed.shape[1] : end] - pads).clamp(min=0)
        tokens, over = choose(step, rows, last_state(model, fed, cache, where))
        ended |= over
        going = len(rows) - int(ended.sum())
        if going == 0:
            break
        if (padded or cache is None) and going <= GOING * len(rows):
            kept = (~ended).nonzero().squeeze(1)
            if cache is not None:
                cache.batch_select_indices(kept)
            rows, pads, tokens, ended, fed = rows[kept], pads[kept], tokens[kept], ended[kept], fed[kept]
        fed = tokens[:, None] if cached else torch.cat([fed, tokens[:, None]], dim=1)


def _cache(model: PreTrainedModel, *, room: int) -> DynamicCache:
    """Return transformers' cache for the model; with room, its plain layers are ours where attention knows it empty."""
    causal = plain_model(model)
    cache = DynamicCache(config=causal.config)
    if room and attention_of(causal.config.get_text_config(decoder=True)) in ROOMY:
        cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def takes_padding(model: PreTrainedModel) -> bool:
    """Return whether padding on the left may be nothing to the model: it reads positions, and keeps keys and values.

    Whether it is, ``decoding_way`` finds by comparison. A recurrent model (Mamba) would read the padding, one without
    position ids would count it.
    """
    causal = plain_model(model)
    if not {"attention_mask", "position_ids"} <= inspect.signature(causal.forward).parameters.keys():
        return False
    layers = DynamicCache(config=causal.config).layers
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def invert_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the first token whose cumulated probability exceeds ``uniform [rows]``, for ``logits [rows, vocab]``.

    Cumulated in float64, and never a token of probability zero.
    """
    cdf = torch.softmax(logits, dim=-1).double().cumsum(dim=-1)
    # Scaled by the last entry, which rounding keeps from being exactly one.
    return torch.searchsorted(cdf, uniform[:, None] * cdf[:, -1:], right=True).squeeze(1).clamp(max=cdf.shape[1] - 1)
