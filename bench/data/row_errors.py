"""Errors of one row, and the display of values and columns in messages."""

from collections.abc import Iterable

_MAX_COLUMNS = 12


class RowError(Exception):
    """What is wrong with one row, and what would be right; the reader adds the file and the row's number.

    ``kind`` is "empty" (an answer without text), "equal" (two answers that are one) or "" (anything else).
    """

    def __init__(self, problem: str, *, fix: str, kind: str = "") -> None:
        self.problem = problem
        self.fix = fix
        self.kind = kind
        super().__init__(problem)

    def __reduce__(self) -> tuple[object, ...]:
        """Cross over to another process with everything that it says."""
        return _restored, (self.problem, self.__dict__)


def _restored(problem: str, attributes: dict[str, str]) -> RowError:
    fault = RowError(problem, fix="")
    fault.__dict__.update(attributes)
    return fault


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
