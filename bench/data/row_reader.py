"""Reading of one row after another: its format, its columns under our names, what was read of them, its examples."""

from collections.abc import Mapping

from bench.core.data_options import DataOptions
from bench.data.column_account import ColumnAccount
from bench.data.column_guards import guarded, refuse_never_read, refuse_unread
from bench.data.column_paths import roots_of
from bench.data.json_cells import with_json_cells
from bench.data.mapped_columns import MappedRow, columns_read, renamed, unread_inside
from bench.data.readers.registry import DECIDED_BY_SCORES, Reader, named_format, reader_for, recognise
from bench.data.row_errors import RowError
from bench.data.rows import Dropped, Pair, Single, as_object
from bench.data.score_order import in_order
from bench.data.selected_rows import unselected
from bench.data.system_column import with_system
from bench.data.untemplated import untemplated

Example = Pair | Single | Dropped


class RowReader:
    """Reader of a table's rows. The first row with a known format sets that of all, where the options name none.

    ``account`` is of the columns of all rows so far, ``taken`` are the names of ours under which columns were read.
    Several readers may share a table, if they know its ``format``; their accounts add up.
    """

    def __init__(self, options: DataOptions, *, data_format: str = "") -> None:
        self._options = options
        self.format = data_format or named_format(options) or ""
        self._reader: Reader | None = reader_for(self.format, options) if self.format else None
        self.account = ColumnAccount()
        self.taken: set[str] = set()

    def read(self, raw: object, row: int) -> list[Example]:
        """Return what a row holds: pairs, completions, or why there are none. ``raw`` may be its ``RowError``.

        Raises:
            RowError: what is wrong with it.
        """
        if isinstance(raw, RowError):
            self.account.add_unreadable()
            raise raw
        try:
            columns = as_object(raw)
        except RowError:
            self.account.add_unreadable()
            raise
        try:
            other = unselected(columns, self._options.where)
            if other is not None:
                self.account.add_left_out(columns)
                return [Dropped(reason=other)]
            fields, examples = self._examples(columns, row)
        except RowError:
            self.account.add_left_out(columns)
            raise
        self.taken |= fields.taken
        if all(isinstance(example, Dropped) for example in examples):
            self.account.add_left_out(columns)
        else:
            inside = unread_inside(columns, fields, self._options.columns)
            read = columns_read(columns, fields.taken, self._options.columns)
            read.update(root for path in self._options.where for root in roots_of(path, columns))
            self.account.add(columns, read, inside)
        return examples

    def _examples(self, columns: dict[str, object], row: int) -> tuple[MappedRow, list[Example]]:
        options = self._options
        known = columns
        if options.ignore:
            known = {name: value for name, value in columns.items() if name not in options.ignore}
        named = with_json_cells(renamed(known, options.columns))
        if self._reader is None:
            self.format = recognise(named)
            self._reader = reader_for(self.format, options)
        guards = guarded(tuple(named))
        if options.columns:
            guards = tuple(each for each in guards if each[0] not in options.columns)
        if guards:
            refuse_never_read(named, guards)
        fields = MappedRow(named)
        # A list, so that a row of which one pair is faulty gives none.
        examples = [self._finished(example, fields) for example in self._reader(fields, options, row)]
        first = next((example for example in examples if not isinstance(example, Dropped)), None)
        if guards and first is not None:
            if "winner" in options.columns or "first_score" in options.columns:  # the verdict is mapped by hand
                guards = tuple(each for each in guards if each[1] != "verdict")
            refuse_unread(named, guards, read=fields.taken, prompt=first.prompt)
        return fields, examples

    def _finished(self, example: Example, fields: Mapping[str, object]) -> Example:
        by_scores = self.format in DECIDED_BY_SCORES
        ordered = in_order(example, fields, self._options, decided_by_scores=by_scores)
        if isinstance(ordered, Dropped):
            return ordered
        return with_system(untemplated(ordered, self._options.form), fields, self._options)
