"""Activation patching: one model runs with another's neurons on the same tokens, and a quantity is measured.

In the start model the neurons of a set get the trained model's activations on the same tokens (how much of the effect
does that restore?), and the other way round (how much does it remove?).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from bench.core.inspection import Measure, Patched
from bench.errors import UsageError
from bench.evaluate.decoding import invert_cdf
from bench.evaluate.sampling import batches, until_end
from bench.evaluate.ways import decoding_way
from bench.inspect.activations import Tick
from bench.inspect.decoder import Decoder
from bench.inspect.hooks import Batch, Masks, Text, Trace, batches_of, patch_neurons, record_activations, run_backbone

ROWS = 256
"""Prompts that are continued at once."""
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A quantity text by text: ``sums [texts]`` over ``counts [texts]`` units; the quantity is Σ sums / Σ counts."""

    sums: Array
    counts: Array

    @property
    def mean(self) -> float:
        """The quantity."""
        return float(self.sums.sum() / self.counts.sum())


def probe_measure(
    start: Decoder,
    trained: Decoder,
    texts: Sequence[Text],
    sets: Mapping[str, Masks],
    *,
    w: Tensor,
    layer: int,
    tick: Tick,
) -> Measure:
    """Patch for the mean projection on the probe ``w [hidden]`` after ``layer`` (from 1), over all counted tokens."""
    counts = np.array([len(text.ids) - text.first for text in texts], dtype=np.float64)
    projections: dict[tuple[str, bool], Array] = {
        (name, side): np.zeros(len(texts)) for name in ("", *sets) for side in (False, True)
    }
    for batch in batches_of(texts, start):
        for side, (host, donor) in enumerate(((start, trained), (trained, start))):
            with record_activations(donor, neurons=True) as source:
                run_backbone(donor, batch)
            for name in ("", *sets):
                masks = sets[name] if name else None
                projections[name, bool(side)][list(batch.rows)] = _projections(
                    host, batch, source, masks, w=w, layer=layer
                )
                tick(len(batch.rows), "patching")
    scores = {key: Scores(sums=values, counts=counts) for key, values in projections.items()}
    return _measure("probe", scores, sets)


def _projections(host: Decoder, batch: Batch, source: Trace, masks: Masks | None, *, w: Tensor, layer: int) -> Array:
    with ExitStack() as stack:
        if masks is not None:
            stack.enter_context(patch_neurons(host, source, masks))
        trace = stack.enter_context(record_activations(host, states=True))
        run_backbone(host, batch)
    along = (trace.states[layer - 1] @ w).double() * batch.counted
    return along.sum(dim=1).cpu().numpy()


