"""Preference data sets: reading, whole-file checks, and the content hash."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.column_account import ColumnAccount
from bench.data.files import Raw, raw_rows
from bench.data.filters import picked, without_duplicates
from bench.data.hub import hub_id, hub_rows
from bench.data.mapped_columns import check_ignored, check_taken
from bench.data.reading import PLACE, Begun, read_part
from bench.data.row_errors import RowError, by_kind
from bench.data.rows import Kind, Message, Pair, Single, Text
from bench.data.stored_rows import StoredRows, canonical_row, is_large, read_stored
from bench.errors import UsageError

__all__ = [
    "Message",
    "Pair",
    "Preferences",
    "Reading",
    "Single",
    "Text",
    "preferences_of",
    "read_preferences",
    "scan",
    "subset",
]


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """A checked data set: all rows ``Pair`` or all ``Single``, all text or all messages, all scored or none.

    ``content_hash`` is the SHA-256 of the rows in order, whatever the container, the path, or fields that are not read.
    ``format`` names how they were written, ``dropped`` counts what was left out by reason, ``columns`` says what became
    of each column of the file (of a subset: nothing). Rows of large data lie on disk, and are objects only while used.
    """

    kind: Kind
    rows: Sequence[Pair | Single]
    content_hash: str
    source: str
    format: str = "plain"
    dropped: Mapping[str, int] = field(default_factory=dict)
    columns: ColumnAccount = field(default_factory=ColumnAccount, compare=False)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file holds, faults and all. ``faults`` are the first ones, each with its place, of ``faulty`` altogether.

    ``raw`` counts the rows of the file, ``format`` is empty where no row could be told. ``fault_kinds`` counts all
    faulty rows by kind, ``columns`` says what became of each column.
    """

    rows: Sequence[Pair | Single]
    format: str
    raw: int
    dropped: Mapping[str, int]
    faults: tuple[tuple[str, RowError], ...]
    faulty: int
    fault_kinds: Mapping[str, int]
    columns: ColumnAccount


def read_preferences(path: Path, options: DataOptions = AS_IT_IS, *, most: int | None = None) -> Preferences:
    """Read and check a file, a folder of files, or a data set of the hub (``org/name:split``), in one pass.

    Rows are of one of the formats that ``docs/data.md`` lists, told by their columns or named by ``options``; texts are
    strings, or lists of {role, content} whose completion is one assistant message.

    Raises UsageError with the file, the row (from 1), the field, the value and the right form of the first fault, and
    the count of further faulty rows.
    """
    reading = scan(path, options, most=most)
    refuse_faulty(reading)
    return preferences_in(reading, source=str(path))


def refuse_faulty(reading: Reading) -> None:
    """Raise UsageError with the first fault of a reading, the number of all by kind, and how they are left out."""
    if not reading.faults:
        return
    where, fault = reading.faults[0]
    further = reading.faulty - 1
    if not further:
        raise UsageError(f"{where}: {fault.problem}", fix=fault.fix)
    more = f"{further} further row{'s are' if further > 1 else ' is'} faulty too"
    kinds = by_kind(reading.fault_kinds)
    way_on = "no row can be read" if reading.faulty == reading.raw else "--set data.drop_faulty=true leaves them out"
    raise UsageError(f"{where}: {fault.problem} ({more})", fix=f"{fault.fix}\n  → of all rows {kinds}; {way_on}")


def preferences_in(reading: Reading, *, source: str) -> Preferences:
    """Return the rows of a reading that passed. Raises UsageError where there are none."""
    if not reading.rows and not reading.raw:
        raise UsageError(f"{source} is empty: it holds no rows", fix="give a file with at least one row")
    if not reading.rows:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in reading.dropped.items()) or "all are faulty"
        raise UsageError(f"{source}: no row is left of {reading.raw} ({reasons})", fix="loosen what is left out")
    return replace(
        preferences_of(reading.rows, source=source),
        format=reading.format,
        dropped=dict(reading.dropped),
        columns=reading.columns,
    )


def scan(path: Path, options: DataOptions = AS_IT_IS, *, most: int | None = None) -> Reading:
    """Read a data set, filtered and freed of duplicates as ``options`` say; faulty rows are kept apart.

    Large data are read by several processes and kept on disk (``bench.data.stored_rows``); the rows are the same. With
    ``most`` only so many of the first rows are read, by this process.

    Raises UsageError for a file that cannot be read as a whole, and for a named column that no row's reader takes.
    """
    if most is None and is_large(path, options):
        part, rows = read_stored(path, options)
        kept, twice = without_duplicates(rows, options)
    else:
        part = read_part(islice(_raw(path, options), most), options, Begun())
        kept, twice = without_duplicates(part.rows, options)
    if part.accepted:
        check_taken(options.columns, part.taken, source=str(path), data_format=part.begun.format)
    check_ignored(options.ignore, part.account.present, source=str(path))
    return Reading(
        rows=kept if isinstance(kept, StoredRows) else tuple(kept),
        format=part.begun.format,
        raw=part.raw,
        dropped=part.dropped + part.outside + twice,
        faults=tuple((_place(path, where), fault) for where, fault in part.faults.first),
        faulty=part.faults.total,
        fault_kinds=dict(part.faults.kinds),
        columns=part.account,
    )


def preferences_of(rows: Sequence[Pair | Single], *, source: str) -> Preferences:
    """Return ``Preferences`` of at least one row, all of one kind, with their hash; ``source`` is named in errors."""
    if not rows:
        raise UsageError(f"{source} holds no rows", fix="give at least one row")
    if isinstance(rows, StoredRows):
        return _hashed(rows, kind=rows.kind, source=source)
    kinds = {type(row) for row in rows}
    if len(kinds) > 1:
        raise UsageError(f"{source} mixes pairs and unpaired rows", fix="give rows of one kind")
    return _hashed(rows, kind="pairs" if Pair in kinds else "unpaired", source=source)


def subset(preferences: Preferences, rows: Sequence[int]) -> Preferences:
    """Return the rows at these places (from 0), maybe none, with their own hash."""
    return _hashed(picked(preferences.rows, rows), kind=preferences.kind, source=preferences.source)


def _raw(path: Path, options: DataOptions) -> Iterator[Raw]:
    data_set = hub_id(path)
    if data_set is not None:
        return hub_rows(data_set, split=options.split, config=options.config)
    return raw_rows(path, split=options.split)


def _place(path: Path, where: str) -> str:
    shard, number = where.split(PLACE)
    return f"{path / shard if shard else path}, row {number}"


def _hashed(rows: Sequence[Pair | Single], *, kind: Kind, source: str) -> Preferences:
    if isinstance(rows, StoredRows):
        return Preferences(kind=kind, rows=rows, content_hash=rows.content_hash(kind), source=source)
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(canonical_row(row).encode() + b"\n")
    return Preferences(kind=kind, rows=tuple(rows), content_hash=digest.hexdigest(), source=source)
