"""Files of the leaderboard: CSV, Markdown and LaTeX, costs by setting, and every trial in tidy form."""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.record import GOLD_REWARD, START, RunRecord
from bench.errors import UsageError, did_you_mean
from bench.report.analysis.analysis import Analysis, analyse, analyse_folder
from bench.report.analysis.costs import total_cost
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting
from bench.report.tables.column import Column, Entry, entries, names_in_csv
from bench.report.tables.columns import csv_columns, csv_names
from bench.report.tables.text import reward_key
from bench.stats.intervals import Interval
from bench.stats.verdicts import PairVerdict
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from pandas import DataFrame

Cell = str | float | bool | None
FORMATS = ("csv", "md", "tex")
IDENTITY = ("protocol", "suite", "suite_version", "model", "data", "objective", "params", "beta", "learning_rate")

FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9.]+(?:[eE][+-]?[0-9]+)?$)")

COSTS = (
    "train_seconds",
    "evaluate_seconds",
    "reference_seconds",
    "tokens",
    "forward_tokens",
    "flops",
    "peak_memory_bytes",
)


@dataclass(frozen=True)
class Paths:
    """The leaderboard's files; None for formats that were not requested."""

    csv: Path | None
    markdown: Path | None
    latex: Path | None
    trials: Path | None
    cost: Path | None

    @property
    def written(self) -> tuple[Path, ...]:
        """The files that were written."""
        paths = (self.csv, self.markdown, self.latex, self.trials, self.cost)
        return tuple(path for path in paths if path is not None)


def leaderboard(records: Iterable[RunRecord], *, protocol: str | None = None) -> "DataFrame":
    """Return one row per objective and setting, and one for the start model, best settings first in each group.

    Groups are one protocol, suite, start model and data set; ``rank`` and every comparison count within a group.
    ``best`` marks the setting that an objective's validation target chose. docs/leaderboard.md describes each column.
    ``protocol`` keeps one protocol (see ``choose_groups``). Equal records give an equal table, in any order. Raises
    RunError where one run was evaluated twice under one protocol.
    """
    return _frame(analyse(records, protocol=protocol))


def _frame(analysis: Analysis) -> "DataFrame":
    from pandas import DataFrame

    columns = csv_columns(analysis.groups)
    rows = [_csv_row(entry, columns) for comparison in analysis.comparisons for entry in entries(comparison)]
    return DataFrame(rows, columns=csv_names(analysis.groups))


def costs(groups: Iterable[Group]) -> "DataFrame":
    """Return the cost of each setting, all its runs together, in the leaderboard's order. Times vary by machine."""
    from pandas import DataFrame

    rows = [
        {**identity(group, setting), **asdict(total_cost(setting))} for group in groups for setting in ranked(group)
    ]
    return DataFrame(rows, columns=[*IDENTITY, *COSTS, "runs", "device"])


def identity(group: Group, setting: Setting) -> dict[str, Cell]:
    """Return what says which setting of which table a row is: ``IDENTITY`` by name."""
    started = setting.objective == START
    return {
        "protocol": group.protocol,
        "suite": group.suite,
        "suite_version": group.suite_version,
        "model": group.model,
        "data": group.data,
        "objective": setting.objective,
        "params": "" if started else setting.params_text,
        "beta": None if started else setting.param("beta"),
        "learning_rate": None if started else setting.learning_rate,
    }


def write_leaderboard(
    results: Path, *, analysis: Analysis | None = None, formats: Collection[str] = FORMATS, tidy: bool = True
) -> Paths:
    """Write the leaderboard under ``results`` in ``formats``, from ``analysis`` or, without one, the records there.

    ``csv``: ``leaderboard.csv``, ``trials.csv``, ``leaderboard-cost.csv``; ``md``: ``leaderboard.md``; ``tex``:
    ``leaderboard.tex``. Leaderboard files have the same bytes whenever the records' numbers are the same; what varies
    with the machine is in the other two. ``tidy`` off leaves out ``trials.csv``, the largest. Raises UsageError for an
    unknown format, RunError for a damaged record, a full disk and the like.
    """
    from bench.report.tables.latex import leaderboard_latex
    from bench.report.tables.markdown import leaderboard_markdown

    check_formats(formats)
    data, markdown, latex = (name in formats for name in FORMATS)
    analysis = analysis or analyse_folder(results)
    groups, compared = analysis.groups, analysis.comparisons
    return Paths(
        csv=_write(results / "leaderboard.csv", csv_text(_frame(analysis))) if data else None,
        markdown=_write(results / "leaderboard.md", leaderboard_markdown(compared)) if markdown else None,
        latex=_write(results / "leaderboard.tex", leaderboard_latex(compared)) if latex else None,
        trials=_write(results / "trials.csv", trials_text(groups)) if data and tidy else None,
        cost=_write(results / "leaderboard-cost.csv", csv_text(costs(groups))) if data else None,
    )


