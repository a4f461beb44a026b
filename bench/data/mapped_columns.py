"""Columns that a user names: rows with columns under our names, and which of these a reader takes."""

from collections.abc import Collection, Iterator, Mapping

from bench.data.answer_names import refuse_unread_verdict
from bench.data.column_account import fields_inside, is_empty
from bench.data.column_paths import EACH, NoFieldError, columns_of, joined_text, roots_of, value_at
from bench.data.row_errors import RowError, listed
from bench.errors import UsageError

_ABSENT = object()
LISTED = ("winner", "answers")
"""Our names whose several columns are a list."""


class MappedRow(Mapping[str, object]):
    """A row that notes the fields that are taken from it in ``taken``; asking whether there is one takes nothing.

    ``read_keys`` names what was read of the objects in a field, where a reader says it.
    """

    __slots__ = ("_fields", "read_keys", "taken")

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields
        self.taken: set[str] = set()
        self.read_keys: dict[str, set[str]] = {}

    def __getitem__(self, name: str) -> object:
        value = self._fields[name]
        self.taken.add(name)
        return value

    def get(self, name: str, default: object = None) -> object:
        """Return a field's value, or the default; likewise noted."""
        value = self._fields.get(name, _ABSENT)
        if value is _ABSENT:
            return default
        self.taken.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def unnoted(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return a row in which one may look without taking anything."""
    return fields._fields if isinstance(fields, MappedRow) else fields


def note_keys(fields: Mapping[str, object], name: str, keys: Collection[str]) -> None:
    """Note which keys of the objects in a field are read, where the row notes what is taken from it."""
    if isinstance(fields, MappedRow):
        fields.read_keys.setdefault(name, set()).update(keys)


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
            kind=f"without '{path}'",
        ) from None


def columns_read(raw: Mapping[str, object], taken: Collection[str], columns: Mapping[str, str]) -> set[str]:
    """Return the table's own columns that a reader took, by whichever names it took them."""
    read = {name for name in taken if name not in columns}
    read.update(root for name, column in columns.items() if name in taken for root in roots_of(column, raw))
    return read


def unread_inside(raw: Mapping[str, object], row: MappedRow, columns: Mapping[str, str]) -> list[str]:
    """Return the fields inside columns that were read which nothing read, such as ``completions[].critique``."""
    paths: list[str] = []
    for name in row.taken:
        value = row._fields[name]
        if not isinstance(value, list | dict):
            continue
        label = columns.get(name, name)
        keys = row.read_keys.get(name)
        paths += fields_inside(label, value, keys)
        for key in keys or ():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, dict) and isinstance(each.get(key), list):
                    paths += fields_inside(f"{label}{'[]' if isinstance(value, list) else ''}.{key}", each[key])
    for root, wanted in _paths_into(raw, columns).items():
        paths += _beside(root, raw.get(root), wanted)
    return list(dict.fromkeys(paths))


def check_taken(columns: Mapping[str, str], taken: Collection[str], *, source: str, data_format: str) -> None:
    """Raise UsageError for columns that were named and that the reader took from no row of ``source``."""
    passed_over = [name for name in columns if name not in taken]
    if passed_over:
        named = listed(f"{name}={columns[name]}" for name in passed_over)
        raise UsageError(
            f"{source}: --columns {named}: rows of format {data_format} have no {listed(passed_over)}, so nothing "
            "would read it",
            fix="leave it out of --columns, or name the format that has it: --data-format",
        )


def check_ignored(ignored: Collection[str], present: Collection[str], *, source: str) -> None:
    """Raise UsageError for columns that are to be ignored and that no row of ``source`` has."""
    absent = [name for name in ignored if name not in present]
    if absent:
        raise UsageError(
            f"{source}: data.ignore names {listed(map(repr, absent))}, which no row has (columns found: "
            f"{listed(present)})",
            fix="name columns that are there, or leave the option out",
        )


def _paths_into(raw: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, list[list[str]]]:
    """Return the paths into each column that is taken by its fields alone."""
    paths: dict[str, list[list[str]]] = {}
    whole = {path for column in columns.values() for path in columns_of(column, raw)}
    for path in whole:
        root = roots_of(path, raw)[0]
        if path != root and root not in whole:
            paths.setdefault(root, []).append(path.removeprefix(f"{root}.").split("."))
    return paths


def _beside(path: str, value: object, wanted: list[list[str]]) -> Iterator[str]:
    """Yield what a path into an object or a list passes by: the other fields and elements, where they are not empty."""
    if not all(wanted):
        return
    parts = {str(key): part for key, part in value.items()} if isinstance(value, dict) else {}
    if isinstance(value, list):
        parts = {str(index): part for index, part in enumerate(value)}
    for key, part in parts.items():
        names = {key, EACH, str(int(key) - len(value))} if isinstance(value, list) else {key}
        below = [rest[1:] for rest in wanted if rest[0] in names]
        if below:
            yield from _beside(f"{path}.{key}", part, below)
        elif not is_empty(part):
            yield f"{path}.{key}"
