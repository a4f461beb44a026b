"""Analysis of a folder's records: groups, comparisons, costs and pruning, each computed once for every report."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.core.record import RunRecord
from bench.core.results import load_records
from bench.report.analysis.comparison import Comparison, compare_group
from bench.report.analysis.costs import CostRow, costs_of
from bench.report.analysis.pruning import Pruning, pruning_of
from bench.report.analysis.ranking import choose_groups
from bench.report.analysis.settings import Group


@dataclass(frozen=True)
class Analysis:
    """Records and what follows from them; tables, figures, page and costs are made from it.

    ``groups``: the records that may be compared with each other, each of one protocol, suite, model and data set.
    ``margin``: differences below it do not matter; None: that of each group's suite.
    """

    records: tuple[RunRecord, ...]
    groups: tuple[Group, ...]
    margin: float | None = None

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparison of each group."""
        return tuple(compare_group(group, margin=self.margin) for group in self.groups)

    @cached_property
    def costs(self) -> tuple[CostRow, ...]:
        """The costs by protocol, suite and objective."""
        return tuple(costs_of(self.records))

    @cached_property
    def pruning(self) -> tuple[Pruning, ...]:
        """The effect of each protocol's pruner."""
        return tuple(pruning_of(self.records))


def analyse(records: Iterable[RunRecord], *, protocol: str | None = None, margin: float | None = None) -> Analysis:
    """Return the analysis of ``records``, equal for equal records in any order.

    ``protocol`` keeps the groups of one protocol (see ``choose_groups``); costs stay those of all records. ``margin``:
    of the words, in the target's unit (see ``compare_group``). Raises UsageError for an unknown protocol, RunError
    where one run was evaluated twice under one protocol.
    """
    kept = tuple(records)
    return Analysis(kept, tuple(choose_groups(kept, protocol=protocol)), margin)


def analyse_folder(results: Path, *, protocol: str | None = None, margin: float | None = None) -> Analysis:
    """Load, check and group the records under ``results``. Raises RunError for a damaged record."""
    return analyse(load_records(results), protocol=protocol, margin=margin)