def check_formats(formats: Collection[str]) -> None:
    """Raise UsageError for a format that the leaderboard is not written in."""
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}", fix=did_you_mean(name, FORMATS))


def csv_text(frame: "DataFrame") -> str:
    """Return ``frame`` as CSV with six significant digits and plain line ends: equal numbers give equal bytes."""
    return without_formulas(frame).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def without_formulas(frame: "DataFrame") -> "DataFrame":
    """Return ``frame`` with an apostrophe before each text that a spreadsheet would compute (files have any name)."""
    for name in frame.columns:
        # Other columns stay as they are: a new column of the same values could have another type.
        if any(map(_is_formula, frame[name])):
            frame = frame.assign(**{name: [f"'{cell}" if _is_formula(cell) else cell for cell in frame[name]]})
    return frame


def _is_formula(cell: object) -> bool:
    return isinstance(cell, str) and FORMULA.match(cell) is not None


def _csv_row(entry: Entry, columns: Sequence[Column]) -> dict[str, Cell]:
    row: dict[str, Cell] = {}
    for column in columns:
        value = column.value(entry)
        if isinstance(value, PairVerdict):
            row[column.key] = value.p
        elif isinstance(value, Interval):
            numbers = (value.mean, value.low, value.high)
            row |= zip(names_in_csv(column), numbers, strict=False)
        elif isinstance(value, Mapping):
            row[column.key] = json.dumps({name: round(share, 6) for name, share in sorted(value.items())})
        else:
            row[column.key] = value
    return row


def _write(path: Path, text: str) -> Path:
    write_text_whole(path, text)
    return path


TRIAL_NAMES = (
    *("protocol", "preset", "suite", "suite_version", "model", "data", "run", "evaluation"),
    *("objective", "objective_version", "params", "train", "learning_rate", "seed", "best", "split", "status"),
    *("task", "metric", "value", "stderr", "n", "higher_is_better"),
    *COSTS,
)
"""The columns that every file of trials has, in order; one for each parameter follows, ``param_beta`` and so on."""


def trials(groups: Iterable[Group]) -> "DataFrame":
    """Return every number of every run: one row for each run, split and metric; a run without metrics has one row.

    Columns are ``TRIAL_NAMES``, then ``param_<name>`` for each parameter that any objective here has. What a run
    cost stands in all its rows. Equal records give an equal table, in whatever order they come.
    """
    from pandas import DataFrame

    rows = []
    for group in groups:
        for setting in (*([group.start] if group.start is not None else []), *group.settings):
            for record in setting.every_record:
                rows += _rows(group, setting, record)
    params = sorted({name for row in rows for name in row if name not in TRIAL_NAMES})
    return DataFrame(rows, columns=[*TRIAL_NAMES, *params])


def trials_text(groups: Iterable[Group]) -> str:
    """Return the trials as CSV, with all digits: a number read back is the number of the record."""
    return without_formulas(trials(groups)).to_csv(index=False, lineterminator="\n")


def _rows(group: Group, setting: Setting, record: RunRecord) -> list[dict[str, Cell]]:
    spec = record.spec
    shared: dict[str, Cell] = {
        "protocol": group.protocol,
        "preset": group.preset,
        "suite": group.suite,
        "suite_version": group.suite_version,
        "model": group.model,
        "data": group.data,
        "run": record.key,
        "evaluation": record.evaluation_key,
        "objective": setting.objective,
        "objective_version": setting.objective_version,
        "params": json.dumps(dict(setting.params), sort_keys=True),
        "train": json.dumps({name: dict(setting.train).get(name) for name in group.differing}, sort_keys=True),
        "learning_rate": setting.learning_rate,
        "seed": spec.seed,
        "best": setting.best,
        "split": record.evaluation.split,
        "status": record.status,
        **{name: getattr(record.cost, name) for name in COSTS},
        **{f"param_{name}": value for name, value in setting.params},
    }
    metrics: list[dict[str, Cell]] = [
        {
            "task": metric.task,
            "metric": reward_key(group) if metric.name == GOLD_REWARD else metric.name,
            "value": metric.value,
            "stderr": metric.stderr,
            "n": metric.n,
            "higher_is_better": metric.higher_is_better,
        }
        for metric in record.metrics
    ]
    return [shared | metric for metric in metrics or [{}]]
