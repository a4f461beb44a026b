"""A column of the leaderboard: its key, label and unit, its value in a row, and the outputs that show it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.core.record import START
from bench.report.analysis.comparison import Comparison, ObjectiveResult
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting, Split
from bench.report.tables.format import Format, Value, value_text

Output = Literal["markdown", "sweeps", "latex", "page", "terminal"]
"""What people read; ``sweeps`` is the second table of the Markdown, with a row for each objective."""
Getter = Callable[["Entry"], Value]
Heading = str | Callable[[Comparison], str]


@dataclass(frozen=True)
class Entry:
    """One row of a table: a setting, its objective's result where validation chose the setting, and its prompts."""

    comparison: Comparison
    setting: Setting
    result: ObjectiveResult | None
    split: Split = "test"

    @property
    def group(self) -> Group:
        """The group of the setting."""
        return self.comparison.group

    @property
    def untrained(self) -> bool:
        """Whether this is the start model."""
        return self.setting.objective == START


@dataclass(frozen=True)
class Column:
    """One column: what it is called, its value in a row, and where and how it is shown.

    Args:
        key: its name in the CSV and in the page's markup.
        label: its heading for people, or what makes it from the comparison; ``unit`` stands behind it.
        value: an entry's value; None and NaN where there is none.
        csv: its section of the CSV, None to leave it out; ``bounds`` adds the interval's ends, ``_low`` and ``_high``.
        shows: the outputs for people that have it, each with its format.
        brief: its heading on the terminal, where it is another one.
        abbreviate: shortens the text for people; the CSV has all of it.
        by_split: on the page it is there once for test and once for validation prompts, else for "both" or one.
        about: the page's explanation. ``falling``: there a first sort puts high values on top. ``plot``: there the
            interval is drawn.
    """

    key: str
    label: Heading
    value: Getter
    unit: str = ""
    csv: str | None = None
    bounds: bool = False
    shows: Mapping[Output, Format] = field(default_factory=dict)
    abbreviate: Callable[[str], str] | None = None
    numeric: bool = True
    brief: Heading | None = None
    by_split: Literal["each", "both", "test"] = "each"
    about: Heading = ""
    falling: bool = False
    plot: bool = False

    def heading(self, comparison: Comparison, output: Output, *, unit: bool = True) -> str:
        """Return the heading in one output, as «KL [nats]»."""
        own = self.shows[output].label
        label = self.label if self.brief is None or output != "terminal" else self.brief
        heading = own if own is not None else _resolved(label, comparison)
        return f"{heading} [{self.unit}]" if self.unit and unit else heading

    def explanation(self, comparison: Comparison) -> str:
        """Return what the page says of the column."""
        return _resolved(self.about, comparison)

    def text(self, entry: Entry, output: Output) -> str:
        """Return the value in ``entry`` as one output shows it."""
        text = value_text(self.value(entry), self.shows[output])
        return self.abbreviate(text) if self.abbreviate else text


def of_result(get: Callable[[ObjectiveResult], Value]) -> Getter:
    """Return a getter of a number of the objective's result."""
    return lambda entry: None if entry.result is None else get(entry.result)


def names_in_csv(column: Column) -> list[str]:
    """Return a column's names in the CSV."""
    return [f"{column.key}{end}" for end in (("", "_low", "_high") if column.bounds else ("",))]


def entries(comparison: Comparison, *, split: Split = "test") -> list[Entry]:
    """Return an entry for each setting and for the start model, best settings first."""
    return [
        Entry(comparison, setting, comparison.result(setting) if split == "test" else None, split)
        for setting in ranked(comparison.group)
    ]


def objective_entries(comparison: Comparison) -> list[Entry]:
    """Return an entry for each objective, best first, also for those of which validation chose no setting."""
    first = {setting.objective: setting for setting in reversed(comparison.group.settings)}
    return [Entry(comparison, first[name], result) for name, result in comparison.results.items()]


def _resolved(heading: Heading, comparison: Comparison) -> str:
    return heading if isinstance(heading, str) else heading(comparison)
