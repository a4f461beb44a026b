"""Owns reading raw rows out of JSONL, gzipped JSONL, JSON and parquet files, each with its number."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bench.errors import UsageError, did_you_mean

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_BOM = b"\xef\xbb\xbf"
_SIBLINGS_SHOWN = 10
_COLUMNS_SHOWN = 12
LONGEST_LINE = 2**26
"""Bytes of the longest line that is read: without a limit a small gzip file could fill the memory."""


class RowError(Exception):
    """What is wrong with one row, and what would be right; the reader adds the file and the row's number."""

    def __init__(self, problem: str, *, fix: str) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(problem)


def shorten(value: object, *, width: int = 60) -> str:
    """Return ``repr(value)``, cut in the middle to at most ``width`` characters."""
    text = repr(value)
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[-(width - 1 - head) :]}"


def listed(columns: Iterable[object]) -> str:
    """Return the columns of a row as they are told: the first ones, and each cut to a readable length."""
    names = [name if isinstance(name, str) and len(name) <= 60 else shorten(name) for name in columns]
    more = f" and {len(names) - _COLUMNS_SHOWN} more" if len(names) > _COLUMNS_SHOWN else ""
    return ", ".join(map(str, names[:_COLUMNS_SHOWN])) + more


def raw_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (row, value) for each row of ``path``; an unreadable row comes as a ``RowError`` in place of its value.

    Rows count from 1; in JSONL the row is the line's number, so that it agrees with an editor (blank lines are passed
    over). Raises UsageError for a file that is absent, of an unknown suffix, or unreadable as a whole.
    """
    try:
        _check_file(path)
        if path.name.endswith(".parquet"):
            yield from _parquet_rows(path)
        elif path.name.endswith(".json"):
            yield from _json_rows(path)
        elif path.name.endswith(".gz"):
            with gzip.open(path, "rb") as lines:
                yield from _json_lines(lines)
        else:
            with path.open("rb") as lines:
                yield from _json_lines(lines)
    except PermissionError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", fix="give yourself the right to read it") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{shorten(str(path))} cannot be read: {reason}", fix="correct the path") from None


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a directory", fix=f"name one file in it: {_siblings(path, near='')}")
    if not path.exists():
        if not path.parent.is_dir():
            raise UsageError(f"{path} does not exist, nor does its directory", fix="correct the path")
        raise UsageError(f"{path} does not exist", fix=_siblings(path.parent, near=path.name))
    if not path.is_file():
        raise UsageError(f"{path} is a pipe or a device, which cannot be read twice", fix="save the rows in a file")
    if not path.name.endswith(SUFFIXES):
        given = "".join(path.suffixes[-2:]) or "none"
        raise UsageError(
            f"{path} has the suffix {given}, which names no format known here",
            fix=f"use one of {', '.join(SUFFIXES)}",
        )
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes)", fix="give a file with at least one row")


def _siblings(folder: Path, *, near: str) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIXES))
    if not names:
        return f"{folder} holds no {', '.join(SUFFIXES)} file"
    if len(names) <= _SIBLINGS_SHOWN:
        return did_you_mean(near, names)
    hint = did_you_mean(near, names).partition("known: ")[0]
    return f"{hint}{folder} holds {', '.join(names[:_SIBLINGS_SHOWN])} and {len(names) - _SIBLINGS_SHOWN} more"


def _encoding_fault(error: UnicodeDecodeError, *, start: int) -> RowError:
    return RowError(
        f"byte 0x{error.object[error.start]:02x} at offset {start + error.start} is not UTF-8",
        fix="save the file as UTF-8 (for one in Latin-1: iconv -f latin1 -t utf-8)",
    )


def _json_fault(error: ValueError | RecursionError, text: str, *, lines: bool) -> RowError:
    if not isinstance(error, json.JSONDecodeError):
        return RowError(f"invalid JSON: {error}", fix="write the row as plain JSON")
    cut = not text[error.pos :].strip() or error.msg.startswith("Unterminated string")
    advice = "it breaks off in the middle: copy or download the file again" if cut else "correct the JSON"
    near = shorten(text[max(0, error.pos - 30) : error.pos + 10])
    where = f"line {error.lineno}, column {error.colno}" if lines else f"column {error.colno}"
    return RowError(f"invalid JSON at {where}: {error.msg}, near {near}", fix=advice)


def _json_lines(lines: BinaryIO | gzip.GzipFile) -> Iterator[tuple[int, object]]:
    row, start = 0, 0
    while True:
        try:
            line = lines.readline(LONGEST_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            problem = f"the gzip stream is broken after row {row}: {error}"
            yield row + 1, RowError(problem, fix="the file is truncated or damaged: copy or download it again")
            return
        if not line:
            return
        row += 1
        if len(line) > LONGEST_LINE:
            problem = f"it has more than {LONGEST_LINE // 2**20} MiB and no line end"
            yield row, RowError(problem, fix="write one row a line; a list of rows belongs in a .json file")
            return
        content = line.removeprefix(_BOM) if row == 1 else line
        if content.strip():
            yield row, _json_value(content, start=start + len(line) - len(content))
        start += len(line)


def _json_value(content: bytes, *, start: int) -> object:
    text = ""
    try:
        text = content.decode("utf-8").rstrip("\r\n")
        return json.loads(text, object_pairs_hook=_once_each)
    except UnicodeDecodeError as error:
        return _encoding_fault(error, start=start)
    except (ValueError, RecursionError) as error:
        return _json_fault(error, text, lines=False)


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {shorten(double)} stands twice in one object")
    return found


def _json_rows(path: Path) -> Iterator[tuple[int, object]]:
    data = path.read_bytes()
    content = data.removeprefix(_BOM)
    if not content.strip():
        return
    text = ""
    try:
        text = content.decode("utf-8")
        values = json.loads(text, object_pairs_hook=_once_each)
    except UnicodeDecodeError as error:
        fault = _encoding_fault(error, start=len(data) - len(content))
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: {fault.problem}", fix=fault.fix) from None
    except (ValueError, RecursionError) as error:
        fault = _json_fault(error, text, lines=True)
        if "Extra data" in fault.problem and text.lstrip().startswith("{"):
            fault.fix = "this looks like one object a line: name the file .jsonl"
        raise UsageError(f"{path}: {fault.problem}", fix=fault.fix) from None
    if not isinstance(values, list):
        raise UsageError(
            f"{path} holds one JSON {'object' if isinstance(values, dict) else 'value'}, {shorten(values)}",
            fix="write a list of rows, [{…}, {…}], or one row a line in a .jsonl file",
        )
    yield from enumerate(values, start=1)


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow  # here, since it is slow to import and only parquet needs it
    from pyarrow import parquet

    row = 0
    try:
        with path.open("rb") as file, parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    row += 1
                    yield row, value
    except UnicodeDecodeError as error:
        where = f"{path}, a row after {row}"
        raise UsageError(f"{where}: a string is not UTF-8 ({error.reason})", fix="write the columns as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as error:
        where = f"{path}, after row {row}" if row else f"{path}"
        raise UsageError(
            f"{where}: not a readable parquet file: {str(error).splitlines()[0]}",
            fix="the file is truncated or damaged: copy or download it again",
        ) from None
