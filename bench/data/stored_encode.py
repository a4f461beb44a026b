"""Encoding of rows that lie on disk: once for a tokenizer, by several processes, whatever limits come later."""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import cached
from bench.data.crew import crew_size, in_order
from bench.data.embedded_ids import refuse_beyond
from bench.data.preferences import Preferences
from bench.data.row_ids import RowEncoder, RowIds, place_of
from bench.data.rows import Kind, shared_length
from bench.data.stored_rows import RowChunk, StoredRows
from bench.data.stored_tokens import FIELDS, TokenChunk, TokenFile, TokenRows, TokenWriter, token_chunk
from bench.data.template import Tokenizer
from bench.data.template_marks import mark_bits
from bench.data.token_boundaries import merged_bits
from bench.data.truncate import OnLong, RowLimits, refuse_cut, refuse_long_prompts
from bench.data.watch import watched
from bench.errors import UsageError


@dataclass(frozen=True)
class _Job:
    """What encodes chunks of one data set; made once in each process."""

    tokenizer: Tokenizer
    source: str
    kind: Kind
    in_text: bool

    @cached_property
    def encoder(self) -> RowEncoder:
        """The encoder, which looks at the tokenizer's template first."""
        return RowEncoder(self.tokenizer, source=self.source, in_text=self.in_text)


def stored_ids(preferences: Preferences, tokenizer: Tokenizer) -> TokenRows:
    """Return rows that lie on disk as ids, of any length, on disk; at once where they were encoded before.

    Raises UsageError as ``bench.data.encode.encode`` does, but for lengths.
    """
    rows = cast(StoredRows, preferences.rows)
    whole = replace(preferences, rows=StoredRows(rows.folder))
    places = np.arange(len(rows)) if rows.places is None else rows.places
    if rows.places is None:
        return TokenRows((_token_file(preferences, tokenizer),), places)
    try:
        # The rows that are left out are encoded too: so other limits find the same ids.
        return TokenRows((_token_file(whole, tokenizer),), places)
    except UsageError:  # of a row, maybe, that is left out
        return TokenRows((_token_file(preferences, tokenizer),), np.arange(len(rows)))


def encode_stored(
    preferences: Preferences,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    embeddings: int | None,
    max_prompt_length: int | None,
    on_long: OnLong,
) -> TokenRows:
    """Return rows that lie on disk as ids, cut as ``truncate`` cuts them. Raises UsageError as ``encode`` does."""
    ids = stored_ids(preferences, tokenizer)
    lengths = ids.lengths

    def where(row: int) -> str:
        return place_of(preferences.rows[row], source=preferences.source)

    _refuse_beyond(ids, tokenizer, embeddings, where=where)
    limits = RowLimits(max_length=max_length, max_prompt_length=max_prompt_length, on_long=on_long)
    refuse_long_prompts(lengths[:, 0], where, limits)
    room = max_length - lengths[:, 0]
    wrong = (lengths[:, 1:] > room[:, None]).any(axis=1) if on_long == "error" else np.zeros(len(ids), dtype=bool)
    if ids.kind == "pairs":
        cut = np.minimum(lengths[:, 1:], room[:, None])
        alike = ids.column("alike")
        wrong |= (cut[:, 0] == cut[:, 1]) & (alike >= cut[:, 0])
    if wrong.any():
        row = int(np.argmax(wrong))
        refuse_cut(_row_ids_of(ids, row, where(row)), limits)
    return TokenRows(ids.files, ids.place, group=ids.group, file=ids.file, limit=max_length)


def _row_ids_of(ids: TokenRows, row: int, where: str) -> RowIds:
    """Return one row as it is before it is cut."""
    file = ids.files[int(ids.file[row])]
    prompt, *rest = (tuple(each.tolist()) for each in file.ids(int(ids.place[row])))
    names = FIELDS[ids.kind][1:]
    label = None if ids.kind == "pairs" else bool(ids.desirable[row])
    return RowIds(
        where=where, prompt=prompt, completions=dict(zip(names, rest, strict=True)), label=label, score_gap=None
    )


def _refuse_beyond(
    ids: TokenRows, tokenizer: Tokenizer, embeddings: int | None, *, where: Callable[[int], str]
) -> None:
    refuse_beyond([cast(int, tokenizer.eos_token_id)], tokenizer, embeddings, where="the tokenizer's EOS")
    if embeddings is None:
        return
    wrong = (ids.column("highest").astype(np.int64) >= embeddings).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        one = _row_ids_of(ids, row, where(row))
        for name, tokens in {"prompt": one.prompt, **one.completions}.items():
            refuse_beyond(tokens, tokenizer, embeddings, where=f"{one.where}, field '{name}'")


def _token_file(preferences: Preferences, tokenizer: Tokenizer) -> TokenFile:
    rows = cast(StoredRows, preferences.rows)
    content = rows.content_hash(preferences.kind)
    key = [preferences.kind, content, _tokenizer_key(tokenizer)]
    identity = hashlib.sha256("\0".join(key).encode()).hexdigest()
    job = _Job(tokenizer, preferences.source, preferences.kind, isinstance(rows[0].prompt, str))

    def write(folder: Path) -> None:
        TokenWriter(folder, preferences.kind).write(_chunks(job, rows), identity=identity)

    return TokenFile(cached("tokens", key, write))


def _chunks(job: _Job, rows: StoredRows) -> Iterator[TokenChunk]:
    try:
        pickle.dumps(job)
        processes = crew_size()
    except (pickle.PicklingError, TypeError, AttributeError):
        processes = 1  # a tokenizer that cannot go to another process
    with watched("encoding", total=len(rows)) as progress:
        for chunk in in_order(_encode_chunk, job, rows.chunks(), processes=processes):
            progress.advance(len(chunk.lengths))
            yield chunk


def _encode_chunk(job: _Job, chunk: RowChunk) -> TokenChunk:
    rows = chunk.rows()
    encoded = list(job.encoder.encode(rows))
    parts = [[row.prompt, *row.completions.values()] for row in encoded]
    columns: dict[str, NDArray[np.generic]] = {
        "highest": np.array([[max(ids, default=-1) for ids in row] for row in parts], dtype=np.int32),
        "marks": np.array([mark_bits(row) for row in rows], dtype=np.int64),
    }
    if job.in_text:
        columns["merged"] = np.array(merged_bits(rows, job.tokenizer), dtype=np.uint8)
    if job.kind == "pairs":
        columns["alike"] = np.array([shared_length(row[1], row[2]) for row in parts], dtype=np.int32)
    return token_chunk(job.kind, parts, [row.score_gap if row.label is None else row.label for row in encoded], columns)


def _tokenizer_key(tokenizer: Tokenizer) -> str:
    """Return a hash of all that decides ids: the backend with its vocabulary, the template, the special tokens."""
    backend: object = getattr(tokenizer, "backend_tokenizer", None)
    to_str: Callable[[], str] | None = getattr(backend, "to_str", None)
    content = [
        type(tokenizer).__name__,
        to_str() if to_str is not None else hashlib.sha256(pickle.dumps(tokenizer)).hexdigest(),
        getattr(tokenizer, "chat_template", None),
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        str(getattr(tokenizer, "special_tokens_map", {})),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
