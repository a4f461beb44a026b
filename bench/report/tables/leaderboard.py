"""The leaderboard's files: ranked within what may be compared, as CSV, Markdown and LaTeX, and every trial."""

import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.record import RunRecord
from bench.errors import UsageError, did_you_mean
from bench.report.analysis.analysis import Analysis, analyse_folder
from bench.report.analysis.columns import IDENTITY, NAMES, Cell, fields_of, identity, rows_of, tasks_of
from bench.report.analysis.compared import Compared, compare_group
from bench.report.analysis.ranking import choose_groups, ranked
from bench.report.analysis.settings import Group, Setting
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("csv", "md", "tex")

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
    """Where the leaderboard was written; None for what was not asked for."""

    csv: Path | None
    markdown: Path | None
    latex: Path | None
    trials: Path | None
    cost: Path | None

    @property
    def written(self) -> tuple[Path, ...]:
        """The files that were written."""
        found = (self.csv, self.markdown, self.latex, self.trials, self.cost)
        return tuple(path for path in found if path is not None)


def leaderboard(records: Iterable[RunRecord], *, protocol: str | None = None) -> "DataFrame":
    """Return one row per objective and setting, and one for the start model, best settings first in each group.

    Groups are one protocol, suite, start model and data set; ``rank`` and every comparison count within a group.
    ``protocol`` leaves one protocol (see ``choose_groups``). ``best`` marks the setting that an objective's validation
    target chose. docs/leaderboard.md tells each column. Equal records give an equal table, in whatever order they come.
    Raises RunError where one run was evaluated twice under one protocol.
    """
    return _frame([compare_group(group) for group in choose_groups(records, protocol=protocol)])


def costs(groups: Iterable[Group]) -> "DataFrame":
    """Return what each setting cost, all its runs together, in the order of the leaderboard. Times vary by machine."""
    from pandas import DataFrame

    rows = []
    for group in groups:
        rows += [{**identity(group, setting), **total_cost(setting)} for setting in ranked(group)]
    return DataFrame(rows, columns=[*IDENTITY, *COSTS, "runs", "device"])


def total_cost(setting: Setting) -> dict[str, Any]:
    """Return what all runs of a setting cost together: ``COSTS`` by name, the number of runs, the devices."""
    every = [record.cost.evaluate_seconds for record in (*setting.validation, *setting.test)]
    # a run that was evaluated twice was trained once
    runs = {record.key: record.cost for record in (*setting.validation, *setting.test)}
    total: dict[str, Any] = {name: math.fsum(float(getattr(c, name)) for c in runs.values()) for name in COSTS}
    peak = max(cost.peak_memory_bytes for cost in runs.values())
    device = ", ".join(sorted({cost.device for cost in runs.values()}))
    return total | {
        "evaluate_seconds": math.fsum(every),
        "peak_memory_bytes": peak,
        "runs": len(runs),
        "device": device,
    }


def write_leaderboard(
    results: Path, *, analysis: Analysis | None = None, formats: Collection[str] = FORMATS, tidy: bool = True
) -> Paths:
    """Write the leaderboard under ``results``, as ``formats`` ask, from ``analysis`` or, without one, its records.

    ``csv``: ``leaderboard.csv``, ``trials.csv``, ``leaderboard-cost.csv``; ``md``: ``leaderboard.md``; ``tex``:
    ``leaderboard.tex``. Leaderboard files have the same bytes whenever the records' numbers are the same; what varies
    with the machine is in the other two. ``tidy`` off leaves out ``trials.csv``, the largest. Raises UsageError for an
    unknown format, RunError for a damaged record, a full disk and the like.
    """
    from bench.report.tables.latex import leaderboard_latex
    from bench.report.tables.markdown import leaderboard_markdown

    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}", fix=did_you_mean(name, FORMATS))
    analysis = analysis or analyse_folder(results)
    groups, compared = analysis.groups, analysis.comparisons
    data, markdown, latex = (name in formats for name in FORMATS)
    return Paths(
        csv=_write(results / "leaderboard.csv", csv_text(_frame(compared))) if data else None,
        markdown=_write(results / "leaderboard.md", leaderboard_markdown(compared)) if markdown else None,
        latex=_write(results / "leaderboard.tex", leaderboard_latex(compared)) if latex else None,
        trials=_write(results / "trials.csv", trials_text(groups)) if data and tidy else None,
        cost=_write(results / "leaderboard-cost.csv", csv_text(costs(groups))) if data else None,
    )


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


def _frame(compared: Sequence[Compared]) -> "DataFrame":
    from pandas import DataFrame

    groups = [one.group for one in compared]
    fields, tasks = fields_of(groups), tasks_of(groups)
    rows = [row for one in compared for row in rows_of(one, fields=fields, tasks=tasks)]
    ends = [f"{task}_{name}{end}" for task, name in tasks for end in ("", "_stderr")]
    return DataFrame(rows, columns=[*NAMES, *fields, *ends])


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
            for record in (*setting.validation, *setting.test):
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
        "preset": group.tuning.get("preset"),
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
            "metric": metric.name,
            "value": metric.value,
            "stderr": metric.stderr,
            "n": metric.n,
            "higher_is_better": metric.higher_is_better,
        }
        for metric in record.metrics
    ]
    return [shared | metric for metric in metrics or [{}]]
