"""Encoded preference data of a run on disk: token ids, read without a tokenizer."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.cache import cached
from bench.data.crew import parts
from bench.data.stored_tokens import ABOUT, TokenFile, TokenRows, TokenWriter, token_chunk
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, parts_of, target_of
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
        chunks = (
            token_chunk(encoded.kind, [parts_of(row) for row in rows], map(target_of, rows))
            for rows in parts(encoded.rows, 512)
        )
        TokenWriter(folder, encoded.kind).write(chunks, identity=encoded.content_hash)

    file = TokenFile(cached("set", [encoded.content_hash], write))
    return TokenRows((file,), np.arange(len(file)))


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
