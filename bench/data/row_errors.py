"""Errors of rows: one by itself, many by kind, and the display of values and columns in messages."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

_MAX_COLUMNS = 12
_FIELD = re.compile(r"fields? '([^'.\[]{1,40})")
FAULTS_KEPT = 10
"""Faults that are kept with their place; of all others the kind is counted."""


class RowError(Exception):
    """What is wrong with one row, and what would be right; the reader adds the file and the row's number.

    ``kind`` is a word or two by which faults are counted: «5 equal, 6 empty, 2 with 'tools'»; by default it follows
    from the field that the problem names. "empty" (an answer without text) and "equal" (two answers that are one) have
    options of their own.
    """

    def __init__(self, problem: str, *, fix: str, kind: str = "") -> None:
        self.problem = problem
        self.fix = fix
        self.kind = kind or _kind_of(problem)
        super().__init__(problem)

    def __reduce__(self) -> tuple[Callable[[str, str, str], "RowError"], tuple[str, str, str]]:
        """Return how a copy is made, in another process too: exceptions by themselves forget keywords."""
        return _row_error, (self.problem, self.fix, self.kind)


def _kind_of(problem: str) -> str:
    name = _FIELD.match(problem)
    if name is None:
        return "other"
    return f"without '{name[1]}'" if re.search(r" (?:is|are) missing", problem) else f"with a faulty '{name[1]}'"


def _row_error(problem: str, fix: str, kind: str) -> RowError:
    return RowError(problem, fix=fix, kind=kind)


@dataclass(kw_only=True)
class Faults:
    """Faulty rows: how many of each kind, and the first ones with their places. Those of parts of a file add up."""

    kinds: Counter[str] = field(default_factory=Counter)
    first: list[tuple[str, RowError]] = field(default_factory=list)

    def add(self, where: str, fault: RowError) -> None:
        """Count the fault of the row at that place."""
        self.kinds[fault.kind] += 1
        if len(self.first) < FAULTS_KEPT:
            self.first.append((where, fault))

    def __add__(self, later: Self) -> Self:
        """Return the faults of two parts, the first part's first."""
        return type(self)(kinds=self.kinds + later.kinds, first=(self.first + later.first)[:FAULTS_KEPT])

    @property
    def total(self) -> int:
        """Faulty rows."""
        return self.kinds.total()


def by_kind(kinds: Mapping[str, int]) -> str:
    """Return «6 empty, 5 equal», the most frequent kind first, «other» last."""
    ordered = sorted(kinds.items(), key=lambda each: (each[0] == "other", -each[1], each[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)


def shorten(value: object, *, width: int = 60) -> str:
    """Return ``repr(value)``, cut in the middle to at most ``width`` characters."""
    text = repr(value)
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[-(width - 1 - head) :]}"


def listed(columns: Iterable[object]) -> str:
    """Return the columns of a row for a message: the first ones, and each cut to a readable length."""
    names = [name if isinstance(name, str) and len(name) <= 60 else shorten(name) for name in columns]
    more = f" and {len(names) - _MAX_COLUMNS} more" if len(names) > _MAX_COLUMNS else ""
    return ", ".join(map(str, names[:_MAX_COLUMNS])) + more


def type_name(value: object) -> str:
    """Return what JSON calls the value, with its article."""
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return names.get(type(value), f"of type {type(value).__name__}")
