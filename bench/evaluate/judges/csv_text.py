"""CSV text of a judge's table of results."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


def csv_text(rows: Iterable[Mapping[str, str | float]], *, columns: Sequence[str]) -> str:
    """Return the rows as CSV, with every digit; NaN is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue()
