"""Encoded train, validation and test rows of one or several data sets."""

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.core.data_options import DataOptions
from bench.data.column_account import listed_unread
from bench.data.encode import encode
from bench.data.files import TEST, TRAIN, VALIDATION, splits
from bench.data.preferences import Preferences, read_preferences, subset
from bench.data.prompt_words import PromptWords
from bench.data.rows import words_of
from bench.data.sets import Split, split_sets, without_prompts
from bench.data.stored_encode import stored_ids
from bench.data.stored_rows import StoredRows
from bench.data.stored_tokens import NO_LIMIT, TokenRows
from bench.data.template import Tokenizer
from bench.data.template_marks import report_marks
from bench.data.token_boundaries import report_boundaries
from bench.data.tokens import Encoded, Ids
from bench.errors import UsageError, escape_unprintable


@dataclass(frozen=True, kw_only=True)
class EncodedSplits:
    """Data in three parts, and the words of each prompt by its token ids: what a judge is shown of it.

    ``on_disk``: those of ``words`` that are read from large data.
    """

    split: Split
    words: Mapping[Ids, str]
    on_disk: PromptWords = field(default_factory=PromptWords)


def encode_splits(
    paths: Sequence[Path],
    options: DataOptions,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    embeddings: int | None = None,
    fractions: Sequence[float],
    template: str | None = None,
    most: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> EncodedSplits:
    """Return train, validation and test of one or several data sets, encoded; no prompt is in two of them.

    Validation and test rows are those that ``options`` or a single data set itself give; what is not given is a share
    of the prompts, by ``fractions`` (train, validation, test). Training rows whose prompt is in a given part are left
    out.

    Args:
        embeddings: how many token ids the model reads; None where no model is known.
        template: the chat template of the request, for messages.
        most: rows that are read of each part, the first ones; None: all.
        note: gets what was left out, what a template or the border of prompt and completion changes, and marks of other
            templates in the texts.

    Raises UsageError as ``read_preferences`` and ``encode`` do, and where the parts are of different kinds.
    """
    words: dict[Ids, str] = {}
    on_disk = PromptWords()

    def part(where: Path, split: str | None) -> Encoded:
        split_options = options.model_copy(update={"split": split})
        whole = read_preferences(where, split_options, most=most)
        if unread := whole.columns.not_read():
            note(f"{where}{f' ({split})' if split else ''}: columns that are not read: {listed_unread(unread)}")
        read = within_tokens(whole, tokenizer, options)
        if read.dropped:
            left_out = ", ".join(f"{count} × {reason}" for reason, count in read.dropped.items())
            note(f"{where}{f' ({split})' if split else ''}: {len(read.rows)} rows; left out: {left_out}")
        encoded = encode(read, tokenizer, max_length=max_length, embeddings=embeddings)
        if isinstance(encoded.rows, TokenRows):
            report_boundaries(read, tokenizer, note=note, template=template, bits=_merged(encoded.rows))
            if options.form != "text":
                report_marks(read, note=note, bits=encoded.rows.column("marks"))
            on_disk.add(read, encoded, encoded.rows.prompts)
            return encoded
        report_boundaries(read, tokenizer, note=note, template=template)
        if options.form != "text":
            report_marks(read, note=note)
        texts = (words_of(row.prompt) for row in read.rows)
        words.update(zip((row.prompt_ids for row in encoded.rows), texts, strict=True))
        return encoded

    own_splits = _splits_of_their_own(paths, options, part)
    sets = [part(path, options.split) for path in paths]
    for name, rows in own_splits.items():
        if rows.kind != sets[0].kind:
            raise UsageError(
                f"the {name} rows are {rows.kind}, those of {paths[0]} {sets[0].kind}", fix="give rows of one kind"
            )
        overlap = f"training prompts that the {name} rows have too"
        sets = [_without_prompts(each, rows, reason=overlap, note=note) for each in sets]
    if VALIDATION in own_splits and TEST in own_splits:
        own_splits[VALIDATION] = _without_prompts(
            own_splits[VALIDATION], own_splits[TEST], reason="validation prompts that the test rows have too", note=note
        )
    shares = [
        0.0 if name in own_splits else share for name, share in zip((TRAIN, VALIDATION, TEST), fractions, strict=True)
    ]
    shares[0] = fractions[0] if not own_splits else 1.0 - sum(shares[1:])
    split = split_sets([escape_unprintable(path.name) for path in paths], sets, fractions=shares, seed=0)
    whole = ChainMap(words, cast(MutableMapping[Ids, str], on_disk)) if on_disk else words
    return EncodedSplits(split=replace(split, parts={**split.parts, **own_splits}), words=whole, on_disk=on_disk)


def _merged(rows: TokenRows) -> NDArray[np.uint8] | None:
    """Return which completions of texts a joint encoding would part elsewhere; None for messages."""
    return cast(NDArray[np.uint8], rows.column("merged")) if rows.has("merged") else None


def _splits_of_their_own(
    paths: Sequence[Path], options: DataOptions, part: Callable[[Path, str | None], Encoded]
) -> dict[str, Encoded]:
    """Return the parts that the options, or a single data set with splits of its own, give."""
    own = splits(paths[0]) if len(paths) == 1 and paths[0].is_dir() and options.split is None else {}
    encoded_by_name: dict[str, Encoded] = {}
    for name, file in ((VALIDATION, options.validation), (TEST, options.test)):
        if file is not None:
            encoded_by_name[name] = part(file, name if file.is_dir() and name in splits(file) else None)
        elif name in own and TRAIN in own:
            encoded_by_name[name] = part(paths[0], name)
    return encoded_by_name


def turns_if_templated(options: DataOptions, tokenizer: Tokenizer) -> DataOptions:
    """Return the options with plain strings as turns, if the tokenizer has a chat template and no form was chosen."""
    if options.form != "auto" or getattr(tokenizer, "chat_template", None) is None:
        return options
    return options.model_copy(update={"form": "messages"})


def within_tokens(preferences: Preferences, tokenizer: Tokenizer, options: DataOptions) -> Preferences:
    """Return the rows within the limits in tokens; without limits what was given, not encoded even once."""
    if options.max_prompt_tokens is None and options.max_tokens is None:
        return preferences
    lengths = token_lengths(preferences, tokenizer)
    kept = places_within(lengths, options, source=preferences.source)
    left_out = len(lengths) - len(kept)
    dropped = {**preferences.dropped, **({"too many tokens": left_out} if left_out else {})}
    return replace(subset(preferences, kept), format=preferences.format, dropped=dropped)


def places_within(
    lengths: Sequence[tuple[int, ...]] | NDArray[np.int64], options: DataOptions, *, source: str
) -> list[int]:
    """Return the places of the rows within the limits in tokens. Raises UsageError where there is none."""
    most_prompt, most = options.max_prompt_tokens or NO_LIMIT, options.max_tokens or NO_LIMIT
    table = np.asarray(lengths)
    prompts, longest = table[:, 0], table[:, 1:].max(axis=1)
    kept = np.flatnonzero((prompts <= most_prompt) & (prompts + longest <= most)).tolist()
    if not kept:
        raise UsageError(f"{source}: no row is within the limits in tokens", fix="raise data.max_tokens")
    return kept


def token_lengths(preferences: Preferences, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return each row's tokens: (prompt, chosen, rejected) or (prompt, completion), BOS and EOS counted."""
    if isinstance(preferences.rows, StoredRows):
        return stored_ids(preferences, tokenizer).lengths
    return encode(preferences, tokenizer, max_length=NO_LIMIT).lengths


def _without_prompts(rows: Encoded, other: Encoded, *, reason: str, note: Callable[[str], None]) -> Encoded:
    kept = without_prompts(rows, other)
    if kept is not rows:
        note(f"left out {len(rows.rows) - len(kept.rows)} rows: {reason}")
    return kept