def gold_measure(
    start: Decoder,
    trained: Decoder,
    prompts: Sequence[Sequence[int]],
    sets: Mapping[str, Masks],
    *,
    score: Callable[[Sequence[Sequence[int]]], Array],
    tokens: int,
    temperature: float,
    seed: int,
    end_ids: frozenset[int],
    tick: Tick,
) -> Measure:
    """Patch for the mean score of sampled continuations, the same noise for every set and model.

    Args:
        score: of prompts with their continuations, in token ids.
        tokens: the longest continuation.
    """
    noise = torch.rand((len(prompts), tokens), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ones, scores = np.ones(len(prompts)), {}
    for side, (host, donor) in enumerate(((start, trained), (trained, start))):
        for name in ("", *sets):
            texts = sample_continuations(
                host,
                donor,
                sets[name] if name else None,
                prompts,
                noise=noise,
                temperature=temperature,
                end_ids=end_ids,
            )
            scores[name, bool(side)] = Scores(sums=score(texts), counts=ones)
            tick(len(prompts), "continuations")
    return _measure("gold_reward", scores, sets)


@torch.no_grad()
def sample_continuations(
    host: Decoder,
    donor: Decoder,
    masks: Masks | None,
    prompts: Sequence[Sequence[int]],
    *,
    noise: Tensor,
    temperature: float,
    end_ids: frozenset[int],
) -> list[list[int]]:
    """Sample a continuation of each prompt from ``host``, with ``donor``'s activations in the neurons of ``masks``.

    Both models read the prompt and every token that was drawn, each with its own keys and values.

    Args:
        masks: None: nothing is patched, and the donor does not run.
        noise: u of every prompt and token, ``[prompts, tokens]``.
    """
    continuations: list[list[int]] = [[] for _ in prompts]
    longest = max(map(len, prompts), default=1) + noise.shape[1]
    ways = [decoding_way(decoder.causal, longest=longest) for decoder in (host, donor)]
    if not all(way.cached for way in ways):
        raise UsageError("the model cannot continue texts with a cache, as patching does", fix="--no-patch")
    padding = math.inf if all(way.together == "padded" for way in ways) else 0.0
    for part in batches([len(prompt) for prompt in prompts], batch=ROWS, extra=0, padding=padding):
        drawn = _sample(
            (host, donor),
            masks,
            [prompts[row] for row in part],
            noise[part].to(host.device),
            temperature=temperature,
            end_ids=end_ids,
        )
        for row, tokens in zip(part, drawn.tolist(), strict=True):
            continuations[row] = [*prompts[row], *until_end(tokens, end_ids)]
    return continuations


def _sample(
    models: tuple[Decoder, Decoder],
    masks: Masks | None,
    prompts: Sequence[Sequence[int]],
    noise: Tensor,
    *,
    temperature: float,
    end_ids: frozenset[int],
) -> Tensor:
    """Return sampled token ids ``[prompts, tokens]``; those after a row's end token are meaningless.

    Prompts of several lengths are padded on the left.
    """
    host, donor = models
    pad_id, ends = min(end_ids), torch.tensor(sorted(end_ids), device=host.device)
    width = max(map(len, prompts))
    fed = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=host.device)
    pads = torch.tensor([[width - len(prompt)] for prompt in prompts], device=host.device)
    drawn = torch.full(noise.shape, pad_id, device=host.device)
    caches = [DynamicCache(config=decoder.causal.config) for decoder in models]
    places = torch.arange(width + noise.shape[1], device=host.device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=host.device)
    with ExitStack() as stack:
        if masks is not None:
            source = stack.enter_context(record_activations(donor, neurons=True))
            stack.enter_context(patch_neurons(host, source, masks))
        for step in range(noise.shape[1]):
            end, where = width + step, {}
            if bool(pads.any()):
                where["attention_mask"] = (places[:end] >= pads).long()
                where["position_ids"] = (places[end - fed.shape[1] : end] - pads).clamp(min=0)
            if masks is not None:
                donor.backbone(input_ids=fed, past_key_values=caches[1], use_cache=True, **where)
            logits = _next_logits(host.causal, fed, caches[0], where)
            drawn[:, step] = invert_cdf(logits.float() / temperature, noise[:, step])
            ended |= torch.isin(drawn[:, step], ends)
            if bool(ended.all()):
                break
            fed = drawn[:, step : step + 1]
    return drawn


def _next_logits(causal: PreTrainedModel, ids: Tensor, cache: DynamicCache, where: Mapping[str, Tensor]) -> Tensor:
    return causal(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **where).logits[:, -1]


def _measure(
    name: Literal["probe", "gold_reward"], scores: Mapping[tuple[str, bool], Scores], sets: Mapping[str, Masks]
) -> Measure:
    start, trained = scores["", False], scores["", True]
    effect, error = _difference(trained, start)
    effects = {}
    for one, masks in sets.items():
        into, out = scores[one, False], scores[one, True]
        (gained, gained_error), (lost, lost_error) = _difference(into, start), _difference(trained, out)
        effects[one] = Patched(
            neurons=sum(int(mask.sum()) for mask in masks),
            into_start=into.mean,
            restored=gained / effect if effect else None,
            restored_error=gained_error / abs(effect) if effect else None,
            out_of_trained=out.mean,
            removed=lost / effect if effect else None,
            removed_error=lost_error / abs(effect) if effect else None,
        )
    return Measure(
        name=name,
        start=start.mean,
        trained=trained.mean,
        effect=effect,
        effect_error=error,
        n=len(start.sums),
        sets=effects,
    )


def _difference(one: Scores, other: Scores) -> tuple[float, float]:
    """Return the difference of two quantities on the same texts, and its standard error over texts (linearised)."""
    difference, total = one.sums - other.sums, float(one.counts.sum())
    mean = float(difference.sum()) / total
    return mean, float(np.sqrt(((difference - mean * one.counts) ** 2).sum())) / total
