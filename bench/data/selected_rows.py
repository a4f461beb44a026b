"""Rows that the user selects by the value of a column."""

from collections.abc import Mapping

from bench.core.column_values import value_text
from bench.data.column_paths import NoFieldError, value_at
from bench.data.row_errors import RowError, listed


def unselected(row: Mapping[str, object], where: Mapping[str, str]) -> str | None:
    """Return the reason for which a row is left out, its column having another value; None: it is read.

    Raises RowError for a column that is not there.
    """
    for path, wanted in where.items():
        try:
            value = value_at(row, path)
        except NoFieldError:
            raise RowError(
                f"field '{path}' is missing, by which data.where selects rows (columns found: {listed(row) or 'none'})",
                fix="name a column that is there: --set data.where=turn=1",
            ) from None
        if value_text(value) != value_text(wanted):
            return f"{path} is not {wanted}"
    return None
