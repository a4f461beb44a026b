"""Numbered rows of parquet, Arrow and CSV files."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Protocol

from bench.data.row_errors import RowError, listed, shorten
from bench.data.rows import Cell
from bench.errors import UsageError

_NUMERIC = re.compile(
    r"^(preference|score_.*|rating_.*|.*_score|(chosen|rejected)[-_](avg_)?rating|(better|safer)_response_id)$"
)
"""Columns whose cells are numbers."""
ROWS_AT_ONCE = 1024
_ARROW_FILE = b"ARROW1"
LONGEST_CELL = 2**26
"""Characters of the longest cell of a CSV file: what csv takes by default is less than some answers have."""


class Batch(Protocol):
    """What is used of a record batch of pyarrow."""

    def __len__(self) -> int: ...

    def slice(self, offset: int, length: int) -> "Batch":
        """Return the rows from ``offset`` on, at most ``length`` of them."""
        ...

    def to_pylist(self) -> list[object]:
        """Return the rows as values of Python."""
        ...


def parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (row from 1, value). Raises UsageError for a file that is no parquet, or damaged."""
    from pyarrow import parquet  # here, since it is slow to import and only these files need it

    def batches(stack: ExitStack) -> Iterator[Batch]:
        file = stack.enter_context(path.open("rb"))
        return stack.enter_context(parquet.ParquetFile(file)).iter_batches(batch_size=ROWS_AT_ONCE)

    return _batch_rows(path, batches, kind="parquet")


def arrow_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (row from 1, value) of an Arrow file or stream, as ``datasets`` saves them. Raises UsageError likewise."""
    from pyarrow import ipc

    def batches(stack: ExitStack) -> Iterator[Batch]:
        file = stack.enter_context(path.open("rb"))
        is_file = file.read(len(_ARROW_FILE)) == _ARROW_FILE
        file.seek(0)
        if is_file:
            table = stack.enter_context(ipc.open_file(file))
            return (table.get_batch(index) for index in range(table.num_record_batches))
        return iter(stack.enter_context(ipc.open_stream(file)))

    return _batch_rows(path, batches, kind="Arrow")


def _batch_rows(
    path: Path, batches: Callable[[ExitStack], Iterator[Batch]], *, kind: str
) -> Iterator[tuple[int, object]]:
    import pyarrow

    row = 0
    try:
        with ExitStack() as stack:
            for batch in batches(stack):
                for start in range(0, len(batch), ROWS_AT_ONCE):
                    for value in batch.slice(start, ROWS_AT_ONCE).to_pylist():
                        row += 1
                        yield row, value
    except UnicodeDecodeError as error:
        where = f"{path}, a row after {row}"
        raise UsageError(f"{where}: a string is not UTF-8 ({error.reason})", fix="write the columns as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as error:
        where = f"{path}, after row {row}" if row else f"{path}"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{where}: not a readable {kind} file: {reason}",
            fix="the file is truncated or damaged: copy or download it again",
        ) from None


def csv_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (row from 1, value) of a CSV file with a header, also gzipped; an unreadable row comes as its ``RowError``.

    Cells may be parted by semicolons or tabs, as the header is; numbers then may have a decimal comma. All cells are
    strings but ``label`` (true or false) and scores (numbers), an empty one of which counts as missing. Others are
    ``Cell``, which may stand for a number or a label where the user takes it for one.
    """
    # For the whole process, but only ever raised: nothing else here reads CSV by this module.
    csv.field_size_limit(LONGEST_CELL)
    row = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            first = text.readline()
            delimiter = _delimiter(first)
            reader = csv.DictReader(chain([first], text), strict=True, delimiter=delimiter)
            _check_header(path, reader.fieldnames)
            for value in reader:
                row += 1
                yield row, _cells(value, decimal="," if delimiter == ";" else ".")
    except UnicodeDecodeError as error:
        where = f"{path}, a row after {row}"
        raise UsageError(
            f"{where}: byte 0x{error.object[error.start]:02x} is not UTF-8",
            fix="save the file as UTF-8 (for one in Latin-1: iconv -f latin1 -t utf-8)",
        ) from None
    except csv.Error as error:
        yield row + 1, RowError(f"no readable CSV: {error}", fix="quote cells that hold a comma, a quote or a line end")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"the gzip stream is broken after row {row}: {error}"
        yield row + 1, RowError(problem, fix="the file is truncated or damaged: copy or download it again")


def _check_header(path: Path, fieldnames: Sequence[str] | None) -> None:
    names = fieldnames or ()
    if not any(name.strip() for name in names):
        return  # no rows either, which is told as that
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: column {shorten(twice)} stands twice in the header", fix="rename one of them")


def _delimiter(header: str) -> str:
    """Return what parts the cells: a comma, unless the header has none and semicolons or tabs."""
    bare = re.sub(r'"[^"]*"', "", header)
    return next((sign for sign in (",", ";", "\t") if sign in bare), ",")


def _cells(value: Mapping[str | None, object], *, decimal: str) -> object:
    """Return a row's cells by column; a ``RowError`` for a row that is longer or shorter than the header."""
    if None in value:
        return RowError(
            f"it has more cells than the header ({listed(name for name in value if name is not None)})",
            fix="quote cells that hold a comma",
        )
    short = next((name for name, cell in value.items() if cell is None), None)
    if short is not None:
        return RowError(f"field '{short}' is missing: the row has fewer cells than the header", fix="fill the row up")
    return {
        name: _typed(name, cell, decimal) for name, cell in value.items() if name is not None and isinstance(cell, str)
    }


def _typed(name: str, cell: str, decimal: str) -> object:
    if name == "label":
        return {"true": True, "false": False, "": None}.get(cell.strip().lower(), cell)
    if not _NUMERIC.search(name):
        return Cell(cell)
    try:
        return float(cell.replace(decimal, ".", 1)) if cell.strip() else None
    except ValueError:
        return cell
