"""Paths to what a column holds: fields of objects, elements of lists, JSON in strings, and several columns as one."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache

from bench.data.row_errors import RowError, listed, shorten, type_name

EACH = "*"
"""The element of a path that stands for every element of a list."""
JOIN = "+"
"""Between columns that are read as one: texts below each other, or verdicts of several annotators."""
PARAGRAPH = "\n\n"


class NoFieldError(Exception):
    """A path that leads nowhere in a row; the text says how far it leads."""


def value_at(row: Mapping[str, object], path: str) -> object:
    """Return what a path leads to: a column, «answers.0.text», «info.post», «votes.*.winner», «turns.-1».

    A name with a dot in it is taken whole where a field has it. Raises NoFieldError.
    """
    return row[path] if path in row else _descend(row, _steps(path), path)


def columns_of(expression: str, row: Mapping[str, object]) -> tuple[str, ...]:
    """Return the paths of an expression: «a+b» is two, unless a column is called that."""
    return (expression,) if expression in row or JOIN not in expression else _joined(expression)


def roots_of(expression: str, row: Mapping[str, object]) -> tuple[str, ...]:
    """Return the columns of a row that an expression reads from, whole or in part: «info.post+title» reads two."""
    roots = []
    for path in columns_of(expression, row):
        steps = _steps(path)
        heads = (".".join(steps[:count]) for count in range(len(steps), 0, -1))
        roots += [next((head for head in heads if head in row), path)]
    return tuple(roots)


def joined_text(values: Iterable[object], names: Iterable[str]) -> str:
    """Return texts below each other, blank and absent ones left out; a list's lines stand one below the other.

    Raises RowError for what is no text.
    """
    parts = [_text(value, name) for value, name in zip(values, names, strict=True)]
    return PARAGRAPH.join(part for part in parts if part.strip())


def _text(value: object, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(each, name) for each in value)
    raise RowError(
        f"field '{name}': {shorten(value)} is {type_name(value)}, which cannot be joined with other text",
        fix="join columns that hold strings: --columns prompt=instruction+input",
    )


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


@lru_cache(maxsize=256)
def _joined(expression: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in expression.split(JOIN))


def _descend(value: object, steps: tuple[str, ...], path: str) -> object:
    if not steps:
        return value
    if isinstance(value, str):
        value = _json(value, path)
    if isinstance(value, list):
        return _element(value, steps, path)
    if not isinstance(value, Mapping):
        raise NoFieldError(f"{shorten(value)} is {type_name(value)}, which has no '{steps[0]}'")
    for count in range(len(steps), 0, -1):
        name = ".".join(steps[:count])
        if name in value:
            return _descend(value[name], steps[count:], path)
    raise NoFieldError(f"there is no '{steps[0]}' among {listed(value) or 'no fields'}")


def _element(value: list[object], steps: tuple[str, ...], path: str) -> object:
    step, *rest = steps
    if step == EACH:
        return [_descend(each, tuple(rest), path) for each in value]
    try:
        index = int(step)
    except ValueError:
        raise NoFieldError(f"a list of {len(value)} has elements 0, 1, …, -1 or {EACH}, and no '{step}'") from None
    if not -len(value) <= index < len(value):
        raise NoFieldError(f"a list of {len(value)} has no element {index}")
    return _descend(value[index], tuple(rest), path)


def _json(text: str, path: str) -> object:
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    raise NoFieldError(f"{shorten(text)} is a string, which has no fields, on the way to '{path}'")
