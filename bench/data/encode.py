"""Encoding of preferences (text, messages or ids) as token ids."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, cast

from bench.data.embedded_ids import refuse_beyond
from bench.data.preferences import Preferences
from bench.data.row_ids import RowEncoder, RowIds, gap_of
from bench.data.split import split_by_prompt
from bench.data.stored_encode import encode_stored
from bench.data.stored_rows import StoredRows
from bench.data.stored_tokens import TokenRows
from bench.data.template import Tokenizer
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, encoded_of, unpair
from bench.data.truncate import OnLong, truncate
from bench.errors import UsageError

__all__ = [
    "Encoded",
    "EncodedPair",
    "EncodedSingle",
    "PairIds",
    "Tokenizer",
    "encode",
    "encode_ids",
    "split_by_prompt",
    "unpair",
]


class PairIds(Protocol):
    """A pair in token ids, as suites keep it; the scores are both numbers or both None."""

    @property
    def prompt_ids(self) -> Sequence[int]:
        """The prompt, BOS included."""
        ...

    @property
    def chosen_ids(self) -> Sequence[int]:
        """The preferred completion, EOS included if it ended."""
        ...

    @property
    def rejected_ids(self) -> Sequence[int]:
        """The other completion."""
        ...

    @property
    def chosen_score(self) -> float | None:
        """Higher is better."""
        ...

    @property
    def rejected_score(self) -> float | None:
        """Higher is better."""
        ...


def encode(
    preferences: Preferences,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    embeddings: int | None = None,
    max_prompt_length: int | None = None,
    on_long: OnLong = "truncate_completion",
) -> Encoded:
    """Encode every row; lengths are in tokens, ``max_length`` is of prompt and completion together.

    Plain text: the prompt is BOS (if the tokenizer has one) and its tokens, the completion its own tokens, encoded
    apart from the prompt, and EOS. Messages: the chat template says both, and a completion ends after EOS where the
    template writes it. A completion that is cut loses it. ``embeddings``: how many token ids the model reads, where one
    is known.

    Raises UsageError with file, row, field, length and limit for: a prompt that leaves no room for a completion, or is
    longer than ``max_prompt_length`` (prompts are never cut); with ``on_long="error"`` a row longer than
    ``max_length``; completions that are the same once encoded and cut; EOS inside a completion; two BOS; a template
    that refuses the messages or does not separate prompt and completion; messages that contain its tokens already;
    a token that the model has no embedding for.
    """
    if tokenizer.eos_token_id is None:
        raise UsageError("the tokenizer has no EOS token, so a completion could not end", fix="set its eos_token")
    if isinstance(preferences.rows, StoredRows):
        rows = encode_stored(
            preferences,
            tokenizer,
            max_length=max_length,
            embeddings=embeddings,
            max_prompt_length=max_prompt_length,
            on_long=on_long,
        )
        return _padded(_encoded(rows, tokenizer), embeddings)
    in_text = all(isinstance(row.prompt, str) for row in preferences.rows)
    encoder = RowEncoder(tokenizer, source=preferences.source, in_text=in_text)
    known = _embedded(encoder.encode(preferences.rows), tokenizer, embeddings)
    cut = truncate(known, tokenizer, max_length=max_length, max_prompt_length=max_prompt_length, on_long=on_long)
    return _padded(cut, embeddings)


def encode_ids(
    pairs: Iterable[PairIds],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    source: str,
    embeddings: int | None = None,
    on_long: OnLong = "truncate_completion",
) -> Encoded:
    """Take pairs that are token ids of ``tokenizer`` already; nothing is added to them, and ``source`` names them.

    Raises UsageError as ``encode`` does, and for an id that the tokenizer does not have.
    """
    known = _embedded(_id_rows(pairs, size=len(tokenizer), source=source), tokenizer, embeddings)
    cut = truncate(known, tokenizer, max_length=max_length, max_prompt_length=None, on_long=on_long)
    return _padded(cut, embeddings)


def _embedded(rows: Iterable[RowIds], tokenizer: Tokenizer, embeddings: int | None) -> Iterator[RowIds]:
    """Yield the rows, known to have ids that the model reads, EOS too: sampling writes it. Raises UsageError."""
    refuse_beyond([cast(int, tokenizer.eos_token_id)], tokenizer, embeddings, where="the tokenizer's EOS")
    for row in rows:
        for name, ids in {"prompt": row.prompt, **row.completions}.items():
            refuse_beyond(ids, tokenizer, embeddings, where=f"{row.where}, field '{name}'")
        yield row


def _encoded(rows: TokenRows, tokenizer: Tokenizer) -> Encoded:
    eos = cast(int, tokenizer.eos_token_id)
    pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return encoded_of(rows, kind=rows.kind, eos_id=eos, pad_id=pad)


def _padded(encoded: Encoded, embeddings: int | None) -> Encoded:
    """Return rows padded with an id that the model reads; it is masked, so which one does not matter."""
    if embeddings is None or encoded.pad_id < embeddings:
        return encoded
    return replace(encoded, pad_id=encoded.eos_id)


def _id_rows(pairs: Iterable[PairIds], *, size: int, source: str) -> Iterator[RowIds]:
    for number, pair in enumerate(pairs, start=1):
        where = f"{source}, row {number}"
        fields = {name: tuple(getattr(pair, f"{name}_ids")) for name in ("prompt", "chosen", "rejected")}
        for name, ids in fields.items():
            if not ids:
                raise UsageError(f"{where}, field '{name}_ids': there is no token", fix="give at least one token id")
            wrong = next((token for token in ids if not 0 <= token < size), None)
            if wrong is not None:
                raise UsageError(
                    f"{where}, field '{name}_ids': {wrong} is no id of the tokenizer, which has 0 to {size - 1}",
                    fix="use the tokenizer that the ids were made with",
                )
        yield RowIds(
            where=where,
            prompt=fields.pop("prompt"),
            completions=fields,
            label=None,
            score_gap=gap_of(pair.chosen_score, pair.rejected_score),
        )
