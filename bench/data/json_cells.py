"""Cells that hold messages or objects as JSON in a string, as tables of strings have them."""

import json
from collections.abc import Mapping

from bench.data.row_errors import RowError, shorten
from bench.data.side_names import SIDES

_SIDES = (*SIDES, ("first", "second"))
_TEXTS = frozenset(("prompt", "completion", *(name for pair in _SIDES for name in pair)))
"""Columns whose value may be a text: JSON is taken for messages only where it is nothing else."""
_LISTS = frozenset(
    [
        "messages",
        "conversations",
        "rejected_messages",
        "history",
        "preferred_output",
        "non_preferred_output",
        "completions",
        "responses",
        "generations",
        "answers",
        "candidates",
        "scores",
        "ratings",
        "rating",
    ]
)
"""Columns that are never texts."""
_SPEAKERS = ("role", "from")
_WORDS = ("content", "value")
_PRINTED = tuple(f"[{{'{key}':" for key in (*_SPEAKERS, *_WORDS))


def with_json_cells(fields: dict[str, object]) -> dict[str, object]:
    """Return the row with messages and lists in place of the strings that hold them as JSON.

    The two answers of a pair are turned together: a single one may be a text about messages. Raises RowError for lists
    as Python prints them, which are no JSON.
    """
    suspects: list[str] = [
        name
        for name, value in fields.items()
        if isinstance(value, str) and value[:1] in ("[", "{") and (name in _TEXTS or name in _LISTS or name == "input")
    ]
    suspects += _ranked_text(fields) if "text" in fields else []
    if not suspects:
        return fields
    decoded = {name: value for name in suspects if (value := _decoded(name, fields[name])) is not None}
    for one, two in _SIDES:
        if one not in fields or two not in fields:
            continue
        if (one in decoded) != (two in decoded) and isinstance(fields[one], str) and isinstance(fields[two], str):
            decoded.pop(one, None)
            decoded.pop(two, None)
    return {**fields, **decoded} if decoded else fields


def object_in(text: str) -> dict[str, object] | None:
    """Return the row that a string holds as JSON; None where it holds none."""
    value = _loaded(text) if text[:1] == "{" else None
    return value if isinstance(value, dict) else None


def _ranked_text(fields: Mapping[str, object]) -> list[str]:
    """Return text and score where both are lists: by themselves they may be anything."""
    both = ("text", "score")
    return list(both) if all(str(fields.get(name)).startswith("[") for name in both) else []


def _decoded(name: str, text: object) -> object:
    """Return messages, or a list where the column is none of texts; None: the value stays as it is."""
    if not isinstance(text, str):
        return None
    if text.startswith(_PRINTED):
        raise RowError(
            f"field '{name}': {shorten(text)} is a list as Python prints it, not JSON",
            fix="save the table as parquet or JSON lines, or the column by json.dumps",
            kind="with a list that is printed",
        )
    value = _loaded(text)
    if name == "input":
        return value if isinstance(value, dict) and "messages" in value else None
    if name in _LISTS or name in ("text", "score"):
        return value if isinstance(value, list | dict) else None
    if isinstance(value, list):
        return value if value and all(map(_is_message, value)) else None
    return value if name != "prompt" and _is_message(value) else None


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and any(
        isinstance(value.get(speaker), str) and isinstance(value.get(words), str)
        for speaker, words in zip(_SPEAKERS, _WORDS, strict=True)
    )
