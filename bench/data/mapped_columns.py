"""Columns that a user names: rows with columns under our names, and which of these a reader takes."""

from collections.abc import Iterator, Mapping

from bench.data.row_errors import RowError, listed
from bench.errors import UsageError


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
    """Return a row with columns under our names; «input.text» names a field of an object. Raises RowError."""
    if not columns:
        return raw
    taken = {column for column in columns.values() if column not in columns}
    fields = {name: value for name, value in raw.items() if name not in taken}
    for name, column in columns.items():
        value: object = raw
        for part in [column] if column in raw else column.split("."):
            if not isinstance(value, dict) or part not in value:
                raise RowError(
                    f"field '{column}' is missing, which --columns takes for {name} (columns found: "
                    f"{', '.join(map(str, list(raw)[:12])) or 'none'})",
                    fix=f"--columns {name}=NAME with the name of a column that is there",
                )
            value = value[part]
        fields[name] = value
    return fields


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
