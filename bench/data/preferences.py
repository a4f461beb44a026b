"""Owns reading a preference data set: whole-file checks, and the hash of what was read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.files import RowError, raw_rows, shorten
from bench.data.rows import Kind, Message, Pair, Single, Text, parse_row
from bench.errors import UsageError

__all__ = ["Message", "Pair", "Preferences", "Single", "Text", "preferences_of", "read_preferences", "subset"]


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """A checked data set: all rows ``Pair`` or all ``Single``, all text or all messages, all scored or none.

    ``content_hash`` is the SHA-256 of the rows in order, whatever the container, the path, or fields that are not read.
    """

    kind: Kind
    rows: tuple[Pair, ...] | tuple[Single, ...]
    content_hash: str
    source: str


def read_preferences(path: Path) -> Preferences:
    """Read and check .jsonl, .jsonl.gz, .json (a list) or .parquet, in one pass.

    Rows are pairs (``prompt, chosen, rejected``, optional ``chosen_score, rejected_score``) or unpaired (``prompt,
    completion, label``); texts are strings, or lists of {role, content} whose completion is one assistant message.

    Raises UsageError with the file, the row (from 1), the field, the value and the right form of the first fault, and
    the count of further faulty rows.
    """
    rows: list[Pair | Single] = []
    first: tuple[int, RowError] | None = None
    further = 0
    for number, raw in raw_rows(path):
        try:
            if isinstance(raw, RowError):
                raise raw
            row = parse_row(raw, row=number)
            if rows:
                _check_alike(row, rows[0])
            rows.append(row)
        except RowError as fault:
            further += first is not None
            first = first or (number, fault)
    if first is not None:
        number, found = first
        more = f" ({further} further row{'s are' if further > 1 else ' is'} faulty too)" if further else ""
        raise UsageError(f"{path}, row {number}: {found.problem}{more}", fix=found.fix)
    if not rows:
        raise UsageError(f"{path} is empty: it holds no rows", fix="give a file with at least one row")
    return preferences_of(rows, source=str(path))


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


def _hashed(rows: Sequence[Pair | Single], *, kind: Kind, source: str) -> Preferences:
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(_canonical(row).encode())
    return Preferences(kind=kind, rows=tuple(rows), content_hash=digest.hexdigest(), source=source)  # type: ignore[arg-type]


def _canonical(row: Pair | Single) -> str:
    # Without the id: blank lines, or another container, do not make other data.
    if isinstance(row, Pair):
        content: list[object] = [row.prompt, row.chosen, row.rejected, row.chosen_score, row.rejected_score]
    else:
        content = [row.prompt, row.completion, row.label]
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def _check_alike(row: Pair | Single, first: Pair | Single) -> None:
    for here, there, field in zip(_traits(row), _traits(first), ("", "field 'prompt': ", ""), strict=True):
        if here != there:
            value = f"{shorten(row.prompt)} is of " if field else "the row is of "
            raise RowError(
                f"{field}{value}{here}, but row {first.id} is of {there}: schemas are mixed",
                fix="write all rows in one form, or make a file of each",
            )


def _traits(row: Pair | Single) -> tuple[str, str, str]:
    if isinstance(row, Single):
        return "unpaired (completion, label)", _form(row.prompt), ""
    scored = "with scores" if row.chosen_score is not None else "without scores"
    return "pairs (chosen, rejected)", _form(row.prompt), f"pairs {scored} (chosen_score, rejected_score)"


def _form(text: Text) -> str:
    return "plain strings" if isinstance(text, str) else "lists of messages"
