"""A bundle: the records of a results folder in one file, which tables and figures are made from just as well."""

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from bench.core.manifest import first_fault
from bench.core.record import RECORD_VERSION, RunRecord
from bench.errors import RunError, UsageError
from bench.utils.files import naming_disk_errors, write_bytes_whole

BUNDLE = "records.jsonl.gz"


def write_bundle(records: Sequence[RunRecord], folder: Path) -> Path:
    """Write ``records.jsonl.gz``: one record a line, in the order given; equal records give equal bytes.

    Raises:
        UsageError: there is no record. RunError: a full disk and the like.
    """
    if not records:
        raise UsageError("there are no finished runs to bundle", fix="`bench run` makes one")
    text = "".join(record.model_dump_json() + "\n" for record in records)
    # No time stamp in the gzip header: the bytes depend on the records alone.
    write_bytes_whole(folder / BUNDLE, gzip.compress(text.encode(), compresslevel=9, mtime=0))
    return folder / BUNDLE


def read_bundle(folder: Path) -> list[RunRecord]:
    """Return the records of the bundle in ``folder``; none where there is no bundle.

    Raises:
        RunError: the file is damaged, or a line is no record of this version.
    """
    path = folder / BUNDLE
    with naming_disk_errors(path, "read"):
        if not path.is_file():
            return []
        packed = path.read_bytes()
    try:
        lines = gzip.decompress(packed).decode().split("\n")
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise RunError(f"{path} is damaged: {error}", fix="bring it back from where it was published") from error
    return [_record(line, path=path, number=number) for number, line in enumerate(lines, 1) if line]


def _record(line: str, *, path: Path, number: int) -> RunRecord:
    try:
        version = json.loads(line).get("record_version")
        if version != RECORD_VERSION:
            raise RunError(f"{path}, line {number}: record version {version}; this program reads {RECORD_VERSION}")
        return RunRecord.model_validate_json(line)
    except ValidationError as error:
        raise RunError(f"{path}, line {number}: no record: {first_fault(error)}") from error
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path}, line {number}: no record: {error}") from error
