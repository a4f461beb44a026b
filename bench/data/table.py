"""Encoded preference data on disk: one parquet file of token ids, read without a tokenizer."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.tokens import Encoded, EncodedPair, EncodedSingle
from bench.errors import RunError

VERSION = 1
"""Of the encoding; a folder of another version is made anew."""
FILE = "rows.parquet"


def write_encoded(encoded: Encoded, folder: Path) -> None:
    """Write the rows, and in the file's metadata what all of them share."""
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


def data_folder(content: str, *, results: Path) -> Path:
    """Return the folder of encoded rows of that content hash, whether it exists or not."""
    return results / "data" / hashlib.sha256(f"{VERSION} {content}".encode()).hexdigest()[:16]
