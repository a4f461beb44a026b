"""Indexes and names of columns that stand where an answer should: «chosen: 0» beside a list of answers."""

import re
from collections.abc import Mapping

from bench.data.mapped_columns import unnoted
from bench.data.row_errors import RowError, shorten

_PARTS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z0-9])")
_ANSWERS = frozenset(
    [
        "answer",
        "answers",
        "response",
        "responses",
        "completion",
        "completions",
        "output",
        "outputs",
        "generation",
        "generations",
        "candidate",
        "candidates",
        "summary",
        "summaries",
        "reply",
        "replies",
        "model",
        "ref",
        "text",
        "prediction",
    ]
)
LONGEST = 24
"""Characters of the longest name of an answer."""
_FIX = (
    "write the answers themselves; or say where they stand and which one won: --columns prompt=NAME,first=NAME,"
    "second=NAME,winner={name} with --winner VALUE=first,VALUE=second"
)


def refuse_index(raw: Mapping[str, object], chosen: tuple[str, object], rejected: tuple[str, object]) -> None:
    """Raise RowError where chosen and rejected (field, value) name answers of other columns, and are none themselves.

    Short words alone are no index: they may be the answers, as in a choice of «A» or «B».
    """
    one, two = _code(chosen[1]), _code(rejected[1])
    if one is None or two is None:
        return
    numbers = not isinstance(chosen[1], str) and not isinstance(rejected[1], str)
    where = _pointed_at(unnoted(raw), one, two, besides=(chosen[0], rejected[0]))
    if where is None and not numbers:
        return
    raise RowError(
        f"fields '{chosen[0]}' and '{rejected[0]}': {shorten(chosen[1])} and {shorten(rejected[1])} are "
        + (f"no answers, but which of {where} they are" if where else "numbers, and no answers"),
        fix=_FIX.format(name=chosen[0]),
        kind="with an index in place of an answer",
    )


def _code(value: object) -> str | None:
    if isinstance(value, str):
        text = value.strip()
        return text if 0 < len(text) <= LONGEST and "\n" not in text else None
    return str(value) if isinstance(value, int) else None


def _pointed_at(fields: Mapping[str, object], one: str, two: str, *, besides: tuple[str, str]) -> str | None:
    """Return the columns that two codes point at: of these names, of names that end in them, or a list of answers."""
    others = [name for name in fields if name not in besides]
    if one != two and one in others and two in others:
        return f"'{one}' and '{two}'"
    stems = {_stem(name, one): name for name in others}
    for name in others:
        stem = _stem(name, two)
        if stem and stem in stems and _ANSWERS.intersection(stem):
            return f"'{stems[stem]}' and '{name}'"
    for name in others:
        answers = fields[name]
        if not isinstance(answers, list) or not _ANSWERS.intersection(_words(name)):
            continue
        if all(code.isdecimal() and int(code) <= len(answers) for code in (one, two)):
            return f"'{name}'"
    return None


def _words(name: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in _PARTS.split(name) if part)


def _stem(name: str, code: str) -> tuple[str, ...]:
    """Return a name's words without a code at their end; nothing where they do not end so."""
    words, end = _words(name), _words(code)
    return words[: -len(end)] if end and len(words) > len(end) and words[-len(end) :] == end else ()
