"""Preference data sets: reading, whole-file checks, and the content hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.column_account import ColumnAccount
from bench.data.files import Raw, raw_rows
from bench.data.filters import filtered, without_duplicates
from bench.data.hub import hub_id, hub_rows
from bench.data.mapped_columns import check_ignored, check_taken
from bench.data.row_errors import Faults, RowError, by_kind, shorten
from bench.data.row_reader import RowReader
from bench.data.rows import Dropped, Kind, Message, Pair, Single, Text
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
    of each column of the file (of a subset: nothing).
    """

    kind: Kind
    rows: tuple[Pair, ...] | tuple[Single, ...]
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

    rows: tuple[Pair | Single, ...]
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

    With ``most`` only so many of its first rows are read.

    Raises UsageError for a file that cannot be read as a whole, and for a named column that no row's reader takes.
    """
    rows: list[Pair | Single] = []
    faults = Faults()
    dropped: Counter[str] = Counter()
    raw_count = 0
    reader = RowReader(options)
    for shard, number, raw in islice(_raw(path, options), most):
        raw_count += 1
        try:
            for example in reader.read(raw, number):
                if isinstance(example, Dropped):
                    dropped[example.reason] += 1
                    continue
                located = replace(example, shard=shard) if shard else example
                if rows:
                    _check_alike(located, rows[0])
                rows.append(located)
        except RowError as fault:
            reason = _left_out(fault, options)
            if reason is not None:
                dropped[reason] += 1
                continue
            faults.add(f"{path / shard if shard else path}, row {number}", fault)
    if rows:
        check_taken(options.columns, reader.taken, source=str(path), data_format=reader.format)
    check_ignored(options.ignore, reader.account.present, source=str(path))
    kept, less = filtered(rows, options)
    kept, twice = without_duplicates(kept, options)
    return Reading(
        rows=tuple(kept),
        format=reader.format,
        raw=raw_count,
        dropped=dropped + less + twice,
        faults=tuple(faults.first),
        faulty=faults.total,
        fault_kinds=dict(faults.kinds),
        columns=reader.account,
    )


def preferences_of(rows: Sequence[Pair | Single], *, source: str) -> Preferences:
    """Return ``Preferences`` of at least one row, all of one kind, with their hash; ``source`` is named in errors."""
    if not rows:
        raise UsageError(f"{source} holds no rows", fix="give at least one row")
    kinds = {type(row) for row in rows}
    if len(kinds) > 1:
        raise UsageError(f"{source} mixes pairs and unpaired rows", fix="give rows of one kind")
    return _hashed(rows, kind="pairs" if Pair in kinds else "unpaired", source=source)


def subset(preferences: Preferences, rows: Sequence[int]) -> Preferences:
    """Return the rows at these places (from 0), maybe none, with their own hash."""
    kept = [preferences.rows[row] for row in rows]
    return _hashed(kept, kind=preferences.kind, source=preferences.source)


def _raw(path: Path, options: DataOptions) -> Iterator[Raw]:
    data_set = hub_id(path)
    if data_set is not None:
        return hub_rows(data_set, split=options.split, config=options.config)
    return raw_rows(path, split=options.split)


def _left_out(fault: RowError, options: DataOptions) -> str | None:
    """Return the reason for which a faulty row is left out; None: it is not."""
    if fault.kind == "empty" and (options.drop_empty or options.drop_faulty):
        return "empty answer"
    if fault.kind == "equal" and (options.drop_equal or options.drop_faulty):
        return "answers are equal"
    return "faulty" if options.drop_faulty else None


def _hashed(rows: Sequence[Pair | Single], *, kind: Kind, source: str) -> Preferences:
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(_canonical(row).encode())
    pairs = tuple(row for row in rows if isinstance(row, Pair))
    singles = tuple(row for row in rows if isinstance(row, Single))
    checked = pairs if kind == "pairs" else singles
    return Preferences(kind=kind, rows=checked, content_hash=digest.hexdigest(), source=source)


def _canonical(row: Pair | Single) -> str:
    # Without the id: blank lines, or another container, do not make other data.
    if isinstance(row, Pair):
        content: list[object] = [row.prompt, row.chosen, row.rejected, row.chosen_score, row.rejected_score]
    else:
        content = [row.prompt, row.completion, row.label]
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def _check_alike(row: Pair | Single, first: Pair | Single) -> None:
    for here, there, name in zip(_traits(row), _traits(first), ("", "field 'prompt': ", ""), strict=True):
        if here != there:
            value = f"{shorten(row.prompt)} is of " if name else "the row is of "
            raise RowError(
                f"{name}{value}{here}, but row {first.id} is of {there}: schemas are mixed",
                fix="write all rows in one form, or make a file of each",
            )


def _traits(row: Pair | Single) -> tuple[str, str, str]:
    if isinstance(row, Single):
        return "unpaired (completion, label)", _form(row.prompt), ""
    scored = "with scores" if row.chosen_score is not None else "without scores"
    return "pairs (chosen, rejected)", _form(row.prompt), f"pairs {scored} (chosen_score, rejected_score)"


def _form(text: Text) -> str:
    return "plain strings" if isinstance(text, str) else "lists of messages"
