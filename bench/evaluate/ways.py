"""Ways to compute logits in batches, and the fastest of them that equals a model's own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.data.collate import collate_rows
from bench.errors import RunError
from bench.evaluate.decoding import Together, Way, decode, takes_padding
from bench.evaluate.hidden_states import final_states, head_of
from bench.models.compat import plain_model
from bench.models.context import context_length, vocabulary_size
from bench.models.eval_mode import evaluating
from bench.models.packed.pointwise import own_forms
from bench.models.plain_head import architecture_of, call, logits_in
from bench.models.thresholds import special_ids, threshold_lengths
from bench.utils.event_log import log_event

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS = 3
"""Tokens that are decoded for a comparison."""
SHORT, LONGER = 3, 9
"""Lengths of the two prompts that are always tried, in tokens."""
BEYOND = 5
"""Tokens by which a prompt is longer than a threshold."""
EQUAL = {torch.float32: 1e-4, torch.float64: 1e-8}
"""Largest difference of a log-prob, relative to the spread of a position's logits, at which two passes are one."""
LARGEST = 1e-3
"""Largest difference of a log-prob in float32 and float64, nats, however wide the logits are spread."""
COARSE = 0.02
"""The relative difference for precisions of fewer digits."""
LONG_ROW = 512
"""Tokens from which on a model's own forward pass makes the last logits alone, so that all of them fit the memory."""
Key = tuple[str, tuple[int, ...]]
Row = tuple[tuple[int, ...], tuple[int, ...]]
"""A prompt and the tokens that follow it."""


FASTEST = Way(together="padded", cached=True, roomy=True)
SLOWEST = Way(together="alone", cached=False)
WAYS = (
    FASTEST,
    Way(together="padded", cached=True),
    Way(together="alike", cached=True),
    Way(together="alike", cached=False),
    SLOWEST,
)
_thresholds: dict[str, list[int]] = {}
_compared: dict[Key, tuple[Way, Together]] = {}


def decoding_way(model: PreTrainedModel, *, longest: int) -> Way:
    """Return the fastest way to decode whose logits are those of the model's own forward pass.

    That is: one row, no padding, no cache. Compared once for each architecture, on a short and a longer prompt and on
    some on both sides of every length at which the configuration changes something and that rows of ``longest`` tokens
    reach. A way that differs, or fails, is passed over with a line in the log.

    Raises:
        RunError: no way equals it: the model looks ahead, or gives other logits each time.
    """
    return _ways(plain_model(model), longest)[0]


def scoring_together(model: PreTrainedModel, *, longest: int) -> Together:
    """Return which rows may share a pass of ``final_states``, padded on the right; compared as ``decoding_way``.

    Raises:
        RunError: not even rows alone give what the model's own forward pass gives.
    """
    return _ways(plain_model(model), longest)[1]


def _ways(causal: PreTrainedModel, longest: int) -> tuple[Way, Together]:
    if not getattr(causal, "packable", True):
        # The table of logits, whose rows must be of its problem: it is ours, and has tests of its own.
        return Way(together="alike", cached=True), "padded"
    key = _key(causal, longest)
    if key not in _compared:
        with torch.no_grad(), evaluating(causal):
            rows = _rows(causal, key[1])
            own = [_own_logits(causal, row) for row in rows]
            _compared[key] = _decoding_way(causal, rows, own), _scoring_together(causal, rows, own)
    return _compared[key]


def _key(causal: PreTrainedModel, longest: int) -> Key:
    """Return the architecture, and the thresholds of its configuration that rows of ``longest`` tokens pass."""
    name = architecture_of(causal)
    if name not in _thresholds:
        _thresholds[name] = threshold_lengths(causal.config)
    return name, tuple(length for length in _thresholds[name] if length < longest)


