"""Reading of raw rows, part by part: preference rows, and what was left out or is faulty."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bench.core.data_options import DataOptions
from bench.data.column_account import ColumnAccount
from bench.data.files import Raw
from bench.data.filters import PreferenceRow, filtered
from bench.data.json_rows import decoded
from bench.data.row_errors import Faults, RowError, shorten
from bench.data.row_reader import RowReader
from bench.data.rows import Dropped, Single, Text

PLACE = "\0"
"""Between the file in the folder and the row, in the places of faults."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What the first rows of a data set decide for all others: their format, and what they must be alike."""

    format: str = ""
    first: PreferenceRow | None = None


@dataclass(kw_only=True)
class Part:
    """What consecutive raw rows hold; parts add up in their order.

    ``dropped`` counts rows without a preference by reason, ``outside`` those beyond a limit. ``faults`` has the first
    ones with their places in the data set. ``taken``: named columns that a reader took.
    """

    rows: list[PreferenceRow] = field(default_factory=list)
    raw: int = 0
    accepted: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)
    account: ColumnAccount = field(default_factory=ColumnAccount)
    taken: set[str] = field(default_factory=set)
    begun: Begun = field(default_factory=Begun)

    def count(self, other: "Part") -> None:
        """Add everything of the following part but its rows."""
        self.raw += other.raw
        self.accepted += other.accepted
        self.dropped.update(other.dropped)
        self.outside.update(other.outside)
        self.faults = self.faults + other.faults
        self.account = self.account + other.account
        self.taken |= other.taken
        self.begun = other.begun


def read_part(raws: Iterable[Raw], options: DataOptions, begun: Begun) -> Part:
    """Return the rows of consecutive raw rows, within the limits of ``options``; faulty rows are kept apart."""
    part = Part()
    reader, first = RowReader(options, data_format=begun.format), begun.first
    for shard, number, raw in raws:
        part.raw += 1
        try:
            for example in reader.read(decoded(raw), number):
                if isinstance(example, Dropped):
                    part.dropped[example.reason] += 1
                    continue
                located = replace(example, shard=shard) if shard else example
                first = first or located
                _check_alike(located, first)
                part.rows.append(located)
        except RowError as fault:
            reason = _left_out(fault, options)
            if reason is not None:
                part.dropped[reason] += 1
            else:
                part.faults.add(f"{shard}{PLACE}{number}", fault)
    part.accepted = len(part.rows)
    part.rows, part.outside = filtered(part.rows, options)
    part.account, part.taken = reader.account, reader.taken
    part.begun = Begun(format=reader.format, first=first)
    return part


def _left_out(fault: RowError, options: DataOptions) -> str | None:
    """Return the reason for which a faulty row is left out; None: it is not."""
    if fault.kind == "empty" and (options.drop_empty or options.drop_faulty):
        return "empty answer"
    if fault.kind == "equal" and (options.drop_equal or options.drop_faulty):
        return "answers are equal"
    return "faulty" if options.drop_faulty else None


def _check_alike(row: PreferenceRow, first: PreferenceRow) -> None:
    for here, there, name in zip(_traits(row), _traits(first), ("", "field 'prompt': ", ""), strict=True):
        if here != there:
            value = f"{shorten(row.prompt)} is of " if name else "the row is of "
            raise RowError(
                f"{name}{value}{here}, but row {first.id} is of {there}: schemas are mixed",
                fix="write all rows in one form, or make a file of each",
            )


def _traits(row: PreferenceRow) -> tuple[str, str, str]:
    if isinstance(row, Single):
        return "unpaired (completion, label)", _form(row.prompt), ""
    scored = "with scores" if row.chosen_score is not None else "without scores"
    return "pairs (chosen, rejected)", _form(row.prompt), f"pairs {scored} (chosen_score, rejected_score)"


def _form(text: Text) -> str:
    return "plain strings" if isinstance(text, str) else "lists of messages"
