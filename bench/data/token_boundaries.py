"""Token boundaries between prompt and completion: counts of rows that a joint encoding splits elsewhere."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.core.artifacts import Note
from bench.data.filters import PreferenceRow
from bench.data.preferences import Preferences
from bench.data.rows import Pair
from bench.data.template import Tokenizer, text_ids
from bench.data.template_habits import habits
from bench.utils.event_log import log_event

WINDOW = 64
"""Characters on each side of a border that are encoded together first: no token of text is nearly as long."""


@dataclass(frozen=True, kw_only=True)
class BoundaryCounts:
    """How many completions in plain text there are, of how many a joint encoding parts prompt and completion elsewhere.

    ``first`` names the first of these: row, field and the token that the joint encoding has across the border.
    """

    completions: int
    merged: int
    first: str | None


def count_boundaries(
    preferences: Preferences, tokenizer: Tokenizer, *, bits: NDArray[np.uint8] | None = None
) -> BoundaryCounts:
    """Compare, for each completion in plain text, its tokens beside its prompt's with those of both as one text.

    Training takes the first, so a model is asked for tokens that it would have written otherwise where the two differ.
    Messages have no such border: the template's text is encoded whole.

    Args:
        bits: the ``merged_bits`` of each row, where they are known.
    """
    if bits is not None:
        return _known_boundaries(preferences, bits, tokenizer)
    texts = list(_texts(preferences.rows))
    merged = [each for each, differs in zip(texts, _merged(texts, tokenizer), strict=True) if differs]
    return BoundaryCounts(
        completions=len(texts), merged=len(merged), first=_described(*merged[0], tokenizer) if merged else None
    )


def merged_bits(rows: Sequence[PreferenceRow], tokenizer: Tokenizer) -> list[int]:
    """Return for each row in plain text which of its completions a joint encoding parts elsewhere, a bit each."""
    texts = list(_texts(rows))
    merged = iter(_merged(texts, tokenizer))
    return [sum(next(merged) << place for place in range(2 if isinstance(row, Pair) else 1)) for row in rows]


def _known_boundaries(preferences: Preferences, bits: NDArray[np.uint8], tokenizer: Tokenizer) -> BoundaryCounts:
    first = None
    rows = np.flatnonzero(bits)
    if len(rows):
        row = int(rows[0])
        each = list(_texts([preferences.rows[row]]))[0 if bits[row] & 1 else 1]
        first = _described(*each, tokenizer)
    completions = len(bits) * (2 if preferences.kind == "pairs" else 1)
    return BoundaryCounts(completions=completions, merged=int(np.unpackbits(bits).sum()), first=first)


def _merged(texts: Sequence[tuple[str, str, str]], tokenizer: Tokenizer) -> list[bool]:
    """Return for each prompt and completion whether both as one text have other tokens than each by itself."""
    near = _differing([(prompt[-WINDOW:], completion[:WINDOW]) for _, prompt, completion in texts], tokenizer)
    suspects = [each for each, differs in zip(texts, near, strict=True) if differs]
    whole = iter(_differing([(prompt, completion) for _, prompt, completion in suspects], tokenizer))
    return [differs and next(whole) for differs in near]


def report_boundaries(
    preferences: Preferences,
    tokenizer: Tokenizer,
    *,
    note: Note,
    template: str | None,
    bits: NDArray[np.uint8] | None = None,
) -> None:
    """Report what may surprise in the tokens of a data set: merged borders, or what the chat template does.

    Args:
        template: the chat template of the request, which plain text passes by.
        bits: the ``merged_bits`` of each row, where they are known.
    """
    if not isinstance(preferences.rows[0].prompt, str):
        for habit in habits(tokenizer):
            note(f"{preferences.source}: {habit}")
        return
    if template is not None:
        note(
            f"{preferences.source}: its texts are plain strings, which no chat template touches; messages are templated"
        )
    counts = count_boundaries(preferences, tokenizer, bits=bits)
    log_event("borders", {"source": preferences.source, "completions": counts.completions, "merged": counts.merged})
    if counts.merged:
        note(
            f"{preferences.source}: {counts.merged} of {counts.completions} completions would be parted from their "
            f"prompt at another place if both were one text; they are encoded apart. First: {counts.first}"
        )


def _texts(rows: Iterable[PreferenceRow]) -> Iterator[tuple[str, str, str]]:
    for row in rows:
        if not isinstance(row.prompt, str):
            return
        pair = isinstance(row, Pair)
        for name in ("chosen", "rejected") if pair else ("completion",):
            yield f"row {row.id}, field '{name}'", row.prompt, cast(str, getattr(row, name))


def _differing(parts: list[tuple[str, str]], tokenizer: Tokenizer) -> list[bool]:
    """Return for each pair whether prompt and completion as one text have other tokens than each by itself."""
    if not parts:
        return []
    known = text_ids((text for prompt, end in parts for text in (prompt, end, prompt + end)), tokenizer)
    return [known[prompt + end] != (*known[prompt], *known[end]) for prompt, end in parts]


def _described(where: str, prompt: str, completion: str, tokenizer: Tokenizer) -> str:
    known = text_ids((prompt, completion, prompt + completion), tokenizer)
    apart, joint = (*known[prompt], *known[completion]), known[prompt + completion]
    place = next((i for i, (one, two) in enumerate(zip(apart, joint, strict=False)) if one != two), len(apart) - 1)
    one, two = (repr(tokenizer.decode(list(ids[place : place + 1]))) for ids in (apart, joint))
    return f"{where}, {one} as one text {two}"
