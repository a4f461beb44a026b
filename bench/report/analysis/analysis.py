"""The analysis of a results folder: its records, grouped and compared once, for every table, figure and page."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.core.record import RunRecord
from bench.core.results import load_records
from bench.report.analysis.compared import Compared, compare_group
from bench.report.analysis.ranking import choose_groups
from bench.report.analysis.settings import Group


@dataclass(frozen=True)
class Analysis:
    """Records and their groups: one protocol, suite, start model and data set each. ``groups`` may be fewer."""

    records: tuple[RunRecord, ...]
    groups: tuple[Group, ...]

    @cached_property
    def comparisons(self) -> tuple[Compared, ...]:
        """The comparison of each group, in the order of ``groups``; computed when first used."""
        return tuple(map(compare_group, self.groups))


def analyse(records: Iterable[RunRecord], *, protocol: str | None = None) -> Analysis:
    """Group ``records``, or those of one protocol (see ``choose_groups``).

    Raises:
        UsageError: ``protocol`` names none, or several.
    """
    kept = tuple(records)
    return Analysis(kept, tuple(choose_groups(kept, protocol=protocol)))


def analyse_folder(results: Path, *, protocol: str | None = None) -> Analysis:
    """Load, check and group the records under ``results``.

    Raises:
        RunError: a damaged record. UsageError: as ``analyse``.
    """
    return analyse(load_records(results), protocol=protocol)