def _rows(causal: PreTrainedModel, thresholds: Sequence[int]) -> list[Row]:
    """Return rows on both sides of every threshold, as long as the context allows."""
    lengths = {SHORT, LONGER, *(length + by for length in thresholds for by in (-1, BEYOND))}
    if thresholds:  # a selection among keys needs some to choose from
        lengths.add(2 * max(thresholds))
    most = max(1, (context_length(causal.config) or max(lengths) + STEPS) - STEPS)
    lengths = {min(max(length, 1), most) for length in lengths}
    special = special_ids(causal.config.to_dict())
    ordinary = [token for token in range(min(vocabulary_size(causal.config), 50_000)) if token not in special] or [0]
    generator = torch.Generator().manual_seed(0)
    rows: list[Row] = []
    for length in sorted(lengths):
        drawn = torch.randint(len(ordinary), (length + STEPS,), generator=generator).tolist()
        ids = tuple(ordinary[each] for each in drawn)
        rows.append((ids[:length], ids[length:]))
    return rows


def _decoding_way(causal: PreTrainedModel, rows: Sequence[Row], own: Sequence[Tensor]) -> Way:
    name = type(causal).__name__
    chosen = _first_equal(causal, rows, own)
    if chosen is None:
        _refuse_lookahead(causal, rows, own)
        # Causal, and yet a prefix alone gives other logits than within a longer row: positions depend on the length.
        log_event("decoding", {"model": name, "because": "logits depend on the length of the row"})
        prefixes = [_own_logits_of_prefixes(causal, row) for row in rows]
        chosen = _first_equal(causal, rows, prefixes)
        chosen = None if chosen is None else replace(chosen, by_prefix=True)
    if chosen is None:
        raise RunError(
            f"{name}: no way to decode gives the logits of its own forward pass, not even one row without a cache",
            fix="the model gives other logits each time, or none that are finite: take another one",
        )
    return chosen


def _first_equal(causal: PreTrainedModel, rows: Sequence[Row], expected: Sequence[Tensor]) -> Way | None:
    padding = takes_padding(causal)
    for way in WAYS:
        if way.together == "padded" and not padding:
            continue
        problem = _problem(lambda way=way: _decoded(causal, rows, way), expected)  # type: ignore[misc]
        if problem is None:
            if not way.cached or (padding and way.together != "padded"):
                log_event("decoding", {"model": type(causal).__name__, "way": str(way)}, message=f"decodes {way}")
            return way
        log_event("decoding", {"model": type(causal).__name__, "not": str(way), "because": problem})
    return None


def _scoring_together(causal: PreTrainedModel, rows: Sequence[Row], own: Sequence[Tensor]) -> Together:
    name = type(causal).__name__
    ways: tuple[Together, ...] = ("padded", "alike", "alone")
    for way in ways:
        problem = _problem(lambda way=way: _scored(causal, rows, way), own)  # type: ignore[misc]
        if problem is None:
            return way
        log_event("scoring", {"model": name, "not": way, "because": problem})
    raise RunError(
        f"{name}: its own forward pass gives other logits for the same row each time, or none that are finite",
        fix="take another model",
    )


def _problem(made: Callable[[], Sequence[Tensor]], expected: Sequence[Tensor]) -> str | None:
    """Return how logits differ from those expected, or the error that making them ends in; None: they are equal."""
    try:
        logits = made()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model may refuse in any way that it likes
        return f"{type(error).__name__}: {error}"[:300]
    far = max(_distance(one, two) for one, two in zip(logits, expected, strict=True))
    return None if far <= 1.0 else f"log-probs differ by {far:.3g} times what rounding may do"


def _distance(one: Tensor, two: Tensor) -> float:
    """Return the largest difference of log-probs at ``[positions, vocabulary]``, in units of what is allowed."""
    relative = EQUAL.get(two.dtype, COARSE)
    left, right = (each.float().log_softmax(dim=-1) for each in (one, two))
    finite = right.isfinite() & left.isfinite()
    if not bool(finite.any()) or not torch.equal(right.isfinite(), left.isfinite()):
        return float("inf")
    seen = right.masked_fill(~finite, 0.0)
    spread = relative * (seen.amax(dim=-1) - seen.amin(dim=-1))
    allowed = (spread.clamp(max=LARGEST) if relative < COARSE else spread).clamp(min=1e-12)
    far = (left.masked_fill(~finite, 0.0) - seen).abs().amax(dim=-1)
    return float((far / allowed).max())


