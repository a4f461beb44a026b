"""Raw rows of a file or a folder of files, and the choice of the files."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.data.columnar import arrow_rows, csv_rows, parquet_rows
from bench.data.json_rows import decoded, json_rows, undecoded_lines
from bench.data.row_errors import shorten
from bench.errors import UsageError, did_you_mean

_READERS: dict[str, Callable[[Path], Iterator[tuple[int, object]]]] = {
    ".jsonl": lambda path: _lines(path),
    ".jsonl.gz": lambda path: _lines(path),
    ".json": json_rows,
    ".json.gz": json_rows,
    ".parquet": parquet_rows,
    ".arrow": arrow_rows,
    ".csv": csv_rows,
    ".csv.gz": csv_rows,
}
SUFFIXES = tuple(_READERS)
TRAIN, VALIDATION, TEST = "train", "validation", "test"
_SPLIT_NAMES = {TRAIN: TRAIN, "valid": VALIDATION, VALIDATION: VALIDATION, "val": VALIDATION, "dev": VALIDATION}
_SPLIT_NAMES |= {"eval": VALIDATION, TEST: TEST}
_SPLIT = re.compile(rf"({'|'.join(_SPLIT_NAMES)})(?=[-._]|$)", re.IGNORECASE)
# What `datasets` writes beside the rows.
_NO_ROWS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
_MAX_SIBLINGS = 10
Raw = tuple[str, int, object]
"""The name of the file in its folder (empty for a file by itself), the row's number in it, and its value."""


def raw_rows(path: Path, *, split: str | None = None) -> Iterator[Raw]:
    """Yield each row of a file or a folder; an unreadable row comes as a ``RowError`` in place of its value.

    Rows and errors are those of ``undecoded_rows``.
    """
    return ((shard, number, decoded(value)) for shard, number, value in undecoded_rows(path, split=split))


def undecoded_rows(path: Path, *, split: str | None = None) -> Iterator[Raw]:
    """Yield each row of a file or a folder, lines of JSON as ``Undecoded``; ``decoded`` gives their values.

    Rows count from 1 in each file; in JSONL the row is the line's number, so that it agrees with an editor (blank lines
    are passed over). Raises UsageError for what is absent, of an unknown suffix, or unreadable as a whole.

    Args:
        split: which one of a folder that has several; None is train, or the only one.
    """
    try:
        if path.is_dir():
            for file in shards(path, split=split):
                name = str(file.relative_to(path))
                yield from ((name, number, value) for number, value in file_rows(file))
            return
        if split not in (None, TRAIN):
            raise UsageError(f"{path} is one file, which has no split {split!r}", fix="leave the split out")
        yield from (("", number, value) for number, value in file_rows(path))
    except PermissionError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", fix="give yourself the right to read it") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{shorten(str(path))} cannot be read: {reason}", fix="correct the path") from None


def file_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (row, value) of one file, checked first; lines of JSON as ``Undecoded``. Raises UsageError."""
    _check_file(path)
    suffix = max((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), key=len)
    yield from _READERS[suffix](path)


def files_of(path: Path, *, split: str | None = None) -> list[Path]:
    """Return the files that ``raw_rows`` reads, in their order. Raises UsageError."""
    if path.is_dir():
        return shards(path, split=split)
    _check_file(path)
    return [path]


def shards(folder: Path, *, split: str | None) -> list[Path]:
    """Return the files of a split of a folder, in the order in which their rows count. Raises UsageError."""
    files_of = splits(folder)
    if split is None:
        split = TRAIN if TRAIN in files_of else next(iter(files_of)) if len(files_of) == 1 else None
    if split not in files_of:
        wrong = f"has no split {split!r}" if split else "has several splits, none of which is train"
        raise UsageError(f"{folder} {wrong}", fix=f"name one: --set data.split={' or '.join(files_of)}")
    return files_of[split]


def splits(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split: of a data set saved by ``datasets``, or by the files' names, else all as train.

    Raises UsageError for a folder without rows, or with files that cannot all be meant.
    """
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json", "splits")
        return {_SPLIT_NAMES.get(str(name), str(name)): _saved(folder / str(name)) for name in names}
    if (folder / "state.json").is_file():
        return {TRAIN: _saved(folder)}
    files = _data_files(folder) or (_data_files(folder / "data") if (folder / "data").is_dir() else [])
    if not files:
        raise UsageError(
            f"{folder} is a directory without rows", fix=f"name a file, or a directory with {', '.join(SUFFIXES)} files"
        )
    endings = {next(suffix for suffix in SUFFIXES if file.name.endswith(suffix)) for file in files}
    if len(endings) > 1:
        raise UsageError(
            f"{folder} is a directory of {' and '.join(sorted(endings))} files, which may hold the same rows twice",
            fix=f"name one file in it: {_listed_files([file.name for file in files], near='')}",
        )
    named = [(_SPLIT.match(file.name), file) for file in files]
    if not any(match for match, _ in named):
        return {TRAIN: files}
    other = next((file for match, file in named if match is None), None)
    if other is not None:
        raise UsageError(
            f"{folder} has files named after splits, and {other.name} beside them",
            fix="name one file, or move what is not meant out of the directory",
        )
    parts: dict[str, list[Path]] = {}
    for match, file in named:
        if match is not None:
            parts.setdefault(_SPLIT_NAMES[match[1].lower()], []).append(file)
    return parts


def _data_files(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    names = [entry for entry in entries if entry.name.endswith(SUFFIXES) and entry.name not in _NO_ROWS]
    return [entry for entry in names if entry.is_file() and not entry.name.startswith(".")]


def _saved(folder: Path) -> list[Path]:
    """Return the Arrow files of one data set saved by ``datasets``."""
    files = _json(folder / "state.json", "_data_files")
    names = [each.get("filename") if isinstance(each, dict) else None for each in files]
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise UsageError(f"{folder / 'state.json'} names no files of rows", fix="save the data set again")
    return [folder / str(name) for name in names]


def _json(path: Path, name: str) -> list[object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} is none of a saved data set: {shorten(str(error))}", fix="save the data set again"
        ) from None
    if not isinstance(values, list):
        raise UsageError(f"{path}: {name} is no list", fix="save the data set again")
    return values


def _lines(path: Path) -> Iterator[tuple[int, object]]:
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as lines:
        yield from undecoded_lines(lines)


def _check_file(path: Path) -> None:
    if not path.exists():
        if not path.parent.is_dir():
            raise UsageError(f"{path} does not exist, nor does its directory", fix="correct the path")
        raise UsageError(f"{path} does not exist", fix=_siblings(path.parent, near=path.name))
    if not path.is_file():
        raise UsageError(f"{path} is a pipe or a device, which cannot be read twice", fix="save the rows in a file")
    if not path.name.endswith(SUFFIXES):
        suffix = "".join(path.suffixes[-2:]) or "none"
        raise UsageError(
            f"{path} has the suffix {suffix}, which names no format known here",
            fix=f"use one of {', '.join(SUFFIXES)}",
        )
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes)", fix="give a file with at least one row")


def _siblings(folder: Path, *, near: str) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIXES))
    return _listed_files(names, near=near) if names else f"{folder} holds no {', '.join(SUFFIXES)} file"


def _listed_files(names: list[str], *, near: str) -> str:
    if len(names) <= _MAX_SIBLINGS:
        return did_you_mean(near, names)
    hint = did_you_mean(near, names).partition("known: ")[0]
    return f"{hint}it holds {', '.join(names[:_MAX_SIBLINGS])} and {len(names) - _MAX_SIBLINGS} more"
