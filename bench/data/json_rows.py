"""Numbered rows of JSON files: one a line, or one list."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.data.row_errors import RowError, shorten
from bench.errors import UsageError

BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 2**26
"""Bytes of the longest line that is read: without a limit a small gzip file could fill the memory."""
LARGEST_UNPACKED = 2**31
"""Bytes of the largest list that is unpacked, for the same reason."""
HOLDERS = ("data", "rows", "examples", "instances")
"""Names under which a JSON object may hold its rows."""


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


@dataclass(frozen=True)
class Undecoded:
    """A line of JSON that another process decodes, and the place in its file (in bytes) where it starts."""

    content: bytes
    start: int


def decoded(value: object) -> object:
    """Return the value of a line that was read undecoded, or its ``RowError``; any other value as it is."""
    return _json_value(value.content, start=value.start) if isinstance(value, Undecoded) else value


def undecoded_lines(lines: BinaryIO | gzip.GzipFile) -> Iterator[tuple[int, object]]:
    """Yield (line from 1, ``Undecoded``) of each line that is not blank; a damaged file ends with a ``RowError``."""
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
        content = line.removeprefix(BOM) if row == 1 else line
        if content.strip():
            yield row, Undecoded(content, start + len(line) - len(content))
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
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {shorten(double)} stands twice in one object")
    return fields


def json_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (row from 1, value) of a list of rows, also of one under «data» or «rows» of an object, also gzipped.

    Raises UsageError for a file that is no such list.
    """
    data = _unpacked(path) if path.name.endswith(".gz") else path.read_bytes()
    content = data.removeprefix(BOM)
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
    if isinstance(values, dict):
        holders = [name for name, value in values.items() if name in HOLDERS and _is_list_of_objects(value)]
        if len(holders) == 1:
            values = values[holders[0]]
    if not isinstance(values, list):
        raise UsageError(
            f"{path} holds one JSON {'object' if isinstance(values, dict) else 'value'}, {shorten(values)}",
            fix="write a list of rows, [{…}, {…}], or one row a line in a .jsonl file",
        )
    yield from enumerate(values, start=1)


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(LARGEST_UNPACKED + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(
            f"{path}: the gzip stream is broken: {error}",
            fix="the file is truncated or damaged: copy or download it again",
        ) from None
    if len(content) > LARGEST_UNPACKED:
        raise UsageError(
            f"{path} unpacks to more than {LARGEST_UNPACKED // 2**30} GiB", fix="write one row a line, as .jsonl.gz"
        )
    return content
