"""Owns the way from a data set to the encoded rows that are trained on, selected by and reported on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data.encode import Tokenizer, encode
from bench.data.files import TEST, TRAIN, VALIDATION, splits
from bench.data.options import DataOptions
from bench.data.preferences import Preferences, read_preferences, subset
from bench.data.split import split_by_prompt
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, encoded_of
from bench.errors import UsageError

NO_LIMIT = 2**40
"""Tokens that no row has: for lengths before anything is cut."""


def encoded_parts(
    path: Path,
    options: DataOptions,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    fractions: Sequence[float],
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Encoded]:
    """Return train, validation and test, encoded; no prompt is in two of them.

    Validation and test rows are those that ``options`` or the data set itself give; what is not given is a share of
    the prompts, by ``fractions`` (train, validation, test). Training rows whose prompt is in a given part are left
    out. ``note`` is told what was left out.

    Raises UsageError as ``read_preferences`` and ``encode`` do, and where the parts are of different kinds.
    """

    def part(where: Path, split: str | None) -> Encoded:
        asked = options.model_copy(update={"split": split})
        read = within_tokens(read_preferences(where, asked), tokenizer, options)
        if read.dropped:
            told = ", ".join(f"{count} × {reason}" for reason, count in read.dropped.items())
            note(f"{where}{f' ({split})' if split else ''}: {len(read.rows)} rows; left out: {told}")
        return encode(read, tokenizer, max_length=max_length)

    own = splits(path) if path.is_dir() and options.split is None else {}
    given: dict[str, Encoded] = {}
    for name, file in ((VALIDATION, options.validation), (TEST, options.test)):
        if file is not None:
            given[name] = part(file, name if file.is_dir() and name in splits(file) else None)
        elif name in own and TRAIN in own:
            given[name] = part(path, name)
    whole = part(path, options.split)
    if not given:
        train, validation, test = split_by_prompt(whole, fractions=fractions, seed=0)
        return {TRAIN: train, VALIDATION: validation, TEST: test}
    for name, rows in given.items():
        if rows.kind != whole.kind:
            raise UsageError(
                f"the {name} rows are {rows.kind}, those of {path} {whole.kind}", fix="give rows of one kind"
            )
    left = whole
    for name, rows in given.items():
        left = _without_prompts(left, rows, told=f"training prompts that the {name} rows have too", note=note)
    if VALIDATION in given and TEST in given:
        given[VALIDATION] = _without_prompts(
            given[VALIDATION], given[TEST], told="validation prompts that the test rows have too", note=note
        )
    shares = [0.0 if name in given else share for name, share in zip((TRAIN, VALIDATION, TEST), fractions, strict=True)]
    shares[0] = 1.0 - sum(shares[1:])
    cut = dict(zip((TRAIN, VALIDATION, TEST), split_by_prompt(left, fractions=shares, seed=0), strict=True))
    return {**cut, **given}


def within_tokens(preferences: Preferences, tokenizer: Tokenizer, options: DataOptions) -> Preferences:
    """Return the rows within the limits in tokens; without limits what was given, not encoded even once."""
    if options.max_prompt_tokens is None and options.max_tokens is None:
        return preferences
    lengths = token_lengths(preferences, tokenizer)
    most_prompt, most = options.max_prompt_tokens or NO_LIMIT, options.max_tokens or NO_LIMIT
    kept = [
        place for place, (prompt, *rest) in enumerate(lengths) if prompt <= most_prompt and prompt + max(rest) <= most
    ]
    if not kept:
        raise UsageError(f"{preferences.source}: no row is within the limits in tokens", fix="raise data.max_tokens")
    left_out = len(lengths) - len(kept)
    dropped = {**preferences.dropped, **({"too many tokens": left_out} if left_out else {})}
    return replace(subset(preferences, kept), format=preferences.format, dropped=dropped)


def token_lengths(preferences: Preferences, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Return each row's tokens: (prompt, chosen, rejected) or (prompt, completion), BOS and EOS counted."""
    encoded = encode(preferences, tokenizer, max_length=NO_LIMIT)
    return [
        (len(row.prompt_ids), len(row.chosen_ids), len(row.rejected_ids))
        if isinstance(row, EncodedPair)
        else (len(row.prompt_ids), len(row.completion_ids))
        for row in encoded.rows
    ]


def _without_prompts(rows: Encoded, other: Encoded, *, told: str, note: Callable[[str], None]) -> Encoded:
    held = {row.prompt_ids for row in other.rows}
    kept: list[EncodedPair | EncodedSingle] = [row for row in rows.rows if row.prompt_ids not in held]
    if len(kept) == len(rows.rows):
        return rows
    note(f"left out {len(rows.rows) - len(kept)} rows: {told}")
    same_kind: Any = kept
    return encoded_of(same_kind, kind=rows.kind, eos_id=rows.eos_id, pad_id=rows.pad_id)
