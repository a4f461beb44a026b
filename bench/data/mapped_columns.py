"""Columns that a user names: rows with columns under our names, and which of these a reader takes."""

from collections.abc import Iterator, Mapping

from bench.data.answer_names import refuse_unread_verdict
from bench.data.column_paths import NoFieldError, columns_of, joined_text, value_at
from bench.data.row_errors import RowError, listed
from bench.errors import UsageError

LISTED = ("winner", "answers")
"""Our names whose several columns are a list."""


class MappedRow(Mapping[str, object]):
    """A row that notes the fields that are taken from it in ``taken``; asking whether there is one takes nothing."""

    def __init__(self, fields: Mapping[str, object], taken: set[str]) -> None:
        self._fields = fields
        self._taken = taken

    def __getitem__(self, name: str) -> object:
        self._taken.add(name)
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def renamed(raw: dict[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """Return a row with columns under our names. Raises RowError.

    «input.text» and «answers.0.text» are paths, and «instruction+input» two columns: their texts below each other, or,
    for ``winner`` and ``answers``, the list of their values.
    """
    if not columns:
        return raw
    refuse_unread_verdict(raw, columns)
    paths = {name: columns_of(expression, raw) for name, expression in columns.items()}
    read = {path for each in paths.values() for path in each if path not in columns}
    fields = {name: value for name, value in raw.items() if name not in read}
    for name in columns:
        values = [_value(raw, path, name) for path in paths[name]]
        if len(values) == 1:
            fields[name] = values[0]
        elif name in LISTED:
            fields[name] = [part for each in values for part in (each if isinstance(each, list) else [each])]
        else:
            fields[name] = joined_text(values, paths[name])
    return fields


def _value(raw: dict[str, object], path: str, name: str) -> object:
    try:
        return value_at(raw, path)
    except NoFieldError as error:
        nested = f": {error}" if any(mark in path for mark in ".*") else ""
        raise RowError(
            f"field '{path}' is missing, which --columns takes for {name}{nested} (columns found: "
            f"{listed(raw) or 'none'})",
            fix=f"--columns {name}=NAME with the name of a column that is there",
        ) from None


def check_taken(columns: Mapping[str, str], taken: set[str], *, source: str, data_format: str) -> None:
    """Raise UsageError for columns that were named and that the reader took from no row of ``source``."""
    passed_over = [name for name in columns if name not in taken]
    if passed_over:
        named = listed(f"{name}={columns[name]}" for name in passed_over)
        raise UsageError(
            f"{source}: --columns {named}: rows of format {data_format} have no {listed(passed_over)}, so nothing "
            "would read it",
            fix="leave it out of --columns, or name the format that has it: --data-format",
        )
