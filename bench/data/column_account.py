"""Account of a table's columns: in how many rows each was read, was not read, or was empty."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

_BLANK = frozenset(("", "[]", "{}", "null", "None", "nan", "NaN"))
_MESSAGE_KEYS = (frozenset(("role", "content")), frozenset(("from", "value")))


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A column, or a field in one, that nothing read: how many rows say something in it, and their share of all."""

    name: str
    rows: int
    share: float


@dataclass(kw_only=True)
class ColumnAccount:
    """What became of each column, in rows; accounts of parts of a table add up to that of the whole.

    Of each column ``present`` = ``read`` + ``unread`` + ``empty`` + ``left_out``: ``empty`` where it says nothing,
    ``left_out`` where its row makes no example (faulty, or without a preference). ``inside`` counts rows by fields of
    read columns that nothing read, such as ``completions[].critique``.
    """

    rows: int = 0
    present: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)

    def add(self, columns: Mapping[str, object], read: Collection[str], inside: Iterable[str] = ()) -> None:
        """Count a row of which these columns were read, and these fields inside them were not."""
        self.rows += 1
        for name, value in columns.items():
            self.present[name] += 1
            if is_empty(value):
                self.empty[name] += 1
            elif name in read:
                self.read[name] += 1
            else:
                self.unread[name] += 1
        for path in inside:
            self.inside[path] += 1

    def add_left_out(self, columns: Mapping[str, object]) -> None:
        """Count a row that makes no example."""
        self.rows += 1
        for name, value in columns.items():
            self.present[name] += 1
            (self.empty if is_empty(value) else self.left_out)[name] += 1

    def add_unreadable(self) -> None:
        """Count a row without columns: it could not be read at all."""
        self.rows += 1

    def __add__(self, other: Self) -> Self:
        """Return the account of both parts."""
        return type(self)(
            rows=self.rows + other.rows,
            present=self.present + other.present,
            read=self.read + other.read,
            unread=self.unread + other.unread,
            empty=self.empty + other.empty,
            left_out=self.left_out + other.left_out,
            inside=self.inside + other.inside,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the table, in its order."""
        return tuple(self.present)

    def not_read(self) -> tuple[Unread, ...]:
        """Return the columns that some row has and nothing read there, then fields inside columns that were read."""
        counted = [(name, self.present[name] - self.empty[name]) for name in self.present if self.unread[name]]
        inside = sorted(self.inside.items())
        return tuple(Unread(name=name, rows=count, share=count / self.rows) for name, count in counted + inside)

    def states(self) -> dict[str, str]:
        """Return of each column what became of it: read, not read, empty, or «left out» with all of its rows.

        A column that was read in some rows only counts as not read.
        """
        order = (("not read", self.unread), ("read", self.read), ("left out", self.left_out))
        return {name: next((state for state, rows in order if rows[name]), "empty") for name in self.present}


def is_empty(value: object) -> bool:
    """Say whether a value says nothing: null, NaN, blank, a list or an object of nothing else."""
    if value is None:
        return True
    if isinstance(value, str):
        return value in _BLANK or value.isspace()
    if isinstance(value, float):
        return value != value
    if isinstance(value, dict):
        return all(map(is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_empty, value))
    return False


def listed_unread(unread: Iterable[Unread], *, most: int = 12) -> str:
    """Return columns that nothing read in one line, each with its share of rows: «id (100 %), source (12 %)»."""
    parts = [f"{each.name} ({percent(each.share)})" for each in unread]
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def percent(share: float) -> str:
    """Return a share above 0 in per cent; neither few rows nor nearly all of them are rounded away."""
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{share:.0%}".replace("%", " %")


def fields_inside(name: str, value: object, keys: Collection[str] | None = None) -> Iterator[str]:
    """Yield the fields of a read column's objects that nothing read and that are not empty, each once.

    Args:
        keys: what is read of an object; None: what makes it a message.
    """
    objects = value if isinstance(value, list) else [value]
    seen: set[str] = set()
    for each in objects:
        if not isinstance(each, dict):
            continue
        read = keys if keys is not None else next((known for known in _MESSAGE_KEYS if known <= each.keys()), None)
        if read is None or (keys is None and len(each) == len(read)):
            continue
        seen.update(key for key, part in each.items() if key not in read and not is_empty(part))
    yield from (f"{name}{'[]' if isinstance(value, list) else ''}.{key}" for key in sorted(seen))