def _own_logits(causal: PreTrainedModel, row: Row) -> Tensor:
    """Return the model's own logits of a row's drawn tokens, ``[STEPS, vocabulary]``: one row, no padding, no cache."""
    ids = torch.tensor([[*row[0], *row[1]]], device=causal.device)
    last = {"logits_to_keep": STEPS + 1} if ids.shape[1] > LONG_ROW else {}
    with own_forms(causal):
        return logits_in(call(causal, ids, {}, use_cache=False, **last))[0, -STEPS - 1 : -1]


def _own_logits_of_prefixes(causal: PreTrainedModel, row: Row) -> Tensor:
    """Return the same, each token's logits from the row up to it alone."""
    prefixes = [[*row[0], *row[1][:step]] for step in range(STEPS)]
    with own_forms(causal):
        rows = (torch.tensor([ids], device=causal.device) for ids in prefixes)
        return torch.stack([logits_in(call(causal, row, {}, use_cache=False))[0, -1] for row in rows])


def _refuse_lookahead(causal: PreTrainedModel, rows: Sequence[Row], own: Sequence[Tensor]) -> None:
    for (prompt, drawn), logits in zip(rows, own, strict=True):
        changed = _own_logits(causal, (prompt, (*drawn[:-1], prompt[0] if drawn[-1] != prompt[0] else drawn[0])))
        if _distance(changed, logits) > 1.0:
            raise RunError(
                f"{type(causal).__name__}: its logits depend on tokens that come later, so it predicts nothing",
                fix="take a causal language model; where the configuration has is_decoder, it must be true",
            )


def _decoded(causal: PreTrainedModel, rows: Sequence[Row], way: Way) -> list[Tensor]:
    """Return the logits of each row's drawn tokens, ``[STEPS, vocabulary]``, as decoding in that way computes them."""
    # Copies of the first row end at once, enough of them that they are dropped from the batch.
    every = [*rows, *([rows[0]] * -(-len(rows) // 3))]
    head = head_of(causal)
    logits: list[list[Tensor]] = [[] for _ in every]
    for part in _parts([len(prompt) for prompt, _ in every], way.together):

        def follow(step: int, places: Tensor, state: Tensor, part: Sequence[int] = part) -> tuple[Tensor, Tensor]:
            members = [part[place] for place in places.tolist()]
            for row, each in zip(members, head(state), strict=True):
                logits[row].append(each)
            tokens = torch.tensor([every[row][1][step] for row in members], device=state.device)
            return tokens, torch.tensor([row >= len(rows) for row in members], device=state.device)

        decode(causal, [every[row][0] for row in part], follow, steps=STEPS, pad_id=0, way=way)
    return [torch.stack(each[:STEPS]) for each in logits[: len(rows)]]


def _scored(causal: PreTrainedModel, rows: Sequence[Row], together: Together) -> list[Tensor]:
    """Return the logits of each row's drawn tokens from whole rows, padded on the right."""
    head, logits = head_of(causal), [torch.empty(0)] * len(rows)
    for part in _parts([len(prompt) for prompt, _ in rows], together):
        ids, attended, _ = (each.to(causal.device) for each in collate_rows([rows[row] for row in part], 0))
        states = final_states(causal, ids, None if bool(attended.all()) else attended)
        for place, row in enumerate(part):
            end = len(rows[row][0]) + STEPS - 1
            logits[row] = head(states[place, end - STEPS : end])
    return logits


def _parts(lengths: Sequence[int], together: Together) -> list[list[int]]:
    if together == "padded":
        return [list(range(len(lengths)))]
    if together == "alone":
        return [[row] for row in range(len(lengths))]
    return [[row for row, each in enumerate(lengths) if each == length] for length in dict.fromkeys(lengths)]
