"""Counts of the rows of data files, without reading what is in them where the container allows it."""

import gzip
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from bench.core.data_options import DataOptions
from bench.data.files import TEST, TRAIN, VALIDATION, file_rows, shards, splits
from bench.data.hub import hub_id, hub_rows

BLOCK = 1 << 22


def count_rows(path: Path, options: DataOptions) -> int:
    """Return how many raw rows a file, a folder or a data set of the hub has for training, blank lines left out.

    Raises:
        UsageError: it is not there, or has no rows to be trained on.
    """
    data_set = hub_id(path)
    if data_set is not None:
        return _length(hub_rows(data_set, split=options.split, config=options.config))
    files = shards(path, split=options.split) if path.is_dir() else [path]
    return sum(_rows_in(file) for file in files)


def has_own_splits(path: Path, options: DataOptions) -> bool:
    """Return whether validation or test rows come from elsewhere than a share of the training file."""
    if options.validation is not None or options.test is not None:
        return True
    own = splits(path) if path.is_dir() and hub_id(path) is None and options.split is None else {}
    return TRAIN in own and (VALIDATION in own or TEST in own)


def _rows_in(file: Path) -> int:
    if file.name.endswith(".parquet") and file.is_file():
        from pyarrow import ArrowInvalid, parquet

        try:
            return int(parquet.ParquetFile(file).metadata.num_rows)
        except (ArrowInvalid, OSError):
            return _length(file_rows(file))  # which says what is wrong with it
    if file.name.endswith((".jsonl", ".jsonl.gz")) and file.is_file():
        return _lines_in(file)
    return _length(file_rows(file))


def _lines_in(file: Path) -> int:
    """Count the lines of a file that hold more than a line's end."""
    lines, last = 0, b"\n"
    try:
        with gzip.open(file, "rb") if file.name.endswith(".gz") else file.open("rb") as stream:
            while block := stream.read(BLOCK):
                lines += block.count(b"\n") - block.count(b"\n\n") - (last == b"\n" and block[:1] == b"\n")
                last = block[-1:]
    except (OSError, EOFError):
        return _length(file_rows(file))
    return lines + (last != b"\n")


def _length(rows: Iterable[object]) -> int:
    counted = count()
    for _ in zip(rows, counted, strict=False):
        pass
    return next(counted)
