"""Encoded preference data of a run on disk: token ids, read without a tokenizer."""

import hashlib
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.data.cache import cached
from bench.data.crew import parts
from bench.data.digests import digests
from bench.data.stored_tokens import ABOUT, TokenChunk, TokenFile, TokenRows, TokenWriter
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, pairs_in, singles_in
from bench.errors import RunError

VERSION = 1
"""Of the encoding; a folder of another version is made anew."""
FILE = "rows.parquet"


def write_encoded(encoded: Encoded, folder: Path) -> None:
    """Write the rows, and what all of them share; rows that lie on disk as an Arrow file, so that they stay there."""
    if isinstance(encoded.rows, TokenRows):
        about = {"eos_id": encoded.eos_id, "pad_id": encoded.pad_id, "content_hash": encoded.content_hash}
        TokenWriter(folder, encoded.kind).write(encoded.rows.chunks(), identity=encoded.content_hash, **about)
        return
    names = EncodedPair.__dataclass_fields__ if encoded.kind == "pairs" else EncodedSingle.__dataclass_fields__
    columns = {name: [getattr(row, name) for row in encoded.rows] for name in names}
    about = {name: getattr(encoded, name) for name in ("kind", "eos_id", "pad_id", "content_hash")}
    table = pa.table(columns).replace_schema_metadata({"lossbench": json.dumps(about)})
    # A file and not a path: pyarrow takes a path with a colon for the address of a file system.
    with (folder / FILE).open("wb") as file:
        pq.write_table(table, file)


def read_encoded(folder: Path) -> Encoded:
    """Read what ``write_encoded`` wrote.

    Raises:
        RunError: the file is absent or damaged.
    """
    if (folder / ABOUT).is_file():
        return _on_disk(folder)
    try:
        with (folder / FILE).open("rb") as file:
            table = pq.read_table(file)
        about = json.loads(table.schema.metadata[b"lossbench"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / FILE} cannot be read: {error}", fix="remove its folder and run again") from error
    rows = table.to_pylist()
    if about["kind"] == "pairs":
        return Encoded(
            rows=tuple(
                EncodedPair(
                    prompt_ids=tuple(row["prompt_ids"]),
                    chosen_ids=tuple(row["chosen_ids"]),
                    rejected_ids=tuple(row["rejected_ids"]),
                    score_gap=row["score_gap"],
                    group=row["group"],
                )
                for row in rows
            ),
            **about,
        )
    return Encoded(
        rows=tuple(
            EncodedSingle(
                prompt_ids=tuple(row["prompt_ids"]),
                completion_ids=tuple(row["completion_ids"]),
                desirable=row["desirable"],
                group=row["group"],
                pair=row["pair"],
            )
            for row in rows
        ),
        **about,
    )


def stored(encoded: Encoded) -> TokenRows:
    """Return rows that are in memory as rows of a file."""

    def write(folder: Path) -> None:
        TokenWriter(folder, encoded.kind).write(map(_chunk, parts(encoded.rows, 512)), identity=encoded.content_hash)

    file = TokenFile(cached("set", [encoded.content_hash], write))
    return TokenRows((file,), np.arange(len(file)))


def _chunk(rows: Sequence[EncodedPair | EncodedSingle]) -> TokenChunk:
    texts = [
        (row.prompt_ids, row.chosen_ids, row.rejected_ids)
        if isinstance(row, EncodedPair)
        else (row.prompt_ids, row.completion_ids)
        for row in rows
    ]
    values = [np.fromiter(chain.from_iterable(column), dtype=np.int32) for column in zip(*texts, strict=True)]
    columns: dict[str, NDArray[np.generic]] = {
        "prompts": digests(np.asarray(each[0], dtype="<i4").tobytes() for each in texts)
    }
    if isinstance(rows[0], EncodedPair):
        gaps = [np.nan if pair.score_gap is None else pair.score_gap for pair in pairs_in(rows)]
        columns["score_gap"] = np.array(gaps, dtype=np.float64)
    else:
        columns["desirable"] = np.array([single.desirable for single in singles_in(rows)], dtype=bool)
    return TokenChunk(values, np.array([list(map(len, each)) for each in texts], dtype=np.int32), columns)


def _on_disk(folder: Path) -> Encoded:
    file = TokenFile(folder)
    try:
        eos_id, pad_id = (int(str(file.about[name])) for name in ("eos_id", "pad_id"))
        content_hash = str(file.about["content_hash"])
        rows = TokenRows((file,), np.arange(len(file)), group=file.column("group").astype(np.int64))
    except (OSError, KeyError, ValueError) as error:
        raise RunError(f"{folder} cannot be read: {error}", fix="remove it and run again") from error
    return Encoded(kind=file.kind, rows=rows, eos_id=eos_id, pad_id=pad_id, content_hash=content_hash)


def data_folder(content: str, *, results: Path) -> Path:
    """Return the folder of encoded rows of that content hash, whether it exists or not."""
    return results / "data" / hashlib.sha256(f"{VERSION} {content}".encode()).hexdigest()[:16]
